"""`undrift hub`, `undrift serve`, `undrift worker`: one process each, in the foreground."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from undrift.cli.routes import WorkspaceRoutes
from undrift.core.errors import NotFound
from undrift.loop import ListCycles, list_cycles
from undrift.processes import answers
from undrift.workspace import Workspace


@pytest.fixture
def start(folder):
    """Start a command; what still runs at the end is killed."""
    started = []

    def start(*args):
        command = [sys.executable, "-m", "undrift", args[0], "--workspace", str(folder), *args[1:]]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def end(process, number):
    process.send_signal(number)
    process.wait(20)
    return process.returncode, process.stdout.read()


@pytest.mark.parametrize("command", ["hub", "serve"])
def test_it_says_where_it_answers_and_ends_cleanly_with_ctrl_c(command, start):
    process = start(command, "--port", "0")
    words = process.stdout.readline().split()
    assert words[:2] == ["undrift", f"{command}:"]
    assert answers(words[2] + "/health")
    assert end(process, signal.SIGINT) == (0, "")


def test_with_json_it_says_so_in_one_line_of_json(start):
    process = start("serve", "--port", "0", "--json")
    assert answers(json.loads(process.stdout.readline())["url"] + "/health")
    assert end(process, signal.SIGTERM) == (0, "")


@pytest.mark.parametrize("command", ["hub", "serve"])
def test_others_than_this_machine_are_let_in_only_when_asked_for(command, call, folder):
    said = call(command, "--host", "0.0.0.0", "--port", "0")
    assert said.code == 4
    assert "--insecure-no-login" in said.err


def test_a_worker_without_a_project_only_collects_and_ends_cleanly(start, folder):
    process = start("worker", "--json")
    assert json.loads(process.stdout.readline()) == {"url": None, "endpoints": []}
    began = time.monotonic()
    assert end(process, signal.SIGTERM) == (0, "")
    assert time.monotonic() - began < 5
    assert "names no project" in process.stderr.read()


def test_a_worker_of_a_project_ends_cleanly_too(start, folder, project_file):
    # Polars takes Ctrl-C over when it computes for the first time.
    project_file(
        folder.parent / "project.py",
        body="import polars as pl\npl.LazyFrame({'a': [1]}).collect()\nprint('from the project')\n",
    )
    (folder / "workspace.json").write_text('{"format": 1, "project": "project.py"}')
    process = start("worker")
    # What the project prints is no answer of the command.
    assert process.stdout.readline() == "undrift worker: ready (late)\n"
    reads = [process.stderr.readline() for _ in range(2)]
    assert reads[0] == "from the project\n"
    assert "late waits for rows in dataset 'orders'" in reads[1]
    began = time.monotonic()
    assert end(process, signal.SIGINT) == (0, "")
    assert time.monotonic() - began < 5


SLOW_PROJECT = """
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
import polars as pl
import undrift as ud

def read(since, until):
    moments = [until - timedelta(hours=hour) for hour in range(1, 2000)] if since is None else []
    return pl.DataFrame({"id": [str(n) for n in range(len(moments))], "at": moments, "km": [1.0] * len(moments),
                         "late": [0, 1] * (len(moments) // 2) + [0] * (len(moments) % 2)})

shop = ud.Project("shop", owner="ada@example.com")
orders = shop.dataset("orders", key="id", time="at", source=read)

@shop.model("late", predicts="late", data=orders, inputs=["km"])
def train(rows, late, seed):
    Path(__file__).with_name("trainings").open("a").write("x")
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_training_is_cut_off_by_a_stop_and_gone_on_with_at_the_next_start(start, folder):
    (folder.parent / "project.py").write_text(SLOW_PROJECT)
    (folder / "workspace.json").write_text('{"format": 1, "project": "project.py"}')
    trainings = folder.parent / "trainings"

    def train_once_more(so_far):
        process = start("worker")
        until = time.monotonic() + 60
        while not trainings.exists() or len(trainings.read_text()) == so_far:
            assert time.monotonic() < until
            time.sleep(0.05)
        return process

    process = train_once_more(0)
    began = time.monotonic()
    assert end(process, signal.SIGTERM) == (0, "undrift worker: ready (late)\n")
    assert time.monotonic() - began < 8
    assert "is cut off; it is resumed at the next start." in process.stderr.read()
    train_once_more(1)
    workspace = Workspace.open(folder)
    (cycle,) = list_cycles(workspace.context(), ListCycles())
    workspace.close()
    assert cycle.stage == "retraining"


def test_a_second_worker_is_told_who_runs_already(call, folder):
    workspace = Workspace.open(folder)
    with workspace.hold("worker"):
        said = call("worker")
    workspace.close()
    assert said.code == 5
    assert f"`undrift worker` runs already on the workspace {folder} (process {os.getpid()})." in said.err


def test_a_worker_whose_project_is_gone_says_so(call, folder):
    (folder / "workspace.json").write_text('{"format": 1, "project": "gone.py"}')
    said = call("worker")
    assert said.code == 3
    assert f"There is no project file {folder.parent / 'gone.py'}." in said.err


def test_a_model_server_starts_while_the_database_is_away(start, folder, unused_port):
    address = f"postgresql://nobody@127.0.0.1:{unused_port}/undrift"
    (folder / "workspace.json").write_text(json.dumps({"format": 1, "database": address}))
    (folder / "serving").mkdir()
    (folder / "serving/routes.json").write_text('{"revision": 7, "routes": {}}')
    process = start("serve", "--port", "0", "--json")
    assert select.select([process.stdout], [], [], 60)[0]
    url = json.loads(process.stdout.readline())["url"]
    assert answers(url + "/v2/health/live")
    assert end(process, signal.SIGTERM) == (0, "")


def test_the_routes_of_a_workspace_are_those_of_its_database(fill, folder):
    routes = WorkspaceRoutes(folder)
    table = routes.table()
    assert (table.revision, list(table.routes)) == (1, ["late"])
    artifact = table.routes["late"].champion.artifact
    assert routes.repository.trees.get(artifact, "model.onnx") == b"bytes"
    routes.workspace.database.close()


def test_a_model_server_migrates_nothing(folder):
    (folder / "undrift.db").unlink()
    routes = WorkspaceRoutes(folder)
    with pytest.raises(Exception, match="no such table"):
        routes.table()
    routes.workspace.database.close()
    connection = sqlite3.connect(folder / "undrift.db")
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()


def test_where_there_is_no_workspace_there_are_no_routes(tmp_path):
    with pytest.raises(NotFound):
        WorkspaceRoutes(tmp_path)
