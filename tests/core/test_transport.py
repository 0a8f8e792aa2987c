from __future__ import annotations

import http.server
import json
import socket
import threading
import urllib.parse
from datetime import UTC, datetime

import msgspec
import pytest

from undrift.core import Context, HttpTransport, InProcessTransport, operation
from undrift.core.errors import (
    Conflict,
    Corrupt,
    Forbidden,
    Invalid,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UndriftError,
)
from undrift.events import read_after


class Find(msgspec.Struct, frozen=True):
    name: str
    limit: int = 10
    after: datetime | None = None
    exact: bool = False
    tags: list[str] = []


class Found(msgspec.Struct, frozen=True):
    name: str
    at: datetime


@operation("probes.find", permission="probes:read")
def find(ctx: Context, request: Find) -> list[Found]:
    """Find probes."""
    return [Found(request.name, ctx.now())]


@operation("probes.add", permission="probes:write", emits=("probe.added",))
def add(ctx: Context, request: Find) -> Found:
    """Add a probe."""
    with ctx.begin():
        ctx.emit("probe.added", f"probes/{request.name}", project="p")
        if request.name == "missing":
            raise NotFound("There is no such probe.")
    return Found(request.name, ctx.now())


class Hub:
    """A server that answers what it is told to, and keeps what it was asked."""

    def __init__(self):
        self.status, self.body, self.headers = 200, b"", {}
        self.asked = []
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                hub.asked.append((self.command, self.path, dict(self.headers), body))
                self.send_response(hub.status)
                for name, value in ({"Content-Length": str(len(hub.body))} | hub.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(hub.body)

            do_GET = do_POST = answer  # noqa: N815 - the server's names

            def log_message(self, *_args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answers(self, status, body, **headers):
        self.status, self.headers = status, headers
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def running_hub():
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def hub(running_hub):
    running_hub.asked.clear()
    return running_hub


@pytest.fixture
def transport(hub):
    transport = HttpTransport(hub.url + "/")
    yield transport
    transport.close()


# ---- in this process -------------------------------------------------------------------------------------------------


def test_in_process_each_call_has_a_context_of_its_own(ctx, make_ctx):
    transport = InProcessTransport(lambda: make_ctx(ctx.database))
    assert transport.call(find, Find("x")) == [Found("x", ctx.now())]
    with pytest.raises(NotFound):
        transport.call(add, Find("missing"))
    for key in ("key", "key", None, None):
        transport.call(add, Find("x"), idempotency_key=key)
    with ctx.read() as tx:
        assert len(read_after(tx, 0)) == 3


# ---- over HTTP -------------------------------------------------------------------------------------------------------


def test_a_read_is_a_get_with_its_fields_in_the_query(hub, transport):
    hub.answers(200, [{"name": "x", "at": "2013-01-01T00:00:00Z"}])
    request = Find("a/b &c=ü", after=datetime(2013, 1, 1, tzinfo=UTC), exact=True, tags=["a b", "c"])
    assert transport.call(find, request) == [Found("x", datetime(2013, 1, 1, tzinfo=UTC))]
    ((method, path, _, body),) = hub.asked
    route, _, query = path.partition("?")
    assert (method, route, body) == ("GET", "/api/v1/probes/find", b"")
    assert urllib.parse.parse_qs(query) == {
        "name": ["a/b &c=ü"],
        "limit": ["10"],
        "after": ["2013-01-01T00:00:00Z"],
        "exact": ["true"],
        "tags": ['["a b","c"]'],
    }


def test_a_change_is_a_post_of_json_with_its_key(hub, transport):
    hub.answers(201, {"name": "x", "at": "2013-01-01T00:00:00Z", "new_in_a_later_version": 1})
    found = transport.call(add, Find("x"), idempotency_key="cycle-7/add")
    assert found == Found("x", datetime(2013, 1, 1, tzinfo=UTC))
    ((method, path, headers, body),) = hub.asked
    assert (method, path) == ("POST", "/api/v1/probes/add")
    assert headers["Idempotency-Key"] == "cycle-7/add"
    assert headers["Content-Type"] == "application/json"
    assert msgspec.json.decode(body, type=Find) == Find("x")


def test_without_a_key_none_is_sent(hub, transport):
    hub.answers(200, {"name": "x", "at": "2013-01-01T00:00:00Z"})
    transport.call(add, Find("x"))
    assert "Idempotency-Key" not in hub.asked[0][2]


@pytest.mark.parametrize(
    "kind", [Invalid, TooLarge, Unauthenticated, Forbidden, NotFound, Conflict, Corrupt, Unavailable, UndriftError]
)
def test_a_failure_over_there_is_the_same_exception_here(hub, transport, kind):
    hub.answers(kind.status, kind("It broke.", next_step="Mend it.", name="late").to_problem())
    with pytest.raises(kind) as caught:
        transport.call(add, Find("x"))
    assert type(caught.value) is kind
    assert (str(caught.value), caught.value.details) == ("It broke. Mend it.", {"name": "late"})


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (413, TooLarge), (503, Unavailable), (405, UndriftError)]
)
def test_problem_details_of_a_stranger_become_the_kind_of_their_status(hub, transport, status, kind):
    hub.answers(status, {"detail": "Not here."})
    with pytest.raises(kind, match="Not here") as caught:
        transport.call(add, Find("x"))
    assert type(caught.value) is kind


GARBAGE = [
    b"",
    b"<html>hello</html>",
    b"null",
    b"[]",
    b'"text"',
    b"7",
    b'{"name": "x"',
    b'{"name": "x", "at": "tomorrow"}',
    b'{"name": "\xff", "at": "2013-01-01T00:00:00Z"}',
    b"\x00" * 10,
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", GARBAGE, ids=lambda body: repr(body[:24]))
@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_an_answer_that_is_not_undrifts_is_said_so(hub, transport, status, body):
    hub.answers(status, body)
    with pytest.raises(Corrupt, match=f"{hub.url} answered {status} with something that is not undrift's"):
        transport.call(add, Find("x"))


def test_an_answer_that_cannot_be_unpacked_is_said_so(hub, transport):
    hub.answers(200, b"not gzip", **{"Content-Encoding": "gzip"})
    with pytest.raises(Corrupt, match="cannot be unpacked"):
        transport.call(add, Find("x"))


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_whose_hub_is_away_is_an_outage(hub, transport, status):
    hub.answers(status, b"<html>Bad Gateway</html>")
    with pytest.raises(Unavailable, match=f"answered {status} for it"):
        transport.call(add, Find("x"))


def test_a_hub_that_is_not_there_is_an_outage(unused_port):
    transport = HttpTransport(f"http://127.0.0.1:{unused_port}")
    with pytest.raises(Unavailable, match=f"127.0.0.1:{unused_port} did not answer") as caught:
        transport.call(find, Find("x"))
    assert "undrift up" in caught.value.next_step
    transport.close()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_a_hub_that_hangs_up_is_an_outage(said):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)

        thread = threading.Thread(target=hang_up)
        thread.start()
        transport = HttpTransport(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(Unavailable, match="did not answer"):
            transport.call(find, Find("x"))
        thread.join()
        transport.close()


def test_a_hub_that_says_nothing_is_an_outage_after_a_while():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport = HttpTransport(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.05)
        with pytest.raises(Unavailable, match=r"did not answer .*Timeout"):
            transport.call(find, Find("x"))
        transport.close()


@pytest.mark.parametrize("key", ["ключ", "a\r\nX-Evil: 1", "x" * 201])
def test_a_key_that_no_header_can_carry_is_not_sent(hub, transport, key):
    with pytest.raises(Invalid, match="not an idempotency key"):
        transport.call(add, Find("x"), idempotency_key=key)
    assert hub.asked == []


@pytest.mark.parametrize(
    "url", ["", "hub", "hub:7470", "ftp://hub", "http://", "http://[::1", "http://h:port", "file:///etc"]
)
def test_what_is_no_address_of_a_hub_is_refused_at_once(url):
    with pytest.raises(Invalid, match="not the address of a hub"):
        HttpTransport(url)


def test_no_proxy_from_the_environment_sees_the_calls(hub, transport, monkeypatch, unused_port):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port}")
    hub.answers(200, {"name": "x", "at": "2013-01-01T00:00:00Z"})
    fresh = HttpTransport(hub.url)
    fresh.call(add, Find("x"))
    fresh.close()
    assert len(hub.asked) == 1
