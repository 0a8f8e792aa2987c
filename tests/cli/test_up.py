"""`undrift up` with the real processes: ready, kept running, and gone when it goes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from undrift.processes import answers, check_port


class Up:
    """A running `undrift up`, and what it said, line by line."""

    def __init__(self, folder, *options):
        command = [sys.executable, "-m", "undrift", "up", "--workspace", str(folder), "--json", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.pids = {}

    def until(self, **wanted):
        """Return the next line that has these facts."""
        for text in self.process.stdout:
            line = json.loads(text)
            if line.get("state") == "ready" and "process" in line:
                self.pids[line["process"]] = line["pid"]
            if wanted.items() <= line.items():
                return line
        raise AssertionError(f"up ended: {self.process.stderr.read()}")

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def start(folder):
    started = []

    def start(*options):
        started.append(Up(folder, "--port", "0", "--serve-port", "0", *options))
        return started[-1]

    yield start
    for up in started:
        up.end()


@pytest.fixture(scope="module")
def running(made, tmp_path_factory):
    """One that runs for all the tests that leave it running, with its folder and addresses."""
    folder = tmp_path_factory.mktemp("running") / ".undrift"
    shutil.copytree(made, folder)
    up = Up(folder, "--port", "0", "--serve-port", "0")
    ready = up.until(state="ready", logs=str(folder / "logs"))
    yield up, folder, ready
    up.end()


def test_it_says_where_everything_is_once_all_answer(running):
    _, folder, ready = running
    assert answers(ready["hub"] + "/health")
    assert answers(ready["serve"] + "/v2/health/live")
    assert {path.name for path in (folder / "logs").iterdir()} == {"hub.log", "worker.log", "serve.log"}


def test_a_second_one_is_told_who_runs_already(running, call):
    up, folder, _ = running
    said = call("up", "--workspace", folder)
    assert said.code == 5
    assert said.err == (
        f"`undrift up` runs already on the workspace {folder} (process {up.process.pid}).\n"
        "Use that one, or stop it first.\n"
    )


def test_the_doctor_and_status_see_it_run(running, call):
    up, folder, _ = running
    findings = call("doctor", "--json", "--workspace", folder).json["findings"]
    assert f"`undrift up` runs (process {up.process.pid})." in [one["sentence"] for one in findings]
    assert call("status", "--json", "--workspace", folder).json["worker_runs"] is True


def test_commands_can_ask_the_hub_instead_of_the_workspace(running, call):
    _, _, ready = running
    assert call("status", "--hub", ready["hub"], "--json").json["ok"] is True
    missing = call("runs", "0" * 32, "--hub", ready["hub"])
    assert (missing.code, missing.err.splitlines()[1]) == (3, "List runs with `undrift runs`.")


def test_a_process_that_dies_is_started_again(running):
    up, _, ready = running
    for name in ("serve", "worker"):
        before = up.pids[name]
        os.kill(before, signal.SIGKILL)
        assert up.until(process=name, state="ended")["exit_code"] == -signal.SIGKILL
        assert up.until(process=name, state="ready")["pid"] != before
    assert answers(ready["serve"] + "/v2/health/live")


def test_ctrl_c_stops_all_of_them(start, folder, is_gone):
    up = start()
    ready = up.until(state="ready", logs=str(folder / "logs"))
    began = time.monotonic()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(30) == 0
    assert time.monotonic() - began < 15
    assert up.process.stderr.read() == ""
    assert len(up.pids) == 3
    assert all(is_gone(pid) for pid in up.pids.values())
    for address in (ready["hub"], ready["serve"]):
        check_port(int(address.rpartition(":")[2]))


def test_a_port_in_use_is_told_before_anything_is_started(call, folder, unused_port):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        said = call("up", "--port", unused_port, "--serve-port", port)
    assert said.code == 5
    assert said.err.startswith(f"Port {port} of 127.0.0.1 is in use by process {os.getpid()} (")
    assert said.err.endswith("Stop it, or choose another port with --serve-port.\n")
    assert not (folder / "logs").exists()


def test_hub_and_model_server_need_a_port_each(call, folder):
    assert call("up", "--port", "7999", "--serve-port", "7999").code == 2


def test_a_project_that_fails_is_told_with_its_words(start, folder):
    settings = json.loads((folder / "workspace.json").read_text())
    (folder / "workspace.json").write_text(json.dumps(settings | {"project": "project.py"}))
    (folder.parent / "project.py").write_text("1 / 0")
    up = start()
    assert up.process.wait(60) == 7
    problem = json.loads(up.process.stderr.read())
    assert "`undrift worker` ended with exit code 2" in problem["detail"]
    assert "project.py fails: ZeroDivisionError: division by zero" in problem["detail"]
    assert problem["next_step"] == f"Its log is {folder / 'logs/worker.log'}."
    assert Path(folder / "logs" / "hub.log").exists()
