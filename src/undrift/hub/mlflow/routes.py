"""One table of routes, and what a handler is given."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Invalid
from undrift.hub.calls import Calls
from undrift.hub.mlflow.messages import Message, loads, read
from undrift.hub.mlflow.writes import Writes

__all__ = ["Answer", "Found", "Handler", "Request", "Route", "Routes", "threaded"]

M = TypeVar("M", bound=Message)
T = TypeVar("T")

_MOST_PARAMETERS = 2_000
_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")


class Answer(msgspec.Struct, frozen=True):
    """An answer that is there as a whole."""

    body: bytes = b"{}"
    status: int = 200
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[["Request"], Awaitable[Answer | None]]
"""Answers a request; one that returns nothing has sent its answer itself."""


class Route(msgspec.Struct, frozen=True):
    """One line of the table.

    Attributes:
        methods: The methods it takes.
        path: Below the prefix, such as ``2.0/mlflow/runs/get``, with ``{name}`` for a part and ``{name:path}`` for the
            rest; with a leading ``/`` it stands without prefix.
        permission: What the actor needs; empty for what anybody may ask.
        handler: What answers.
        page_only: Whether it stands under ``/ajax-api`` alone.
        any_body: Whether the body is bytes instead of JSON.
    """

    methods: tuple[str, ...]
    path: str
    permission: str
    handler: Handler
    page_only: bool = False
    any_body: bool = False

    @property
    def asked(self) -> str:
        """What the hub counts its requests under."""
        return "mlflow." + re.sub(r"^/?(\d\.0/)?", "", self.path)

    @property
    def addresses(self) -> tuple[str, ...]:
        """All the paths it stands at."""
        if self.path.startswith("/"):
            return (self.path,)
        page = f"/ajax-api/{self.path}"
        return (page,) if self.page_only else (f"/api/{self.path}", page)


class Found(msgspec.Struct, frozen=True):
    """What stands at a path: routes by method, and what the path says."""

    by_method: Mapping[str, Route]
    parameters: Mapping[str, str]


class Routes:
    """The table, made quick to look up.

    Args:
        routes: Its lines.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.all = tuple(routes)
        self._plain: dict[str, dict[str, Route]] = {}
        patterns: dict[str, dict[str, Route]] = {}
        for route in self.all:
            for address in route.addresses:
                table = patterns if "{" in address else self._plain
                for method in route.methods:
                    table.setdefault(address, {})[method] = route
        self._patterns = tuple((re.compile(_pattern(address)), by_method) for address, by_method in patterns.items())

    def plain(self, path: str) -> Mapping[str, Route] | None:
        """Return what stands at a path without parameters."""
        return self._plain.get(path)

    def find(self, path: str) -> Found | None:
        """Return what stands at a path."""
        if (by_method := self._plain.get(path)) is not None:
            return Found(by_method, {})
        for pattern, by_method in self._patterns:
            if (found := pattern.fullmatch(path)) is not None:
                return Found(by_method, found.groupdict())
        return None


def _pattern(address: str) -> str:
    at, parts = 0, []
    for found in _PARAMETER.finditer(address):
        parts += [re.escape(address[at : found.start()]), f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})"]
        at = found.end()
    return "".join([*parts, re.escape(address[at:])])


class Request:
    """One request and what is needed to answer it.

    Attributes:
        scope: The request itself.
        receive: Where its body comes from.
        send: Where an answer goes that a handler sends itself.
        project: The project it speaks of.
        prefix: What stands before the path: ``/projects/<name>``, or nothing.
        route: The line of the table.
        parameters: What the path says.
        writes: Gathers what many clients log at the same time.
    """

    def __init__(
        self,
        scope: Any,
        receive: Any,
        send: Any,
        *,
        project: str,
        prefix: str,
        route: Route,
        parameters: Mapping[str, str],
        calls: Calls,
        writes: Writes,
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.project = project
        self.prefix = prefix
        self.route = route
        self.parameters = parameters
        self.writes = writes
        self._calls = calls

    def header(self, name: bytes) -> str | None:
        """Return a header, by its name in lower case."""
        for key, value in self.scope["headers"]:
            if key.lower() == name:
                return str(value.decode("latin-1"))
        return None

    @property
    def idempotency_key(self) -> str | None:
        """The caller's name for this call."""
        return self.header(b"idempotency-key")

    async def body(self) -> bytes:
        """Return the whole body; the guard bounds its size."""
        message = await self.receive()
        if not message.get("more_body", False) and message["type"] == "http.request":
            return bytes(message.get("body", b""))
        pieces = []
        while True:
            if message["type"] != "http.request":
                raise Invalid("The body was cut off.", next_step="Send it again.")
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(pieces)
            message = await self.receive()

    def query(self) -> dict[str, list[str]]:
        """Return the parameters of the query string.

        Raises:
            Invalid: It is not UTF-8, or has more than 2,000 parameters.
        """
        raw = self.scope.get("query_string", b"")
        try:
            return parse_qs(
                raw.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_MOST_PARAMETERS,
            )
        except ValueError:
            raise Invalid("The query string is not percent-encoded UTF-8, or has too many parameters.") from None

    async def message(self, kind: type[M]) -> M:
        """Return the request as a message: from the query of a GET, else from the body; the path has the last word.

        Raises:
            Invalid: A required field is missing, or a value is of another type.
        """
        if self.scope["method"] == "GET":
            return read(kind, {**self.query(), **self.parameters}, query=True)
        return self.read(kind, await self.body())

    def read(self, kind: type[M], body: bytes) -> M:
        """Return a body as a message.

        Raises:
            Invalid: A required field is missing, or a value is of another type.
        """
        data = loads(body)
        if isinstance(data, str):  # old clients encode twice
            data = loads(data.encode("utf-8", "replace"))
        return read(kind, {**data, **self.parameters} if isinstance(data, dict) else self.parameters)

    async def run(self, work: Callable[[Context], T]) -> T:
        """Run work in a thread, once whoever asks has the route's permission.

        Raises:
            Forbidden: They have not.
        """
        permission = self.route.permission

        def permitted(ctx: Context) -> T:
            if permission:
                ctx.policy.check(ctx.actor, permission)
            return work(ctx)

        return await self._calls.run(
            permitted, trace_id=self.scope["undrift.trace_id"], idempotency_key=self.idempotency_key
        )


def threaded(kind: type[M], work: Callable[[Context, str, M], Any]) -> Handler:
    """Make a handler of work that takes a context, the project and a message, and returns what JSON can say.

    The work runs in a thread; what it returns is encoded there, too. Bytes are JSON already.
    """

    async def handler(request: Request) -> Answer:
        message = await request.message(kind)
        project = request.project

        def in_thread(ctx: Context) -> bytes:
            made = work(ctx, project, message)
            return made if isinstance(made, bytes) else msgspec.json.encode({} if made is None else made)

        return Answer(await request.run(in_thread))

    return handler
