"""A workspace to work on, and a way to call the program in this process."""

from __future__ import annotations

import json
import shutil
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from undrift.cli.app import run
from undrift.core import Actor, ReplayClock, new_id
from undrift.loop import Cycle
from undrift.monitoring import Finding, Incident
from undrift.registry import (
    Field,
    MoveAlias,
    RegisterModel,
    RegisterVersion,
    Signature,
    move_alias,
    register_model,
    register_version,
)
from undrift.serving import SetArm, SetRoute, set_route
from undrift.workspace import Workspace

START = datetime(2013, 4, 1, tzinfo=UTC)


class Said(NamedTuple):
    """What the program answered."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def problem(self):
        return json.loads(self.err)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A fresh workspace; made once, because that takes longer than most tests."""
    folder = tmp_path_factory.mktemp("made") / ".undrift"
    Workspace.open(folder, create=True).close()
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """The folder of an empty workspace of this test's own, in the current folder."""
    folder = tmp_path / ".undrift"
    shutil.copytree(made, folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNDRIFT_WORKSPACE", raising=False)
    return folder


@pytest.fixture(autouse=True)
def signals():
    """Commands that run in the foreground take the signals; they go back to the session."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def call(capfd):
    """Call the program; returns exit code, stdout and stderr."""

    def call(*args):
        capfd.readouterr()
        code = run([str(arg) for arg in args])
        said = capfd.readouterr()
        return Said(code, said.out, said.err)

    return call


@pytest.fixture
def is_gone():
    """Ask whether a process ends within some seconds."""

    def is_gone(pid, within_s=5.0):
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            try:
                # A dead child of a dead parent may wait for the init of this machine to bury it, once all its threads
                # are gone.
                dead = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
                if dead and len(list(Path(f"/proc/{pid}/task").iterdir())) == 1:
                    return True
            except (FileNotFoundError, ProcessLookupError):
                return True
            time.sleep(0.02)
        return False

    return is_gone


@pytest.fixture
def fill(folder):
    """Fill the workspace: a model with two versions, a route, an incident, and a cycle that awaits approval."""
    workspace = Workspace.open(folder)
    try:
        yield _fill(workspace)
    finally:
        workspace.close()


def _fill(workspace):
    from undrift.loop.records import add_cycle
    from undrift.monitoring.records import add_incident
    from undrift.tracking import LogRun, StartRun, log_run, start_run

    ctx = workspace.context(Actor("ada"), clock=ReplayClock(START))
    register_model(ctx, RegisterModel("flights", "late", "ops@example.com"))
    artifact = ctx.repository.trees.edit(None, {"model.onnx": b"bytes"})
    run_ = start_run(ctx, StartRun("flights", "late", "first", parameters={"seed": 1}))
    log_run(ctx, LogRun(run_.id, metrics={"log_loss": 0.25}))
    for run_id in (run_.id, new_id()):
        signature = Signature((Field("distance", "float"),), "classification", "late")
        register_version(
            ctx, RegisterVersion("flights", "late", run_id, artifact, signature, metrics={"log_loss": 0.25})
        )
    move_alias(ctx, MoveAlias("flights", "late", "champion", 1, "It passed its gates."))
    set_route(ctx, SetRoute("flights", "late", "late", (SetArm("champion", 1, 1.0),), "First."))
    incident = Incident(
        id=new_id(),
        number=1,
        project="flights",
        endpoint="late",
        cause="data fault",
        title="Data fault: unit change in temp",
        columns=("temp",),
        dataset="weather",
        owner="weather-desk@example.com",
        opened_at=START,
        started_at=START,
        last_seen_at=START,
        resolved_at=None,
        state="open",
        findings=(Finding("data fault", "unit change", "temp", START, START, 12.5, 1.0, "temp is in another unit."),),
        diagnosis="temp comes in °C.",
    )
    cycle = Cycle(
        id=new_id(),
        project="flights",
        endpoint="late",
        model="late",
        stage="awaiting approval",
        trigger="schedule",
        incident=None,
        reason="30d have passed.",
        opened_at=START,
        stage_since=START,
        champion=1,
        challenger=2,
    )
    with ctx.begin() as tx:
        add_incident(tx, incident)
        add_cycle(tx, cycle)
    return {"run": run_.id, "cycle": cycle.id}


@pytest.fixture
def project_file():
    """A project whose one model learns from a dataset that is added by hand."""

    def write(path: Path, body=""):
        path.write_text(
            "import undrift as ud\n"
            "shop = ud.Project('shop', owner='ada@example.com')\n"
            "orders = shop.dataset('orders', key='order_id', time='ordered', known_at='delivered')\n"
            "@shop.model('late', predicts='late', data=orders, inputs=['km'])\n"
            "def train(rows, late, seed):\n"
            "    raise SystemExit\n" + body
        )

    return write
