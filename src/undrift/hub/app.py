"""The hub as an application: routes made from the operations, pages, health, metrics, and the guard before all."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler

from undrift.core.hosts import Hosts
from undrift.hub.api import operation_routes
from undrift.hub.artifacts import ByteRoutes, UploadLimit
from undrift.hub.calls import Calls
from undrift.hub.guard import Guard
from undrift.hub.health import Health, examine
from undrift.hub.metrics import CONTENT_TYPE, Metrics
from undrift.hub.mlflow import Mlflow
from undrift.hub.mlflow.artifacts import byte_routes
from undrift.hub.openapi import describe
from undrift.hub.problems import PROBLEM_JSON, hidden_names, redacted, to_problem
from undrift.hub.web import Pages, page_routes
from undrift.operations import all_operations
from undrift.workspace import Workspace

__all__ = ["Hub", "build_app"]

_HEALTH_S = 5.0
_UPLOAD_BYTES = 1 << 40
_NO_STORE = {"cache-control": "no-store"}


class Hub(Litestar):
    """The application, with the guard that stands before it.

    Attributes:
        guard: Who may reach it; knows what is in flight.
    """

    guard: Guard

    @staticmethod
    def _get_default_plugins(plugins: list[Any]) -> list[Any]:
        # The framework's own would load pydantic wherever it happens to be installed: 10 MB and 150 ms for nothing.
        return plugins


def build_app(
    workspace: Workspace,
    *,
    allowed_hosts: Collection[str] = (),
    insecure_no_login: bool = False,
    upload_limit: int = _UPLOAD_BYTES,
) -> Hub:
    """Build the hub of a workspace.

    Args:
        workspace: Whose operations it offers; stays the caller's to close.
        allowed_hosts: Names and addresses it answers to besides ``localhost`` and loopback addresses, without ports.
        insecure_no_login: Others than this machine can reach it, although it has no login: every page says so.
        upload_limit: How many bytes one upload may have.
    """
    operations = all_operations()
    calls = Calls(workspace)
    metrics = Metrics()
    hidden = hidden_names(workspace)
    pages = Pages(insecure_no_login=insecure_no_login)

    def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        scope: Any = request.scope
        problem = to_problem(error, trace_id=scope["undrift.trace_id"], hidden=hidden)
        if _is_for_people(request):
            return Response(
                pages.problem(problem).encode(),
                status_code=problem.status,
                media_type="text/html",
                headers=problem.headers | _NO_STORE,
            )
        return Response(
            msgspec.json.encode(problem.details),
            status_code=problem.status,
            media_type=PROBLEM_JSON,
            headers=problem.headers | _NO_STORE,
        )

    app = Hub(
        [
            *operation_routes(operations.values(), calls),
            *page_routes(pages, calls),
            _get("/api/openapi.json", _openapi()),
            _get("/health", _health(workspace, hidden)),
            _get("/metrics", _metrics(metrics, calls)),
        ],
        exception_handlers={Exception: on_error},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,  # the guard's
        debug=False,
        pdb_on_exception=False,
    )
    routes = ByteRoutes(app.asgi_handler, workspace, hidden)
    mlflow = Mlflow(routes, calls, hidden, more=byte_routes(routes))
    app.guard = Guard(mlflow, Hosts(allowed_hosts), metrics.count, UploadLimit(workspace, upload_limit))
    app.asgi_handler = app.guard
    return app


def _is_for_people(request: Request[Any, Any, Any]) -> bool:
    return not request.scope["path"].startswith("/api") and "text/html" in request.headers.get("accept", "")


def _get(path: str, answer: Callable[..., Any]) -> HTTPRouteHandler:
    return HTTPRouteHandler(path, http_method=["GET"], status_code=200)(answer)


def _openapi() -> Callable[..., Any]:
    @cache
    def document() -> bytes:
        return msgspec.json.encode(describe(all_operations().values()))

    async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:  # noqa: ARG001 - handlers alike
        return Response(await anyio.to_thread.run_sync(document), media_type="application/json")

    return openapi


def _health(workspace: Workspace, hidden: tuple[tuple[str, str], ...]) -> Callable[..., Any]:
    # A thread of its own: health is told also when all the others are busy.
    limiter = anyio.CapacityLimiter(1)

    async def health(request: Request[Any, Any, Any]) -> Response[bytes]:
        scope: Any = request.scope
        scope["undrift.asked"] = "health"
        found = Health("degraded", (f"The database did not answer within {_HEALTH_S:.0f} seconds.",))
        with anyio.move_on_after(_HEALTH_S):
            found = await anyio.to_thread.run_sync(examine, workspace, limiter=limiter, abandon_on_cancel=True)
        body = msgspec.json.encode(redacted(msgspec.to_builtins(found), hidden))
        status = 200 if found.status == "ok" else 503
        return Response(body, status_code=status, media_type="application/json", headers=_NO_STORE)

    return health


def _metrics(metrics: Metrics, calls: Calls) -> Callable[..., Any]:
    async def answer(request: Request[Any, Any, Any]) -> Response[bytes]:
        scope: Any = request.scope
        scope["undrift.asked"] = "metrics"
        text = await calls.run(metrics.text, trace_id=scope["undrift.trace_id"])
        return Response(text, media_type=CONTENT_TYPE, headers=_NO_STORE)

    return answer
