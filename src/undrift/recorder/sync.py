"""Sends what runs left on this machine: those recorded offline, and those whose process or hub went in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from undrift.core.errors import Invalid, NotFound, UndriftError
from undrift.recorder.delivery import Delivery, said_by
from undrift.recorder.place import Place, find_place
from undrift.recorder.spool import Spool, find_spools, is_gone_on_with, runs_folder

if TYPE_CHECKING:
    from undrift.client import Client

__all__ = ["Synced", "sync_runs"]


class Synced(msgspec.Struct, frozen=True):
    """What became of one run's folder.

    Attributes:
        run_id: The run.
        folder: Its folder; it is gone when all was sent.
        target: Where it was sent.
        state: ``sent``; ``recording``, while a process still writes there; ``left``, when not all could be sent.
        points: How many points were acknowledged.
        files: How many files were.
        refused: How many things the other side refused for good.
        trouble: Why not all was sent.
    """

    run_id: str
    folder: str
    target: str
    state: str
    points: int = 0
    files: int = 0
    refused: int = 0
    trouble: str = ""


def sync_runs(folder: Path | None = None, *, target: str | Path | None = None) -> Iterator[Synced]:
    """Send what lies in a folder, oldest run first, and say what became of each; doing it again changes nothing.

    A run that has not ended, whose process is gone, and with which no other process goes on, is ended as killed.

    Args:
        folder: A run's folder, or one with such folders; where this user's runs lie when left out.
        target: Where to send; where each run was to go when left out.

    Raises:
        NotFound: There is no such folder.
        Invalid: The target is none.
    """
    folder = folder or runs_folder()
    if not folder.is_dir():
        if folder == runs_folder():
            return
        raise NotFound(f"There is no folder {folder}.", next_step=f"Runs of this user lie in {runs_folder()}.")
    with ExitStack() as open_clients:
        clients: dict[str, Client | UndriftError] = {}
        for path in find_spools(folder):
            run_id = path.name.partition(".")[0]
            try:
                spool = Spool.open(path)
            except Invalid as error:
                yield Synced(run_id, str(path), "", "left", trouble=f"{error.message} {error.next_step}".strip())
                continue
            if spool is None:
                yield Synced(run_id, str(path), "", "recording")
                continue
            try:
                yield _send(spool, target, clients, open_clients)
            finally:
                spool.close()


def _send(
    spool: Spool, target: str | Path | None, clients: dict[str, Client | UndriftError], open_clients: ExitStack
) -> Synced:
    last_word = None if is_gone_on_with(spool.folder) else _last_written(spool.folder)
    delivery = Delivery(spool)
    named = target or spool.about.target or None
    trouble = ""
    place = Place("", "")
    try:
        place = find_place(named, offline=False)
        client = _client(place, clients, open_clients)
        delivery.send_all(client, killed_at=last_word)
    except Invalid:
        if target is not None:
            raise
        trouble = "its target is none; name one"
    except Exception as error:  # noqa: BLE001 - one run must not keep the others back
        trouble = said_by(error)
    return Synced(
        spool.about.run_id,
        str(spool.folder),
        place.target,
        "left" if trouble else "sent",
        delivery.sent_points,
        delivery.sent_files,
        delivery.refused,
        trouble,
    )


def _client(place: Place, clients: dict[str, Client | UndriftError], open_clients: ExitStack) -> Client:
    """Connect once to each place; one that cannot be had is not asked again for every run."""
    if place.target not in clients:
        try:
            clients[place.target] = open_clients.enter_context(place.connect())
        except UndriftError as error:
            clients[place.target] = error
    found = clients[place.target]
    if isinstance(found, UndriftError):
        raise found
    return found


def _last_written(folder: Path) -> datetime:
    newest = 0.0
    with suppress(OSError):
        newest = max((path.stat().st_mtime for path in folder.glob("*.jsonl")), default=0.0)
    return datetime.fromtimestamp(newest, UTC) if newest else datetime.now(UTC)
