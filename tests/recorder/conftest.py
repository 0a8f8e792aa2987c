"""A workspace to record into, hubs as processes that can be killed, and a place of this test's own for run folders."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import undrift as ud
from undrift import tracking
from undrift.workspace import Workspace

HUB = (
    "import sys; from undrift.hub import run;"
    "run(sys.argv[1], port=int(sys.argv[2]), on_ready=lambda url: print(url, flush=True))"
)


@pytest.fixture(scope="session")
def blank(tmp_path_factory):
    """The folder of a workspace that was just made: copying it is cheaper than migrating another database."""
    folder = tmp_path_factory.mktemp("blank") / "workspace"
    Workspace.open(folder, create=True).close()
    return folder


@pytest.fixture
def workspace(blank, tmp_path):
    """The folder of an empty workspace."""
    return shutil.copytree(blank, tmp_path / "workspace")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The folder in which the folders of runs lie."""
    monkeypatch.setenv("UNDRIFT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("UNDRIFT_QUIET", "1")
    for variable in ("UNDRIFT_HUB", "UNDRIFT_WORKSPACE", "UNDRIFT_OFFLINE", "UNDRIFT_PROJECT", "UNDRIFT_EXIT_WAIT"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "runs"


@pytest.fixture
def record(workspace, runs):
    """Begin a run into the workspace, with nothing captured unless asked for; what a test left open is ended."""
    begun = []

    def begin(experiment="flights", **given):
        begun.append(ud.run(experiment, **({"target": workspace, "capture": False, "system_metrics": False} | given)))
        return begun[-1]

    yield begin
    for run in begun:
        run.end(wait_s=0.2)


@pytest.fixture
def client(workspace):
    """A client on the workspace."""
    with ud.connect(workspace) as client:
        yield client


@pytest.fixture
def start_hub(workspace):
    """Start a hub of the workspace as a process; what still runs at the end is killed."""
    started = []

    def start(port=0):
        process = subprocess.Popen(
            [sys.executable, "-c", HUB, str(workspace), str(port)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        process.url = process.stdout.readline().strip()
        assert process.url
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def train(tmp_path, runs):
    """Start a script as a process of its own, as a training would be; what still runs at the end is killed."""
    started = []

    def start(code, *args, **environment):
        script = tmp_path / "train.py"
        script.write_text(code)
        process = subprocess.Popen(
            [sys.executable, str(script), *map(str, args)],
            cwd=tmp_path,
            env=os.environ | {"UNDRIFT_QUIET": "0"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def points(workspace):
    """Read the points of a metric as (step, value) from the database, in the order of steps."""

    def read(run_id, name):
        with ud.connect(workspace) as client:
            history = client.call(tracking.metric_history, tracking.MetricHistory(run_id, name))
        return sorted(zip(history.steps, history.values, strict=True))

    return read


@pytest.fixture
def find(workspace):
    """Read a run from the database."""

    def read(run_id):
        with ud.connect(workspace) as client:
            return client.call(tracking.find_run, tracking.FindRun(run_id))

    return read


@pytest.fixture
def eventually():
    """Wait until a check gives something true, and return that."""

    def wait(check, seconds=20.0):
        until = time.monotonic() + seconds
        while not (found := check()):
            assert time.monotonic() < until, "it did not happen in time"
            time.sleep(0.05)
        return found

    return wait
