"""Who may reach the hub from a browser, and how much they may send: every route, every method, every spelling."""

from __future__ import annotations

import asyncio

import pytest
from litestar.testing import TestClient

from undrift.core.hosts import Hosts
from undrift.hub import build_app, guard
from undrift.hub.guard import BODY_LIMIT, Guard
from undrift.operations import all_operations

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW")
UNSAFE = [method for method in METHODS if method not in ("GET", "HEAD", "OPTIONS")]
OTHER_ORIGINS = (
    "http://evil.example",
    "null",
    "http://127.0.0.1:8888",
    "http://localhost:7470",
    "http://127.0.0.1:7470.evil.example",
    "file://",
)


def routes(app):
    """Every address the hub has, and some it has not."""
    filled = {
        "{endpoint:str}": "late",
        "{project:str}": "p",
        "{model:str}": "late",
        "{number:str}": "1",
        "{name:str}": "x",
    }
    paths = []
    for route in app.routes:
        path = route.path_format if hasattr(route, "path_format") else route.path
        for name, value in filled.items():
            path = path.replace(name, value).replace(name.replace(":str", ""), value)
        paths.append(path)
    # Operations share a route; each has an address of its own.
    paths += [f"/api/v1{operation.path}" for operation in all_operations().values()]
    assert len(paths) > 40
    return [*paths, "/nowhere", "/api/v1/nowhere", "/api/v1/registry/list_models/", "//", "/static/../app.py"]


@pytest.fixture
def app(workspace):
    return build_app(workspace, allowed_hosts=["hub.example", "10.0.0.5"])


@pytest.fixture
def browser(app):
    with TestClient(app, base_url="http://127.0.0.1:7470") as client:
        yield client


def test_no_route_answers_to_a_name_that_is_not_its_own(app, browser):
    for path in routes(app):
        for method in METHODS:
            answer = browser.request(method, path, headers={"host": "rebound.evil.example:7470"})
            assert answer.status_code == 403, (method, path)


def test_no_route_lets_a_page_of_another_site_change_anything(app, browser):
    for path in routes(app):
        for method in UNSAFE:
            for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
                answer = browser.request(method, path, headers=headers)
                assert answer.status_code == 403, (method, path, headers)


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_another_origin_is_another_site(browser, origin):
    answer = browser.post("/api/v1/registry/register_model", json={}, headers={"origin": origin})
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "same-origin, cross-site"])
def test_what_the_browser_says_of_the_site_counts_more_than_the_origin(browser, site):
    headers = {"sec-fetch-site": site, "origin": "http://127.0.0.1:7470"}
    assert browser.post("/api/v1/registry/register_model", json={}, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "http://127.0.0.1:7470"}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}],
    ids=["a program", "its own page", "its own page, newer browser", "typed by hand"],
)
def test_programs_and_own_pages_may_change_things(browser, headers):
    body = {"project": "p", "name": "late", "owner": "ada"}
    assert browser.post("/api/v1/registry/register_model", json=body, headers=headers).status_code == 200


def test_reading_asks_for_no_origin(browser):
    assert browser.get("/api/v1/registry/list_models", headers={"sec-fetch-site": "cross-site"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/nowhere", "/api/v1/registry/list_models", "/health", "/static/undrift.css"])
@pytest.mark.parametrize("host", ["127.0.0.1:7470", "evil.example"])
def test_every_answer_carries_the_headers_of_a_careful_site(browser, path, host):
    headers = browser.get(path, headers={"host": host}).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "same-origin"
    assert len(headers["trace-id"]) == 32
    assert "access-control-allow-origin" not in headers


def test_head_is_get_without_a_body(browser):
    answer = browser.head("/health")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len(browser.get("/health").content)


def test_a_body_over_the_limit_is_refused_by_its_length(browser):
    answer = browser.post(
        "/api/v1/registry/register_model",
        content=b" " * (BODY_LIMIT + 1),
        headers={"content-type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_body_up_to_the_limit_is_read(browser):
    body = b'{"project": "p", "name": "late", "owner": "ada"}'.ljust(BODY_LIMIT)
    headers = {"content-type": "application/json"}
    assert browser.post("/api/v1/registry/register_model", content=body, headers=headers).status_code == 200


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", "9" * 5000])
def test_a_length_that_is_no_number_is_refused(browser, length):
    headers = {"content-type": "application/json", "content-length": length.encode()}
    answer = browser.post("/api/v1/registry/register_model", content=b"{}", headers=headers)
    assert answer.status_code in (400, 413)


class Sent(list):
    """What was sent, with what a test asks of it."""

    async def __call__(self, message):
        self.append(message)

    @property
    def status(self):
        return self[0]["status"]


def ask(application, *, method="POST", headers=(), receive):
    """Ask an ASGI application behind the guard; returns what it sent."""
    sent = Sent()
    scope = {"type": "http", "method": method, "path": "/", "headers": [(b"host", b"localhost"), *headers]}
    counted = []
    asyncio.run(Guard(application, Hosts(), lambda *said: counted.append(said))(scope, receive, sent))
    assert len(counted) == 1
    return sent


async def read_all(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"read"})


def chunks(*bodies, hang=False):
    """A body in pieces, as a chunked request brings it."""
    left = list(bodies)

    async def receive():
        if not left and hang:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or hang}

    return receive


def test_a_chunked_body_cannot_escape_the_limit():
    sent = ask(read_all, receive=chunks(*[b"x" * (1 << 20)] * 9))
    assert sent.status == 413


def test_a_body_that_does_not_arrive_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(guard, "_BODY_S", 0.1)
    assert ask(read_all, receive=chunks(b"x", hang=True)).status == 408


def test_a_body_is_not_waited_for_when_the_hub_stops():
    async def run():
        sent = Sent()
        stands = Guard(read_all, Hosts(), lambda *said: None)
        scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"localhost")]}
        asked = asyncio.create_task(stands(scope, chunks(b"x", hang=True), sent))
        await asyncio.sleep(0.05)
        stands.stopping = True
        await asyncio.wait_for(stands.idle(), 5)
        await asked
        return sent

    assert asyncio.run(run()).status == 503


def test_an_application_that_breaks_is_answered_for(caplog):
    async def broken(scope, receive, send):
        raise ValueError("a secret")

    sent = ask(broken, receive=chunks(b""))
    assert sent.status == 500
    assert b"secret" not in sent[1]["body"]
    assert "a secret" in caplog.text


def test_what_is_no_http_is_closed():
    sent = Sent()
    asyncio.run(Guard(read_all, Hosts(), print)({"type": "websocket"}, chunks(b""), sent))
    assert sent == [{"type": "websocket.close", "code": 1008}]
