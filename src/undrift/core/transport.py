"""The remote seam is one method: a transport calls an operation here, or on a hub far away, with the same result."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Corrupt, Unavailable, from_problem
from undrift.core.operation import Operation

if TYPE_CHECKING:
    import httpx

__all__ = ["HttpTransport", "InProcessTransport", "Transport"]

I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output


class Transport(Protocol):
    """Calls an operation; the caller cannot tell where it runs.

    The answer is of the operation's output type, and a failure is the same exception of `undrift.core.errors` on both
    sides. A call is tried once: whether it happened when the connection broke is answered by trying it again with the
    same idempotency key.
    """

    def call(self, operation: Operation[I, O], request: I, *, idempotency_key: str | None = None) -> O:
        """Call the operation.

        Raises:
            UndriftError: What the operation raised, or Unavailable when it could not be reached.
        """


class InProcessTransport:
    """Calls operations in this process, each with a context of its own.

    Args:
        context: Makes the context of one call.
    """

    def __init__(self, context: Callable[[], Context]) -> None:
        self._context = context

    def call(self, operation: Operation[I, O], request: I, *, idempotency_key: str | None = None) -> O:
        """Call the operation in this process."""
        ctx = self._context()
        return operation(ctx.once(idempotency_key) if idempotency_key else ctx, request)


class HttpTransport:
    """Calls operations on a hub.

    Args:
        url: The hub's address, such as ``http://127.0.0.1:7470``.
        timeout_s: Seconds to wait for an answer.
    """

    def __init__(self, url: str, *, timeout_s: float = 60.0) -> None:
        import httpx  # noqa: PLC0415 - costs 60 ms that embedded use need not pay

        self._url = url.rstrip("/")
        self._client: httpx.Client = httpx.Client(base_url=self._url + "/api/v1", timeout=timeout_s, trust_env=False)

    def call(self, operation: Operation[I, O], request: I, *, idempotency_key: str | None = None) -> O:
        """Call the operation on the hub."""
        import httpx  # noqa: PLC0415 - loaded already by __init__

        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        try:
            if operation.reads:
                answer = self._client.get(operation.path, params=_query(request), headers=headers)
            else:
                body = msgspec.json.encode(request)
                headers["Content-Type"] = "application/json"
                answer = self._client.post(operation.path, content=body, headers=headers)
        except httpx.TransportError as error:
            raise Unavailable(
                f"The hub at {self._url} did not answer ({type(error).__name__}).",
                next_step="Start it with `undrift up`, or check the address.",
            ) from error
        if answer.is_success:
            return msgspec.json.decode(answer.content, type=operation.output)
        try:
            problem = json.loads(answer.content)
        except ValueError:
            raise Corrupt(f"{self._url} answered {answer.status_code} with something that is not undrift's.") from None
        raise from_problem(problem)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _query(request: Any) -> dict[str, str]:
    values = msgspec.to_builtins(request)
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in values.items()
        if value is not None
    }
