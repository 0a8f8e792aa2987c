"""What no client of good will sends, to every line of the table: refused in MLflow's words, and nothing written.

Nothing here is listed by hand that the table or the messages say themselves: a new route, and a new field of a message,
is asked the same questions.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sqlite3
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes, urlencode

import anyio
import msgspec
import pytest

from undrift import registry, tracking
from undrift.core.errors import Forbidden
from undrift.events import webhooks
from undrift.hub import build_app, mlflow
from undrift.hub.mlflow.messages import Message
from undrift.hub.mlflow.words import default_experiment
from undrift.tracking.artifacts import PutArtifact, PutArtifacts, put_artifacts

JSON = {"content-type": "application/json"}
HOST = "localhost"
SAFE = {"GET", "HEAD", "OPTIONS"}
OPEN = {"/version", "3.0/mlflow/server-info", "3.0/mlflow/ui-telemetry"}

# What leads elsewhere, as a value in a body.
ELSEWHERE = [
    "../../../etc/passwd",
    "..\\..\\windows",
    "/etc/passwd",
    "\\\\host\\share",
    "C:\\windows",
    "C:/windows",
    "file:///etc/passwd",
    "file://host/etc",
    "s3://bucket/key",
    "dbfs:/etc",
    "http:///#/../../../etc/",
    "http://169.254.169.254/latest",
    "mlflow-artifacts:/../../etc",
    "mlflow-artifacts:/0/%2e%2e/%2e%2e",
    "%2e%2e/%2e%2e/etc",
    "%252e%252e%252fetc",
    "..%2fetc",
    "..%255cetc",
    "a/../../etc",
    "a/./b",
    "a//b",
    "a;/../../etc",
    "a?/../../etc",
    "a#/../../etc",
    "a\u0000b",
    "a\u2025/b\uff0e\uff0e/etc/..",
    "..",
    ".",
]
# The same in an address, in spellings that bodies do not have.
IN_ADDRESSES = [
    "../../../etc/passwd",
    "..%2f..%2fetc/passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%2E%2E%2F%2E%2E%2Fetc",
    "%252e%252e%252fetc%252fpasswd",
    "%25252e%25252e/etc",
    "..%5c..%5cetc",
    "..%255c..%255cetc",
    "a/../../etc",
    "a//b",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "C:%5cwindows",
    "C:/windows",
    "file:///etc/passwd",
    "a%23/../b",
    "a%3f/../b",
    "a;/../b",
    "a%00b",
    "%c0%ae%c0%ae/etc",
    "a%ff",
    "a%0d%0aX-Y:z",
    "e%cc%81",
    "..",
    ".",
    "x" * 3000,
]
# Fields that say where something is: whatever leads elsewhere is refused in them.
PLACES = {"artifact_location", "source", "path", "artifact_file_path", "artifact_directory_path", "url"}
# Where one is passed over: the address says it already, or nothing is.
IGNORED = {
    "{path:path}": {"path"},
    "{number}": {"path"},
    "presigned-upload-url": {"path"},
    "presigned-download-url": {"path"},
    "files": {"path"},
    "directories": {"path"},
    "artifacts": {"run_id"},
}
ODD = [
    10**400,
    -(2**63),
    2**63,
    -1,
    0,
    1e308,
    True,
    None,
    "",
    " ",
    "\u0000",
    "\ud800",
    "\u202e\u200b",
    "'; DROP TABLE runs; --",
    "{{7*7}}<script>",
    "x" * 200_000,
    "١٢٣",
    [],
    {},
    [[[[]]]],
    ["x"] * 300,
    {"key": {"key": {}}},
    [{"key": "a"}] * 300,
    "99999999999999999999999999",
    "NaN",
    "-Infinity",
]
BODIES = [
    b"",
    b"null",
    b"[]",
    b"7",
    b'"{}"',
    b"{",
    b"\xff\xfe",
    b'{"name": "\xff"}',
    b'{"name": "\\ud800", "run_id": "\\ud800"}',
    b"[" * 100_000,
    b'{"name":' + b"[" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"NaN",
    b'{"max_results": 1' + b"0" * 5000 + b"}",
]


class Answered(NamedTuple):
    """An answer, as it went out."""

    status: int
    headers: dict[str, str]
    body: bytes


async def send(app, method, address, body=b"", headers=(), chunks=None):
    """Ask the application under an address that nobody has tidied up."""
    raw, _, query = address.partition("?")
    sent = []
    pieces = list(chunks) if chunks is not None else [body]

    async def receive():
        piece = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def out(message):
        sent.append(message)

    given = dict(headers)
    given.setdefault("host", HOST)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote_to_bytes(raw).decode("utf-8", "replace"),
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items() if value is not None],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "root_path": "",
        "state": {},
        "app": app,
        "litestar_app": app,
    }
    await app.asgi_handler(scope, receive, out)
    start = sent[0]
    shown = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return Answered(start["status"], shown, b"".join(one.get("body", b"") for one in sent[1:]))


def check(answer, *about):
    """An answer is no failure of the hub, and what is refused is refused in MLflow's words."""
    assert answer.status < 500 or answer.status == 501, (about, answer.status, answer.body[:500])
    assert answer.headers.get("x-content-type-options") == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    if answer.status < 400 or not answer.body:
        return
    said = json.loads(answer.body)
    if answer.headers["content-type"] == "application/problem+json":  # before it was known whose address it is
        assert said["detail"], about
    else:
        assert answer.headers["content-type"] == "application/json", about
        assert re.fullmatch(r"[A-Z_]+", said["error_code"]), about
        assert said["message"], about
        assert len(answer.body) < 5_000, about
    for place in ("/tmp/", "site-packages", "Traceback", "sqlalchemy", "/root/"):
        assert place.encode() not in answer.body, about


@pytest.fixture
def app(workspace):
    return build_app(workspace)


@pytest.fixture
def table(app):
    """The lines of the table, with a method each."""
    lines = [(route, method) for route in app.guard._app.routes.all for method in route.methods]
    assert len(lines) > 80
    return lines


@pytest.fixture
def written(workspace):
    """How many events were written so far."""
    # Without undrift's own ways: it is asked thousands of times, and by tests in which nobody may do anything.
    with sqlite3.connect(workspace.database.url.database) as connection:
        yield lambda: connection.execute("SELECT max(position) FROM events").fetchone()[0] or 0
    connection.close()


@pytest.fixture
def good(workspace):
    """A world with one of each, and what fields say when they speak of it."""
    ctx = workspace.context()
    default_experiment(ctx, "default")  # else it is made when somebody asks for experiments first
    run = tracking.start_run(ctx, tracking.StartRun("default", "late", "first"))
    logged = tracking.create_model(
        ctx, tracking.CreateLoggedModel("default", run.experiment_id, "model", source_run_id=run.id)
    )
    for root in (run.id, logged.id):
        digest = ctx.repository.objects.put(b"flavors: {}")
        put_artifacts(ctx, PutArtifacts(root, (PutArtifact("model/MLmodel", digest, 11),)))
    registry.register_model(ctx, registry.RegisterModel("default", "late"))
    tree = ctx.repository.trees.edit(None, {"MLmodel": b"flavors: {}"})
    registry.register_version(ctx, registry.RegisterVersion("default", "late", artifact=tree))
    asked = webhooks.CreateWebhook(
        "default", "hook", "https://8.8.8.8/", mlflow_events=("model_version.created",), format="mlflow"
    )
    hook = webhooks.create_webhook(ctx, asked)
    [found] = registry.list_models(ctx, registry.ListModels("default"))
    pair = {"key": "k", "value": "v"}
    return {
        "name": "late",
        "new_name": "later",
        "version": "1",
        "alias": "champion",
        "stage": "Staging",
        "source": f"runs:/{run.id}/model",
        "run_id": run.id,
        "run_ids": [run.id],
        "model_id": logged.id,
        "experiment_id": str(run.experiment_id),
        "experiment_ids": [str(run.experiment_id)],
        "experiment_name": "late",
        "webhook_id": hook.id,
        "url": "https://8.8.8.8/",
        "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}],
        "key": "k",
        "value": "1",
        "timestamp": 1,
        "metric_key": "k",
        "tag_key": "k",
        "model_json": "{}",
        "status": 1,
        "path": "model/MLmodel",
        "artifact_file_path": "model/MLmodel",
        "max_results": 10,
        "upload_id": "0" * 32,
        "num_parts": 1,
        "parts": [],
        "params": [pair],
        "tags": [pair],
        "models": [{"model_id": logged.id}],
        "roots": [
            f"{run.experiment_id}/{run.id}/artifacts",
            f"{run.experiment_id}/models/{logged.id}/artifacts",
            f"registered-models/{found.model.id}/1",
        ],
    }


def fields_of(route):
    """The fields that a route takes: those of the messages that its handler reads."""
    code = route.handler.__code__
    cells = dict(zip(code.co_freevars, route.handler.__closure__ or (), strict=True))
    if module_of(route) == "artifacts":
        # Its handlers read what they need from the query, or a body that others check.
        found = {"path", "run_id", "run_uuid", "name", "version", "model_id", "expiration"}
        found |= {"artifact_file_path"} if route.path.endswith("/files") else set()
        found |= {"artifact_directory_path"} if route.path.endswith("/directories") else set()
        return sorted(found | ({"upload_id", "num_parts", "parts"} if "/mpu/" in route.path else set()))
    if "kind" in cells:
        kinds = [cells["kind"].cell_contents]
    else:
        known = vars(importlib.import_module(route.handler.__module__))
        kinds = [known[name] for name in code.co_names if name in known]
    fields = set()
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            fields |= {field.name for field in msgspec.structs.fields(kind)}
    return sorted(fields)


def module_of(route):
    return route.handler.__module__.rpartition(".")[2] if "kind" not in route.handler.__code__.co_freevars else ""


def addresses(route, good, hostile=None):
    """The address of a route with its parameters filled in, or with each of them hostile in turn."""
    path = route.addresses[0]
    parameters = re.findall(r"\{(\w+)(?::path)?\}", path)

    def fill(name):
        if name == "path":
            return f"{good['roots'][0]}/model/MLmodel"
        return {"model": good["model_id"], "upload": "0" * 32, "number": "1"}.get(name) or good.get(name, "1")

    if hostile is None:
        return [re.sub(r"\{(\w+)(?::path)?\}", lambda one: quote(str(fill(one[1])), safe="/"), path)]
    found = []
    for parameter in parameters:
        counts = [""] if parameter != "path" else ["", *(f"{root}/" for root in good["roots"])]
        for before in counts:
            values = {name: quote(str(fill(name)), safe="/") for name in parameters} | {parameter: before + hostile}
            found.append(re.sub(r"\{(\w+)(?::path)?\}", lambda one, values=values: values[one[1]], path))
    return found


def ask(route, method, good, **changed):
    """Make a request that would be fine but for what is changed."""
    known = {name: good[name] for name in fields_of(route) if name in good} | changed
    address = addresses(route, good)[0]
    if method == "GET":
        texts = {}
        for name, value in known.items():
            texts[name] = value if isinstance(value, str | list) else json.dumps(value)
        query = urlencode(
            [
                (name, one if isinstance(one, str) else json.dumps(one))
                for name, value in texts.items()
                for one in (value if isinstance(value, list) else [value])
            ],
            errors="surrogatepass",
        )
        return address + "?" + query[:500_000], b""
    if route.path.endswith("upload-artifact"):
        return f"{address}?{urlencode({name: str(known[name]) for name in ('run_id', 'path')}, errors='replace')}", b"x"
    return address, b"x" if route.any_body else json.dumps(known).encode()


def test_every_module_with_routes_is_in_the_table(table):
    listed = {id(route) for route, _ in table}
    for found in pkgutil.iter_modules(mlflow.__path__):
        module = importlib.import_module(f"{mlflow.__name__}.{found.name}")
        for route in getattr(module, "ROUTES", ()):
            assert id(route) in listed, f"{found.name}: {route.path}"


def test_each_message_is_of_a_route(table):
    # Else the fields of a new one could stay without questions.
    asked = {name for route, _ in table for name in fields_of(route)}

    def below(kind):
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    kinds = [kind for kind in below(Message) if kind.__module__.startswith(mlflow.__name__)]
    assert len(kinds) > 40
    inner = {"Pair", "Point", "Dataset", "DatasetInput", "ModelInput", "ModelOutput", "KeyValue", "Order"}
    for kind in kinds:
        if kind.__name__ not in inner:
            assert {field.name for field in msgspec.structs.fields(kind)} <= asked, kind


def test_no_address_leads_elsewhere(app, table, good, written):
    before = written()

    async def go():
        asked = 0
        for route, method in table:
            for hostile in IN_ADDRESSES:
                for address in addresses(route, good, hostile):
                    for prefix in ("", "/projects/default"):
                        answer = await send(app, method, prefix + address, b"{}", JSON)
                        check(answer, method, address)
                        assert answer.status >= 400, (method, address, answer)
                        asked += 1
        assert asked > 1_000

    anyio.run(go)
    assert written() == before


def test_no_field_names_a_place_that_is_not_this_hubs(app, table, good, written):
    async def go():
        asked = set()
        for route, method in table:
            for field in sorted(PLACES.intersection(fields_of(route))):
                for hostile in ELSEWHERE:
                    if field in {"path", "artifact_directory_path"} and hostile == "dbfs:/etc":
                        continue  # a folder may be called dbfs: here, where a path is only a label
                    before = written()
                    address, body = ask(route, method, good, **{field: hostile})
                    answer = await send(app, method, address, body, JSON)
                    check(answer, method, route.path, field, hostile)
                    if field in IGNORED.get(route.path.rpartition("/")[2], ()):
                        continue
                    assert answer.status >= 400, (method, route.path, field, hostile, answer.body)
                    assert written() == before, (method, route.path, field, hostile)
                    asked.add((route.path.rpartition("/")[2], field))
        assert {("create", "artifact_location"), ("create", "source"), ("list", "path"), ("webhooks", "url")} <= asked

    anyio.run(go)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_odd_in_any_field_breaks_anything(app, table, good, written):
    async def go():
        for route, method in table:
            for field in fields_of(route):
                for odd in (*ODD, *ELSEWHERE[::6]):
                    before = written()
                    address, body = ask(route, method, good, **{field: odd})
                    answer = await send(app, method, address, body, JSON)
                    check(answer, method, route.path, field, str(odd)[:50])
                    if answer.status >= 400:
                        assert written() == before, (method, route.path, field, str(odd)[:50])

    anyio.run(go)


def test_no_body_breaks_anything(app, table, good, written):
    async def go():
        for route, method in table:
            if method in SAFE or route.any_body:
                continue
            for body in BODIES:
                before = written()
                answer = await send(app, method, addresses(route, good)[0], body, JSON)
                check(answer, method, route.path, body[:30])
                if answer.status >= 400:
                    assert written() == before, (method, route.path, body[:30])

    anyio.run(go)


def test_no_query_string_breaks_anything(app, table, good, written):
    before = written()
    queries = [
        "%ff",
        "name=%ff&run_id=%ff&path=%ff",
        "name=%00&run_id=%00&path=%00",
        "%00",
        "&" * 10_000,
        "&".join(f"a{n}=1" for n in range(5_000)),
        "name=" + "x" * 100_000,
        "=",
        "name[$ne]=x&run_id[]=y",
    ]

    async def go():
        for route, method in table:
            if method == "GET":
                for query in queries:
                    answer = await send(app, method, f"{addresses(route, good)[0]}?{query}")
                    check(answer, method, route.path, query[:30])

    anyio.run(go)
    assert written() == before


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None])
def test_what_a_page_may_send_without_asking_is_refused(app, table, good, written, kind):
    before = written()

    async def go():
        for route, method in table:
            if method in {"POST", "PUT"} and not route.any_body:
                address, body = ask(route, method, good)
                answer = await send(app, method, address, body, {"content-type": kind})
                check(answer, method, route.path)
                assert answer.status == 400, (method, route.path, answer)
                assert json.loads(answer.body)["error_code"] == "INVALID_PARAMETER_VALUE"

    anyio.run(go)
    assert written() == before


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "localhost.evil.example"},
        {"host": "localhost:7470@evil.example"},
        {"host": "169.254.169.254"},
        {"host": "0.0.0.0"},
        {"host": ""},
        {"host": None},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"origin": "http://localhost", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_no_page_of_another_site_gets_through(app, table, good, written, headers):
    before = written()

    async def go():
        for route, method in table:
            if method in SAFE and "host" not in headers:
                continue
            address, body = ask(route, method, good)
            for prefix in ("", "/projects/default"):
                answer = await send(app, method, prefix + address, body, JSON | headers)
                check(answer, method, route.path)
                assert answer.status in {400, 403}, (method, route.path, answer)

    anyio.run(go)
    assert written() == before


def test_under_no_other_spelling_a_route_forgets_who_may(app, table, good, written, monkeypatch):
    """With a policy that lets nobody do anything, no spelling of an address is answered."""

    def refuse(self, actor, permission):
        raise Forbidden(f"No {permission}.")

    monkeypatch.setattr("undrift.governance.policy.WorkspaceOwner.check", refuse)
    before = written()

    def spellings(address):
        path, _, query = address.partition("?")
        head, _, tail = path.rpartition("/")
        yield from (
            path,
            path.replace("/api/", "/ajax-api/", 1),
            f"/projects/default{path}",
            f"/projects/other{path}",
            f"/projects/default%2f{path}",
            f"/projects/..{path}",
            f"/projects/%2e%2e{path}",
            f"/projects//{path}",
            f"/projects/default/projects/default{path}",
            f"//localhost{path}",
            f"/{path}",
            f"{path}/",
            f"{path}//",
            f"{path}/.",
            f"{path}/..",
            f"{path}%2f",
            f"{path}%00",
            f"{path};x=y",
            f"{path}%3fx",
            f"{path}%20",
            f"{head}//{tail}",
            f"{head}/./{tail}",
            f"{head}/x/../{tail}",
            f"{head}/%2e/{tail}",
            f"{head}%2f{tail}",
            f"{head}\\{tail}",
            path.upper(),
            path.replace("/api/", "/API/", 1),
            path.replace("2.0", "3.0", 1),
            path.replace("/mlflow", "/preview/mlflow", 1),
            "".join(f"%{ord(one):02x}" if one.isalpha() else one for one in path),
            f"/static-files/..{path}",
            f"/version/..{path}",
            f"/health/..{path}",
        )
        if query:
            yield address

    async def go():
        asked = 0
        for route, method in table:
            if not route.permission:
                assert route.path in OPEN
                continue
            address, body = ask(route, method, good)
            query = address.partition("?")[2]
            for spelling in spellings(address):
                whole = spelling if "?" in spelling or not query else f"{spelling}?{query}"
                for verb in (method, "HEAD", "OPTIONS", "TRACE", "PROPFIND", method.lower()):
                    answer = await send(app, verb, whole, body, JSON)
                    assert answer.status >= 400, (verb, whole, answer)
                    asked += 1
                    check(answer, verb, whole)
            answer = await send(app, method, address, body, JSON)
            said = (answer.status, json.loads(answer.body)["error_code"])
            # What names no run has nothing to keep from anybody.
            nameless = route.path == "2.0/mlflow-artifacts/artifacts" or "presigned" in route.path
            assert said == (403, "PERMISSION_DENIED") or (nameless and answer.status in {400, 501}), (route.path, said)
        assert asked > 5_000

    anyio.run(go)
    assert written() == before


def test_a_body_without_end_is_cut_off(app, table, good, written):
    before = written()
    piece = b" " * (1 << 20)

    def endless():
        yield from [piece] * 9

    async def go():
        for route, method in table:
            if method in SAFE or route.any_body or not route.permission:
                continue
            if method == "DELETE" and module_of(route) == "artifacts":
                continue  # it reads no body, so that none has an end
            address = addresses(route, good)[0]
            chunked = await send(
                app, method, address, headers=JSON | {"transfer-encoding": "chunked"}, chunks=endless()
            )
            lying = await send(app, method, address, headers=JSON | {"content-length": "2"}, chunks=endless())
            said = await send(app, method, address, headers=JSON | {"content-length": str(9 << 20)}, chunks=[b"{}"])
            for answer in (chunked, lying, said):
                check(answer, method, route.path)
                assert answer.status in {400, 404, 413}, (method, route.path, answer)
            assert said.status == 413

    anyio.run(go)
    assert written() == before


SEARCHES = ("search", "webhooks", "get-history", "search-datasets")


def test_no_page_token_filter_or_order_breaks_a_search(app, table, good, written):
    before = written()
    tokens = [
        "x",
        "../..",
        "e30=",
        "bnVsbA==",
        "eyJvZmZzZXQiOiAtMX0=",
        "eyJvZmZzZXQiOiAxMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwfQ==",
        "eyJvZmZzZXQiOiAiMSJ9",
        "eyJvZmZzZXQiOiBbXX0=",
        "W1tbW1tbW1tdXV1dXV1dXQ==",
        "\u0000",
        "x" * 100_000,
    ]
    filters = [
        "name = 'x' AND " * 80_000,
        "(" * 100_000,
        "'" * 100_001,
        "tags." + "`" * 100_000,
        "name = '" + "x" * 1_000_000 + "'",
        "name LIKE '" + "%" * 15_000 + "x'",
        "name = 'x'; DROP TABLE runs",
        "name = 'x' OR 1 = 1",
        "name = \u0000",
        "version_number = 99999999999999999999999999",
        "metrics.a > 1e999999",
        "tags.a IN (" + "'x'," * 5_000 + "'x')",
    ]
    orders = ["x" * 1_000_000, "name; DROP TABLE runs", "name " * 50_000, "tags.`a`` DESC", "", "\u0000"]

    async def go():
        asked = 0
        for route, method in table:
            if not route.path.endswith(SEARCHES) or (route.path.endswith("webhooks") and method != "GET"):
                continue
            fields = fields_of(route)
            for field, values in (
                ("page_token", tokens),
                ("filter", filters),
                ("order_by", [[one] for one in orders] + [orders[1:2] * 3_000]),
                ("max_results", [-1, 10**9, 10**30, "many", 2**31, 1.5, [1]]),
            ):
                for value in values if field in fields else ():
                    address, body = ask(route, method, good, **{field: value})
                    answer = await send(app, method, address, body, JSON)
                    check(answer, method, route.path, field, str(value)[:40])
                    asked += 1
                    if field == "page_token":
                        assert answer.status >= 400, (route.path, value[:40])
        assert asked > 100

    anyio.run(go)
    assert written() == before
