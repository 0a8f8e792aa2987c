"""Operations over HTTP, as any program sees them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import msgspec
import pytest

from undrift import registry
from undrift.core.errors import Corrupt, Unavailable
from undrift.operations import all_operations

API = "/api/v1"
JSON = {"content-type": "application/json"}
MODEL = {"project": "flights", "name": "late", "owner": "ops@example.com"}


def problem(answer, status, code):
    """The problem details of an answer, checked for their form."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert {"type", "title", "status", "detail", "code", "next_step", "details", "instance"} <= set(said)
    assert (said["status"], said["code"], said["type"]) == (status, code, f"urn:undrift:error:{code}")
    assert said["instance"] == answer.headers["trace-id"]
    return said


def test_what_reads_is_a_get_and_what_writes_is_a_post(http):
    assert http.post(f"{API}/registry/register_model", json=MODEL).json()["name"] == "late"
    answer = http.get(f"{API}/registry/list_models", params={"project": "flights"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert [one["model"]["name"] for one in answer.json()] == ["late"]


def test_an_operation_without_an_answer_answers_null(http):
    run = http.post(f"{API}/tracking/start_run", json={"project": "p", "experiment": "e", "name": "n"}).json()
    answer = http.post(f"{API}/tracking/log_run", json={"run_id": run["id"]})
    assert (answer.status_code, answer.content) == (200, b"null")


def test_the_trace_of_a_call_is_in_the_answer_and_in_its_events(http):
    trace = http.post(f"{API}/registry/register_model", json=MODEL).headers["trace-id"]
    assert http.get(f"{API}/events/list").json()[0]["trace_id"] == trace


def test_an_idempotency_key_makes_a_call_happen_once(http):
    body = {"project": "p", "experiment": "e", "name": "n"}
    first = http.post(f"{API}/tracking/start_run", json=body, headers={"idempotency-key": "once"})
    again = http.post(f"{API}/tracking/start_run", json=body, headers={"idempotency-key": "once"})
    assert again.json() == first.json()
    assert len(http.get(f"{API}/tracking/list_runs").json()) == 1


def test_an_idempotency_key_that_is_too_long_is_refused(http):
    answer = http.post(f"{API}/registry/register_model", json=MODEL, headers={"idempotency-key": "k" * 201})
    assert "idempotency key" in problem(answer, 400, "invalid")["detail"]


def test_numbers_booleans_and_times_are_read_from_the_query_string(http, year):
    found = http.get(f"{API}/monitoring/list_incidents?open_only=false&limit=1&endpoint=late").json()
    assert [one["number"] for one in found] == [2]
    asked = {"endpoint": "late", "start": "2013-03-01T01:00:00+01:00", "before": "2013-03-03T00:00:00Z"}
    found = http.get(f"{API}/monitoring/list_windows", params=asked).json()
    assert [one["start"] for one in found] == ["2013-03-02T00:00:00Z", "2013-03-01T00:00:00Z"]


def test_a_word_that_reads_like_a_number_or_nothing_stays_a_word(http):
    for name in ("5", "null", "true"):
        http.post(f"{API}/registry/register_model", json=MODEL | {"project": name})
        assert [one["model"]["project"] for one in http.get(f"{API}/registry/list_models?project={name}").json()] == [
            name
        ]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("projekt=flights", "registry.list_versions does not know projekt"),
        ("project=p&model=m&limit=many", "expected `int`, got `str` in 'limit'"),
        ("project=p", "object missing required field `model`"),
        ("project=p&project=q&model=m", "'project' of registry.list_versions is given twice"),
        ("project=%ff&model=m", "not percent-encoded UTF-8"),
        ("&".join(f"a{n}=1" for n in range(60)), "more than 50 parameters"),
        ("project=p&model=m&limit=99999999999999999999", "the number in 'limit' is too large"),
    ],
)
def test_a_query_that_does_not_fit_says_what_and_where(http, query, said):
    found = problem(http.get(f"{API}/registry/list_versions?{query}"), 400, "invalid")
    assert said in found["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is not JSON that can be read"),
        (b"{", "is not JSON that can be read"),
        (b"[]", "expected `object`, got `array`"),
        (b'{"project": "p", "name": "\xff", "owner": "x"}', "is not JSON that can be read"),
        (b'{"project": 7, "name": "late", "owner": "x"}', "expected `str`, got `int` in 'project'"),
        (b'{"project": "p", "owner": "x"}', "object missing required field `name`"),
        (b'{"project": "p", "name": "late", "owner": "x", "onwer": "y"}', "does not know onwer"),
    ],
)
def test_a_body_that_does_not_fit_says_what_and_where(http, body, said):
    found = problem(http.post(f"{API}/registry/register_model", content=body, headers=JSON), 400, "invalid")
    assert said in found["detail"]
    assert found["next_step"]


def test_a_field_deep_in_a_body_is_named_with_its_path(http):
    body = {"endpoint": "late", "labels": [{"prediction_id": "a", "value": 1}, {"prediction_id": "b", "value": "x"}]}
    found = problem(http.post(f"{API}/monitoring/record_labels", json=body), 400, "invalid")
    assert found["details"]["field"] == "labels[1].value"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_is_not_said_to_be_json_is_refused(http, kind):
    answer = http.post(
        f"{API}/registry/register_model", content=msgspec.json.encode(MODEL), headers={"content-type": kind}
    )
    problem(answer, 415, "invalid")


def test_the_character_set_may_be_named(http):
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    answer = http.post(f"{API}/registry/register_model", content=msgspec.json.encode(MODEL), headers=headers)
    assert answer.status_code == 200


def test_a_packed_body_is_refused(http):
    answer = http.post(
        f"{API}/registry/register_model", content=b"\x1f\x8b", headers=JSON | {"content-encoding": "gzip"}
    )
    problem(answer, 415, "invalid")


def test_another_method_is_refused_with_what_is_allowed(http):
    answer = http.get(f"{API}/registry/register_model")
    problem(answer, 405, "invalid")
    assert "POST" in answer.headers["allow"]
    assert "GET" in http.delete(f"{API}/registry/list_models").headers["allow"]


def test_an_unknown_operation_is_not_found(http):
    problem(http.post(f"{API}/registry/delete_everything", json={}), 404, "not_found")


def test_what_is_not_there_is_not_found_with_the_words_of_the_operation(http):
    found = problem(http.get(f"{API}/registry/list_versions?project=p&model=nope"), 404, "not_found")
    assert found["detail"] == "There is no model 'nope' in project 'p'."
    assert found["details"] == {"model": "nope", "project": "p"}


def break_with(monkeypatch, error):
    def fail(ctx, request):
        raise error

    monkeypatch.setattr(registry.list_models, "handler", fail)


def test_what_nobody_thought_of_is_told_without_its_details(http, monkeypatch, caplog):
    break_with(monkeypatch, ValueError("secret at /etc/undrift"))
    answer = http.get(f"{API}/registry/list_models")
    found = problem(answer, 500, "error")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert found["instance"] in found["next_step"]
    assert found["instance"] in caplog.text
    assert "secret at /etc/undrift" in caplog.text


def test_what_is_away_says_when_to_try_again_and_not_where_it_lives(http, monkeypatch, workspace):
    where = f"sqlite:///{workspace.folder}/undrift.db"
    break_with(monkeypatch, Unavailable(f"The disk that holds {where} is full.", file=f"{workspace.folder}/x"))
    answer = http.get(f"{API}/registry/list_models")
    found = problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "5"
    assert found["detail"] == "The disk that holds the database is full."
    assert found["details"] == {"file": "the workspace/x"}


def test_what_is_damaged_is_told_as_damaged(http, monkeypatch):
    break_with(monkeypatch, Corrupt("An object is not what was stored."))
    problem(http.get(f"{API}/registry/list_models"), 500, "corrupt")


def test_too_much_at_once_is_refused_early(http, monkeypatch):
    from undrift.hub import calls

    monkeypatch.setattr(calls, "_WAITING", 0)
    answer = http.get(f"{API}/registry/list_models")
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"


def test_a_slow_operation_does_not_keep_others_waiting(http, monkeypatch):
    begun, release = threading.Event(), threading.Event()

    def wait(ctx, request):
        begun.set()
        release.wait(10)
        return []

    monkeypatch.setattr(registry.list_models, "handler", wait)
    slow = threading.Thread(target=http.get, args=(f"{API}/registry/list_models",))
    slow.start()
    begun.wait(10)
    assert http.get(f"{API}/events/list").status_code == 200
    release.set()
    slow.join()


HOSTILE = [
    None,
    True,
    -1,
    2**63,
    -(2**63) - 1,
    10**400,
    1e308,
    "",
    "\x00",
    "x" * 100_000,
    "' OR 1=1 --",
    "../../etc/passwd",
    "%2e%2e/",
    "<script>alert(1)</script>",
    "\u202e\ufeff\U0010ffff",
    "0" * 32,
    "0" * 64,
    "9999-12-31T23:59:59.999999-23:59",
    "0001-01-01T00:00:00+23:59",
    "2013-04-01",
    "1e400",
    "nan",
    [],
    [[]],
    {},
    [{"name": "champion", "number": 10**30, "share": 1}],
    [{"prediction_id": "p", "value": 1e308}],
]


@pytest.mark.parametrize("name", all_operations())
def test_hostile_input_is_an_answer_and_never_an_accident(http, name):
    one = all_operations()[name]
    fields = [field.encode_name for field in msgspec.structs.fields(one.input)]
    plain = dict.fromkeys(fields, "late") | {"limit": 1} if "limit" in fields else dict.fromkeys(fields, "late")
    for field in fields:
        for value in HOSTILE:
            given = plain | {field: value}
            if one.reads:
                text = {key: str(said)[:5000] for key, said in given.items() if said is not None}
                answer = http.get(f"{API}{one.path}", params=text)
            else:
                answer = http.post(f"{API}{one.path}", content=_json(given), headers=JSON)
            assert answer.status_code < 500, (given, answer.text)


def _json(value):
    import json

    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "body",
    [
        b'{"project": "p", "experiment": "e", "name": "n", "parameters": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"project": "p", "experiment": "e", "name": "n", "parameters": {"x": 1e400}}',
        b'{"project": "p", "experiment": "e", "name": "n", "parameters": {"x": ' + b"9" * 5000 + b"}}",
        b'{"project": "p", "experiment": "e", "name": "\\ud800"}',
        b'{"project": "p", "experiment": "e", "name": "n", "parameters": {"x": NaN}}',
    ],
    ids=["deep", "a number beyond floats", "a number of 5000 digits", "half a character", "no JSON number"],
)
def test_json_bombs_are_refused(http, body):
    problem(http.post(f"{API}/tracking/start_run", content=body, headers=JSON), 400, "invalid")


def test_numbers_of_any_length_are_kept_in_free_values(http):
    given = {"project": "p", "experiment": "e", "name": "n", "parameters": {"seed": 2**80}}
    run = http.post(f"{API}/tracking/start_run", json=given).json()
    assert http.get(f"{API}/tracking/find_run", params={"run_id": run["id"]}).json()["parameters"] == {"seed": 2**80}


def test_times_in_answers_are_utc_with_their_microseconds(http, workspace):
    created = http.post(f"{API}/registry/register_model", json=MODEL).json()["created_at"]
    assert created.endswith("Z")
    moment = datetime.fromisoformat(created)
    assert (datetime.now(UTC) - moment).total_seconds() < 60
