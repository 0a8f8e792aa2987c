"""The remote seam is one method: a transport calls an operation here, or on a hub far away, with the same result."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Corrupt, Invalid, Unavailable, from_problem
from undrift.core.operation import Operation, check_idempotency_key

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

    Raises:
        Invalid: The address is not one of HTTP.
    """

    def __init__(self, url: str, *, timeout_s: float = 60.0) -> None:
        import httpx  # noqa: PLC0415 - costs 60 ms that embedded use need not pay

        self._url = url.rstrip("/")
        try:
            address = httpx.URL(self._url + "/api/v1")
        except httpx.InvalidURL:
            address = httpx.URL("")
        if address.scheme not in {"http", "https"} or not address.host:
            raise Invalid(f"{url!r} is not the address of a hub.", next_step="Write it as http://127.0.0.1:7470.")
        self._client: httpx.Client = httpx.Client(base_url=address, timeout=timeout_s, trust_env=False)

    def call(self, operation: Operation[I, O], request: I, *, idempotency_key: str | None = None) -> O:
        """Call the operation on the hub."""
        import httpx  # noqa: PLC0415 - loaded already by __init__

        headers = {"Idempotency-Key": check_idempotency_key(idempotency_key)} if idempotency_key else {}
        try:
            if operation.reads:
                answer = self._client.get(operation.path, params=_query(request), headers=headers)
            else:
                body = msgspec.json.encode(request)
                headers["Content-Type"] = "application/json"
                answer = self._client.post(operation.path, content=body, headers=headers)
        except httpx.DecodingError:
            raise self._foreign("with something that cannot be unpacked") from None
        except httpx.TransportError as error:
            raise Unavailable(
                f"The hub at {self._url} did not answer ({type(error).__name__}).",
                next_step="Start it with `undrift up`, or check the address.",
            ) from error
        if answer.is_success:
            try:
                return msgspec.json.decode(answer.content, type=operation.output)
            except (msgspec.DecodeError, ValueError):
                raise self._foreign(f"{answer.status_code} with something that is not undrift's") from None
        try:
            problem = json.loads(answer.content)
        except (ValueError, RecursionError):
            problem = None
        if isinstance(problem, dict) and ("detail" in problem or "title" in problem):
            raise from_problem({"status": answer.status_code} | problem)
        if answer.status_code in {502, 503, 504}:
            raise Unavailable(
                f"Something between here and the hub at {self._url} answered {answer.status_code} for it.",
                next_step="Start it with `undrift up`, or try again.",
            )
        raise self._foreign(f"{answer.status_code} with something that is not undrift's")

    def _foreign(self, what: str) -> Corrupt:
        return Corrupt(f"{self._url} answered {what}.", next_step="Check the address.")

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
