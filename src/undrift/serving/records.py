"""Serving in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from undrift.metastore import insert_or_ignore, to_struct
from undrift.serving.model import PredictionAccount, Route, Segment
from undrift.serving.tables import predictions, routes, segments, wals

__all__ = [
    "account",
    "add_predictions",
    "add_route",
    "add_segment",
    "advance_wal",
    "collected_bytes",
    "current_routes",
    "find_route",
    "finish_wal",
    "known_predictions",
    "list_routes",
    "lock_routes",
    "newest_revision",
    "overlapping_segments",
    "wal_offset",
]

# Any number will do, as long as every hub on a database takes the same.
_ROUTES_LOCK = 7_470_010
# SQLite takes 32,766 variables a statement, PostgreSQL 65,535.
_IN_AT_ONCE = 10_000


def _route(row: sa.RowMapping) -> Route:
    return to_struct(row, Route)


def lock_routes(tx: sa.Connection) -> None:
    """Make whoever changes routes wait for whoever does so already; SQLite has one writer anyway."""
    if tx.dialect.name == "postgresql":
        tx.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ROUTES_LOCK})


def newest_revision(tx: sa.Connection) -> int:
    """Return the newest revision of the workspace; 0 when no route was ever set."""
    return tx.scalar(sa.select(sa.func.max(routes.c.revision))) or 0


def add_route(tx: sa.Connection, route: Route) -> None:
    """Append a route to the history."""
    tx.execute(sa.insert(routes).values(**msgspec.structs.asdict(route)))


def list_routes(tx: sa.Connection, endpoint: str, *, as_of: datetime | None = None, limit: int = 1000) -> list[Route]:
    """Return the routes an endpoint has had, newest first."""
    query = sa.select(routes).where(routes.c.endpoint == endpoint).order_by(routes.c.revision.desc()).limit(limit)
    if as_of is not None:
        query = query.where(routes.c.at <= as_of)
    return [_route(row) for row in tx.execute(query).mappings()]


def find_route(tx: sa.Connection, endpoint: str, *, as_of: datetime | None = None) -> Route | None:
    """Return the route of an endpoint, now or as it stood at a moment."""
    found = list_routes(tx, endpoint, as_of=as_of, limit=1)
    return found[0] if found else None


def current_routes(tx: sa.Connection, project: str | None = None) -> list[Route]:
    """Return the newest route of every endpoint, by name."""
    newest = sa.select(sa.func.max(routes.c.revision)).group_by(routes.c.endpoint)
    query = sa.select(routes).where(routes.c.revision.in_(newest)).order_by(routes.c.endpoint)
    if project is not None:
        query = query.where(routes.c.project == project)
    return [_route(row) for row in tx.execute(query).mappings()]


def wal_offset(tx: sa.Connection, wal: str) -> int | None:
    """Return how far a log file has been collected, in bytes; None when it has been collected to its end."""
    row = tx.execute(sa.select(wals.c.next_offset, wals.c.finished_at).where(wals.c.wal == wal)).one_or_none()
    if row is None:
        return 0
    return None if row.finished_at is not None else row.next_offset


def collected_bytes(tx: sa.Connection, wal: str) -> int:
    """Return how many bytes of a log file have been collected, whether that was its end or not."""
    return tx.scalar(sa.select(wals.c.next_offset).where(wals.c.wal == wal)) or 0


def advance_wal(tx: sa.Connection, wal: str, before: int, after: int) -> bool:
    """Say that a log file has been collected up to ``after``; False when it does not stand at ``before`` any more."""
    tx.execute(insert_or_ignore(tx, wals).values(wal=wal, next_offset=0, torn_bytes=0, finished_at=None))
    moved = tx.execute(
        sa.update(wals)
        .where(wals.c.wal == wal, wals.c.next_offset == before, wals.c.finished_at.is_(None))
        .values(next_offset=after)
    )
    return moved.rowcount == 1


def finish_wal(tx: sa.Connection, wal: str, torn_bytes: int, at: datetime) -> None:
    """Say that a log file has been collected to its end, but for so many bytes that are no frame."""
    tx.execute(insert_or_ignore(tx, wals).values(wal=wal, next_offset=0, torn_bytes=0, finished_at=None))
    tx.execute(
        sa.update(wals)
        .where(wals.c.wal == wal, wals.c.finished_at.is_(None))
        .values(torn_bytes=torn_bytes, finished_at=at)
    )


def add_segment(tx: sa.Connection, segment: Segment) -> None:
    """Add a segment."""
    tx.execute(sa.insert(segments).values(**msgspec.structs.asdict(segment)))


def add_predictions(tx: sa.Connection, segment: Segment, ids: Sequence[str], event_times: Sequence[datetime]) -> int:
    """Index the predictions of a segment by id, and return how many were not there before."""
    rows = [
        {"prediction_id": id_, "endpoint": segment.endpoint, "event_time": event_time, "segment_id": segment.id}
        for id_, event_time in zip(ids, event_times, strict=True)
    ]
    return tx.execute(insert_or_ignore(tx, predictions), rows).rowcount


def known_predictions(tx: sa.Connection, ids: Sequence[str]) -> dict[str, tuple[str, datetime]]:
    """Return endpoint and event time of those of the predictions that have been collected, by prediction id."""
    found: dict[str, tuple[str, datetime]] = {}
    for start in range(0, len(ids), _IN_AT_ONCE):
        some = ids[start : start + _IN_AT_ONCE]
        query = sa.select(predictions.c.prediction_id, predictions.c.endpoint, predictions.c.event_time)
        for row in tx.execute(query.where(predictions.c.prediction_id.in_(some))):
            found[row.prediction_id] = (row.endpoint, row.event_time)
    return found


def overlapping_segments(tx: sa.Connection, endpoint: str, start: datetime, end: datetime) -> list[Segment]:
    """Return the segments with rows that may lie in [start, end), oldest first."""
    query = (
        sa.select(segments)
        .where(
            segments.c.endpoint == endpoint,
            segments.c.last_event_time >= start,
            segments.c.first_event_time < end,
        )
        .order_by(segments.c.first_event_time, segments.c.id)
    )
    return [Segment(**row) for row in tx.execute(query).mappings()]


def account(tx: sa.Connection, endpoint: str) -> PredictionAccount:
    """Return what became of the predictions of an endpoint."""
    total = sa.func.coalesce
    row = tx.execute(
        sa.select(
            total(sa.func.sum(segments.c.rows), 0).label("rows"),
            total(sa.func.sum(segments.c.duplicates), 0).label("duplicates"),
            total(sa.func.sum(segments.c.dropped), 0).label("dropped"),
            sa.func.count(segments.c.object).label("segments"),
            total(sa.func.sum(segments.c.size_bytes), 0).label("size_bytes"),
            sa.func.min(segments.c.first_event_time).label("first_event_time"),
            sa.func.max(segments.c.last_event_time).label("last_event_time"),
        ).where(segments.c.endpoint == endpoint)
    ).one()
    torn = tx.scalar(sa.select(sa.func.count()).select_from(wals).where(wals.c.torn_bytes > 0)) or 0
    return PredictionAccount(
        endpoint=endpoint,
        logged=int(row.rows) + int(row.duplicates),
        collected=int(row.rows),
        duplicates=int(row.duplicates),
        dropped=int(row.dropped),
        torn=torn,
        segments=row.segments,
        size_bytes=int(row.size_bytes),
        first_event_time=row.first_event_time,
        last_event_time=row.last_event_time,
    )
