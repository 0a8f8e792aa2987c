"""Webhooks where they are used: what the registry does arrives as MLflow tells it, and the worker is who delivers."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from undrift import events, registry
from undrift.core import Actor
from undrift.core.context import Context
from undrift.core.ids import new_id
from undrift.events import EVERYWHERE, Courier, CreateWebhook, EventLog, ListDeliveries, deliver_due
from undrift.governance import WorkspaceOwner
from undrift.metastore import metadata
from undrift.worker import WORKER, Worker, run
from undrift.workspace import Workspace


@pytest.fixture
def receiver():
    """An address, and the bodies that came there."""
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", bodies
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace.open(tmp_path / ".undrift", create=True)
    with workspace.database.begin() as tx:
        metadata.create_all(tx)
    yield workspace
    workspace.close()


def trusting(workspace):
    """A context of somebody whose webhooks may reach this machine."""
    given = workspace.context(Actor("ada"))
    return Context(
        actor=given.actor,
        clock=given.clock,
        database=given.database,
        repository=given.repository,
        policy=WorkspaceOwner(),
        events=EventLog(EVERYWHERE),
    )


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def test_what_the_registry_does_is_told_in_mlflows_words(database, make_ctx, receiver):
    from mlflow.webhooks.types import EVENT_TO_PAYLOAD_CLASS

    url, bodies = receiver
    ctx = make_ctx(database, events=EventLog(EVERYWHERE))
    wanted = ("registered_model.created", "model_version.created", "model_version_tag.set")
    wanted += ("model_version_tag.deleted", "model_version_alias.created", "model_version_alias.deleted")
    events.create_webhook(ctx, CreateWebhook("shop", "hook", url, mlflow_events=wanted, format="mlflow"))
    name = "late model ü"
    model = registry.RegisterModel("shop", name, tags={"team": "a"}, description="Says who is late.")
    registry.register_model(ctx, model)
    run_id = new_id()
    version = registry.RegisterVersion(
        "shop", name, run_id=run_id, source="mlflow-artifacts:/1/x", tags={"k": "v"}, description="First"
    )
    registry.register_version(ctx, version)
    registry.tag_version(ctx, registry.TagVersion("shop", name, 1, {"stage": "gold"}))
    registry.untag_version(ctx, registry.UntagVersion("shop", name, 1, "stage"))
    registry.move_alias(ctx, registry.MoveAlias("shop", name, "best", 1, "Measured."))
    registry.remove_alias(ctx, registry.RemoveAlias("shop", name, "best", "Withdrawn."))
    assert deliver_due(lambda: make_ctx(database), now=ctx.now(), allow_private=True).delivered == 6
    assert [(f"{one['entity']}.{one['action']}", one["data"]) for one in bodies] == [
        ("registered_model.created", {"name": name, "tags": {"team": "a"}, "description": "Says who is late."}),
        (
            "model_version.created",
            {
                "name": name,
                "version": "1",
                "source": "mlflow-artifacts:/1/x",
                "run_id": run_id,
                "tags": {"k": "v"},
                "description": "First",
            },
        ),
        ("model_version_tag.set", {"name": name, "version": "1", "key": "stage", "value": "gold"}),
        ("model_version_tag.deleted", {"name": name, "version": "1", "key": "stage"}),
        ("model_version_alias.created", {"name": name, "alias": "best", "version": "1"}),
        ("model_version_alias.deleted", {"name": name, "alias": "best"}),
    ]
    fields = {
        f"{entity.value}.{action.value}": set(payload.__annotations__)
        for (entity, action), payload in EVENT_TO_PAYLOAD_CLASS.items()
    }
    for one in bodies:
        assert set(one["data"]) == fields[f"{one['entity']}.{one['action']}"]


def test_the_worker_delivers_in_its_turns(workspace, receiver):
    url, bodies = receiver
    ctx = trusting(workspace)
    events.create_webhook(ctx, CreateWebhook("shop", "hook", url, ("model.",)))
    registry.register_model(ctx, registry.RegisterModel("shop", "late", "ada"))
    said = []
    courier = Courier(lambda: workspace.context(WORKER), reach=EVERYWHERE)
    worker = Worker(workspace, {}, None, refresh=lambda *_: 0, say=said.append, courier=courier)
    worker.start()
    worker.tick()
    wait_for(lambda: bodies)
    courier.close()
    assert [body["type"] for body in bodies] == ["model.created"]
    assert said == []


def test_a_worker_that_runs_delivers_and_stops_and_reaches_nothing_inside(workspace, receiver):
    """The address was let through when the webhook was made; the worker judges it again."""
    url, bodies = receiver
    ctx = trusting(workspace)
    hook = events.create_webhook(ctx, CreateWebhook("shop", "hook", url, ("model.",)))
    registry.register_model(ctx, registry.RegisterModel("shop", "late", "ada"))
    said, stop, ready = [], threading.Event(), threading.Event()
    given = {"say": said.append, "on_ready": lambda _: ready.set()}
    thread = threading.Thread(target=run, args=(workspace, stop), kwargs=given)
    thread.start()
    try:
        assert ready.wait(20)
        wait_for(lambda: events.list_deliveries(ctx, ListDeliveries(hook.id, state="dead")).deliveries)
        wait_for(lambda: any("does not lead to a public address" in one for one in said))
    finally:
        stop.set()
        thread.join()
    assert bodies == []
