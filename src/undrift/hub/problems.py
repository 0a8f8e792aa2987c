"""Errors over HTTP: RFC 9457 problem details, with the trace id to look for in the log; details stay in the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar.exceptions import HTTPException

from undrift.core.errors import Invalid, NotFound, TooLarge, Unavailable, UndriftError
from undrift.workspace import Workspace

__all__ = [
    "PROBLEM_JSON",
    "Problem",
    "SlowBody",
    "WrongMediaType",
    "WrongMethod",
    "hidden_names",
    "redacted",
    "to_problem",
]

PROBLEM_JSON = "application/problem+json"

_RETRY_S = 5
_MOST_DETAIL = 2_000  # characters
_log = logging.getLogger("undrift.hub")


class WrongMethod(Invalid):
    """The path is known, the method is not one it takes."""

    status = 405


class WrongMediaType(Invalid):
    """The body is not JSON."""

    status = 415


class SlowBody(Invalid):
    """The body took too long to arrive."""

    status = 408


class Problem(msgspec.Struct, frozen=True):
    """An error as it is sent.

    Attributes:
        status: The HTTP status.
        headers: Headers that belong to it, such as ``retry-after``.
        details: What the body says.
    """

    status: int
    headers: dict[str, str]
    details: dict[str, Any]


def hidden_names(workspace: Workspace) -> tuple[tuple[str, str], ...]:
    """Return what errors must not show of where a workspace lives, with the words to say instead."""
    url, store = workspace.database.url, workspace.settings.store
    named = [(url.render_as_string(hide_password=True), "the database")]
    if url.get_backend_name() == "sqlite" and url.database:
        named.append((url.database, "the database"))
    if store:
        named.append((store, "the store"))
    return (*named, (str(workspace.folder), "the workspace"))


def to_problem(error: Exception, *, trace_id: str, hidden: Sequence[tuple[str, str]] = ()) -> Problem:
    """Say an error so that it can be sent; what the hub is to blame for goes to the log.

    Args:
        error: What went wrong.
        trace_id: The call it belongs to.
        hidden: Names to keep out of the answer, with the words to say instead.
    """
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        said: UndriftError = _from_framework(error)
    elif isinstance(error, UndriftError):
        said = error
    else:
        said = UndriftError(
            "The hub failed at this request in a way nobody thought of.",
            next_step=f"Its log says why: look for {trace_id}.",
        )
    if said.status >= 500:
        # What is away for a while needs no stack trace; what nobody thought of does.
        _log.error("%s: %s: %s", trace_id, type(error).__name__, error, exc_info=None if said.status == 503 else error)
    if isinstance(said, Unavailable):
        headers["retry-after"] = str(said.details.get("retry_s", _RETRY_S))
    details = redacted({**said.to_problem(), "instance": trace_id}, hidden)
    if len(details["detail"]) > _MOST_DETAIL:  # it may quote what was sent
        details["detail"] = details["detail"][:_MOST_DETAIL] + "…"
    return Problem(said.status, headers, details)


def _from_framework(error: HTTPException) -> UndriftError:
    if error.status_code == 404:
        return NotFound(
            "There is nothing at this address.",
            next_step="Pages begin at /, operations are described at /api/openapi.json.",
        )
    if error.status_code == 405:
        return WrongMethod("This address does not take this method.", next_step="Look at the Allow header.")
    if error.status_code == 413:
        return TooLarge("The body is too large.")
    if error.status_code < 500:
        return Invalid(f"The request cannot be read: {error.detail}.")
    return UndriftError("The hub failed at this request.")


def redacted(value: Any, hidden: Sequence[tuple[str, str]]) -> Any:
    """Return a JSON-able value without the names that must not be shown."""
    if isinstance(value, str):
        for name, word in hidden:
            value = value.replace(name, word)
        return value
    if isinstance(value, dict):
        return {key: redacted(one, hidden) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(one, hidden) for one in value]
    return value
