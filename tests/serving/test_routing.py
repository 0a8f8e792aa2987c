"""Routes of a running server: taken when they change, kept when they cannot be, on disk for when nothing answers."""

from __future__ import annotations

import json
import threading
import time

import pytest

from undrift.core.errors import Unavailable
from undrift.serving import Arm
from undrift.serving.artifacts import Artifacts
from undrift.serving.routing import Router

ROWS = [{"a": 0, "b": 0}]


def score(serving, app, **extras):
    answer = serving.predict(app, ROWS, **extras)
    assert answer.status == 200, answer.json
    return answer.json["predictions"][0]


def test_a_new_route_is_taken_by_itself(source, make_app, serving):
    app = make_app(source.champion(bias=0.25))
    assert score(serving, app) == 0.25
    source.champion(bias=0.5, number=2, revision=2)
    until = time.monotonic() + 10
    while app.router.loaded.revision < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert score(serving, app) == 0.5


def test_whoever_has_set_a_route_is_answered_by_it(source, make_app, serving):
    app = make_app(source.champion(bias=0.25))
    source.champion(bias=0.5, number=2, revision=2)
    assert score(serving, app, routing_revision=2) == 0.5
    asked = source.asked
    assert score(serving, app, routing_revision=2) == 0.5
    assert source.asked <= asked + 1


def test_an_endpoint_and_a_column_of_a_moment_ago_are_known_to_who_has_set_them(source, make_app, serving):
    app = make_app(source.champion(bias=0.25))
    source.champion("fare", bias=0.75, revision=2)
    answer = serving.predict(app, ROWS, "fare", routing_revision=2)
    assert answer.json["predictions"] == [0.75]
    source.champion("fare", bias=0.5, revision=3, signature=serving.FLIGHTS)
    row = {"distance": 1, "hour": 1, "holiday": True, "carrier": "UA", "wind": 1}
    answer = serving.predict(app, [row], "fare", routing_revision=3)
    assert answer.json["predictions"] == [0.5]


def test_a_revision_that_does_not_exist_is_a_conflict(source, make_app, serving):
    app = make_app(source.champion())
    answer = serving.predict(app, ROWS, routing_revision=9)
    assert (answer.status, answer.json["details"]) == (409, {"newest": 1})


def test_a_revision_that_cannot_be_reached_is_told_as_unavailable(source, make_app, serving):
    app = make_app(source.champion())
    source.away = True
    answer = serving.predict(app, ROWS, routing_revision=2)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "The database is away." in answer.json["detail"]
    assert score(serving, app) == 0.5


def test_a_server_goes_on_and_starts_anew_while_the_source_is_away(source, make_app, serving, monkeypatch):
    app = make_app(source.champion(bias=0.25, revision=4))
    app.close()
    source.away = True
    monkeypatch.setattr(Artifacts, "_fetch", lambda *_: pytest.fail("the store is away, too"))
    started = time.monotonic()
    again = make_app(source)
    assert time.monotonic() - started < 2
    assert score(serving, again) == 0.25
    assert serving.ask(again, "GET", "/v2/health/ready").status == 200
    health = serving.ask(again, "GET", "/health").json
    assert health["status"] == "problem"
    assert "The database is away." in health["problems"][0]
    source.away = False
    again.router.refresh().result(5)
    assert serving.ask(again, "GET", "/health").json["status"] == "ok"


def test_a_source_that_hangs_keeps_nobody_from_starting(source, tmp_path, make_app, serving, monkeypatch):
    make_app(source.champion(bias=0.25)).close()
    monkeypatch.setattr("undrift.serving.routing._FIRST_WAIT_S", 0.05)
    gate, table = threading.Event(), source.table

    def hang():
        gate.wait(20)
        return table()

    monkeypatch.setattr(source, "table", hang)
    app = make_app(source)
    assert score(serving, app) == 0.25
    assert "does not answer" in serving.ask(app, "GET", "/health").json["problems"][0]
    source.champion(bias=0.5, revision=2)
    gate.set()
    app.router.refresh().result(5)
    assert score(serving, app) == 0.5


def test_a_server_without_routes_is_ready_once_it_knows_that_there_are_none(source, make_app, serving):
    app = make_app(source)
    assert serving.ask(app, "GET", "/v2/health/ready").status == 200
    assert serving.predict(app, ROWS).json["next_step"] == "Deploy a model version to one first."


def test_a_server_that_knows_nothing_is_not_ready(source, make_app, serving):
    source.away = True
    app = make_app(source)
    assert serving.ask(app, "GET", "/v2/health/ready").status == 503
    assert serving.ask(app, "GET", "/v2/health/live").status == 200


@pytest.mark.parametrize("kept", [b"", b"{", b'{"revision": 1}', b"\xff", b'{"revision": 1, "routes": {"late": {}}}'])
def test_a_damaged_memory_of_routes_is_no_reason_to_fail(source, make_app, serving, tmp_path, kept):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "routes.json").write_bytes(kept)
    source.away = True
    app = make_app(source)
    answer = serving.predict(app, ROWS)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "does not know its routes yet" in answer.json["detail"]
    source.away = False
    source.champion(bias=0.25)
    app.router.refresh().result(5)
    assert score(serving, app) == 0.25
    assert json.loads((tmp_path / "cache" / "routes.json").read_bytes())["revision"] == 1


def bad(source, serving, **given):
    stored = serving.store_artifact(source.repository, model=b"no model")
    return serving.make_route(arms=[Arm("champion", 2, stored, 1.0)], **given)


def test_a_bad_artifact_leaves_the_old_route_answering_and_names_itself(source, make_app, serving):
    app = make_app(source.champion(bias=0.25).champion("fare", bias=0.75))
    source.put(bad(source, serving, revision=2)).champion("fare", bias=0.5, revision=3, number=2)
    app.router.refresh().result(5)
    assert score(serving, app) == 0.25
    assert serving.predict(app, ROWS, "fare").json["predictions"] == [0.5]
    (problem,) = serving.ask(app, "GET", "/health").json["problems"]
    assert "Revision 2 of endpoint 'late' (champion 2) could not be loaded" in problem
    assert "revision 1 goes on answering" in problem
    assert serving.ask(app, "GET", "/v2/health/ready").status == 200
    # Whoever asks for that very route is told why there is no answer by it.
    answer = serving.predict(app, ROWS, routing_revision=2)
    assert (answer.status, answer.json["detail"]) == (503, problem)
    assert score(serving, app, routing_revision=1) == 0.25
    assert serving.predict(app, ROWS, "fare", routing_revision=3).status == 200
    assert serving.predict(app, ROWS, routing_revision=4).status == 409
    source.champion(bias=0.125, revision=4, number=3)
    assert score(serving, app, routing_revision=4) == 0.125
    assert serving.ask(app, "GET", "/health").json["status"] == "ok"


def test_the_memory_of_routes_is_what_was_served_not_what_could_not_be(source, make_app, serving):
    app = make_app(source.champion(bias=0.25))
    source.put(bad(source, serving, revision=2))
    app.router.refresh().result(5)
    app.close()
    source.away = True
    assert score(serving, make_app(source)) == 0.25


def test_an_endpoint_of_which_nothing_could_be_loaded_says_so(source, make_app, serving):
    app = make_app(source.put(bad(source, serving)))
    answer = serving.predict(app, ROWS)
    assert answer.status == 503
    assert "nothing answers there" in answer.json["detail"]
    assert serving.ask(app, "GET", "/v2/health/ready").status == 503


def test_what_failed_is_tried_again_though_no_route_changed(source, make_app, serving, monkeypatch):
    load = Artifacts.load

    def away(*_):
        raise Unavailable("The bucket does not answer.")

    monkeypatch.setattr(Artifacts, "load", away)
    monkeypatch.setattr("undrift.serving.routing._RETRY_S", 0.0)
    app = make_app(source.champion(bias=0.25))
    assert serving.predict(app, ROWS).status == 503
    monkeypatch.setattr(Artifacts, "load", load)
    app.router.refresh().result(5)
    assert score(serving, app) == 0.25


def test_a_source_that_breaks_in_any_way_is_asked_again(source, make_app, serving, monkeypatch):
    app = make_app(source.champion(bias=0.25))
    table = source.table
    monkeypatch.setattr(source, "table", lambda: 1 / 0)
    app.router.refresh().result(5)
    monkeypatch.setattr(source, "table", lambda: "no table at all")
    app.router.refresh().result(5)
    assert serving.ask(app, "GET", "/health").json["status"] == "problem"
    monkeypatch.setattr(source, "table", table)
    source.champion(bias=0.5, revision=2)
    app.router.refresh().result(5)
    assert score(serving, app) == 0.5


def test_a_start_does_not_wait_for_a_store_that_hangs(source, make_app, serving, monkeypatch):
    make_app(source.champion(bias=0.25)).close()
    source.champion("fare", bias=0.75, revision=2)
    monkeypatch.setattr("undrift.serving.routing._FIRST_WAIT_S", 0.05)
    gate, fetch = threading.Event(), Artifacts._fetch

    def hang(self, digest):
        gate.wait(20)
        return fetch(self, digest)

    monkeypatch.setattr(Artifacts, "_fetch", hang)
    app = make_app(source)
    assert score(serving, app) == 0.25
    gate.set()
    assert serving.predict(app, ROWS, "fare", routing_revision=2).json["predictions"] == [0.75]


def test_models_that_stay_are_not_loaded_again(source, make_app, serving):
    app = make_app(source.champion(bias=0.25))
    runtime = app.router.loaded.routes["late"].arms[0].runtime
    first = source.routes["late"].champion
    second = Arm("canary", 2, serving.store_artifact(source.repository, bias=0.5), 0.5)
    source.put(serving.make_route(revision=2, arms=[Arm("champion", 1, first.artifact, 0.5), second]))
    app.router.refresh().result(5)
    assert app.router.loaded.routes["late"].arms[0].runtime is runtime


def test_an_endpoint_that_is_gone_is_gone(source, make_app, serving):
    app = make_app(source.champion().champion("fare", revision=2))
    del source.routes["fare"]
    app.router.refresh().result(5)
    assert serving.predict(app, ROWS, "fare").status == 404


def test_a_disk_that_keeps_no_memory_costs_nothing_now(source, tmp_path):
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    router = Router(source.champion(), tmp_path / "cache")
    router.start()
    assert router.loaded.revision == 1
    router.stop()
