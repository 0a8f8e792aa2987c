"""Children that end with their parent, ports, and roles."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from undrift.core.errors import Conflict, Unavailable
from undrift.processes import answers, check_port, free_port, role_holder, start_child, wait_ready
from undrift.workspace import Workspace

# A parent that starts a model server, says its number, and does nothing more.
PARENT = """
import sys, time
from pathlib import Path
from undrift.processes import start_child, wait_ready
folder, port = sys.argv[1:]
child = start_child(["serve", "--workspace", folder, "--port", port], Path(folder) / "logs" / "serve.log")
wait_ready(f"http://127.0.0.1:{port}/v2/health/live", 60, child)
print(child.process.pid, flush=True)
time.sleep(600)
"""


def test_a_child_answers_and_ends_with_a_parent_that_is_killed(folder, is_gone):
    port = free_port()
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(folder), str(port)], stdout=subprocess.PIPE, text=True)
    try:
        child = int(parent.stdout.readline())
        assert answers(f"http://127.0.0.1:{port}/health")
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert is_gone(child)
    assert check_port(port) is None


def test_a_child_whose_parent_has_gone_before_it_looks_ends_itself():
    env = os.environ | {"UNDRIFT_PARENT": "1"}
    said = subprocess.run([sys.executable, "-m", "undrift", "--version"], env=env, capture_output=True)
    assert (said.returncode, said.stdout) == (1, b"")


def test_a_child_that_fails_is_told_with_its_last_lines(tmp_path):
    log = tmp_path / "logs/serve.log"
    child = start_child(["serve", "--workspace", str(tmp_path / "nowhere")], log)
    with pytest.raises(Unavailable) as caught:
        wait_ready("http://127.0.0.1:9/health", 60, child)
    assert "`undrift serve` ended with exit code 3:\nThere is no workspace at" in caught.value.message
    assert str(log) in caught.value.next_step
    assert child.stop()


def test_a_child_says_only_what_it_said_itself_in_a_log_that_goes_on(tmp_path):
    log = tmp_path / "it.log"
    log.write_text("from before\n")
    child = start_child(["--version"], log)
    assert child.process.wait(60) == 0
    assert child.said().startswith("undrift ")
    assert log.read_text() == "from before\n" + child.said()


def test_a_long_log_is_put_aside(tmp_path, monkeypatch):
    monkeypatch.setattr("undrift.processes._LOG_LIMIT_BYTES", 10)
    log = tmp_path / "it.log"
    log.write_text("more than ten bytes")
    start_child(["--version"], log).process.wait(60)
    assert (tmp_path / "it.log.1").read_text() == "more than ten bytes"
    assert log.read_text().startswith("undrift ")


def test_a_log_that_cannot_be_written_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be started"):
        start_child(["--version"], tmp_path / "file" / "it.log")


def test_waiting_for_somebody_who_does_not_answer_ends(unused_port):
    with pytest.raises(Unavailable, match=r"did not answer within 0\.1 s"):
        wait_ready(f"http://127.0.0.1:{unused_port}/health", 0.1)


def test_a_child_that_does_not_heed_is_killed(tmp_path):
    child = start_child(["--version"], tmp_path / "it.log")
    child.process.wait(60)
    stubborn = [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); input()"]
    with subprocess.Popen(
        stubborn, stdout=subprocess.PIPE, stdin=subprocess.PIPE, process_group=0, text=True
    ) as child.process:
        child.process.stdout.readline()
        assert child.stop(timeout_s=0.1) is False
    assert child.exit_code == -signal.SIGKILL


def test_a_port_in_use_is_told_with_who_and_what_to_do():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(Conflict) as caught:
            check_port(port, "--serve-port")
    assert caught.value.message.startswith(f"Port {port} of 127.0.0.1 is in use by process {os.getpid()} (")
    assert caught.value.next_step == "Stop it, or choose another port with --serve-port."


def test_a_role_is_told_with_who_holds_it(folder):
    workspace = Workspace.open(folder)
    assert role_holder(folder, "worker") is None
    with workspace.hold("worker"):
        assert role_holder(folder, "worker") == os.getpid()
        assert role_holder(folder, "up") is None
    assert role_holder(folder, "worker") is None
    workspace.close()
