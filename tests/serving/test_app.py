"""What a model server answers: the Open Inference Protocol, named rows, and a sentence for everything that is wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from threading import Event
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.core import ReplayClock
from undrift.serving import Arm, assign, collect, read_predictions, wal
from undrift.serving.frames import decode
from undrift.serving.wal import read_frames

ROW = {"distance": 719.0, "hour": 5, "holiday": False, "carrier": "UA", "wind": None}
INFER = "/v2/models/late/infer"


def tensor(name, datatype, data, shape=None):
    return {"name": name, "datatype": datatype, "shape": [len(data)] if shape is None else shape, "data": data}


def tensors(**changed):
    inputs = {
        "distance": tensor("distance", "FP64", [719.0, 200]),
        "hour": tensor("hour", "INT64", [5, 6]),
        "holiday": tensor("holiday", "BOOL", [False, True]),
        "carrier": tensor("carrier", "BYTES", ["UA", None]),
        "wind": tensor("wind", "FP32", [None, 3.5], [2, 1]),
    }
    return [one for one in (inputs | changed).values() if one is not None]


@pytest.fixture
def app(source, make_app, serving):
    weights = [0.0001, 0.01, 0.1, 0.05, 0.0]
    source.champion(signature=serving.FLIGHTS, weights=weights, bias=0.1, number=3, revision=7)
    return make_app(source)


@pytest.fixture
def numbers_app(source, make_app, serving):
    source.champion(weights=[0.25, 0.5], bias=0.0)
    return make_app(source)


def frames(app):
    return [decode(payload) for payload, _ in read_frames(app.log.path)]


# What is answered


def test_the_protocols_answer(numbers_app, serving):
    body = {
        "id": "request-1",
        "inputs": [tensor("a", "FP64", [1.0, 0.0, 1]), tensor("b", "FP32", [0.0, 1.0, 1.0], [3, 1])],
        "parameters": {"prediction_ids": ["p1", "p2", "p:3"]},
        "outputs": [{"name": "late"}],
    }
    answer = serving.ask(numbers_app, "POST", INFER, body)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "id": "request-1",
        "model_name": "late",
        "model_version": "1",
        "outputs": [{"name": "late", "shape": [3], "datatype": "FP64", "data": [0.25, 0.5, 0.75]}],
        "parameters": {
            "prediction_ids": ["p1", "p2", "p:3"],
            "versions": [1, 1, 1],
            "arms": ["champion"] * 3,
            "routing_revision": 1,
        },
    }


def test_all_numbers_may_come_in_one_tensor(numbers_app, serving):
    for data in ([1.0, 0.0, 0, 1], [[1.0, 0.0], [0, 1]]):
        body = {"inputs": [tensor("features", "FP32", data, [2, 2])]}
        assert serving.ask(numbers_app, "POST", INFER, body).json["outputs"][0]["data"] == [0.25, 0.5]


def test_named_rows_are_answered_and_ids_are_made_where_none_are_sent(app, serving):
    answer = serving.predict(app, [ROW, ROW | {"carrier": "AA", "wind": 3, "hour": 6.0}])
    assert answer.status == 200
    found = answer.json
    # 0.1 + 0.0001 * 719 + 0.01 * 6, and AA is the category 0; the first row has a missing value, times a weight.
    assert found["predictions"] == [None, pytest.approx(0.2319)]
    assert len(set(found["ids"])) == 2
    assert all(len(id_) == 32 and id_[12] == "7" for id_ in found["ids"])
    assert (found["versions"], found["arms"], found["routing_revision"]) == ([3, 3], ["champion"] * 2, 7)


def test_a_model_that_gives_no_number_is_told_and_logged_as_no_number(app, serving):
    # A missing value times a weight is no number.
    answer = serving.predict(app, [ROW])
    assert answer.json["predictions"] == [None]
    assert frames(app)[0].scores == [None]


def test_columns_of_every_kind_come_as_tensors(app, serving):
    answer = serving.ask(app, "POST", INFER, {"inputs": tensors()})
    assert answer.status == 200
    (frame,) = frames(app)
    assert frame.columns() == [[719.0, 200.0], [5, 6], [False, True], ["UA", None], [None, 3.5]]


def test_a_version_on_the_route_can_be_asked_by_number(source, make_app, serving):
    arms = [
        Arm("champion", 3, serving.store_artifact(source.repository, bias=0.25), 1.0),
        Arm("shadow", 4, serving.store_artifact(source.repository, bias=0.5), 0.0),
    ]
    app = make_app(source.put(serving.make_route(arms=arms)))
    body = {"inputs": [tensor("features", "FP64", [0, 0], [1, 2])]}
    for number, score in ((3, 0.25), (4, 0.5)):
        answer = serving.ask(app, "POST", f"/v2/models/late/versions/{number}/infer", body).json
        assert (answer["model_version"], answer["outputs"][0]["data"]) == (str(number), [score])
        assert answer["parameters"]["versions"] == [number]
    assert [(frame.arms, frame.others) for frame in frames(app)] == [(None, [0.5]), ([1], [0.25])]
    missing = serving.ask(app, "POST", "/v2/models/late/versions/5/infer", body)
    assert missing.status == 404
    assert "3, 4" in missing.json["next_step"]


def test_metadata_and_health(app, serving):
    assert serving.ask(app, "GET", "/v2").json["name"] == "undrift"
    assert serving.ask(app, "GET", "/v2/health/live").json == {"live": True}
    assert serving.ask(app, "GET", "/v2/health/ready").json == {"ready": True}
    model = serving.ask(app, "GET", "/v2/models/late").json
    assert model == serving.ask(app, "GET", "/v2/models/late/versions/3").json
    assert (model["versions"], model["outputs"]) == (["3"], [{"name": "late", "datatype": "FP64", "shape": [-1]}])
    assert [(one["name"], one["datatype"], one["parameters"]["nullable"]) for one in model["inputs"]] == [
        ("distance", "FP64", False),
        ("hour", "INT64", False),
        ("holiday", "BOOL", False),
        ("carrier", "BYTES", True),
        ("wind", "FP64", True),
    ]
    for path in ("/v2/models/late/ready", "/v2/models/late/versions/3/ready"):
        assert serving.ask(app, "GET", path).json == {"name": "late", "ready": True}
    health = serving.ask(app, "GET", "/health").json
    assert (health["status"], health["problems"], health["routing_revision"]) == ("ok", [], 7)
    assert health["endpoints"]["late"]["arms"][0]["number"] == 3


def test_metrics_count_rows_by_arm_and_errors_by_code(numbers_app, serving):
    serving.predict(numbers_app, [{"a": 1, "b": 2}] * 3)
    serving.predict(numbers_app, [])
    serving.ask(numbers_app, "GET", "/nowhere")
    text = serving.ask(numbers_app, "GET", "/metrics").body.decode()
    assert 'undrift_predictions_total{endpoint="late",arm="champion",version="1"} 3' in text
    assert 'undrift_errors_total{code="invalid"} 1' in text
    assert 'undrift_errors_total{code="not_found"} 1' in text
    assert 'undrift_request_seconds_count{endpoint="late"} 1' in text
    assert "undrift_log_dropped_total 0" in text
    for line in text.splitlines():
        assert line.startswith("# TYPE undrift_") or float(line.rpartition(" ")[2]) >= 0


# Who answers


def canary(source, serving, share, *, compare=False, number=4):
    arms = [
        Arm("champion", 3, serving.store_artifact(source.repository, bias=0.25), 1 - share),
        Arm("canary", number, serving.store_artifact(source.repository, bias=0.5), share),
    ]
    return source.put(serving.make_route(arms=arms, compare=compare))


@pytest.mark.parametrize("compare", [False, True])
def test_the_canary_answers_those_it_was_assigned(source, make_app, serving, compare):
    app = make_app(canary(source, serving, 0.3, compare=compare))
    keys = [f"passenger {place}" for place in range(200)]
    answer = serving.predict(app, [{"a": 0, "b": 0}] * 200, keys=keys).json
    expected = assign("late", keys, 0.3)
    assert 30 < sum(expected) < 90
    assert answer["arms"] == ["canary" if one else "champion" for one in expected]
    assert answer["versions"] == [4 if one else 3 for one in expected]
    assert answer["predictions"] == [0.5 if one else 0.25 for one in expected]
    (frame,) = frames(app)
    assert frame.others == ([0.25 if one else 0.5 for one in expected] if compare else None)
    text = serving.ask(app, "GET", "/metrics").body.decode()
    assert f'arm="canary",version="4"}} {sum(expected)}' in text
    # One at a time, and asked together, each goes to the same arm; without keys the ids decide.
    alone = [serving.predict(app, [{"a": 0, "b": 0}], keys=[key]).json["arms"][0] for key in keys[:20]]
    assert alone == answer["arms"][:20]
    by_id = serving.predict(app, [{"a": 0, "b": 0}] * 20, ids=[f"p{place}" for place in range(20)]).json["arms"]
    assert by_id == ["canary" if one else "champion" for one in assign("late", [f"p{n}" for n in range(20)], 0.3)]


def test_a_shadow_never_answers_and_its_failure_costs_nobody_an_answer(source, make_app, serving, monkeypatch):
    arms = [
        Arm("champion", 3, serving.store_artifact(source.repository, bias=0.25), 1.0),
        Arm("shadow", 4, serving.store_artifact(source.repository, bias=0.5), 0.0),
    ]
    app = make_app(source.put(serving.make_route(arms=arms)))
    answer = serving.predict(app, [{"a": 0, "b": 0}] * 3).json
    assert (answer["predictions"], answer["arms"]) == ([0.25] * 3, ["champion"] * 3)
    shadow = app.router.loaded.routes["late"].arms[1].runtime

    def fail(matrix):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(shadow, "scores", fail)
    assert serving.predict(app, [{"a": 0, "b": 0}] * 2).json["predictions"] == [0.25] * 2
    assert [frame.others for frame in frames(app)] == [[0.5] * 3, [None] * 2]
    assert 'challenger_failures_total{endpoint="late"} 2' in serving.ask(app, "GET", "/metrics").body.decode()


def test_many_at_once_are_answered_each_with_its_own(source, make_app, serving):
    app = make_app(canary(source.champion("fare", weights=[0.5, 0.25], bias=0.0), serving, 0.5))

    async def all_at_once():
        numbers = [
            serving.asked(app, "POST", "/predict/fare", {"rows": [{"a": n % 4 / 4, "b": 0}], "ids": [f"f{n}"]})
            for n in range(100)
        ]
        others = [serving.asked(app, "POST", "/predict/late", {"rows": [{"a": 0, "b": 0}] * 3}) for _ in range(30)]
        wrong = [serving.asked(app, "POST", "/predict/fare", {"rows": [{"a": "x", "b": 0}]}) for _ in range(10)]
        return await asyncio.gather(*numbers, *others, *wrong)

    answers = asyncio.run(all_at_once())
    for number, answer in enumerate(answers[:100]):
        assert answer.json["predictions"] == [number % 4 / 8]
        assert answer.json["ids"] == [f"f{number}"]
    assert {answer.status for answer in answers[:130]} == {200}
    assert {answer.status for answer in answers[130:]} == {400}
    logged = [id_ for frame in frames(app) for id_ in frame.ids]
    answered = [id_ for answer in answers[:130] for id_ in answer.json["ids"]]
    assert sorted(logged) == sorted(answered)


def test_one_that_fails_among_many_fails_alone(source, make_app, serving, monkeypatch, caplog):
    app = make_app(source.champion("fare").champion("late", revision=2, bias=0.25))
    runtime = app.router.loaded.routes["fare"].arms[0].runtime

    def fail(matrix):
        raise RuntimeError("secret internals")

    monkeypatch.setattr(runtime, "scores", fail)

    async def all_at_once():
        body = {"rows": [{"a": 0, "b": 0}]}
        paths = ["/predict/fare", "/predict/late"] * 10
        return await asyncio.gather(*[serving.asked(app, "POST", path, body) for path in paths])

    with caplog.at_level(logging.ERROR, logger="undrift.serving"):
        answers = asyncio.run(all_at_once())
    assert [answer.status for answer in answers] == [500, 200] * 10
    assert b"secret internals" not in answers[0].body
    assert "secret internals" in caplog.text
    assert len(frames(app)) == 10


def test_requests_with_many_rows_go_through_a_thread_and_are_answered_alike(numbers_app, serving):
    rows = [{"a": place % 2, "b": 0} for place in range(5_000)]
    assert serving.predict(numbers_app, rows).json["predictions"] == [0.0, 0.25] * 2_500
    tall = {"inputs": [tensor("features", "FP64", [0.0, 1.0] * 10_000, [10_000, 2])]}
    assert serving.ask(numbers_app, "POST", INFER, tall).json["outputs"][0]["data"] == [0.5] * 10_000
    assert [len(frame.ids) for frame in frames(numbers_app)] == [5_000, 10_000]


# What is logged


def test_times_are_the_clients_or_the_clocks(source, make_app, serving, ctx, tmp_path):
    clock = ReplayClock(serving.START)
    app = make_app(source.champion(weights=[0.25, 0.5], bias=0.0), clock=clock)
    rows = [{"a": 0, "b": 0}] * 2
    serving.predict(app, rows, ids=["now-1", "now-2"])
    serving.predict(app, rows, ids=["one-1", "one-2"], event_times="2012-12-31T19:00:00-05:00")
    serving.predict(app, rows, ids=["each-1", "each-2"], event_times=["2012-01-01", "2012-01-02T03:04:05.678901Z"])
    app.close()
    collect(ctx, tmp_path / "log")
    found = read_predictions(ctx, "late", serving.START.replace(year=2000), serving.START.replace(year=2020))
    times = {id_: at.isoformat() for id_, at in found.select("prediction_id", "event_time").iter_rows()}
    midnight = "2013-01-01T00:00:00+00:00"
    assert times == {
        "now-1": midnight,
        "now-2": midnight,
        "one-1": midnight,
        "one-2": midnight,
        "each-1": "2012-01-01T00:00:00+00:00",
        "each-2": "2012-01-02T03:04:05.678901+00:00",
    }
    assert found["answered_at"].unique().to_list() == [serving.START]


def test_a_disk_that_fails_costs_no_answer_and_is_counted_told_and_healed(
    numbers_app, serving, monkeypatch, ctx, tmp_path
):

    class Full:
        refused = 0

        def __getattr__(self, name):
            return getattr(wal_os, name)

        def write(self, descriptor, content):
            if 3 <= len(answered) < 6:
                raise OSError(28, "No space left on device")
            return wal_os.write(descriptor, content)

    wal_os, answered = wal.os, []
    monkeypatch.setattr(wal, "os", Full())
    for place in range(10):
        answer = serving.predict(numbers_app, [{"a": 1, "b": 0}] * 2, ids=[f"p{place}-1", f"p{place}-2"])
        assert (answer.status, answer.json["predictions"]) == (200, [0.25, 0.25])
        answered.append(answer)
        if place == 4:
            health = serving.ask(numbers_app, "GET", "/health").json
            assert health["status"] == "problem"
            assert "No space left" in health["problems"][0]
            assert health["log"]["dropped"] == {"late": 4}
    text = serving.ask(numbers_app, "GET", "/metrics").body.decode()
    assert "undrift_log_dropped_total 6" in text
    assert "takes them again" in serving.ask(numbers_app, "GET", "/health").json["problems"][0]
    numbers_app.close()
    report = collect(ctx, tmp_path / "log")
    assert (report.rows, report.dropped, report.torn) == (14, 6, 0)


# What is refused

BAD_ROWS = [
    ({"rows": [{}]}, "missing: distance, hour, holiday, carrier, wind"),
    ({"rows": [ROW, {k: v for k, v in ROW.items() if k != "wind"}]}, "Row 1 does not have .*missing: wind"),
    ({"rows": [ROW | {"colour": "red"}]}, "unknown: colour"),
    ({"rows": [ROW | {"distance": "far"}]}, "Row 0: column 'distance' takes float values, not 'far'"),
    ({"rows": [ROW | {"distance": True}]}, "takes float values, not 'True'"),
    ({"rows": [ROW, ROW | {"hour": 5.5}]}, "Row 1: column 'hour' takes int values"),
    ({"rows": [ROW | {"hour": 2**63}]}, "too large"),
    ({"rows": [ROW | {"distance": 10**400}]}, "too large"),
    ({"rows": [ROW | {"hour": None}]}, "column 'hour' has a missing value"),
    ({"rows": [ROW | {"holiday": 1}]}, "column 'holiday' takes bool"),
    ({"rows": [ROW | {"carrier": 7}]}, "column 'carrier' takes string"),
    ({"rows": [ROW | {"carrier": {"a": ["b"]}}]}, "column 'carrier' takes string"),
    ({"rows": ROW}, "'rows' must be a list"),
    ({"rows": [[1, 2]]}, "Row 0 is not an object"),
    ({"rows": []}, "no row to score"),
    ({}, "no 'rows'"),
    ({"rows": [ROW], "wors": 1}, "unknown keys: wors"),
    ([ROW], "cannot be read"),
    ({"rows": [ROW], "ids": ["a", "b"]}, "2 prediction ids for 1 rows"),
    ({"rows": [ROW, ROW], "ids": ["a", "a"]}, "comes twice"),
    ({"rows": [ROW], "ids": ["no spaces"]}, "cannot be read"),
    ({"rows": [ROW], "ids": ["x" * 65]}, "cannot be read"),
    ({"rows": [ROW], "ids": [""]}, "cannot be read"),
    ({"rows": [ROW], "ids": ["new\nline"]}, "cannot be read"),
    ({"rows": [ROW], "ids": "a"}, "cannot be read"),
    ({"rows": [ROW], "keys": ["a", "b"]}, "2 keys for 1 rows"),
    ({"rows": [ROW], "event_times": ["2013-01-01"] * 2}, "2 event times for 1 rows"),
    ({"rows": [ROW], "event_times": "yesterday"}, "is not a time"),
    ({"rows": [ROW], "event_times": "0001-01-01T00:00:00+14:00"}, "years 1 to 9999"),
    ({"rows": [ROW], "routing_revision": "7"}, "cannot be read"),
]


@pytest.mark.parametrize(("body", "said"), BAD_ROWS)
def test_wrong_rows_are_refused_with_a_sentence(app, serving, body, said):
    answer = serving.ask(app, "POST", "/predict/late", body)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert (problem["status"], problem["code"], problem["type"]) == (400, "invalid", "urn:undrift:error:invalid")
    assert re.search(said, problem["detail"]), problem["detail"]
    assert problem["error"].startswith(problem["detail"])


BAD_TENSORS = [
    (tensors(wind=None), "missing: wind"),
    (tensors(colour=tensor("colour", "BYTES", ["red", "blue"])), "unknown: colour"),
    (tensors(hour=tensor("hour", "BYTES", ["5", "6"])), "'hour' takes int values, not 'BYTES'"),
    (tensors(hour=tensor("hour", "INT64", [5, 6.5])), "is not INT64"),
    (tensors(hour=tensor("hour", "FP64", [5, 6.5])), "Row 1: column 'hour' takes int"),
    (tensors(hour=tensor("hour", "INT64", [5, None])), "Row 1: column 'hour' has a missing value"),
    (tensors(hour=tensor("hour", "INT64", [5, 2**63])), "is not INT64"),
    (tensors(distance=tensor("distance", "FP64", ["a", "b"])), "is not FP64"),
    (tensors(distance=tensor("distance", "COMPLEX", [1, 2])), "takes float values, not 'COMPLEX'"),
    (tensors(hour=tensor("hour", "INT64", [5])), "has shape .1., and the first one has 2 rows"),
    (tensors(hour=tensor("hour", "INT64", [5], [2])), "has 1 values, and its shape .2. asks"),
    (tensors(hour=tensor("hour", "INT64", [5, 6], [1, 2])), "has shape"),
    (tensors(distance=tensor("distance", "FP64", [1, 2], [-2])), "no row"),
    (tensors(distance=tensor("distance", "FP64", [1, 2], [])), "no row"),
    (tensors(distance=tensor("distance", "FP64", [1, 2], [2**70])), "cannot be read|has at most"),
    (tensors(distance=tensor("distance", "FP64", [[[1]], [[2]]])), "is not FP64"),
    ([*tensors(), tensor("hour", "INT64", [5, 6])], "comes twice"),
    ([{"name": "distance", "datatype": "FP64", "shape": [1]}], "cannot be read"),
    ([], "missing: distance"),
    ("inputs", "cannot be read"),
]


@pytest.mark.parametrize(("inputs", "said"), BAD_TENSORS)
def test_wrong_tensors_are_refused_with_a_sentence(app, serving, inputs, said):
    answer = serving.ask(app, "POST", INFER, {"inputs": inputs})
    assert answer.status in (400, 413)
    assert re.search(said, answer.json["detail"]), answer.json["detail"]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (tensor("features", "FP32", [1.0, 2.0], [2, 1]), "must be of shape"),
        (tensor("features", "FP32", [1.0, 2.0], [2]), "must be of shape"),
        (tensor("features", "FP32", [1.0, 2.0, 3.0], [1, 2]), "has 3 values"),
        (tensor("features", "FP32", [1.0] * 4, [-2, 2]), "no row"),
        (tensor("features", "FP32", [1.0, None], [1, 2]), "missing value"),
        (tensor("features", "INT64", [1, 2], [1, 2]), "must be FP32 or FP64"),
        (tensor("features", "FP32", [1.0, "2"], [1, 2]), "is not FP32"),
    ],
)
def test_a_wrong_tensor_of_all_features_is_refused(numbers_app, serving, made, said):
    answer = serving.ask(numbers_app, "POST", INFER, {"inputs": [made]})
    assert answer.status == 400
    assert said in answer.json["detail"]


@pytest.mark.parametrize(
    "parameters",
    [{"prediction_id": ["a"]}, {"routing_revision": 1.5}, {"keys": [1, 2]}, {"binary_data_output": True}],
)
def test_unknown_and_wrong_parameters_are_not_ignored(app, serving, parameters):
    answer = serving.ask(app, "POST", INFER, {"inputs": tensors(), "parameters": parameters})
    assert answer.status == 400


def test_an_unknown_output_is_refused(app, serving):
    answer = serving.ask(app, "POST", INFER, {"inputs": tensors(), "outputs": [{"name": "early"}]})
    assert (answer.status, answer.json["next_step"]) == (400, "The model gives 'late'.")


HOSTILE = [
    b"",
    b"{",
    b"nonsense",
    b"\xff\xfe",
    b'{"rows": [{"distance": NaN}]}',
    b'{"rows": [{"distance": 1e400}]}',
    b'{"rows": [{"distance": -1e400}]}',
    b'{"rows": [{"distance": Infinity}]}',
    b'{"rows": [{"carrier": "\xff"}]}',
    b'{"rows": [{"carrier": "\\ud800"}]}',
    b'{"inputs": [{"name": "distance", "shape": [1], "datatype": "BYTES", "data": ["\xff"]}]}',
    b'{"inputs": [{"name": "distance", "shape": [1], "datatype": "FP64", "data": [1e400]}]}',
    b'{"rows": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"inputs": [{"name":"a","shape":[1],"datatype":"FP64","data":' + b"[" * 50_000 + b"]" * 50_000 + b"}]}",
    b'{"rows": [' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"]}",
    b'{"rows": [{"hour": ' + b"9" * 5_000 + b"}]}",
    b"[" + b"1," * 100_000 + b"1]",
    json.dumps({"rows": [{f"column {place}": 1 for place in range(10_000)}]}).encode(),
    json.dumps({"inputs": [tensor(f"c{place}", "FP64", [1]) for place in range(10_000)]}).encode(),
    json.dumps({"rows": [{"x" * 1_000_000: 1}]}).encode(),
    b'{"rows": [], "rows": [], "parameters": {"routing_revision": 1' + b"0" * 400 + b"}}",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    b"\0" * 1000,
]


@pytest.mark.parametrize("path", [INFER, "/predict/late"])
@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_bodies_are_answered_briefly_and_change_nothing(app, serving, path, number):
    answer = serving.ask(app, "POST", path, HOSTILE[number])
    assert answer.status == 400
    assert len(answer.body) < 4_000
    assert serving.predict(app, [ROW]).status == 200
    assert len(frames(app)) == 1


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_no_body_whatever_is_a_fault_of_the_server(shared_app, body):
    app, serving = shared_app
    assert serving.ask(app, "POST", INFER, body).status == 400


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "name"]), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["rows", "ids", "keys", "event_times", "routing_revision"]), JSON_VALUES),
    st.dictionaries(st.sampled_from(["inputs", "id", "parameters", "outputs"]), JSON_VALUES),
)
def test_no_json_whatever_is_a_fault_of_the_server(shared_app, named, tensors_):
    app, serving = shared_app
    assert serving.ask(app, "POST", "/predict/late", named).status in (200, 400, 409)
    assert serving.ask(app, "POST", INFER, tensors_).status in (400, 409)


@pytest.fixture(scope="module")
def shared_app(tmp_path_factory):
    from types import SimpleNamespace

    from undrift.blobs import Repository, open_store
    from undrift.core import SystemClock
    from undrift.serving.app import build_app

    helpers = SimpleNamespace(**_helpers())
    folder = tmp_path_factory.mktemp("shared")
    source = helpers.Source(Repository(open_store("memory://"))).champion(weights=[0.25, 0.5], bias=0.0)
    app = build_app(source, folder / "log", folder / "cache", SystemClock())
    yield app, helpers
    app.close()


def _helpers():
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location("serving_helpers", Path(__file__).with_name("conftest.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: getattr(module, name) for name in ("Source", "ask")}


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nowhere", 404, None),
        ("POST", "/nowhere", 404, None),
        ("GET", "/v2/models/lat", 404, None),
        ("POST", "/v2/models/lat/infer", 404, None),
        ("POST", "/predict/lat", 404, None),
        ("GET", "/v2/models/late/versions/9", 404, None),
        ("GET", "/v2/models/late/versions/latest", 404, None),
        ("POST", "/v2/models/late/versions/03/infer", 404, None),
        ("GET", "/predict/late", 405, "POST"),
        ("GET", INFER, 405, "POST"),
        ("PUT", INFER, 405, "POST"),
        ("DELETE", "/predict/late", 405, "POST"),
        ("OPTIONS", "/predict/late", 405, "POST"),
        ("POST", "/health", 405, "GET"),
        ("HEAD", "/v2", 405, "GET"),
        ("DELETE", "/v2/models/late", 405, "GET"),
        ("POST", "/v2/models/late", 405, "GET"),
        ("POST", "/v2/repository/models/late/load", 404, None),
        ("POST", "/v2/logging", 404, None),
        ("GET", "/predict/../../etc/passwd", 404, None),
    ],
)
def test_paths_and_methods_that_are_not_there(app, serving, method, path, status, allow):
    answer = serving.ask(app, method, path, {"rows": [ROW]} if method == "POST" else b"")
    assert (answer.status, answer.headers.get("allow")) == (status, allow)
    assert answer.json["code"] == ("not_found" if status == 404 else "invalid")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
def test_only_json_is_read(app, serving, kind):
    assert serving.ask(app, "POST", "/predict/late", {"rows": [ROW]}, content_type=kind).status == 415


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_named_with_parameters(app, serving, kind):
    assert serving.ask(app, "POST", "/predict/late", {"rows": [ROW]}, content_type=kind).status == 200


def test_a_packed_body_is_refused_as_such(app, serving):
    answer = serving.ask(app, "POST", "/predict/late", b"\x1f\x8b\x08", content_encoding="gzip")
    assert (answer.status, answer.json["detail"]) == (415, "The body is packed.")


def test_a_body_over_the_limit_is_refused_before_and_while_it_is_read(app, serving):
    answer = serving.ask(app, "POST", "/predict/late", b"", content_length=str((8 << 20) + 1))
    assert (answer.status, answer.json["code"]) == (413, "too_large")
    pieces = serving.ask(app, "POST", "/predict/late", b"x" * ((8 << 20) + 1), content_length=None)
    assert (pieces.status, pieces.json["code"]) == (413, "too_large")
    assert app.admission.body_bytes == app.admission.requests == 0


def test_a_body_without_a_length_is_read(app, serving):
    answer = serving.ask(app, "POST", "/predict/late", {"rows": [ROW]}, content_length=None)
    assert answer.status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "10.0.0.7:7471", "localhost:7471x", "[::2]"]
)
def test_another_host_name_leads_nowhere(app, serving, host):
    for method, path in (("GET", "/health"), ("POST", "/predict/late")):
        assert serving.ask(app, method, path, {"rows": [ROW]}, host=host).status == 403
    assert serving.ask(app, "GET", "/health", host=None).status == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:7471", "127.8.9.1", "[::1]:7471"])
def test_the_names_of_this_machine_are_answered(app, serving, host):
    assert serving.ask(app, "GET", "/health", host=host).status == 200


def test_a_host_that_was_allowed_is_answered(source, make_app, serving):
    app = make_app(source.champion(), allowed_hosts=["models.example.com", "10.0.0.7"])
    for host in ("models.example.com", "Models.Example.com:7471", "10.0.0.7:7471"):
        assert serving.ask(app, "GET", "/v2", host=host).status == 200
    assert serving.ask(app, "GET", "/v2", host="other.example.com").status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://localhost:8080"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "cross-site", "origin": "http://localhost:7471"}, 403),
        ({"origin": "http://localhost:7471"}, 200),
        ({"sec_fetch_site": "same-origin", "origin": "http://localhost:7471"}, 200),
        ({"sec_fetch_site": "none"}, 200),
    ],
)
def test_pages_of_other_sites_cannot_ask(app, serving, headers, status):
    assert serving.ask(app, "POST", "/predict/late", {"rows": [ROW]}, **headers).status == status


def test_too_much_in_flight_is_told_at_once_and_passes(numbers_app, serving, monkeypatch):
    runtime = numbers_app.router.loaded.routes["late"].arms[0].runtime
    gate, scores = Event(), runtime.scores

    def slow(matrix):
        assert len(matrix) < 2_001 or gate.wait(10)
        return scores(matrix)

    monkeypatch.setattr(runtime, "scores", slow)

    async def overload():
        big = {"rows": [{"a": 0, "b": 0}] * 8_000}
        waiting = [asyncio.create_task(serving.asked(numbers_app, "POST", "/predict/late", big)) for _ in range(2)]
        while numbers_app.admission.rows < 16_000:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        refused = await serving.asked(numbers_app, "POST", "/predict/late", big)
        small = await serving.asked(numbers_app, "POST", "/predict/late", {"rows": [{"a": 0, "b": 0}]})
        gate.set()
        return refused, small, await asyncio.gather(*waiting)

    refused, small, answered = asyncio.run(overload())
    assert (refused.status, refused.headers["retry-after"], refused.json["code"]) == (503, "1", "unavailable")
    assert small.status == 200
    assert [answer.status for answer in answered] == [200, 200]
    assert (numbers_app.admission.rows, numbers_app.admission.requests) == (0, 0)
    assert "undrift_shed_requests_total 1" in serving.ask(numbers_app, "GET", "/metrics").body.decode()


@pytest.mark.parametrize(("service_s", "answered"), [(0.000_1, 1_200), (0.001, 501), (0.1, 64)])
def test_as_many_requests_are_let_in_as_can_be_answered_soon(numbers_app, serving, service_s, answered):
    numbers_app.admission.service_s = service_s

    async def overload():
        body = {"rows": [{"a": 0, "b": 0}]}
        asking = [serving.asked(numbers_app, "POST", "/predict/late", body) for _ in range(1_200)]
        return await asyncio.gather(*asking)

    answers = asyncio.run(overload())
    statuses = [answer.status for answer in answers]
    assert (statuses.count(200), statuses.count(503)) == (answered, 1_200 - answered)
    assert {answer.headers.get("retry-after") for answer in answers} <= {None, "1"}
    assert serving.predict(numbers_app, [{"a": 0, "b": 0}]).status == 200


def test_how_long_requests_take_is_learnt(numbers_app, serving, monkeypatch):
    runtime = numbers_app.router.loaded.routes["late"].arms[0].runtime
    scores = runtime.scores

    def slow(matrix):
        sleep(0.002)
        return scores(matrix)

    monkeypatch.setattr(runtime, "scores", slow)
    for _ in range(200):
        serving.predict(numbers_app, [{"a": 0, "b": 0}])
    assert 0.001 < numbers_app.admission.service_s < 0.02


def test_clients_that_are_slow_keep_nobody_out(numbers_app, serving, monkeypatch):
    monkeypatch.setattr("undrift.serving.app._TICK_S", 0.01)
    monkeypatch.setattr("undrift.serving.app._STALLED_S", 0.02)
    monkeypatch.setattr("undrift.serving.app._BODY_S", 0.3)

    class Slow(type(serving.proto(b""))):
        async def __call__(self):
            await asyncio.sleep(60)

    async def beside_slow_ones():
        numbers_app.start()
        numbers_app.admission.service_s = 0.1
        slow = [Slow(b"") for _ in range(64)]
        scope = serving.scope("POST", "/predict/late", {"content-length": "9"})
        tasks = [asyncio.create_task(numbers_app.__rsgi__(scope, one)) for one in slow]
        await asyncio.sleep(0)
        body = {"rows": [{"a": 0, "b": 0}]}
        assert (await serving.asked(numbers_app, "POST", "/predict/late", body)).status == 503
        await asyncio.sleep(0.1)
        assert (await serving.asked(numbers_app, "POST", "/predict/late", body)).status == 200
        await asyncio.gather(*tasks)
        return slow

    slow = asyncio.run(beside_slow_ones())
    assert {(one.status, one.json["code"]) for one in slow} == {(408, "invalid")}
    assert numbers_app.admission.requests == 0
