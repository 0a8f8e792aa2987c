"""Errors as MLflow's clients understand them: ``{"error_code", "message"}``, with its codes.

Clients try again for minutes after 408, 429 and 5xx, so those are kept for what may be better in a moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from undrift.core.errors import (
    Conflict,
    Corrupt,
    Forbidden,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
    UndriftError,
)
from undrift.hub.problems import SlowBody, to_problem

__all__ = ["NOT_IMPLEMENTED", "Refused", "renamed", "said", "status_and_code"]

NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
_CODES: tuple[tuple[type[UndriftError], int, str], ...] = (
    (SlowBody, 408, "DEADLINE_EXCEEDED"),  # the same request may do better: clients send it again
    (Invalid, 400, "INVALID_PARAMETER_VALUE"),
    (NotFound, 404, "RESOURCE_DOES_NOT_EXIST"),
    (Conflict, 409, "RESOURCE_CONFLICT"),
    (Unauthenticated, 401, "UNAUTHENTICATED"),
    (Forbidden, 403, "PERMISSION_DENIED"),
    (Unavailable, 503, "TEMPORARILY_UNAVAILABLE"),
    (Corrupt, 500, "DATA_LOSS"),
)


class Refused(UndriftError):
    """A refusal under a code of MLflow's.

    Args:
        message: What is wrong.
        error_code: MLflow's name for it.
        http_status: The status of the answer.
        next_step: What to do about it.
    """

    status = 400

    def __init__(self, message: str, error_code: str, http_status: int = 400, *, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.error_code = error_code
        self.http_status = http_status


@contextmanager
def renamed(kind: type[UndriftError], error_code: str, http_status: int = 400) -> Iterator[None]:
    """Give errors of a kind that come out of the block another code of MLflow's."""
    try:
        yield
    except kind as error:
        raise Refused(error.message, error_code, http_status, next_step=error.next_step) from error


def status_and_code(error: Exception) -> tuple[int, str]:
    """Return the status that an error is answered with, and MLflow's name for it."""
    if isinstance(error, Refused):
        return error.http_status, error.error_code
    found = ((status, code) for kind, status, code in _CODES if isinstance(error, kind))
    return next(found, (500, "INTERNAL_ERROR"))


def said(
    error: Exception, *, trace_id: str, hidden: Sequence[tuple[str, str]]
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body of the answer that tells of an error.

    Args:
        error: What went wrong.
        trace_id: The request it belongs to.
        hidden: What must not be shown, with the words to say instead.
    """
    problem = to_problem(error, trace_id=trace_id, hidden=hidden)
    status, code = status_and_code(error)
    message, next_step = str(problem.details["detail"]), problem.details["next_step"]
    if next_step:
        message += f"{'' if message.endswith(('.', '!', '?')) else '.'} {next_step}"
    body = msgspec.json.encode({"error_code": code, "message": message})
    return status, [(name.encode(), value.encode()) for name, value in problem.headers.items()], body
