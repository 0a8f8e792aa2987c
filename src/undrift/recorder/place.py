"""Where a run is sent to: a hub or a workspace, and who said so."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from undrift.core.errors import Invalid

if TYPE_CHECKING:
    from undrift.client import Client

__all__ = ["Place", "can_send", "find_place", "importing", "working_folder"]

# Held while modules are imported in the background: a child forked in between would wait for them for ever.
_importing = threading.Lock()
_FORK_WAIT_S = 3.0
_held = False
_imported = False
_process = os.getpid()

_FOLDER = ".undrift"
_OFF = frozenset({"", "0", "false", "no", "off"})


class Place(msgspec.Struct, frozen=True):
    """Where to.

    Attributes:
        target: The address of a hub, or the folder of a workspace.
        reason: Who said so, in words.
        create: Whether the workspace is made when it is not there.
        offline: Nothing is sent now; `undrift runs sync` does it later.
    """

    target: str
    reason: str
    create: bool = False
    offline: bool = False

    @property
    def is_hub(self) -> bool:
        """Whether it is a hub."""
        return "://" in self.target

    def connect(self) -> Client:
        """Connect.

        Raises:
            UndriftError: It is not there, or not to be reached.
        """
        global _imported  # noqa: PLW0603 - modules are the process's
        with importing():
            from undrift.client import connect  # noqa: PLC0415 - a second of imports, for the thread that sends

            _imported = True
            _keep_out_of_logs()
            if self.create:
                from undrift.workspace import Workspace  # noqa: PLC0415 - the same

                Workspace.open(self.target, create=True).close()
            return connect(self.target)


class _OfOthers(logging.Filter):
    """Lets through what was not said in a thread of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record may be logged."""
        return record.levelno >= logging.WARNING or not threading.current_thread().name.startswith("undrift-")


_of_others = _OfOthers()


def _keep_out_of_logs() -> None:
    """Keep the calls of a recorder, several a second, out of the log of the code that trains."""
    for name in ("httpx", "httpcore.connection", "httpcore.http11", "alembic.runtime.migration"):
        logging.getLogger(name).addFilter(_of_others)


@contextmanager
def importing() -> Iterator[None]:
    """Keep this process from being forked, for some seconds at most, while modules are imported in a thread."""
    with _importing:
        yield


def can_send() -> bool:
    """Say whether this process can send: a child that was forked while its parent imported what sends, never can."""
    return _imported or os.getpid() == _process


def _before_fork() -> None:
    global _held  # noqa: PLW0603 - one fork at a time
    _held = _importing.acquire(timeout=_FORK_WAIT_S)


def _after_fork() -> None:
    if _held:
        _importing.release()


def _after_fork_in_child() -> None:
    global _importing  # noqa: PLW0603 - whoever held it is not in this process
    _importing = threading.Lock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


def find_place(target: str | Path | None = None, *, offline: bool | None = None) -> Place:
    """Find out where runs go.

    The first that is there: the argument; ``$UNDRIFT_HUB``; ``$UNDRIFT_WORKSPACE``; the nearest ``.undrift`` of this
    user in this folder or above; ``~/.undrift``, which is made.

    Args:
        target: A folder, or the address of a hub.
        offline: Send nothing; when left out, ``$UNDRIFT_OFFLINE`` says.

    Raises:
        Invalid: The address is none.
    """
    if offline is None:
        offline = os.environ.get("UNDRIFT_OFFLINE", "").strip().lower() not in _OFF
    if target is not None:
        return Place(_address(str(target), "target"), "as the caller said", offline=offline)
    for variable in ("UNDRIFT_HUB", "UNDRIFT_WORKSPACE"):
        if named := os.environ.get(variable):
            return Place(_address(named, variable), f"as {variable} says", offline=offline)
    here = working_folder()
    for folder in (here, *here.parents):
        if _is_workspace_of_ours(folder / _FOLDER):
            return Place(str(folder / _FOLDER), "the nearest workspace", offline=offline)
    home = Path(os.path.expanduser("~"), _FOLDER)  # noqa: PTH111 - never raises
    return Place(str(home), "no other place was named", create=True, offline=offline)


def working_folder() -> Path:
    """Return where the process stands; the root when that folder was removed."""
    try:
        return Path.cwd()
    except OSError:
        return Path("/")


def _address(named: str, what: str) -> str:
    if "://" not in named:
        if what == "UNDRIFT_HUB":
            raise Invalid(f"UNDRIFT_HUB is {named[:200]!r}, not an address.", next_step="Write http://127.0.0.1:7470.")
        return str(Path(named).absolute())
    if not named.startswith(("http://", "https://")):
        raise Invalid(f"{named[:200]!r} is not the address of a hub.", next_step="Write it as http://127.0.0.1:7470.")
    return named.rstrip("/")


def _is_workspace_of_ours(folder: Path) -> bool:
    # Not one that somebody else put above a shared folder: what is sent there can be read by them.
    try:
        return (folder / "workspace.json").is_file() and folder.stat().st_uid == os.getuid()
    except OSError:
        return False
