"""The error tree: every failure undrift reports on purpose is one of these.

* UndriftError
    * Invalid            400  the request cannot be right, whoever sends it
        * TooLarge       413  right in kind, but over a stated limit
    * Unauthenticated    401  nobody has said who is asking
    * Forbidden          403  the actor may not do this
    * NotFound           404  the thing named does not exist
    * Conflict           409  right request, wrong state (exists already, moved meanwhile, wrong version)
    * Corrupt            500  stored bytes are not what was stored
    * Unavailable        503  something needed is away, full, locked or too old; trying later can help

Each carries a stable ``code`` for programs, a sentence for people, and the ``next_step`` that helps. Over HTTP they
travel as RFC 9457 problem details and become the same exception again on the other side (`from_problem`).
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "Conflict",
    "Corrupt",
    "Forbidden",
    "Invalid",
    "NotFound",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UndriftError",
    "from_problem",
]


class UndriftError(Exception):
    """Something went wrong that undrift can name.

    Args:
        message: One sentence that says what is wrong.
        next_step: One sentence that says what to do about it; empty when there is nothing to do.
        **details: JSON-able facts a program may want (names, limits, positions).

    >>> print(NotFound("There is no model 'late'.", next_step="List them with `undrift models`."))
    There is no model 'late'. List them with `undrift models`.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, next_step: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".rstrip()

    def to_problem(self) -> dict[str, Any]:
        """Return the RFC 9457 problem details of this error."""
        return {
            "type": f"urn:undrift:error:{self.code}",
            "title": type(self).__name__,
            "status": self.status,
            "detail": self.message,
            "code": self.code,
            "next_step": self.next_step,
            "details": self.details,
        }


class Invalid(UndriftError):
    """The request cannot be right, whoever sends it."""

    code = "invalid"
    status = 400
    exit_code = 2


class TooLarge(Invalid):
    """The request is right in kind, but over a stated limit."""

    code = "too_large"
    status = 413


class Unauthenticated(UndriftError):
    """Nobody has said who is asking."""

    code = "unauthenticated"
    status = 401
    exit_code = 4


class Forbidden(UndriftError):
    """The actor may not do this."""

    code = "forbidden"
    status = 403
    exit_code = 4


class NotFound(UndriftError):
    """The thing named does not exist, or the actor may not see it."""

    code = "not_found"
    status = 404
    exit_code = 3


class Conflict(UndriftError):
    """The request is right but the state is not: it exists already, or it moved meanwhile."""

    code = "conflict"
    status = 409
    exit_code = 5


class Corrupt(UndriftError):
    """Stored bytes are not what was stored."""

    code = "corrupt"
    status = 500
    exit_code = 6


class Unavailable(UndriftError):
    """Something that is needed is away, full, locked, or of another version."""

    code = "unavailable"
    status = 503
    exit_code = 7


_BY_CODE: dict[str, type[UndriftError]] = {
    kind.code: kind
    for kind in (UndriftError, Invalid, TooLarge, Unauthenticated, Forbidden, NotFound, Conflict, Corrupt, Unavailable)
}
_BY_STATUS: dict[int, type[UndriftError]] = {
    kind.status: kind for kind in (Invalid, TooLarge, Unauthenticated, Forbidden, NotFound, Conflict, Unavailable)
}


def from_problem(problem: dict[str, Any]) -> UndriftError:
    """Turn problem details back into the exception they came from; with a code unknown here, into its nearest kin.

    >>> error = from_problem(Conflict("Taken.", name="late").to_problem())
    >>> type(error).__name__, error.message, error.details
    ('Conflict', 'Taken.', {'name': 'late'})
    """
    status = problem.get("status")
    kin = _BY_STATUS.get(status, UndriftError) if isinstance(status, int) else UndriftError
    kind = _BY_CODE.get(str(problem.get("code")), kin)
    message = str(problem.get("detail") or problem.get("title") or "The server reported an error without a text.")
    error = kind(message, next_step=str(problem.get("next_step") or ""))
    details = problem.get("details")
    # Not as keyword arguments: what a server calls its facts is not ours to choose.
    error.details = details if isinstance(details, dict) else {}
    return error
