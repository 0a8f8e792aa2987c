"""The outermost layer: who may reach the hub from a browser, how much they may send, and what every answer carries.

By which name it was asked, and from whose page (`undrift.core.hosts`), is decided before routing, from the raw headers,
for every path there is or is not.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from undrift.core.errors import Invalid, TooLarge, Unavailable
from undrift.core.hosts import Hosts, check_origin
from undrift.hub.problems import PROBLEM_JSON, SlowBody, to_problem

__all__ = ["BODY_LIMIT", "Guard"]

BODY_LIMIT = 8 << 20
_BODY_S = 30.0
_LAST_S = 0.25  # for what is on its way when the hub stops
_LOOK_BYTES = 64 << 20  # after so many more bytes of an upload, its limit is looked at again: the disk may be full now

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOKED_AT = frozenset({b"host", b"origin", b"sec-fetch-site", b"content-length"})
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"server", b"undrift"),
)

Asgi = Callable[[Any, Any, Any], Any]


class Guard:
    """Stands before an ASGI application.

    Args:
        app: What stands behind it.
        hosts: The names it answers to.
        count: Told of each answer: what was asked (``scope["undrift.asked"]``), status, seconds.
        uploads: Says how many bytes an upload may have, after so many have come; None for a request that is none.

    Attributes:
        waiting: What waits for a body.
    """

    def __init__(
        self,
        app: Asgi,
        hosts: Hosts,
        count: Callable[[str, int, float], None],
        uploads: Callable[[Any, int], int | None] = lambda _scope, _received: None,
    ) -> None:
        self._app = app
        self._uploads = uploads
        self._hosts = hosts
        self._count = count
        self.waiting: set[asyncio.Timeout] = set()
        self._stopping = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def stopping(self) -> bool:
        """Set to wait no longer for bodies that have not arrived."""
        return self._stopping

    @stopping.setter
    def stopping(self, stopping: bool) -> None:
        self._stopping = stopping
        if stopping:
            for waiting in self.waiting:
                waiting.reschedule(asyncio.get_running_loop().time() + _LAST_S)

    async def idle(self) -> None:
        """Wait until no request is being answered."""
        await self._idle.wait()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        started = time.perf_counter()
        scope["undrift.trace_id"] = trace_id = secrets.token_hex(16)
        answer = _Answer(send, trace_id, bodiless=scope["method"] == "HEAD")
        self._in_flight += 1
        self._idle.clear()
        try:
            limit = self._admit(scope)
            if scope["method"] == "HEAD":
                scope["method"] = "GET"
                scope["undrift.bodiless"] = True
            await self._app(scope, _Body(receive, self, limit), answer.send)
        except Exception as error:
            # The application turns its errors into answers; what comes here is refused here, or broke in between.
            if answer.status:
                raise
            await answer.refuse(error)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
            self._count(scope.get("undrift.asked", "other"), answer.status, time.perf_counter() - started)

    def _admit(self, scope: Any) -> Callable[[int], int] | None:
        """Return when a request may come in; what is returned says how large an upload may be."""
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            if (key := name.lower()) in _LOOKED_AT:
                headers.setdefault(key, []).append(value.decode("latin-1").strip())
        host = self._hosts.check(headers.get(b"host", []))
        if scope["method"] not in _SAFE:
            check_origin(host, headers.get(b"origin", []), headers.get(b"sec-fetch-site", []))
        most = self._uploads(scope, 0)
        for length in headers.get(b"content-length", []):
            if not (length.isascii() and length.isdigit()):
                raise Invalid("Content-Length is a number of bytes.")
            if int(length[:20]) > (BODY_LIMIT if most is None else most):
                raise _too_large(most)
        return None if most is None else lambda received: self._uploads(scope, received) or 0


class _Body:
    """Receives a body, up to a limit of bytes and of seconds, whatever its length was said to be.

    An upload may take as long as it needs, as long as bytes keep arriving.
    """

    def __init__(self, receive: Any, guard: Guard, upload: Callable[[int], int] | None) -> None:
        self._receive = receive
        self._guard = guard
        self._upload = upload
        self._limit = BODY_LIMIT if upload is None else upload(0)
        self._look_at = _LOOK_BYTES
        self._bytes = 0
        self._until = time.monotonic() + _BODY_S
        self._whole = False

    async def __call__(self) -> Any:
        if self._whole:
            return await self._receive()
        message = await self._next()
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._upload is not None:
                self._until = time.monotonic() + _BODY_S
                if self._bytes >= self._look_at:
                    self._look_at = self._bytes + _LOOK_BYTES
                    self._limit = self._upload(self._bytes)
            if self._bytes > self._limit:
                raise _too_large(None if self._upload is None else self._limit)
        return message

    async def _next(self) -> Any:
        left = _LAST_S if self._guard.stopping else self._until - time.monotonic()
        try:
            async with asyncio.timeout(left) as waiting:
                self._guard.waiting.add(waiting)
                try:
                    return await self._receive()
                finally:
                    self._guard.waiting.discard(waiting)
        except TimeoutError:
            if self._guard.stopping:
                raise Unavailable(
                    "The hub is stopping.", next_step="Try again when it has been started anew."
                ) from None
            raise SlowBody(
                f"The body did not arrive within {_BODY_S:.0f} seconds.", next_step="Send it faster."
            ) from None


class _Answer:
    """Sends an answer with the headers that every answer has; a HEAD request gets no body.

    Attributes:
        status: The answer's status; 0 until it has begun.
    """

    def __init__(self, send: Any, trace_id: str, *, bodiless: bool) -> None:
        self._send = send
        self._trace_id = trace_id
        self._bodiless = bodiless
        self.status = 0

    async def send(self, message: Any) -> None:
        """Send one message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = (b"trace-id", self._trace_id.encode())
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS, own]}
        elif self._bodiless and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    async def refuse(self, error: Exception) -> None:
        """Send a problem."""
        problem = to_problem(error, trace_id=self._trace_id)
        body = msgspec.json.encode(problem.details)
        headers = [
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", str(len(body)).encode()),
            *((name.encode(), value.encode()) for name, value in problem.headers.items()),
        ]
        await self.send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _too_large(most: int | None) -> TooLarge:
    if most is None:
        return TooLarge("The body is larger than 8 MiB.", next_step="Send it in several calls.")
    return TooLarge(
        f"The upload is larger than {most} bytes, which is what this hub takes now.",
        next_step="Send less, or let whoever runs the hub raise its limit or free some space.",
        limit_bytes=most,
    )
