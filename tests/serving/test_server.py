"""A model server as a process: killed under load, changed under load, told to end, slow clients, taken ports."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from undrift.core.errors import Conflict, Invalid, Unavailable
from undrift.serving import RoutingTable, collect, read_predictions, records
from undrift.serving.frames import Predictions, decode
from undrift.serving.server import run
from undrift.serving.wal import read_frames

SCRIPT = Path(__file__).with_name("serve_for_test.py")
BODY = json.dumps({"rows": [{"a": 0, "b": 0}]}).encode()


class Server:
    def __init__(self, folder, port=0):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(SCRIPT), str(folder), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        said = self.process.stdout.readline()
        if not said.startswith("127.0.0.1 "):
            self.said = said
            return
        self.port = int(said.split()[1])

    def ask(self, method="POST", path="/predict/late", body=BODY, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            return answered(connection, method, path, body, **headers)
        finally:
            connection.close()

    def end(self, how=signal.SIGTERM):
        """Tell it to end; returns its exit code, what it said last, and its complaints."""
        self.process.send_signal(how)
        said, complaints = self.process.communicate(timeout=30)
        return self.process.returncode, said, complaints


def answered(connection, method="POST", path="/predict/late", body=BODY, **headers):
    given = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, given)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@pytest.fixture
def serve(tmp_path):
    servers = []

    def start(folder=tmp_path, port=0):
        servers.append(Server(folder, port))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()


@pytest.fixture
def deploy(source, serving, tmp_path):
    def put(bias, revision=1):
        source.champion(bias=bias, number=revision, revision=revision)
        table = RoutingTable(revision, source.routes)
        temporary = tmp_path / "table.json.new"
        temporary.write_bytes(msgspec.json.encode(table))
        temporary.replace(tmp_path / "table.json")

    return put


class Load:
    """Clients that ask until they are told to stop, each with ids of its own, and remember every answer."""

    def __init__(self, server, clients=4, rows=1):
        self.answers = [[] for _ in range(clients)]
        self.broken = []
        self._server, self._rows = server, rows
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(place,)) for place in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self, place):
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=20)
        number = 0
        while not self._stop.is_set():
            ids = [f"{place}-{number}-{row}" for row in range(self._rows)]
            body = json.dumps({"rows": [{"a": 0, "b": 0}] * self._rows, "ids": ids}).encode()
            try:
                status, found = answered(connection, body=body)
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(repr(error))
                break
            self.answers[place].append((status, found))
            number += 1
        connection.close()

    def wait(self, count):
        until = time.monotonic() + 30
        while sum(map(len, self.answers)) < count and time.monotonic() < until:
            time.sleep(0.002)

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return [answer for one in self.answers for answer in one]


def logged(folder):
    frames = [decode(payload) for path in sorted(folder.glob("*.wal")) for payload, _ in read_frames(path)]
    return [id_ for frame in frames if isinstance(frame, Predictions) for id_ in frame.ids]


def test_a_server_that_is_killed_has_logged_every_prediction_it_answered(serve, deploy, tmp_path, ctx):
    deploy(0.25)
    answered_ids = []
    for round_ in range(3):
        server = serve()
        load = Load(server, rows=round_ + 1)
        load.wait(60 * (round_ + 1))
        server.end(signal.SIGKILL)
        answers = load.stop()
        assert {status for status, _ in answers} == {200}
        ids = [id_ for _, found in answers for id_ in found["ids"]]
        assert Counter(ids).most_common(1)[0][1] == 1
        known = Counter(logged(tmp_path / "log"))
        assert [id_ for id_ in ids if known[id_] == 0] == []
        answered_ids.append(set(ids))
    everything = set().union(*answered_ids)
    collect(ctx, tmp_path / "log")
    start = ctx.now()
    found = read_predictions(ctx, "late", start, start.replace(year=2200))["prediction_id"].to_list()
    assert len(found) == len(set(found))
    # Each answered prediction is there once; beside them at most one request a client a kill that was not answered.
    assert everything <= set(found)
    assert len(set(found) - everything) <= 4 * (1 + 2 + 3)
    with ctx.read() as tx:
        counted = records.account(tx, "late")
    assert (counted.torn, counted.dropped) == (0, 0)
    assert list((tmp_path / "log").iterdir()) == []


def test_no_request_fails_while_versions_change_under_load(serve, deploy, tmp_path):
    deploy(0.0, 1)
    server = serve()
    load = Load(server)
    load.wait(20)
    for revision in range(2, 8):
        deploy((revision - 1) / 16, revision)
        status, found = server.ask(body=BODY[:-1] + b', "routing_revision": %d}' % revision)
        assert (status, found["predictions"], found["versions"]) == (200, [(revision - 1) / 16], [revision])
        load.wait(revision * 30)
    answers = load.stop()
    assert load.broken == []
    assert {status for status, _ in answers} == {200}
    for _, found in answers:
        # Each answer is by one route from beginning to end.
        (version,) = found["versions"]
        assert (found["predictions"], found["routing_revision"]) == ([(version - 1) / 16], version)
    assert len({found["versions"][0] for _, found in answers}) >= 4


def test_requests_in_flight_are_answered_when_the_server_is_told_to_end(serve, deploy, tmp_path):
    deploy(0.25)
    server = serve()
    load = Load(server, rows=50)
    load.wait(20)
    code, said, complaints = server.end(signal.SIGTERM)
    answers = load.stop()
    assert (code, said, complaints) == (0, "clean end\n", "")
    assert {status for status, _ in answers} == {200}
    # A connection ends between two requests, or is refused; none is cut off inside an answer.
    assert not [error for error in load.broken if "IncompleteRead" in error]
    ids = [id_ for _, found in answers for id_ in found["ids"]]
    assert sorted(logged(tmp_path / "log")) == sorted(ids)


def test_a_server_answers_and_starts_while_its_database_and_store_are_away(serve, deploy, tmp_path):
    deploy(0.25)
    server = serve()
    assert server.ask()[1]["predictions"] == [0.25]
    (tmp_path / "table.json").rename(tmp_path / "table.json.away")
    (tmp_path / "blobs").rename(tmp_path / "blobs.away")
    time.sleep(1.2)
    assert server.ask()[1]["predictions"] == [0.25]
    server.end(signal.SIGKILL)
    again = serve()
    assert again.ask()[1]["predictions"] == [0.25]
    assert again.ask("GET", "/v2/health/ready")[0] == 200
    status, health = again.ask("GET", "/health")
    assert (status, health["status"]) == (200, "problem")
    assert again.ask(body=BODY[:-1] + b', "routing_revision": 2}')[0] == 503


def test_a_taken_port_is_told_before_anything_else(lasting):
    with socket.socket() as foreign:
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()
        # Our own server shares its port with whoever asks for that; a foreign one does not.
        for port in (lasting.port, foreign.getsockname()[1]):
            with pytest.raises(Conflict, match=f"Port {port} of 127.0.0.1 is in use") as caught:
                run(lambda: pytest.fail("the application was made"), port=port)
            assert "--port" in caught.value.next_step
    assert lasting.ask()[0] == 200


def test_an_address_that_cannot_be_listened_at_is_told():
    with pytest.raises(Unavailable, match="cannot be listened at"):
        run(lambda: pytest.fail("the application was made"), host="203.0.113.7")
    with pytest.raises(Invalid, match="is no port"):
        run(lambda: pytest.fail("the application was made"), port=65_536)


def test_control_c_is_a_clean_end_and_the_port_can_be_taken_again(serve, deploy):
    deploy(0.25)
    first = serve()
    first.ask()
    assert first.end(signal.SIGINT) == (0, "clean end\n", "")
    second = serve(port=first.port)
    assert second.port == first.port
    assert second.ask()[0] == 200


def raw(server, request, *, wait=5.0):
    """Send bytes as they are, and return the status line of the answer; empty when the connection was closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as connection:
        connection.sendall(request)
        return connection.recv(4096).partition(b"\r\n")[0].decode()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """One server for all tests that only ask."""
    import importlib.util

    from undrift.blobs import Repository, open_store

    spec = importlib.util.spec_from_file_location("serving_helpers", Path(__file__).with_name("conftest.py"))
    helpers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helpers)
    folder = tmp_path_factory.mktemp("lasting")
    source = helpers.Source(Repository(open_store(str(folder / "blobs")))).champion(weights=[0.25, 0.5], bias=0.0)
    (folder / "table.json").write_bytes(msgspec.json.encode(source.table()))
    server = Server(folder)
    yield server
    code, said, complaints = server.end()
    assert (code, said, complaints) == (0, "clean end\n", "")


def test_over_the_wire_the_protocol_holds(lasting):
    tensor = {"name": "features", "datatype": "FP64", "shape": [2, 2], "data": [1, 0, 0, 1]}
    status, found = lasting.ask(path="/v2/models/late/infer", body=json.dumps({"inputs": [tensor]}))
    assert (status, found["outputs"][0]["data"]) == (200, [0.25, 0.5])
    assert lasting.ask("GET", "/v2/models/late", body=None)[1]["name"] == "late"
    assert lasting.ask("GET", "/health", body=None)[1]["status"] == "ok"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", "HTTP/1.1 403 Forbidden"),
        (b"GET /health HTTP/1.0\r\n\r\n", "HTTP/1.0 400 Bad Request"),
        (b"POST /predict/late HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 415"),
        (b"POST /predict/late HTTP/1.1\r\nHost: localhost\r\nContent-Length: -2\r\n\r\n{}", "HTTP/1.1 400 Bad Request"),
        (b"\0\0\0\0\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 4"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 600_000 + b"\r\n\r\n", "HTTP/1.1 431"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
    ],
)
def test_strange_requests_are_answered_or_closed_and_others_go_on(lasting, request_, status):
    try:
        said = raw(lasting, request_)
    except ConnectionResetError:
        said = ""
    assert said.startswith(status) or said == ""
    assert lasting.ask()[0] == 200


def test_a_body_in_pieces_is_read(lasting):
    head = b"POST /predict/late HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    assert raw(lasting, head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces) == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("size", [9 << 20, 40 << 20])
def test_a_body_over_the_limit_is_told_so_over_the_wire(lasting, size):
    connection = http.client.HTTPConnection("127.0.0.1", lasting.port, timeout=20)
    try:
        status, found = answered(connection, body=b" " * size)
        assert (status, found["code"]) == (413, "too_large")
    except (BrokenPipeError, ConnectionResetError):
        pass  # closed while the client was still sending
    finally:
        connection.close()
    assert lasting.ask()[0] == 200


def test_a_kept_connection_answers_a_small_request_without_delay(lasting):
    # Nagle and delayed acknowledgements would make it 40 ms.
    connection = http.client.HTTPConnection("127.0.0.1", lasting.port, timeout=20)
    took = []
    for _ in range(30):
        started = time.perf_counter()
        assert answered(connection)[0] == 200
        took.append(time.perf_counter() - started)
    connection.close()
    assert sorted(took)[15] < 0.02


HEAD = b"POST /predict/late HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"


def test_slow_clients_cost_others_nothing(lasting):
    head = HEAD % 5_000
    slow = [socket.create_connection(("127.0.0.1", lasting.port)) for _ in range(60)]
    for place, connection in enumerate(slow):
        connection.sendall(head if place % 2 else head + b"\r\n{")
    took = []
    for _ in range(50):
        started = time.perf_counter()
        assert lasting.ask()[0] == 200
        took.append(time.perf_counter() - started)
    assert sorted(took)[48] < 0.25
    for connection in slow:
        connection.close()


def test_clients_that_hang_up_cost_nothing(lasting):
    for body in (BODY, BODY[:5], b""):
        for _ in range(10):
            with socket.create_connection(("127.0.0.1", lasting.port)) as connection:
                connection.sendall(HEAD % len(BODY) + b"\r\n" + body)
    deadline = time.monotonic() + 5
    while lasting.ask("GET", "/health", body=None)[1]["in_flight"]["requests"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert lasting.ask("GET", "/health", body=None)[1]["in_flight"] == {"requests": 0, "rows": 0}
