"""What no client of good will says to an operation, in every field of every one: no failure of the hub, and no names.

Nothing is listed by hand: an operation, and a field, that is added is asked the same.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import msgspec
import pytest

from undrift import registry, tracking
from undrift.operations import all_operations
from undrift.tracking.artifacts import PutArtifact, PutArtifacts, put_artifacts

OF_SCHEMA = runpy.run_path(str(Path(__file__).with_name("test_every_route.py")))["of_schema"]
ODD = [
    "../../../etc/passwd%00",
    "a\u0000b\ud800",
    "x" * 40_000,
    "",
    10**400,
    -(2**63) - 1,
    1e308,
    None,
    {"a": {"b": []}},
    ["x"] * 1_500,
]


@pytest.fixture
def good(workspace):
    """A world with one of each, and what fields say when they speak of it."""
    ctx = workspace.context()
    run = tracking.start_run(ctx, tracking.StartRun("default", "late", "first"))
    logged = tracking.create_model(
        ctx, tracking.CreateLoggedModel("default", run.experiment_id, "model", source_run_id=run.id)
    )
    digest = ctx.repository.objects.put(b"flavors: {}")
    put_artifacts(ctx, PutArtifacts(run.id, (PutArtifact("model/MLmodel", digest, 11),)))
    registry.register_model(ctx, registry.RegisterModel("default", "late"))
    tree = ctx.repository.trees.edit(None, {"MLmodel": b"flavors: {}"})
    registry.register_version(ctx, registry.RegisterVersion("default", "late", artifact=tree))
    return {
        "project": "default",
        "model": "late",
        "number": 1,
        "alias": "champion",
        "run_id": run.id,
        "run_ids": [run.id, "0" * 32],
        "root": run.id,
        "experiment_id": run.experiment_id,
        "experiment": "late",
        "model_id": logged.id,
        "digest": digest,
        "artifact": tree,
        "metric": "loss",
        "reason": "Because.",
        "path": "model/MLmodel",
        "moment": "2013-01-01T00:00:00Z",
    }


def requests(one, good):
    """The request of an operation that is fine as far as one can tell, by field."""
    fields = {}
    for field in msgspec.structs.fields(one.input):
        schema = msgspec.json.schema(field.type)
        if field.name in good:
            fields[field.name] = good[field.name]
        elif field.required:
            fields[field.name] = OF_SCHEMA(schema, schema.get("$defs", {}))
    return fields


def ask(http, one, fields):
    if one.reads:
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        query = {name: value.encode("utf-8", "surrogatepass") for name, value in texts.items()}
        return http.get(f"/api/v1{one.path}", params=query)
    body = json.dumps(fields).encode()
    return http.post(f"/api/v1{one.path}", content=body, headers={"content-type": "application/json"})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_odd_in_any_field_of_an_operation_breaks_the_hub(http, good):
    broken, asked = [], 0
    for one in all_operations().values():
        usual = requests(one, good)
        for field in msgspec.structs.fields(one.input):
            for odd in ODD:
                answer = ask(http, one, usual | {field.name: odd})
                asked += 1
                about = (one.name, field.name, str(odd)[:40], answer.status_code, answer.text[:200])
                if answer.status_code >= 500:
                    broken.append(about)
                elif answer.status_code >= 400:
                    assert answer.json()["detail"], about
                    for name in ("/tmp/", "site-packages", "Traceback", "sqlalchemy"):
                        assert name not in answer.text, about
    assert asked > 3_000
    assert broken == [], "\n".join(map(str, broken))
