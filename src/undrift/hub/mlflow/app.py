"""MLflow's REST protocol before the application: an adapter on the operations, whole in one table of routes.

It stands before the framework because its routes are the hot ones: a training loop logs a point a millisecond. What is
not MLflow's is handed on. A path below ``/projects/<name>`` speaks of that project, all others of ``default``.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from undrift.core.errors import Invalid
from undrift.core.ids import check_name
from undrift.hub.calls import Calls
from undrift.hub.mlflow import experiments, logged_models, metrics, page, registry, runs, service, webhooks
from undrift.hub.mlflow.errors import NOT_IMPLEMENTED, Refused, said
from undrift.hub.mlflow.routes import Answer, Request, Route, Routes
from undrift.hub.mlflow.words import DEFAULT_PROJECT
from undrift.hub.mlflow.writes import Writes

__all__ = ["Mlflow", "all_routes"]

_PREFIXES = ("/api/2.0/", "/api/3.0/", "/ajax-api/")
_PROJECT = re.compile(r"/projects/([^/]+)(/.*)")
# What MLflow has for the work with language models, and this hub has not.
_LATER = re.compile(
    r"/(?:ajax-)?api/[23]\.0/(?:mlflow/(?:traces|unified-traces|get-online-trace-details|datasets|scorers?|gateway"
    r"|gateway-proxy|endpoints|issues|label-schemas|review-queues|prompt-optimization|jobs|demo|genai|assistant"
    r"|workspaces|mcp-servers|get-trace-artifact|promptlab|prompts)|gateway|assistant|genai)(?:[/-].*)?|"
    r"/(?:ajax-)?api/2\.0/mlflow/runs/create-promptlab-run"
)
_NO_STORE = (b"cache-control", b"no-store")

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def all_routes() -> tuple[Route, ...]:
    """Return the table: each line stands under both prefixes, unless it says otherwise."""
    return (
        *experiments.ROUTES,
        *runs.ROUTES,
        *metrics.ROUTES,
        *logged_models.ROUTES,
        *registry.ROUTES,
        *webhooks.ROUTES,
        *page.ROUTES,
        *service.ROUTES,
    )


class Mlflow:
    """Answers what MLflow's clients ask, and hands everything else on.

    Args:
        app: What takes everything else.
        calls: Runs work in threads.
        hidden: What errors must not show, with the words to say instead.
        more: Routes besides those of `all_routes`.
    """

    def __init__(
        self, app: Asgi, calls: Calls, hidden: Sequence[tuple[str, str]] = (), *, more: Sequence[Route] = ()
    ) -> None:
        self._app = app
        self._calls = calls
        self._hidden = hidden
        self._writes = Writes(calls)
        self.routes = Routes((*all_routes(), *more))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, or hand it on."""
        path = scope.get("path", "")
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        project = DEFAULT_PROJECT
        prefix = ""
        if path.startswith("/projects/") and (found := _PROJECT.fullmatch(path)) is not None:
            project, inner = found[1], found[2]
            if not self._mine(inner):
                await self._app(scope, receive, send)
                return
            prefix, path = path[: -len(inner)], inner
        elif not self._mine(path):
            await self._app(scope, receive, send)
            return
        began = False

        async def sending(message: Any) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            answer = await self._answer(scope, receive, sending, path, project, prefix)
            if answer is not None:
                await _send(send, answer.status, answer.content_type, answer.headers, answer.body)
        except Exception as error:
            if began:  # nothing can be said any more: the broken connection tells
                raise
            status, headers, body = said(error, trace_id=scope["undrift.trace_id"], hidden=self._hidden)
            await _send(send, status, b"application/json", headers, body)

    def _mine(self, path: str) -> bool:
        return path.startswith(_PREFIXES) or self.routes.plain(path) is not None

    async def _answer(self, scope: Any, receive: Any, send: Any, path: str, project: str, prefix: str) -> Answer | None:
        if prefix:
            check_name(project, "project")
        by_method = self.routes.plain(path)
        parameters: Mapping[str, str] = {}
        if by_method is None:
            path = _decoded(scope, prefix)
            found = self.routes.find(path)
            if found is None:
                raise _nothing_at(path)
            by_method, parameters = found.by_method, found.parameters
        method = scope["method"]
        route = by_method.get(method)
        if route is None:
            allowed = ", ".join(sorted(by_method))
            raise Refused(f"This address does not take {method}.", "BAD_REQUEST", 405, next_step=f"It takes {allowed}.")
        scope["undrift.asked"] = route.asked
        if method in {"POST", "PUT"} and not route.any_body:
            _check_content_type(scope)
        request = Request(
            scope,
            receive,
            send,
            project=project,
            prefix=prefix,
            route=route,
            parameters=parameters,
            calls=self._calls,
            writes=self._writes,
        )
        return await route.handler(request)


def _decoded(scope: Any, prefix: str) -> str:
    """Return the path below the project, percent-decoded once."""
    raw = scope.get("raw_path")
    if raw is None:
        path = str(scope["path"])
    else:
        try:
            path = unquote_to_bytes(raw.partition(b"?")[0]).decode()
        except UnicodeDecodeError:
            raise Invalid("The address is not percent-encoded UTF-8.") from None
    if not path.startswith(prefix):
        raise Invalid("The address is encoded in a way that nobody needs.", next_step="Write the project plainly.")
    return path[len(prefix) :]


def _nothing_at(path: str) -> Refused:
    if _LATER.fullmatch(path):
        return Refused(
            "undrift keeps classic experiments, runs, models and artifacts; this part of MLflow (traces, prompts, "
            "scorers, gateway and the like) it does not support.",
            NOT_IMPLEMENTED,
            # The page asks for some of it on its own, and shows people every failure that is not a 404.
            404 if path.startswith("/ajax-api/") else 501,
            next_step="Use MLflow's own server for it.",
        )
    return Refused("There is nothing at this address.", "ENDPOINT_NOT_FOUND", 404)


def _check_content_type(scope: Any) -> None:
    for name, value in scope["headers"]:
        if name == b"content-type" or name.lower() == b"content-type":
            if value == b"application/json" or value.partition(b";")[0].strip().lower() == b"application/json":
                return
            shown = value.decode("latin-1")[:80]
            raise Invalid(
                f"Bad Request. Content-Type must be one of ['application/json'], not {shown!r}.",
                next_step="Send JSON, and say so.",
            )
    raise Invalid("Bad Request. Content-Type must be one of ['application/json'].", next_step="Send JSON, and say so.")


async def _send(
    send: Any, status: int, content_type: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> None:
    every = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        _NO_STORE,
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": every})
    await send({"type": "http.response.body", "body": body})
