"""Delivery: every event arrives, under one id, whatever receivers, name servers and workers do meanwhile."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import random
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from undrift import events
from undrift.core.errors import Conflict, NotFound, Unavailable
from undrift.events import (
    Courier,
    CreateWebhook,
    DeleteWebhook,
    EventLog,
    FindWebhook,
    ListDeliveries,
    ListEvents,
    RetryDelivery,
    UpdateWebhook,
    deliver_due,
)
from undrift.events.webhooks import addresses, records
from undrift.metastore import open_database

SECRET = "s3cret"
SECOND = timedelta(seconds=1)


class Receiver:
    """A real HTTP receiver; `answer` says what it answers to the number of a call."""

    def __init__(self, answer=lambda _number: (200, {})):
        self.calls = []
        self.answer = answer
        self.release = threading.Event()
        self.entered = threading.Event()
        self.slow = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.calls.append((self.path, dict(self.headers), body))
                number = len(outer.calls)
                outer.entered.set()
                if outer.slow:
                    outer.release.wait(20)
                status, headers = outer.answer(number)
                content = b"internal details"
                with suppress(OSError):
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_POST  # noqa: N815 - the server looks for these names

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook?a=b"

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def bodies(self):
        return [json.loads(body) for _, _, body in self.calls]


@pytest.fixture
def receive():
    made = []

    def start(*given):
        made.append(Receiver(*given))
        return made[-1]

    yield start
    for one in made:
        one.close()


class Stage:
    """Webhooks, a clock that is moved by hand, and a way to make things happen."""

    def __init__(self, database, make_ctx):
        self.database = database
        self.make_ctx = make_ctx
        # Who makes these webhooks may reach this machine; the deliveries below say for themselves what they may.
        self.ctx = make_ctx(database, events=EventLog(events.EVERYWHERE))

    def fresh(self):
        return self.make_ctx(self.database, clock=self.ctx.clock)

    def hook(self, url, name="hook", **given):
        fields = {"project": "shop", "name": name, "url": url, "event_types": ("model.",)} | given
        return events.create_webhook(self.ctx, CreateWebhook(**fields))

    def mlflow_hook(self, url, *pairs, **given):
        return self.hook(url, format="mlflow", event_types=(), mlflow_events=pairs, **given)

    def emit(self, type_="model.created", subject="models/late", project="shop", **data):
        with self.ctx.begin():
            self.ctx.emit(type_, subject, project=project, **data)

    def deliver(self, after=timedelta(), **given):
        self.ctx.clock.advance_to(self.ctx.now() + after)
        return deliver_due(self.fresh, now=self.ctx.now(), **({"allow_private": True} | given))

    def deliveries(self, hook, **given):
        return events.list_deliveries(self.ctx, ListDeliveries(hook.id, **given)).deliveries

    def find(self, hook):
        return events.find_webhook(self.ctx, FindWebhook(hook.id))


@pytest.fixture
def stage(database, make_ctx):
    return Stage(database, make_ctx)


def test_an_event_arrives_as_a_signed_cloudevent(stage, receive):
    receiver = receive()
    hook = stage.hook(receiver.url, secret=SECRET)
    stage.emit(owner="ada", note="ünïcode")
    report = stage.deliver()
    assert (report.queued, report.delivered, report.failed, report.dead, report.problems) == (1, 1, 0, 0, ())
    ((path, headers, body),) = receiver.calls
    assert path == "/hook?a=b"
    assert headers["Content-Type"] == "application/cloudevents+json"
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert abs(int(headers["webhook-timestamp"]) - stage.ctx.now().timestamp()) < 5
    (event,) = events.list_events(stage.ctx, ListEvents(type="model.created"))
    assert json.loads(body) == {
        "specversion": "1.0",
        "id": event.id,
        "source": "/projects/shop",
        "type": "model.created",
        "subject": "models/late",
        "time": "2013-01-01T00:00:00Z",
        "datacontenttype": "application/json",
        "data": {"owner": "ada", "note": "ünïcode"},
        "project": "shop",
        "actor": "ada",
        "traceid": event.trace_id,
        "position": str(event.position),
    }
    (delivery,) = stage.deliveries(hook)
    assert (delivery.id, delivery.state, delivery.attempts) == (headers["webhook-id"], "delivered", 1)
    assert [(one.status, one.problem) for one in delivery.tries] == [(200, "")]
    found = stage.find(hook)
    assert (found.delivered, found.dead, found.failures, found.last_status) == (1, 0, 0, 200)
    assert stage.deliver().queued == 0
    assert len(receiver.calls) == 1


def test_an_event_arrives_as_mlflow_sends_it(stage, receive):
    receiver = receive()
    stage.mlflow_hook(receiver.url, "model_version.created", "model_version_tag.set", secret=SECRET)

    def describe(_ctx, event):
        return {"source": "mlflow-artifacts:/1/r/artifacts", "tags": {"k": "v"}} if "version_reg" in event.type else {}

    stage.emit("model.version_registered", "models/late/2", run_id="r", artifact="0" * 64, metrics={})
    stage.emit("model.alias_moved", "models/late/2", alias="champion", number=2)
    stage.emit("model.version_tagged", "models/late/2", tags={"a": "1", "b": "2"})
    assert stage.deliver(describe=describe).delivered == 3
    assert receiver.bodies == [
        {
            "entity": "model_version",
            "action": "created",
            "timestamp": "2013-01-01T00:00:00+00:00",
            "data": {
                "name": "late",
                "version": "2",
                "source": "mlflow-artifacts:/1/r/artifacts",
                "run_id": "r",
                "tags": {"k": "v"},
                "description": None,
            },
        },
        *(
            {
                "entity": "model_version_tag",
                "action": "set",
                "timestamp": "2013-01-01T00:00:00+00:00",
                "data": {"name": "late", "version": "2", "key": key, "value": value},
            }
            for key, value in (("a", "1"), ("b", "2"))
        ),
    ]
    ids = [headers["X-MLflow-Delivery-Id"] for _, headers, _ in receiver.calls]
    assert len(set(ids)) == 3
    from mlflow.webhooks.delivery import _generate_hmac_signature

    for _, headers, body in receiver.calls:
        assert headers["Content-Type"] == "application/json"
        expected = _generate_hmac_signature(
            SECRET, headers["X-MLflow-Delivery-Id"], headers["X-MLflow-Timestamp"], body.decode()
        )
        assert headers["X-MLflow-Signature"] == expected


def test_what_cannot_be_described_is_told_as_the_log_knows_it(stage, receive):
    receiver = receive()
    stage.mlflow_hook(receiver.url, "registered_model.created")

    def describe(_ctx, _event):
        raise NotFound("There is no such model any more.")

    stage.emit()
    report = stage.deliver(describe=describe)
    assert (report.delivered, len(report.problems)) == (1, 1)
    assert receiver.bodies[0]["data"] == {"name": "late", "tags": {}, "description": None}


def test_only_what_is_wanted_in_the_own_project_and_from_now_on(stage, receive):
    receiver = receive()
    stage.emit("model.created", "models/before")
    stage.hook(receiver.url, event_types=("model.", "run.ended"))
    for type_, project in (
        ("model.created", "shop"),
        ("model.created", "bank"),
        ("models.created", "shop"),
        ("run.started", "shop"),
        ("run.ended", "shop"),
    ):
        stage.emit(type_, "x/1", project)
    stage.deliver()
    assert [(body["type"], body["project"], body["subject"]) for body in receiver.bodies] == [
        ("model.created", "shop", "x/1"),
        ("run.ended", "shop", "x/1"),
    ]


def test_a_disabled_webhook_is_not_called_and_misses_what_happens(stage, receive):
    receiver = receive(lambda number: (503 if number == 1 else 200, {}))
    hook = stage.hook(receiver.url)
    stage.emit(subject="models/waits")
    stage.deliver()
    events.update_webhook(stage.ctx, UpdateWebhook(hook.id, status="DISABLED"))
    stage.emit(subject="models/missed")
    stage.deliver(timedelta(minutes=1))
    assert len(receiver.calls) == 1
    with pytest.raises(Conflict, match="disabled"):
        events.retry_delivery(stage.ctx, RetryDelivery(stage.deliveries(hook)[0].id))
    stage.emit(subject="models/missed-too")
    events.update_webhook(stage.ctx, UpdateWebhook(hook.id, status="ACTIVE"))
    stage.emit(subject="models/after")
    stage.deliver(timedelta(minutes=1))
    assert [body["subject"] for body in receiver.bodies[1:]] == ["models/waits", "models/after"]


def test_a_deleted_webhook_is_not_called(stage, receive):
    receiver = receive(lambda _: (500, {}))
    hook = stage.hook(receiver.url)
    stage.emit()
    stage.deliver()
    events.delete_webhook(stage.ctx, DeleteWebhook(hook.id))
    stage.deliver(timedelta(hours=1))
    assert len(receiver.calls) == 1
    with stage.ctx.read() as tx:
        assert records.due_webhooks(tx, stage.ctx.now() + timedelta(days=9)) == []


def retry_times(stage, hook, turns=40, step=timedelta(minutes=3)):
    """Deliver whenever something is due, and return when that was, in seconds from the first attempt."""
    stage.deliver()
    begin = stage.ctx.now()
    times = [0.0]
    for _ in range(turns):
        (delivery,) = stage.deliveries(hook)
        if delivery.next_attempt_at is None:
            break
        stage.deliver(max(delivery.next_attempt_at - stage.ctx.now(), timedelta()))
        times.append((stage.ctx.now() - begin).total_seconds())
    return times


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_receiver_that_fails_is_tried_for_an_hour_under_the_same_id_then_given_up(stage, receive, status):
    receiver = receive(lambda _: (status, {}))
    hook = stage.hook(receiver.url)
    stage.emit()
    times = retry_times(stage, hook)
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert len(receiver.calls) == 8
    for wait, least in zip(waits, (1, 4, 16, 64, 256, 1024, 2048), strict=True):
        assert least <= wait <= 1.2 * least + 3
    assert len({headers["webhook-id"] for _, headers, _ in receiver.calls}) == 1
    assert len({body for _, _, body in receiver.calls}) == 1
    (delivery,) = stage.deliveries(hook, state="dead")
    assert delivery.attempts == 8
    assert {one.problem for one in delivery.tries} == {f"It answered {status}."}
    found = stage.find(hook)
    assert (found.delivered, found.dead, found.failures, found.last_status) == (0, 1, 8, status)
    assert found.paused_until > stage.ctx.now()


def test_in_mlflows_format_three_more_attempts_are_made(stage, receive):
    receiver = receive(lambda _: (503, {}))
    hook = stage.mlflow_hook(receiver.url, "registered_model.created")
    stage.emit()
    times = retry_times(stage, hook)
    assert len(times) == len(receiver.calls) == 4
    assert times[-1] < 7 * 1.2 + 3


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410])
def test_what_another_attempt_cannot_mend_is_given_up_at_once(stage, receive, status):
    inside = receive()
    receiver = receive(lambda _: (status, {"Location": inside.url}))
    hook = stage.hook(receiver.url)
    stage.emit()
    report = stage.deliver()
    assert (report.dead, report.failed) == (1, 0)
    assert report.problems == (f"Webhook 'hook': a delivery was given up. It answered {status}.",)
    stage.deliver(timedelta(hours=2))
    assert len(receiver.calls) == 1
    # A redirect is not followed, wherever it leads.
    assert inside.calls == []
    assert stage.find(hook).dead == 1


@pytest.mark.parametrize("value", ["120", "Tue, 01 Jan 2013 00:02:00 GMT"])
def test_a_receiver_that_asks_to_be_called_later_is_heeded(stage, receive, value):
    receiver = receive(lambda number: (429 if number == 1 else 200, {"Retry-After": value}))
    stage.hook(receiver.url)
    stage.emit()
    stage.deliver()
    assert stage.deliver(timedelta(seconds=110)).delivered == 0
    assert stage.deliver(timedelta(seconds=20)).delivered == 1


@pytest.mark.parametrize("value", ["soon", "-5", "1e3", "9" * 400, "Tue, 99 Foo 2013", "Mon, 01 Jan 0000 00:00:00 GMT"])
def test_a_wish_that_cannot_be_read_changes_nothing(stage, receive, value):
    receiver = receive(lambda number: (503 if number == 1 else 200, {"Retry-After": value}))
    stage.hook(receiver.url)
    stage.emit()
    assert stage.deliver().failed == 1
    assert stage.deliver(10 * SECOND).delivered == 1


def test_a_receiver_that_is_gone_and_comes_back_gets_everything(stage, receive, unused_port):
    hook = stage.hook(f"http://127.0.0.1:{unused_port}/")
    for number in range(3):
        stage.emit(subject=f"models/{number}")
    report = stage.deliver()
    assert (report.queued, report.delivered, report.failed) == (3, 0, 3)
    assert {one.tries[0].problem for one in stage.deliveries(hook)} == {"Nothing listens there."}
    receiver = receive()
    events.update_webhook(stage.ctx, UpdateWebhook(hook.id, url=receiver.url))
    assert stage.deliver(10 * SECOND).delivered == 3
    assert {body["subject"] for body in receiver.bodies} == {"models/0", "models/1", "models/2"}


def test_a_dead_delivery_is_sent_anew_on_request(stage, receive):
    receiver = receive(lambda number: (400 if number == 1 else 200, {}))
    hook = stage.hook(receiver.url)
    stage.emit()
    stage.deliver()
    (dead,) = stage.deliveries(hook, state="dead")
    again = events.retry_delivery(stage.ctx, RetryDelivery(dead.id))
    assert again.state == "waiting"
    assert stage.deliver().delivered == 1
    (delivery,) = stage.deliveries(hook)
    assert (delivery.state, delivery.attempts) == ("delivered", 2)
    assert [one.status for one in delivery.tries] == [400, 200]
    ids = {headers["webhook-id"] for _, headers, _ in receiver.calls}
    assert ids == {delivery.id}


def test_a_receiver_that_keeps_failing_is_left_alone_for_a_while_and_then_probed_once(stage, receive):
    receiver = receive(lambda _: (500, {}))
    hook = stage.hook(receiver.url)
    for number in range(30):
        stage.emit(subject=f"models/{number}")
    stage.deliver()
    assert len(receiver.calls) == 8
    stage.deliver(20 * SECOND)
    assert len(receiver.calls) == 8
    stage.deliver(20 * SECOND)
    assert len(receiver.calls) == 9
    receiver.answer = lambda _: (200, {})
    stage.deliver(timedelta(minutes=2))
    assert stage.find(hook).failures == 0
    assert stage.find(hook).paused_until is None
    assert len(stage.deliveries(hook, state="delivered")) == 30


def test_what_cannot_be_delivered_for_a_day_is_given_up(stage, receive):
    receiver = receive(lambda _: (500, {}))
    hook = stage.hook(receiver.url)
    for number in range(20):
        stage.emit(subject=f"models/{number}")
    stage.deliver()
    report = stage.deliver(timedelta(days=1, minutes=1))
    assert report.dead == 20
    assert report.problems == (
        f"Webhook {hook.id}: 20 deliveries were given up, for it could not be reached for a day.",
    )
    assert stage.find(hook).dead == 20
    assert len(receiver.calls) == 8


def test_what_is_long_over_is_forgotten(stage, receive):
    receiver = receive(lambda number: (400 if number == 1 else 200, {}))
    hook = stage.hook(receiver.url)
    stage.emit()
    stage.emit()
    stage.deliver()
    stage.deliver(timedelta(days=8))
    assert [one.state for one in stage.deliveries(hook)] == ["dead"]
    stage.deliver(timedelta(days=23))
    assert stage.deliveries(hook) == ()


def test_deliveries_are_listed_in_pages_newest_first(stage, receive):
    receiver = receive()
    hook = stage.mlflow_hook(receiver.url, "model_version_tag.set")
    for number in range(3):
        stage.emit("model.version_tagged", f"models/late/{number}", tags={"a": "1", "b": "2"})
    stage.deliver()
    seen, token = [], None
    while True:
        page = events.list_deliveries(stage.ctx, ListDeliveries(hook.id, max_results=2, page_token=token))
        seen += page.deliveries
        token = page.next_page_token
        if token is None:
            break
    assert [one.id for one in seen] == [one.id for one in stage.deliveries(hook)]
    assert len({one.id for one in seen}) == 6
    assert [one.position for one in seen] == sorted((one.position for one in seen), reverse=True)


def test_two_secrets_sign_for_a_day_when_one_replaces_the_other(stage, receive):
    receiver = receive()
    hook = stage.hook(receiver.url, secret="old")
    events.update_webhook(stage.ctx, UpdateWebhook(hook.id, secret="new"))
    stage.emit()
    stage.deliver()
    stage.emit()
    stage.deliver(timedelta(days=1, seconds=1))
    events.update_webhook(stage.ctx, UpdateWebhook(hook.id, secret=""))
    stage.emit()
    stage.deliver()

    def valid(call):
        _, headers, body = call
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        found = headers.get("webhook-signature", "").split()
        return [
            key
            for key in ("old", "new")
            if "v1," + base64.b64encode(hmac.new(key.encode(), signed, hashlib.sha256).digest()).decode() in found
        ]

    assert [valid(call) for call in receiver.calls] == [["old", "new"], ["new"], []]


@contextmanager
def taking_turns(courier, stage):
    stop = threading.Event()
    failed = []

    def run():
        while not stop.is_set():
            try:
                courier.turn(stage.ctx.now())
            except Exception as error:  # noqa: BLE001 - shown at the end
                failed.append(error)
            time.sleep(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    stop.set()
    thread.join()
    assert failed == []


def wait_for(condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def test_a_slow_receiver_holds_up_neither_the_turn_nor_the_others(stage, receive):
    slow, quick = receive(), receive()
    slow.slow = True
    stage.hook(slow.url, "slow")
    stage.hook(quick.url, "quick")
    courier = Courier(stage.fresh, reach=events.EVERYWHERE)
    stage.emit(subject="models/1")
    began = time.monotonic()
    courier.turn(stage.ctx.now())
    assert slow.entered.wait(10)
    stage.emit(subject="models/2")
    courier.turn(stage.ctx.now())
    assert time.monotonic() - began < 5
    with taking_turns(courier, stage):
        wait_for(lambda: len(quick.calls) == 2)
    # The slow one is called for one event at a time.
    assert len(slow.calls) == 1
    slow.release.set()
    courier.finish(stage.ctx.now())
    assert [body["subject"] for body in slow.bodies] == ["models/1", "models/2"]
    courier.close()


def test_receivers_in_trouble_never_take_all_threads(stage, receive):
    slow = receive()
    slow.answer = lambda _: (500, {})
    for number in range(6):
        stage.hook(slow.url, f"slow{number}")
    stage.emit()
    stage.deliver()
    slow.slow = True
    quick = receive()
    stage.hook(quick.url, "quick")
    stage.emit()
    stage.ctx.clock.advance_to(stage.ctx.now() + 10 * SECOND)
    courier = Courier(stage.fresh, reach=events.EVERYWHERE, threads=4)
    courier.turn(stage.ctx.now())
    wait_for(lambda: len(slow.calls) >= 8)
    stage.emit()
    with taking_turns(courier, stage):
        wait_for(lambda: len(quick.calls) == 2)
    assert len(slow.calls) == 6 + 2
    slow.release.set()
    courier.close()


def test_no_transaction_is_open_while_a_receiver_is_waited_for(stage, receive):
    """Also on SQLite, where a transaction that writes has the database to itself."""
    slow = receive()
    slow.slow = True
    stage.hook(slow.url)
    stage.emit()
    courier = Courier(stage.fresh, reach=events.EVERYWHERE)
    courier.turn(stage.ctx.now())
    assert slow.entered.wait(10)
    another = open_database(stage.database.url.render_as_string(hide_password=False))
    began = time.monotonic()
    with stage.make_ctx(another).begin() as tx:
        records.expire(tx, stage.ctx.now())
    assert time.monotonic() - began < 3
    another.close()
    slow.release.set()
    courier.finish(stage.ctx.now())
    courier.close()


def test_a_receiver_that_never_ends_its_answer_is_cut_off_in_time(stage):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def trickle():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b"X-More: 1\r\n"[:3])
                    except OSError:
                        return

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        hook = stage.hook(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        stage.emit()
        began = time.monotonic()
        assert stage.deliver(timeout_s=0.5).failed == 1
        assert time.monotonic() - began < 4
        stop.set()
        thread.join()
    assert stage.deliveries(hook)[0].tries[0].problem == "No answer in time."


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "The connection was closed before an answer."),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "The answer is not HTTP."),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", "The answer is not HTTP."),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n", "The answer is not HTTP."),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + b"HTTP/1.1 103 Early\r\n\r\n" * 20, "The answer is not HTTP."),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\nx", ""),
    ],
)
def test_an_answer_that_is_odd_is_no_failure_of_the_worker(stage, answer, problem):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reply():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                with suppress(OSError):
                    connection.recv(65536)

        thread = threading.Thread(target=reply, daemon=True)
        thread.start()
        hook = stage.hook(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        stage.emit()
        stage.deliver(timeout_s=5)
        thread.join()
    assert stage.deliveries(hook)[0].tries[0].problem == problem


def test_an_address_inside_is_refused_at_delivery_without_a_call(stage, receive):
    receiver = receive()
    hook = stage.hook(receiver.url)
    stage.emit()
    report = stage.deliver(allow_private=False)
    assert report.dead == 1
    assert receiver.calls == []
    assert stage.deliveries(hook)[0].tries[0].problem == "127.0.0.1 does not lead to a public address."


def test_a_name_that_leads_inside_the_second_time_is_refused(stage, receive, monkeypatch):
    """What was public when the webhook was made is looked up and judged again before each call."""
    receiver = receive()
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    asked = []

    def look_up(host, _timeout_s):
        asked.append(host)
        return next(answers)

    monkeypatch.setattr(addresses, "resolve", look_up)
    ctx = stage.make_ctx(stage.database)
    fields = CreateWebhook("shop", "hook", f"https://rebound.example:8443/{receiver.port}", ("model.",))
    hook = events.create_webhook(ctx, fields)
    stage.emit()
    stage.deliver(allow_private=False, look_up=look_up)
    assert asked == ["rebound.example", "rebound.example"]
    (delivery,) = stage.deliveries(hook)
    assert delivery.state == "dead"
    assert delivery.tries[0].problem == "rebound.example does not lead to a public address."
    assert receiver.calls == []


def test_what_was_judged_is_what_is_connected_to(stage, receive, monkeypatch):
    """Between the look-up and the connection nobody asks the name server again."""
    receiver = receive()

    def never(*_args, **_more):
        raise AssertionError("looked up twice")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    looked_up = []

    def look_up(host, _timeout_s):
        looked_up.append(host)
        return ["127.0.0.1"]

    monkeypatch.setattr(addresses, "resolve", look_up)
    stage.hook(f"http://receiver.example:{receiver.port}/")
    stage.emit()
    assert stage.deliver(look_up=look_up).delivered == 1
    assert looked_up == ["receiver.example"] * 2
    assert receiver.calls[0][1]["Host"] == f"receiver.example:{receiver.port}"


def test_a_name_that_cannot_be_looked_up_is_tried_again(stage, receive, monkeypatch):
    receiver = receive()
    monkeypatch.setattr(addresses, "resolve", lambda *_: ["127.0.0.1"])
    hook = stage.hook(f"http://receiver.example:{receiver.port}/")
    stage.emit()

    def away(_host, _timeout_s):
        raise OSError("try again")

    assert stage.deliver(look_up=away).failed == 1
    assert "cannot be looked up" in stage.deliveries(hook)[0].tries[0].problem
    assert stage.deliver(10 * SECOND, look_up=lambda *_: ["127.0.0.1"]).delivered == 1


def test_the_next_address_is_tried_when_one_does_not_answer(stage, receive, monkeypatch):
    receiver = receive()
    monkeypatch.setattr(addresses, "resolve", lambda *_: ["127.0.0.1"])
    stage.hook(f"http://receiver.example:{receiver.port}/")
    stage.emit()
    assert stage.deliver(look_up=lambda *_: ["127.99.0.1", "127.0.0.1"]).delivered == 1


def test_no_proxy_is_asked(stage, receive, monkeypatch):
    proxy, receiver = receive(), receive()
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    stage.hook(receiver.url)
    stage.emit()
    assert stage.deliver().delivered == 1
    assert proxy.calls == []


def test_a_sender_that_dies_in_the_middle_is_followed_by_another_with_the_same_id(stage, receive):
    receiver = receive()
    hook = stage.hook(receiver.url)
    stage.emit()
    ctx = stage.fresh()
    courier = Courier(stage.fresh, reach=events.EVERYWHERE)
    courier._queue(ctx, ctx.now())
    with ctx.begin() as tx:
        lost = records.claim(tx, hook.id, ctx.now(), lease_s=90)
    # While the lease runs nobody else sends.
    assert stage.deliver(30 * SECOND).delivered == 0
    assert stage.deliver(61 * SECOND).delivered == 1
    assert receiver.calls[0][1]["webhook-id"] == lost.id
    # What the first one says too late changes nothing.
    with ctx.begin() as tx:
        from undrift.events.webhooks.model import Attempt

        late = Attempt(ctx.now(), 1.0, 500, "late")
        assert None is records.record_attempt(tx, lost, late, state="dead", at=ctx.now(), next_attempt_at=None)
    assert stage.deliveries(hook)[0].state == "delivered"


KILLED = """
import sys
from datetime import datetime, UTC
from undrift.core import Actor, Context, SystemClock
from undrift.events import EVERYWHERE, Courier, EventLog
from undrift.metastore import open_database
import time

class AllowAll:
    def check(self, actor, permission): pass

database = open_database(sys.argv[1])

def make():
    return Context(actor=Actor("w", "service"), clock=SystemClock(), database=database, repository=None,
                   policy=AllowAll(), events=EventLog())

courier = Courier(make, reach=EVERYWHERE)
print("ready", flush=True)
while True:
    courier.turn(datetime.now(UTC))
    time.sleep(0.01)
"""


def test_a_worker_killed_again_and_again_loses_nothing(stage, receive, monkeypatch):
    """Every event arrives; what arrives twice does so under one id."""
    receiver = receive()
    hook = stage.hook(receiver.url)
    url = stage.database.url.render_as_string(hide_password=False)
    from datetime import UTC, datetime

    stage.ctx.clock.advance_to(datetime.now(UTC))
    dice = random.Random(7)
    for batch in range(3):
        for number in range(40):
            stage.emit(subject=f"models/{batch}-{number}")
        with subprocess.Popen([sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            time.sleep(0.05 + 0.3 * dice.random())
            process.kill()
            process.wait()
    stage.ctx.clock.advance_to(datetime.now(UTC) + timedelta(minutes=5))
    stage.deliver()
    subjects = {}
    for (_, headers, _), body in zip(receiver.calls, receiver.bodies, strict=True):
        subjects.setdefault(body["subject"], set()).add(headers["webhook-id"])
    assert len(subjects) == 120
    assert all(len(ids) == 1 for ids in subjects.values())
    assert {one.state for one in stage.deliveries(hook, max_results=1000)} == {"delivered"}
    # At most one call was under way at each kill.
    assert len(receiver.calls) <= 123


def test_two_workers_on_one_database_send_each_event_once(stage, receive):
    receiver = receive()
    hooks = [stage.hook(receiver.url, f"hook{number}") for number in range(3)]
    for number in range(15):
        stage.emit(subject=f"models/{number}")
    others = [open_database(stage.database.url.render_as_string(hide_password=False)) for _ in range(2)]
    start = threading.Barrier(2)
    failed = []

    def work(database):
        start.wait()
        try:
            for _ in range(3):
                deliver_due(
                    lambda: stage.make_ctx(database, clock=stage.ctx.clock), now=stage.ctx.now(), allow_private=True
                )
        except Exception as error:  # noqa: BLE001 - shown below
            failed.append(error)

    threads = [threading.Thread(target=work, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in others:
        one.close()
    assert failed == []
    ids = [headers["webhook-id"] for _, headers, _ in receiver.calls]
    assert len(ids) == len(set(ids)) == 45
    assert all(stage.find(hook).delivered == 15 for hook in hooks)


def test_a_log_without_webhooks_is_passed_over(stage, monkeypatch):
    for _ in range(10):
        stage.emit()
    from undrift.events import records as log

    begun, read_after = [], log.read_after

    def watched(tx, position, **more):
        begun.append(position)
        return read_after(tx, position, **more)

    monkeypatch.setattr(log, "read_after", watched)
    stage.deliver()
    with stage.ctx.read() as tx:
        assert begun == [events.head(tx).position]
        assert events.offset(tx, "webhooks") == events.head(tx).position


def test_an_outage_of_the_database_loses_nothing(stage, receive, monkeypatch):
    receiver = receive()
    hook = stage.hook(receiver.url)
    stage.emit()
    enqueue = records.enqueue
    monkeypatch.setattr(records, "enqueue", lambda *_: (_ for _ in ()).throw(Unavailable("The database is away.")))
    with pytest.raises(Unavailable):
        stage.deliver()
    monkeypatch.setattr(records, "enqueue", enqueue)
    record, cut = records.record_attempt, []

    def fail_once(*given, **more):
        if not cut:
            cut.append(1)
            raise Unavailable("The database is away.")
        return record(*given, **more)

    monkeypatch.setattr(records, "record_attempt", fail_once)
    assert "The database is away" in stage.deliver().problems[0]
    assert stage.deliver(timedelta(minutes=2)).delivered == 1
    # It came twice, under one id.
    assert len({headers["webhook-id"] for _, headers, _ in receiver.calls}) == 1
    assert len(receiver.calls) == 2
    assert stage.find(hook).delivered == 1


def test_an_operator_tests_a_webhook_and_sees_no_more_than_the_status(stage, receive):
    receiver = receive(lambda _: (418, {"X-Secret": "inside"}))
    hook = stage.hook(receiver.url, secret=SECRET)
    answer = events.test_webhook(stage.ctx, events.TestWebhook(hook.id, event="model.created"))
    assert (answer.success, answer.status, answer.problem) == (False, 418, "It answered 418.")
    assert receiver.bodies[0]["type"] == "model.created"
    assert receiver.bodies[0]["data"] == {"test": True}
    assert "webhook-signature" in receiver.calls[0][1]
    receiver.answer = lambda _: (204, {})
    assert events.test_webhook(stage.ctx, events.TestWebhook(hook.id)).success
    strict = stage.make_ctx(stage.database)
    answer = events.test_webhook(strict, events.TestWebhook(hook.id))
    assert (answer.success, answer.status) == (False, None)
    assert len(receiver.calls) == 2
    assert len(events.list_events(stage.ctx, ListEvents(type="webhook.tested"))) == 3


def test_a_test_in_mlflows_format_sends_mlflows_example(stage, receive):
    receiver = receive()
    hook = stage.mlflow_hook(receiver.url, "model_version_alias.created", "prompt.created")
    assert events.test_webhook(stage.ctx, events.TestWebhook(hook.id)).success
    assert receiver.bodies[0]["data"] == {"name": "example_model", "alias": "example_alias", "version": "1"}
    assert receiver.bodies[0]["entity"] == "model_version_alias"
    assert events.test_webhook(stage.ctx, events.TestWebhook(hook.id, event="registered_model.created")).success
    assert receiver.bodies[1]["action"] == "created"


def test_a_courier_that_is_closed_starts_nothing_more(stage, receive):
    slow = receive()
    slow.slow = True
    stage.hook(slow.url)
    stage.emit()
    stage.emit()
    courier = Courier(stage.fresh, reach=events.EVERYWHERE)
    courier.turn(stage.ctx.now())
    assert slow.entered.wait(10)
    began = time.monotonic()
    courier.close(timeout_s=0.2)
    assert time.monotonic() - began < 2
    slow.release.set()
    for thread, _ in courier._lanes.values():
        thread.join(10)
    courier.turn(stage.ctx.now())
    assert len(slow.calls) == 1


def test_an_event_that_was_damaged_holds_up_no_other(stage, receive):
    import sqlalchemy as sa

    from undrift.events.tables import events as log

    receiver = receive(lambda number: (503 if number <= 2 else 200, {}))
    hook = stage.hook(receiver.url)
    stage.emit(subject="models/damaged")
    stage.emit(subject="models/whole")
    stage.deliver()
    with stage.ctx.begin() as tx:
        tx.execute(sa.text("UPDATE events SET data = '{' WHERE subject = 'models/damaged'"))
        assert tx.scalar(sa.select(sa.func.count()).select_from(log)) >= 2
    report = stage.deliver(10 * SECOND)
    assert (report.delivered, report.dead) == (1, 1)
    (dead,) = stage.deliveries(hook, state="dead")
    assert dead.tries[-1].problem == "An event holds what no undrift has written."


def test_a_webhook_may_be_deleted_while_it_is_called(stage, receive):
    slow = receive()
    slow.slow = True
    hook = stage.hook(slow.url)
    stage.emit()
    stage.emit()
    courier = Courier(stage.fresh, reach=events.EVERYWHERE)
    courier.turn(stage.ctx.now())
    assert slow.entered.wait(10)
    events.delete_webhook(stage.ctx, DeleteWebhook(hook.id))
    slow.release.set()
    report = courier.finish(stage.ctx.now())
    assert (report.problems, len(slow.calls)) == ((), 1)
    courier.close()
