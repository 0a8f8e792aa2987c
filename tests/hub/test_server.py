"""The hub as a process: starting, stopping, and what it costs."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from undrift.core.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from undrift.hub import run, server

RUN = (
    "import sys; from undrift.hub import run;"
    "run(sys.argv[1], port=int(sys.argv[2]), on_ready=lambda url: print(url, flush=True)); print('ended', flush=True)"
)
SLOW = (
    "import time; from undrift import registry\n"
    "def slow(ctx, request):\n    print('begun', flush=True); time.sleep(1); return []\n"
    "registry.list_models.handler = slow\n" + RUN
)
HEAVY = (
    "polars",
    "numpy",
    "onnxruntime",
    "dbos",
    "pyarrow",
    "scipy",
    "datasketches",
    "pydantic",
    "httpx",
    "obstore",
    "alembic",
    "psutil",
)
HALF_A_BODY = (
    b"POST /api/v1/registry/register_model HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100\r\n\r\n{"
)


class Process:
    """A hub in a process of its own."""

    def __init__(self, folder, code=RUN, port=0):
        self.started = time.monotonic()
        command = [sys.executable, "-c", code, str(folder), str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.status, answer.read()

    def connect(self, text):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(text)
        return connection

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def start(blank, tmp_path):
    started = []

    def make(code=RUN, port=0):
        folder = shutil.copytree(blank, tmp_path / f"workspace-{len(started)}")
        started.append(Process(folder, code, port))
        return started[-1]

    yield make
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_answers_and_ends_cleanly_when_asked(start, number):
    hub = start()
    assert hub.port > 0
    assert hub.get("/health")[0] == 200
    code, out, err = hub.stop(number)
    assert (code, out.strip(), err) == (0, "ended", "")


def test_a_request_in_flight_is_answered_before_it_ends(start):
    hub = start(SLOW)
    answers = []
    asked = threading.Thread(target=lambda: answers.append(hub.get("/api/v1/registry/list_models")))
    asked.start()
    assert hub.process.stdout.readline() == "begun\n"
    code, _, _ = hub.stop()
    asked.join()
    assert (code, answers) == (0, [(200, b"[]")])


@pytest.mark.parametrize(
    "held",
    [
        [
            b"",
            b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
            HALF_A_BODY,
        ],
        [b"GET / HTT"],
    ],
    ids=["silent, kept for later, a body nobody reads, half a body", "half a head"],
)
def test_connections_that_somebody_holds_open_do_not_keep_it_from_ending(start, held):
    hub = start()
    connections = [hub.connect(text) for text in held]
    time.sleep(0.2)
    begun = time.monotonic()
    code, _, err = hub.stop()
    assert code == 0
    assert time.monotonic() - begun < 5
    assert "panic" not in err
    for connection in connections:
        connection.close()


def test_it_is_one_small_process_that_starts_quickly(start):
    hub = start()
    begun = time.monotonic() - hub.started
    for path in ("/", "/health", "/metrics", "/audit", "/api/v1/registry/list_models"):
        assert hub.get(path)[0] == 200
    status = Path(f"/proc/{hub.process.pid}/status").read_text()
    resident_mb = int(status.partition("VmRSS:")[2].split()[0]) / 1024
    assert not Path(f"/proc/{hub.process.pid}/task/{hub.process.pid}/children").read_text().split()
    assert resident_mb < 120
    # One second where bytecode is kept; here other work may go on beside.
    assert begun < 10


def test_a_port_in_use_is_a_conflict_that_names_it_before_anything_else(tmp_path, unused_port):
    with socket.create_server(("127.0.0.1", unused_port)), pytest.raises(Conflict) as caught:
        run(tmp_path / "no workspace here", port=unused_port)
    assert caught.value.message == f"Port {unused_port} of 127.0.0.1 is in use."
    assert "another port" in caught.value.next_step


def test_a_second_hub_does_not_share_the_port_of_the_first(start):
    first = start()
    second = start(port=first.port)
    assert second.process.wait(20) != 0
    assert "is in use" in second.process.stderr.read()
    assert first.get("/health")[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.7.7"])
def test_an_address_that_others_can_reach_is_refused_by_the_name_of_what_it_gives_up(tmp_path, host):
    with pytest.raises(Forbidden, match="has no login yet") as caught:
        run(tmp_path, host=host)
    assert "--insecure-no-login" in caught.value.next_step


def test_the_flag_lets_it_listen_and_every_page_says_so(blank, tmp_path):
    folder = shutil.copytree(blank, tmp_path / "workspace")
    code = RUN.replace("port=int(sys.argv[2])", "port=0, host='0.0.0.0', insecure_no_login=True")
    hub = Process(folder, code)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{hub.port}/", timeout=10) as answer:
            assert b"everybody who reaches it owns it" in answer.read()
        with hub.connect(f"GET / HTTP/1.1\r\nHost: 0.0.0.0:{hub.port}\r\n\r\n".encode()) as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 403")
    finally:
        assert hub.stop()[0] == 0


@pytest.mark.parametrize("host", ["no such name", "", "1.2.3.4.5", "example.com"])
def test_what_is_no_address_is_refused(tmp_path, host):
    with pytest.raises(Invalid, match="is not an address to listen at"):
        run(tmp_path, host=host)


@pytest.mark.parametrize("port", [-1, 65536])
def test_what_is_no_port_is_refused(tmp_path, port):
    with pytest.raises(Invalid, match="is not a port"):
        run(tmp_path, port=port)


def test_an_address_of_another_machine_cannot_be_listened_at(tmp_path):
    with pytest.raises(Unavailable, match="cannot listen"):
        run(tmp_path, host="192.0.2.1", insecure_no_login=True)


def test_a_workspace_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFound, match="There is no workspace"):
        run(tmp_path / "nowhere", port=0)


def test_localhost_is_an_address(tmp_path):
    assert server._address("localhost") == "127.0.0.1"
    assert server._address("[::1]") == "::1"


def test_building_the_application_loads_nothing_heavy(blank, tmp_path):
    folder = shutil.copytree(blank, tmp_path / "workspace")
    code = (
        "import sys; from undrift.hub import build_app; from undrift.workspace import Workspace;"
        "build_app(Workspace.open(sys.argv[1]));"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(folder)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert out.strip() == "[]"
