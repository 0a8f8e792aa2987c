"""Cycles in SQL."""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa

from undrift.loop.model import Cycle
from undrift.loop.tables import cycles
from undrift.metastore import to_struct

__all__ = ["add_cycle", "find_cycle", "list_cycles", "lock_cycle", "open_cycle", "save_cycle"]


def _cycle(row: sa.RowMapping) -> Cycle:
    return to_struct(row, Cycle)


def add_cycle(tx: sa.Connection, cycle: Cycle) -> None:
    """Add a cycle."""
    tx.execute(sa.insert(cycles).values(**msgspec.structs.asdict(cycle)))


def save_cycle(tx: sa.Connection, cycle: Cycle) -> None:
    """Write a cycle in place of its earlier state; the log keeps that."""
    tx.execute(sa.update(cycles).where(cycles.c.id == cycle.id).values(**msgspec.structs.asdict(cycle)))


def find_cycle(tx: sa.Connection, id_: str, *, lock: bool = False) -> Cycle | None:
    """Return a cycle by its id; with ``lock``, others who would change it wait until the transaction ends."""
    query = sa.select(cycles).where(cycles.c.id == id_)
    if lock and tx.dialect.name == "postgresql":
        # On SQLite there is one writer at a time anyway.
        query = query.with_for_update()
    row = tx.execute(query).mappings().first()
    return None if row is None else _cycle(row)


def lock_cycle(tx: sa.Connection, cycle: Cycle) -> bool:
    """Hold a cycle until the transaction ends; returns whether it still is as it was read."""
    return find_cycle(tx, cycle.id, lock=True) == cycle


def open_cycle(tx: sa.Connection, endpoint: str) -> Cycle | None:
    """Return the cycle that is under way at an endpoint."""
    query = sa.select(cycles).where(cycles.c.endpoint == endpoint, cycles.c.closed_at.is_(None))
    row = tx.execute(query.order_by(cycles.c.opened_at.desc())).mappings().first()
    return None if row is None else _cycle(row)


def list_cycles(
    tx: sa.Connection, *, endpoint: str | None = None, since: datetime | None = None, limit: int = 1000
) -> list[Cycle]:
    """Return cycles, newest first."""
    query = sa.select(cycles).order_by(cycles.c.opened_at.desc(), cycles.c.id.desc()).limit(limit)
    if endpoint is not None:
        query = query.where(cycles.c.endpoint == endpoint)
    if since is not None:
        query = query.where(cycles.c.opened_at >= since)
    return [_cycle(row) for row in tx.execute(query).mappings()]
