"""Every address the hub has, whoever answers there: nothing for somebody who may nothing, no other site's pages.

The addresses come from the tables that are served: one that is added is asked, too, or the tests say that it is not.
"""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from litestar.testing import TestClient

from undrift.core.errors import Forbidden
from undrift.core.hashing import hash_bytes
from undrift.hub import build_app
from undrift.operations import all_operations

# What anybody may know who reaches the hub at all: that it lives, how it is spoken to, and how its pages look.
OPEN = {
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/api/openapi.json"),
    ("GET", "/static/undrift.css"),
    ("GET", "/version"),
    ("GET", "/api/3.0/mlflow/server-info"),
    ("GET", "/ajax-api/3.0/mlflow/server-info"),
    ("GET", "/ajax-api/3.0/mlflow/ui-telemetry"),
    ("POST", "/ajax-api/3.0/mlflow/ui-telemetry"),
}
# They say that there is no such thing here, to everybody the same.
NOTHING = re.compile(r"/(ajax-)?api/2\.0/(mlflow-artifacts/presigned/.*|mlflow/artifacts/presigned-\w+-url)")
DIGEST = hash_bytes(b"x")
HOME = "0/" + "0" * 32 + "/artifacts"


def filled(path, words):
    """The address of a pattern, with something in the place of each parameter."""
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: words[found[1]], path)


def bytes_of(app):
    """The addresses for bytes, which stand before the framework: method, address and what it takes."""
    bodies = {
        "objects.put": {"content": b"x"},
        "objects.put_many": {"content": b""},
        "objects.missing": {"json": {"digests": [DIGEST]}},
        "artifacts.get_many": {"json": {"paths": ["a"]}},
        "uploads.begin": {"json": {}},
        "uploads.put_part": {"content": b"x"},
        "uploads.complete": {"json": {"digest": DIGEST, "parts": [DIGEST]}},
    }
    words = {"digest": DIGEST, "root": "0" * 32, "path": "a", "upload": "0" * 32, "number": "1"}
    for method, pattern, asked, _ in app.guard._app._app._table:
        path = re.sub(r"\(\?P<(\w+)>[^)]*\)", lambda found: words[found[1]], pattern.pattern)
        assert "(" not in path
        yield method, f"/api/v1/{path}", bodies.get(asked, {})


MLFLOW = {
    "name": "late",
    "new_name": "later",
    "version": "1",
    "alias": "champion",
    "stage": "Staging",
    "source": "runs:/" + "0" * 32 + "/model",
    "run_id": "0" * 32,
    "run_ids": ["0" * 32],
    "model_id": "m-" + "0" * 32,
    "experiment_id": "1",
    "experiment_ids": ["1"],
    "experiment_name": "late",
    "url": "https://8.8.8.8/",
    "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}],
    "key": "k",
    "value": "1",
    "timestamp": 1,
    "metric_key": "k",
    "model_json": "{}",
    "status": 1,
    "path": "a",
    "artifact_file_path": "a",
    "max_results": 10,
    "upload_id": "0" * 32,
    "num_parts": 1,
    "parts": [{"part_number": 1, "etag": DIGEST}],
    "query": '{ mlflowGetRun(input: {runId: "x"}) { run { info { runId } } } }',
}


def mlflow_of(app):
    """MLflow's addresses, under both prefixes and in a project of their own."""
    words = {
        "path": f"{HOME}/a",
        "model_id": "m-" + "0" * 32,
        "model": "m-" + "0" * 32,
        "tag_key": "k",
        "webhook_id": "0" * 32,
        "upload": "0" * 32,
        "number": "1",
    }
    for route in app.guard._app.routes.all:
        for method in route.methods:
            for address in route.addresses:
                body = {**MLFLOW, "models": [{"model_id": "m-" + "0" * 32}]}
                given = {"content": b"x"} if route.any_body else {"json": body}
                if method == "GET":
                    query = MLFLOW | {"path": HOME} if address.endswith("/artifacts") else MLFLOW
                    given = {"params": query}
                elif address.endswith("upload-artifact"):
                    given["params"] = {"run_id": "0" * 32, "path": "a"}
                for before in ("", "/projects/other"):
                    yield method, before + filled(address, words), given


def operations_of():
    """The operations, each with a request that it could answer."""
    for one in all_operations().values():
        values = {field.name: example(field.type) for field in msgspec.structs.fields(one.input) if field.required}
        if one.reads:
            texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
            yield "GET", f"/api/v1{one.path}", {"params": texts}
        else:
            yield "POST", f"/api/v1{one.path}", {"json": values}


def example(kind):
    """A value of a type, as JSON says it."""
    schema = msgspec.json.schema(kind)
    return of_schema(schema, schema.get("$defs", {}))


def of_schema(schema, named):
    if "$ref" in schema:
        return of_schema(named[schema["$ref"].rpartition("/")[2]], named)
    if "anyOf" in schema:
        return of_schema(schema["anyOf"][0], named)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {name: of_schema(schema["properties"][name], named) for name in schema.get("required", ())}
    if schema.get("type") == "array":
        return [of_schema(one, named) for one in schema.get("prefixItems", ())]
    # A schema does not tell a moment from another text.
    return {"string": "2013-01-01T00:00:00Z", "integer": 1, "number": 1.0, "boolean": True}.get(schema.get("type"))


def pages_of(app):
    """What the framework serves beside the operations."""
    words = {"endpoint": "late", "project": "p", "model": "late", "number": "1", "place": "p", "experiment": "1"}
    queries = {
        "/runs/compare": {"run": ["0" * 32, "1" * 32]},
        "/runs/compare/code": {"before": "0" * 32, "after": "1" * 32, "path": "a"},
        "/runs/compare/curves": {"run": "0" * 32, "metric": "a"},
    }
    for route in app.routes:
        if not route.path.startswith("/api/v1/"):
            given = {"params": queries[route.path]} if route.path in queries else {}
            yield "GET", filled(route.path, words | {"name": "undrift.css"}), given


def everything(app):
    """Every method and address, with something that it could answer."""
    found = [*bytes_of(app), *mlflow_of(app), *operations_of(), *pages_of(app)]
    assert len(found) > 400
    return found


@pytest.fixture
def app(workspace):
    # Nothing is there: who is not asked for a permission first would hear that.
    return build_app(workspace)


@pytest.fixture
def http(app):
    with TestClient(app, base_url="http://127.0.0.1:7470") as client:
        yield client


def is_open(method, address):
    inner = re.sub(r"\A/projects/other", "", address)
    return (method, inner) in OPEN or NOTHING.fullmatch(inner) is not None


def test_whoever_may_nothing_is_refused_everywhere(app, http, monkeypatch):
    def refuse(self, actor, permission):
        raise Forbidden(f"No {permission}.")

    monkeypatch.setattr("undrift.governance.policy.WorkspaceOwner.check", refuse)
    answered = []
    for method, address, given in everything(app):
        answer = http.request(method, address, **given)
        if is_open(method, address):
            assert answer.status_code in {200, 400, 501}, (method, address)
        elif answer.status_code != 403:
            answered.append((method, address, answer.status_code, answer.text[:200]))
    assert answered == [], "\n".join(map(str, answered))


def test_no_address_answers_to_a_name_that_is_not_its_own(app, http):
    for method, address, given in everything(app):
        answer = http.request(method, address, headers={"host": "rebound.evil.example:7470"}, **given)
        assert answer.status_code == 403, (method, address)


def test_no_page_of_another_site_changes_anything_anywhere(app, http):
    for method, address, given in everything(app):
        if method != "GET":
            for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
                answer = http.request(method, address, headers=headers, **given)
                assert answer.status_code == 403, (method, address, headers)
