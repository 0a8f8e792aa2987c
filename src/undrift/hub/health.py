"""Whether the hub can do its work, and why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from undrift import __version__
from undrift.core.errors import UndriftError
from undrift.metastore.migrate import check
from undrift.workspace import Workspace

__all__ = ["Health", "examine"]

_LEAST_FREE_BYTES = 100_000_000


class Health(msgspec.Struct, frozen=True):
    """The hub's own state.

    Attributes:
        status: ``ok``, or ``degraded`` with reasons.
        reasons: What is wrong, in sentences.
        version: The undrift that runs.
    """

    status: Literal["ok", "degraded"]
    reasons: tuple[str, ...]
    version: str = __version__


def examine(workspace: Workspace) -> Health:
    """Ask the database, its schema and the disk; blocks for as long as they take."""
    reasons = [*_database(workspace), *_disk(workspace)]
    return Health("degraded" if reasons else "ok", tuple(reasons))


def _database(workspace: Workspace) -> Sequence[str]:
    try:
        if not check(workspace.database):
            return ("The database has not the schema this undrift needs. Restart the hub: it migrates when it starts.",)
    except UndriftError as error:
        return (str(error),)
    return ()


def _disk(workspace: Workspace) -> Sequence[str]:
    try:
        free = workspace.free_bytes()
    except OSError as error:
        return (f"The workspace folder cannot be looked at: {error.strerror}.",)
    if free < _LEAST_FREE_BYTES:
        return (f"{free / 1e6:.0f} MB are free on the workspace's disk. Free some: below 100 MB writes may fail.",)
    return ()
