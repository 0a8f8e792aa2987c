"""The log in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from undrift.core.clock import in_utc
from undrift.core.context import EventDraft
from undrift.core.errors import Corrupt
from undrift.events.model import FIRST_HASH, Event, Head, chain_hash
from undrift.events.tables import events, offsets
from undrift.metastore import insert_or_ignore

__all__ = ["advance", "append", "head", "offset", "read_after", "search"]

# Any number will do, as long as every hub on a database takes the same.
_APPEND_LOCK = 7_470_000

# Made once: SQLAlchemy takes longer to put a statement together than SQLite to carry it out.
_LOCK = sa.text(f"SELECT pg_advisory_xact_lock({_APPEND_LOCK})")
_HEAD = sa.select(events.c.position, events.c.hash).order_by(events.c.position.desc()).limit(1)
_INSERT = sa.insert(events)


def append(tx: sa.Connection, drafts: Sequence[EventDraft]) -> None:
    """Append events at the end of the chain.

    On PostgreSQL appending takes one lock until the commit: otherwise a position could become visible after a higher
    one, and a consumer that had read on would miss it. SQLite has one writer anyway.
    """
    if not drafts:
        return
    if tx.dialect.name == "postgresql":
        tx.execute(_LOCK)
    last = head(tx)
    rows = []
    position, previous = last.position, last.hash
    for draft in drafts:
        position += 1
        # Through JSON and back: what is hashed is what will be read.
        data = msgspec.json.decode(msgspec.json.encode(draft.data))
        event = Event(
            position=position,
            id=draft.id,
            type=draft.type,
            subject=draft.subject,
            project=draft.project,
            time=in_utc(draft.time),
            actor=draft.actor,
            trace_id=draft.trace_id,
            data=data,
            hash="",
        )
        previous = chain_hash(previous, event)
        rows.append(msgspec.structs.asdict(event) | {"hash": previous})
    tx.execute(_INSERT, rows)


def head(tx: sa.Connection) -> Head:
    """Return the newest place of the log; position 0 when it is empty."""
    row = tx.execute(_HEAD).one_or_none()
    return Head(0, FIRST_HASH) if row is None else Head(row.position, row.hash)


def read_after(tx: sa.Connection, position: int, *, limit: int = 500) -> list[Event]:
    """Return the events that follow a position, oldest first.

    Raises:
        Corrupt: One of them holds what no undrift has written.
    """
    query = sa.select(events).where(events.c.position > position).order_by(events.c.position).limit(limit)
    return _read(tx, query)


def search(
    tx: sa.Connection, *, subject: str | None, type_: str | None, project: str | None, before: int | None, limit: int
) -> list[Event]:
    """Return matching events, newest first; a subject also matches what lies below it."""
    query = sa.select(events).order_by(events.c.position.desc()).limit(limit)
    if subject is not None:
        # Not LIKE: on SQLite it takes upper and lower case for the same.
        below = subject + "/"
        query = query.where((events.c.subject == subject) | (sa.func.substr(events.c.subject, 1, len(below)) == below))
    if type_ is not None:
        query = query.where(events.c.type == type_)
    if project is not None:
        query = query.where(events.c.project == project)
    if before is not None:
        query = query.where(events.c.position < before)
    return _read(tx, query)


def _read(tx: sa.Connection, query: sa.Select[Any]) -> list[Event]:
    try:
        return [Event(**row) for row in tx.execute(query).mappings()]
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, sa.exc.OperationalError) as error:
        if isinstance(error, sa.exc.OperationalError) and "UTF-8" not in str(error):
            raise
        raise Corrupt(
            "An event holds what no undrift has written.", next_step="Run `undrift audit verify` to find it."
        ) from error


def offset(tx: sa.Connection, consumer: str) -> int:
    """Return how far a consumer has read; 0 at first.

    In a transaction that can write, the offset stays this consumer's until the end: where several processes read for
    one consumer, each event is handled by one of them, once.
    """
    query = sa.select(offsets.c.position).where(offsets.c.consumer == consumer)
    if tx.dialect.name == "sqlite" or tx.get_execution_options().get("postgresql_readonly"):
        # On SQLite a transaction that can write has the whole database to itself.
        return tx.scalar(query) or 0
    tx.execute(insert_or_ignore(tx, offsets).values(consumer=consumer, position=0))
    return tx.scalar(query.with_for_update()) or 0


def advance(tx: sa.Connection, consumer: str, position: int) -> None:
    """Move a consumer's offset, in the transaction of what it did with the events."""
    moved = tx.execute(sa.update(offsets).where(offsets.c.consumer == consumer).values(position=position))
    if moved.rowcount == 0:
        tx.execute(sa.insert(offsets).values(consumer=consumer, position=position))
