"""The table of routes: prefixes, methods, permissions, projects, spellings, errors."""

from __future__ import annotations

import json
import math
import re

import anyio
import pytest

from undrift import tracking
from undrift.core.errors import Forbidden
from undrift.hub.mlflow import all_routes
from undrift.workspace import Workspace

JSON = {"content-type": "application/json"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
API = "/api/2.0/mlflow"


def filled(address):
    return re.sub(r"\{\w+(:path)?\}", "something", address)


@pytest.fixture
def post(http):
    def ask(path, body=None, *, prefix="", **headers):
        content = body if isinstance(body, bytes | str) else json.dumps(body or {})
        answer = http.post(f"{prefix}{API}/{path}", content=content, headers=JSON | headers)
        return answer.status_code, answer.json()

    return ask


@pytest.fixture
def get(http):
    def ask(path, prefix="", **query):
        answer = http.get(f"{prefix}{API}/{path}", params=query)
        return answer.status_code, answer.json()

    return ask


def begin(post, **given):
    status, answer = post("runs/create", {"experiment_id": "0", **given})
    assert status == 200, answer
    return answer["run"]["info"]["run_id"]


def test_every_route_stands_under_both_prefixes_and_takes_its_methods_only(http):
    taken = {}
    for route in http.app.guard._app.routes.all:
        for address in route.addresses:
            taken.setdefault(address, set()).update(route.methods)
    assert len(taken) > 60
    for address, methods in taken.items():
        if address.startswith("/api/"):
            assert taken[address.replace("/api/", "/ajax-api/", 1)] == methods
        for method in METHODS:
            answer = http.request(method, filled(address), content=b"{}", headers=JSON)
            if method in methods:
                assert answer.status_code in {200, 400, 404, 501}, (method, address, answer.text)
                assert answer.status_code != 404 or answer.json()["error_code"] != "ENDPOINT_NOT_FOUND"
            else:
                assert answer.status_code == 405, (method, address)
                assert answer.json()["error_code"] == "BAD_REQUEST"
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_route_answers_somebody_who_may_nothing(http, monkeypatch):
    def refuse(self, actor, permission):
        raise Forbidden(f"No {permission}.")

    monkeypatch.setattr("undrift.governance.policy.WorkspaceOwner.check", refuse)
    bodies = {
        "runs/log-metric": {"run_id": "0" * 32, "key": "a", "value": 1, "timestamp": 1},
        "runs/log-parameter": {"run_id": "0" * 32, "key": "a"},
        "runs/set-tag": {"run_id": "0" * 32, "key": "a"},
        "runs/log-batch": {"run_id": "0" * 32},
    }
    asked = 0
    for route in all_routes():
        if not route.permission:
            assert route.path in {"/version", "3.0/mlflow/server-info", "3.0/mlflow/ui-telemetry"}
            continue
        for method in route.methods:
            body = next((body for path, body in bodies.items() if route.path.endswith(path)), EVERYTHING)
            address = filled(route.addresses[0])
            given = {"params": EVERYTHING} if method == "GET" else {"content": json.dumps(body), "headers": JSON}
            answer = http.request(method, address, **given)
            assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED"), (
                route.path,
                answer.text,
            )
            asked += 1
    assert asked > 30


EVERYTHING = {
    "name": "x",
    "experiment_id": "1",
    "experiment_name": "x",
    "new_name": "y",
    "run_id": "0" * 32,
    "key": "k",
    "metric_key": "k",
    "status": 1,
    "experiment_ids": ["1"],
    "run_ids": ["0" * 32],
    "model_json": "{}",
    "models": [{"model_id": "m"}],
    "max_results": 1,
    "alias": "champion",
    "version": "1",
    "source": "x",
    "stage": "None",
    "url": "https://example.com",
    "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}],
}


def test_an_unknown_address_is_a_404_and_work_with_language_models_a_501(http):
    for prefix in ("/api", "/ajax-api"):
        answer = http.get(f"{prefix}/2.0/mlflow/nowhere")
        assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
        for path in (
            "3.0/mlflow/traces/search",
            "3.0/mlflow/traces",
            "2.0/mlflow/traces/tr-1",
            "3.0/mlflow/datasets/search",
            "3.0/mlflow/scorers/list",
            "3.0/mlflow/gateway/endpoints/list",
            "2.0/mlflow/gateway-proxy",
            "3.0/mlflow/label-schemas",
            "3.0/mlflow/workspaces",
        ):
            answer = http.post(f"{prefix}/{path}", content=b"{}", headers=JSON)
            status = 501 if prefix == "/api" else 404
            assert (answer.status_code, answer.json()["error_code"]) == (status, "NOT_IMPLEMENTED"), path
            assert "does not support" in answer.json()["message"]
    assert http.get("/ajax-api/2.0/mlflow/users/current").status_code == 404


def test_what_is_no_json_by_its_type_is_refused_and_by_its_content_empty(http, post):
    for headers in ({}, {"content-type": "text/plain"}):
        answer = http.post(f"{API}/runs/create", content=b"{}", headers=headers)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    answer = http.post(f"{API}/runs/create", content=b"{}", headers={"content-type": "application/json; charset=utf-8"})
    assert answer.status_code == 200
    for body in (b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000):
        status, said = post("runs/log-metric", body)
        assert (status, said["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert said["message"].startswith("Missing value for required parameter ")


@pytest.mark.parametrize(
    "body",
    [
        {"run_id": "R", "key": "m", "value": 2.5, "timestamp": 7, "step": 3},
        {"runId": "R", "key": "m", "value": "2.5", "timestamp": "7", "step": "3"},
        {"run_uuid": "R", "key": "m", "value": 2.5, "timestamp": 7.0, "step": 3.0, "unknown": {"a": [1]}},
        {"run_id": "R", "run_uuid": "R", "key": "m", "value": 2.5, "timestamp": 7, "step": 3, "modelId": None},
    ],
)
def test_a_point_may_be_spelled_in_many_ways(post, get, body):
    run_id = begin(post)
    body = {name: run_id if value == "R" else value for name, value in body.items()}
    assert post("runs/log-metric", body) == (200, {})
    _, answer = get("metrics/get-history", run_id=run_id, metric_key="m")
    assert answer == {"metrics": [{"key": "m", "value": 2.5, "timestamp": 7, "step": 3}]}


def test_a_body_that_is_slow_to_arrive_may_be_sent_again(http, monkeypatch):
    monkeypatch.setattr("undrift.hub.guard._BODY_S", 0.05)
    sent = []

    async def receive():
        await anyio.sleep_forever()

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    path = f"{API}/runs/log-metric"
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    anyio.run(http.app.guard, {**scope, "headers": headers}, receive, send)
    # 408 is what clients try again after.
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["error_code"] == "DEADLINE_EXCEEDED"


def test_a_field_under_both_of_its_names_is_refused(post):
    status, said = post("experiments/update", {"experiment_id": "0", "experimentId": "0", "new_name": "x"})
    assert (status, said["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "given twice" in said["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Missing value for required parameter 'run_id'. See the API docs"),
        ({"run_id": ""}, "Missing value for required parameter 'run_id'."),
        ({"run_id": "R", "key": None}, "Missing value for required parameter 'key'."),
        ({"run_id": "R", "key": "m"}, "Missing value for required parameter 'value'."),
        ({"run_id": "R", "key": "m", "value": None}, "Missing value for required parameter 'value'."),
        ({"run_id": "R", "key": "m", "value": "abc"}, "Invalid value \"abc\" for parameter 'value' supplied"),
        ({"run_id": "R", "key": "m", "value": 1}, "Missing value for required parameter 'timestamp'."),
        ({"run_id": "R", "key": "m", "value": 1, "timestamp": "x"}, "for parameter 'timestamp' supplied"),
        ({"run_id": "R", "key": "m", "value": 1, "timestamp": -1}, "milliseconds since 1970"),
        ({"run_id": "R", "key": "m", "value": 1, "timestamp": 2**63}, "milliseconds since 1970"),
        ({"run_id": "R", "key": "m", "value": 1, "timestamp": 1, "step": 10**30}, "lies outside"),
        ({"run_id": 5, "key": "m", "value": 1, "timestamp": 1}, "Invalid value 5 for parameter 'run_id' supplied"),
        (
            {"run_id": "R", "key": "a?b", "value": 1, "timestamp": 1},
            "Invalid value \"a?b\" for parameter 'name' supplied",
        ),
        ({"run_id": "R", "key": "..", "value": 1, "timestamp": 1}, "must not resolve to other names"),
        ({"run_id": "R", "key": "a\0b", "value": 1, "timestamp": 1}, "for parameter 'key' supplied"),
        ({"run_id": "R", "key": "a\ud800b", "value": 1, "timestamp": 1}, "for parameter 'key' supplied"),
    ],
)
def test_a_wrong_point_is_refused_with_the_field_named(post, body, message):
    body = body | ({"run_id": begin(post)} if body.get("run_id") == "R" else {})
    status, said = post("runs/log-metric", body)
    assert (status, said["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert message in said["message"]


def test_numbers_that_json_does_not_have(http, post, get):
    run_id = begin(post)
    for key, value in (("a", '"NaN"'), ("b", "NaN"), ("c", '"-Infinity"'), ("d", "true")):
        assert post("runs/log-metric", f'{{"run_id":"{run_id}","key":"{key}","value":{value},"timestamp":1}}') == (
            200,
            {},
        )
    _, answer = get("runs/get", run_id=run_id)
    values = {one["key"]: one["value"] for one in answer["run"]["data"]["metrics"]}
    assert values == {"a": "NaN", "b": "NaN", "c": "-Infinity", "d": 1.0}
    bulk = http.get(f"/ajax-api/2.0/mlflow/metrics/get-history-bulk?run_id={run_id}&metric_key=a").text
    assert math.isnan(json.loads(bulk)["metrics"][0]["value"])


def test_parts_of_a_batch_are_named_by_their_place(post):
    run_id = begin(post)
    good = {"key": "m", "value": 1, "timestamp": 1}
    cases = [
        ({"metrics": [good, {"key": "n", "timestamp": 1}]}, "Missing value for required parameter 'metrics[1].value'"),
        ({"metrics": [good, good | {"key": "a?"}]}, "for parameter 'metrics[1].name' supplied"),
        ({"params": [{"value": "x"}]}, "Missing value for required parameter 'params[0].key'"),
        ({"tags": [{"key": "a"}, {"key": "a//b"}]}, "for parameter 'tags[1].key' supplied"),
        ({"metrics": [good] * 1001}, "can contain at most 1000 metrics. Got 1001"),
        ({"params": [{"key": f"p{i}"} for i in range(101)]}, "can contain at most 100 params. Got 101"),
        ({"tags": [{"key": f"t{i}"} for i in range(101)]}, "can contain at most 100 tags. Got 101"),
        ({"metrics": [good] * 999, "tags": [{"key": "a"}, {"key": "b"}]}, "metrics, params, and tags"),
        ({"metrics": {}}, "Invalid value {} for parameter 'metrics' supplied"),
        ({"params": [{"key": "p", "value": 5}]}, "Invalid value 5 for parameter 'params[0].value' supplied"),
    ]
    for body, message in cases:
        status, said = post("runs/log-batch", {"run_id": run_id, **body})
        assert (status, said["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), body
        assert message in said["message"], said
    status, said = post("runs/log-batch", {"run_id": "../x"})
    assert (status, "for parameter 'run_id'" in said["message"]) == (400, True)


def test_a_batch_is_kept_whole_or_not_at_all(post, get):
    run_id = begin(post)
    assert post("runs/log-parameter", {"run_id": run_id, "key": "p", "value": "1"})[0] == 200
    point = {"key": "m", "value": 1, "timestamp": 1}
    body = {"run_id": run_id, "metrics": [point], "params": [{"key": "p", "value": "2"}], "tags": [{"key": "t"}]}
    assert post("runs/log-batch", body)[0] == 400
    assert "metrics" not in get("runs/get", run_id=run_id)[1]["run"]["data"]


def test_projects_do_not_see_each_other(post, get):
    mine = begin(post)
    status, answer = post("runs/create", {"experiment_id": "0"}, prefix="/projects/flights")
    info = answer["run"]["info"]
    theirs = info["run_id"]
    assert (status, info["experiment_id"] != "0") == (200, True)
    assert get("experiments/get", "/projects/flights", experiment_id="0")[1]["experiment"]["name"] == "Default"
    assert get("experiments/get", experiment_id=info["experiment_id"])[0] == 404
    point = {"key": "m", "value": 1, "timestamp": 1}
    for own, other, prefix in ((mine, theirs, ""), (theirs, mine, "/projects/flights")):
        assert post("runs/log-metric", {"run_id": own, **point}, prefix=prefix)[0] == 200
        assert get("runs/get", prefix, run_id=own)[0] == 200
        for path, body in (
            ("runs/log-metric", point),
            ("runs/log-batch", {"metrics": [point]}),
            ("runs/log-parameter", {"key": "p"}),
            ("runs/set-tag", {"key": "t"}),
            ("runs/set-tag", {"key": "mlflow.runName", "value": "x"}),
            ("runs/delete-tag", {"key": "t"}),
            ("runs/update", {"status": "FINISHED"}),
            ("runs/delete", {}),
            ("runs/restore", {}),
            ("runs/log-inputs", {"datasets": [{"dataset": {"name": "n", "digest": "d"}}]}),
            ("runs/outputs", {"models": [{"model_id": "m"}]}),
        ):
            status, said = post(path, {"run_id": other, **body}, prefix=prefix)
            assert (status, said["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST"), path
        assert get("runs/get", prefix, run_id=other)[0] == 404
        assert get("metrics/get-history", prefix, run_id=other, metric_key="m") == (200, {})
        assert get("metrics/get-history-bulk-interval", prefix, run_ids=other, metric_key="m") == (200, {})
    both = {"experiment_ids": ["0", info["experiment_id"]]}
    assert [one["info"]["run_id"] for one in post("runs/search", both)[1]["runs"]] == [mine]
    assert [one["info"]["run_id"] for one in post("runs/search", both, prefix="/projects/flights")[1]["runs"]] == [
        theirs
    ]
    assert get("experiments/search", "/projects/no%20name", max_results=1)[0] == 400


def test_the_default_experiment_keeps_its_number_under_another_name(post, get):
    assert post("experiments/update", {"experiment_id": "0", "new_name": "mine"}) == (200, {})
    found = get("experiments/search", max_results=10)[1]["experiments"]
    assert [(one["experiment_id"], one["name"]) for one in found] == [("0", "mine")]
    run_id = begin(post)
    assert [one["info"]["run_id"] for one in post("runs/search", {"experiment_ids": ["0"]})[1]["runs"]] == [run_id]
    assert get("experiments/get-by-name", experiment_name="Default")[0] == 404
    assert post("experiments/create", {"name": "Default"})[0] == 200


def test_nothing_takes_the_name_of_the_default_experiment_before_it_is_there(post, get):
    other = post("experiments/create", {"name": "other"})[1]["experiment_id"]
    status, said = post("experiments/update", {"experiment_id": other, "new_name": "Default"})
    assert (status, said["error_code"]) == (400, "BAD_REQUEST")
    assert get("experiments/get-by-name", experiment_name="Default")[1]["experiment"]["experiment_id"] == "0"


def test_a_project_that_brought_number_0_along_leaves_the_default_project_usable(post, get, workspace):
    ctx = workspace.context()
    tracking.import_experiment(ctx, tracking.ImportExperiment("flights", "Default", "mlflow", ctx.now(), id=0))
    run_id = begin(post)
    found = get("experiments/search", max_results=10)[1]["experiments"]
    assert [one["name"] for one in found] == ["Default"]
    assert get("experiments/get", experiment_id="0")[1]["experiment"] == found[0]
    assert [one["info"]["run_id"] for one in post("runs/search", {"experiment_ids": ["0"]})[1]["runs"]] == [run_id]


@pytest.mark.parametrize("path", ["runs/search", "logged-models/search"])
def test_a_search_passes_over_unknown_experiments_and_refuses_what_names_none(post, path):
    assert post(path, {"experiment_ids": ["77", "9" * 20, "-1"]}) == (200, {})
    status, said = post(path, {"experiment_ids": ["0", "abc"]})
    assert (status, said["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "Invalid experiment ID: 'abc'" in said["message"]


def test_datasets_of_experiments_that_cannot_be_are_none(http):
    body = {"experiment_ids": ["9" * 20, "77"]}
    answer = http.post("/ajax-api/2.0/mlflow/experiments/search-datasets", json=body)
    assert (answer.status_code, answer.json()) == (200, {})


def test_a_location_is_not_the_clients_to_name(post):
    for location in ("s3://bucket/x", "/etc", "file:///etc", "mlflow-artifacts:/1/../..", "mlflow-artifacts://host/x"):
        status, said = post("experiments/create", {"name": "x", "artifact_location": location})
        assert (status, said["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert "Clients name no location" in said["message"]
    assert post("experiments/create", {"name": "x", "artifact_location": "mlflow-artifacts:/"})[0] == 200


def test_the_same_idempotency_key_makes_one_run(post):
    first = post("runs/create", {"experiment_id": "0"}, **{"idempotency-key": "k1"})
    assert post("runs/create", {"experiment_id": "0"}, **{"idempotency-key": "k1"}) == first
    assert begin(post) != first[1]["run"]["info"]["run_id"]
    point = {"run_id": first[1]["run"]["info"]["run_id"], "key": "m", "value": 1, "timestamp": 1}
    for _ in range(2):
        assert post("runs/log-metric", point, **{"idempotency-key": "k2"}) == (200, {})


def test_a_run_name_and_its_tag_are_one_thing(post, get):
    status, said = post(
        "runs/create", {"run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}], "experiment_id": "0"}
    )
    assert (status, "different values" in said["message"]) == (400, True)
    run_id = begin(post, tags=[{"key": "mlflow.runName", "value": "first"}])
    for path, body, name in (
        ("runs/update", {"run_name": ""}, "first"),
        ("runs/update", {"run_name": "second"}, "second"),
        ("runs/set-tag", {"key": "mlflow.runName", "value": "third"}, "third"),
        (
            "runs/log-batch",
            {"tags": [{"key": "mlflow.runName", "value": "fourth"}, {"key": "x", "value": "y"}]},
            "fourth",
        ),
    ):
        assert post(path, {"run_id": run_id, **body})[0] == 200
        run = get("runs/get", run_id=run_id)[1]["run"]
        tags = {one["key"]: one["value"] for one in run["data"]["tags"]}
        assert (run["info"]["run_name"], tags["mlflow.runName"]) == (name, name)
    found = post("runs/search", {"experiment_ids": ["0"], "filter": "tags.mlflow.runName = 'fourth'"})[1]["runs"]
    assert [one["info"]["run_id"] for one in found] == [run_id]


def test_old_ways_to_tell_of_a_model(post, get):
    run_id = begin(post)
    model = {"artifact_path": "model", "flavors": {}, "utc_time_created": "now", "run_id": run_id}
    for name in ("model", "other"):
        body = {"run_id": run_id, "model_json": json.dumps(model | {"artifact_path": name})}
        assert post("runs/log-model", body) == (200, {})
    tags = {one["key"]: one["value"] for one in get("runs/get", run_id=run_id)[1]["run"]["data"]["tags"]}
    assert [one["artifact_path"] for one in json.loads(tags["mlflow.log-model.history"])] == ["model", "other"]
    for text in ("{", '{"flavors": {}}'):
        assert post("runs/log-model", {"run_id": run_id, "model_json": text})[0] == 400


def test_one_entry_that_is_wrong_does_not_touch_the_others(workspace):
    import anyio

    from undrift.core.errors import NotFound
    from undrift.hub.calls import Calls
    from undrift.hub.mlflow.writes import Writes
    from undrift.tracking import FindRun, LogRun, MetricSeries, StartRun, find_run, start_run

    run = start_run(workspace.context(), StartRun("default", "x"))
    calls = Calls(workspace)
    carried = []
    run_of_calls = calls.run

    async def counted(work, **given):
        carried.append(work)
        return await run_of_calls(work, **given)

    calls.run = counted
    writes = Writes(calls)
    outcomes = {}

    async def write(place):
        run_id = run.id if place % 3 else "f" * 32
        entry = LogRun(run_id, series=(MetricSeries(f"m{place}", [0], [1], [1.0]),))
        try:
            await writes.log(entry, points=1, trace_id="t")
            outcomes[place] = None
        except NotFound as error:
            outcomes[place] = error.message

    async def main():
        async with anyio.create_task_group() as group:
            for place in range(60):
                group.start_soon(write, place)

    anyio.run(main)
    assert {place for place, error in outcomes.items() if error} == set(range(0, 60, 3))
    assert len(find_run(workspace.context(), FindRun(run.id)).metrics) == 40
    assert len(carried) <= 3


def test_when_a_joint_call_fails_each_is_tried_alone(workspace, monkeypatch):
    import anyio

    from undrift.hub.calls import Calls
    from undrift.hub.mlflow import writes as module
    from undrift.tracking import FindRun, LogRun, StartRun, find_run, start_run

    run = start_run(workspace.context(), StartRun("default", "x"))

    def broken(ctx, request):
        raise ValueError("nobody thought of this")

    monkeypatch.setattr(module, "log_runs", broken)
    writes = module.Writes(Calls(workspace))

    async def main():
        async with anyio.create_task_group() as group:
            for place in range(5):
                entry = LogRun(run.id, tags={f"t{place}": "x"})
                group.start_soon(lambda entry=entry: writes.log(entry, points=0, trace_id="t"))

    anyio.run(main)
    assert set(find_run(workspace.context(), FindRun(run.id)).tags) == {f"t{place}" for place in range(5)}


def test_names_of_the_workspace_do_not_show_in_errors(http, workspace, post, monkeypatch):
    def broken(*given):
        raise RuntimeError(str(workspace.folder))

    monkeypatch.setattr(Workspace, "context", broken)
    status, said = post("runs/create", {"experiment_id": "0"})
    assert (status, said["error_code"]) == (500, "INTERNAL_ERROR")
    assert str(workspace.folder) not in said["message"]
