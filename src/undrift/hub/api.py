"""Operations over HTTP: those that read as GET with a query string, the others as POST with JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from litestar import HttpMethod, Request, Response
from litestar.exceptions import MethodNotAllowedException, NotFoundException
from litestar.handlers import HTTPRouteHandler

from undrift.core.context import Context
from undrift.core.errors import Invalid
from undrift.core.operation import Operation
from undrift.hub.calls import Calls
from undrift.hub.problems import WrongMediaType
from undrift.operations import read_body, read_query

__all__ = ["PREFIX", "operation_routes", "query_of"]

PREFIX = "/api/v1"
_MOST_PARAMETERS = 50
_NO_STORE = {"cache-control": "no-store"}


def operation_routes(operations: Iterable[Operation[Any, Any]], calls: Calls) -> list[HTTPRouteHandler]:
    """Make the route of the operations: one for all, because making one for each takes a third of a second."""
    known = {PREFIX + operation.path: operation for operation in operations}

    async def answer(request: Request[Any, Any, Any]) -> Response[bytes]:
        operation = known.get(request.scope["path"])
        if operation is None:
            raise NotFoundException
        method = HttpMethod.GET if operation.reads else HttpMethod.POST
        if request.method != method:
            raise MethodNotAllowedException(headers={"Allow": method})
        return await _answer(operation, calls, request)

    methods = [HttpMethod.GET, HttpMethod.POST]
    return [HTTPRouteHandler(PREFIX + "/{room:str}/{verb:str}", http_method=methods, status_code=200)(answer)]


def query_of(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    """Return names and values of a query string, in order.

    Raises:
        Invalid: It is not UTF-8, or there are too many.
    """
    try:
        raw = request.scope["query_string"].decode("ascii")
        return parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise Invalid(
            f"The query string is not percent-encoded UTF-8, or has more than {_MOST_PARAMETERS} parameters."
        ) from None


async def _answer(operation: Operation[Any, Any], calls: Calls, request: Request[Any, Any, Any]) -> Response[bytes]:
    scope: Any = request.scope
    scope["undrift.asked"] = operation.name
    if operation.reads:
        asked = read_query(operation, query_of(request))
    else:
        asked = read_body(operation, await _json_body(request))

    def work(ctx: Context) -> bytes:
        return msgspec.json.encode(operation(ctx, asked))

    body = await calls.run(
        work, trace_id=scope["undrift.trace_id"], idempotency_key=request.headers.get("idempotency-key")
    )
    return Response(body, status_code=200, media_type="application/json", headers=_NO_STORE)


async def _json_body(request: Request[Any, Any, Any]) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise WrongMediaType("The body is not said to be JSON.", next_step="Send Content-Type: application/json.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise WrongMediaType("The body is packed.", next_step="Send it without Content-Encoding.")
    return await request.body()
