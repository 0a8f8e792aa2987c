"""Monitoring in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from undrift.metastore import insert_or_ignore, to_struct
from undrift.monitoring.model import Incident, LabelAccount, LabelCorrection, Measure, Window
from undrift.monitoring.tables import incidents, label_corrections, labels, monitors, windows

__all__ = [
    "add_corrections",
    "add_incident",
    "add_labels",
    "add_window",
    "change_labels",
    "find_incident",
    "find_window",
    "label_account",
    "labels_between",
    "labels_of",
    "last_window",
    "list_corrections",
    "list_incidents",
    "list_windows",
    "mark_relabelled",
    "measure_window",
    "next_incident_number",
    "next_revision",
    "parked_ids",
    "relabelled_since",
    "save_incident",
    "unmeasured_windows",
    "unpark",
]

_CHUNK = 500
_REVISION_LOCK = 7_470_002


def next_revision(tx: sa.Connection) -> int:
    """Return the number of the next batch of labels: what was measured before it may need measuring anew.

    On PostgreSQL batches wait for each other, so that none becomes visible after a later one was read.
    """
    if tx.dialect.name == "postgresql":
        tx.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _REVISION_LOCK})
    return (tx.scalar(sa.select(sa.func.max(labels.c.revision))) or 0) + 1


def labels_of(tx: sa.Connection, ids: Sequence[str]) -> dict[str, float]:
    """Return the labels that are there for these predictions."""
    found = {}
    for first in range(0, len(ids), _CHUNK):
        query = sa.select(labels.c.prediction_id, labels.c.value).where(
            labels.c.prediction_id.in_(ids[first : first + _CHUNK])
        )
        found.update({row.prediction_id: row.value for row in tx.execute(query)})
    return found


def add_labels(tx: sa.Connection, rows: list[dict[str, Any]]) -> None:
    """Add labels."""
    if rows:
        tx.execute(sa.insert(labels), rows)


def change_labels(tx: sa.Connection, rows: list[dict[str, Any]]) -> None:
    """Replace labels: rows with ``id`` and the new ``value``, ``known_at``, ``recorded_at``, ``revision``."""
    if rows:
        tx.execute(sa.update(labels).where(labels.c.prediction_id == sa.bindparam("id")), rows)


def add_corrections(tx: sa.Connection, rows: list[dict[str, Any]]) -> None:
    """Keep the labels that were replaced."""
    if rows:
        tx.execute(sa.insert(label_corrections), rows)


def list_corrections(tx: sa.Connection, endpoint: str, *, limit: int) -> list[LabelCorrection]:
    """Return what was taken back, newest first."""
    query = (
        sa.select(
            label_corrections.c.prediction_id,
            label_corrections.c.value,
            label_corrections.c.replaced_by,
            label_corrections.c.replaced_at,
            label_corrections.c.actor,
        )
        .where(label_corrections.c.endpoint == endpoint)
        .order_by(label_corrections.c.revision.desc())
        .limit(limit)
    )
    return [LabelCorrection(**row) for row in tx.execute(query).mappings()]


def parked_ids(tx: sa.Connection, *, after: str, limit: int) -> list[str]:
    """Return predictions that labels wait for, by id, those that follow an id."""
    query = sa.select(labels.c.prediction_id).where(labels.c.event_time.is_(None), labels.c.prediction_id > after)
    return list(tx.scalars(query.order_by(labels.c.prediction_id).limit(limit)))


def unpark(tx: sa.Connection, rows: list[dict[str, Any]]) -> None:
    """Join labels to predictions that turned up: rows with ``id``, ``endpoint``, ``event_time``, ``revision``."""
    if rows:
        tx.execute(sa.update(labels).where(labels.c.prediction_id == sa.bindparam("id")), rows)


def label_account(tx: sa.Connection, endpoint: str) -> LabelAccount:
    """Return the labels of an endpoint, counted."""
    there = sa.select(sa.func.count()).where(labels.c.endpoint == endpoint, labels.c.event_time.is_not(None))
    corrected = sa.select(sa.func.count(label_corrections.c.prediction_id.distinct())).where(
        label_corrections.c.endpoint == endpoint
    )
    parked = sa.select(sa.func.count()).where(labels.c.event_time.is_(None))
    return LabelAccount(endpoint, tx.scalar(there) or 0, tx.scalar(corrected) or 0, tx.scalar(parked) or 0)


def labels_between(tx: sa.Connection, endpoint: str, start: datetime, end: datetime) -> tuple[list[str], list[float]]:
    """Return prediction ids and labels of a stretch of event time."""
    query = sa.select(labels.c.prediction_id, labels.c.value).where(
        labels.c.endpoint == endpoint, labels.c.event_time >= start, labels.c.event_time < end
    )
    rows = tx.execute(query).all()
    return [row[0] for row in rows], [row[1] for row in rows]


def _window(row: sa.RowMapping) -> Window:
    return to_struct(row, Window)


def add_window(tx: sa.Connection, window: Window) -> None:
    """Add a window that was closed."""
    tx.execute(sa.insert(windows).values(**msgspec.structs.asdict(window)))


def measure_window(
    tx: sa.Connection,
    window: Window,
    *,
    labelled: int,
    served: Measure | None,
    versions: dict[str, Measure],
    at: datetime,
) -> None:
    """Write how good the predictions of a window were."""
    tx.execute(
        sa.update(windows)
        .where(windows.c.endpoint == window.endpoint, windows.c.start == window.start)
        .values(
            labels=labelled,
            served=served,
            versions=versions,
            measured_at=window.measured_at or at,
            restated=window.restated + (window.measured_at is not None),
        )
    )


def last_window(tx: sa.Connection, endpoint: str) -> Window | None:
    """Return the newest window."""
    query = sa.select(windows).where(windows.c.endpoint == endpoint).order_by(windows.c.start.desc()).limit(1)
    row = tx.execute(query).mappings().first()
    return None if row is None else _window(row)


def list_windows(
    tx: sa.Connection,
    endpoint: str,
    *,
    start: datetime | None = None,
    before: datetime | None = None,
    limit: int = 1000,
) -> list[Window]:
    """Return windows, newest first."""
    query = sa.select(windows).where(windows.c.endpoint == endpoint).order_by(windows.c.start.desc()).limit(limit)
    if start is not None:
        query = query.where(windows.c.start >= start)
    if before is not None:
        query = query.where(windows.c.start < before)
    return [_window(row) for row in tx.execute(query).mappings()]


def unmeasured_windows(tx: sa.Connection, endpoint: str, *, due: datetime) -> list[Window]:
    """Return windows whose labels are due and that were never measured, oldest first."""
    query = sa.select(windows).where(
        windows.c.endpoint == endpoint, windows.c.measured_at.is_(None), windows.c.end <= due
    )
    return [_window(row) for row in tx.execute(query.order_by(windows.c.start)).mappings()]


def relabelled_since(tx: sa.Connection, endpoint: str) -> tuple[list[datetime], int]:
    """Return event times whose labels came or changed since `mark_relabelled`, and the newest revision.

    Only what is new is looked at: the cost does not follow the number of labels there are.
    """
    mark = tx.scalar(sa.select(monitors.c.label_revision).where(monitors.c.endpoint == endpoint)) or 0
    query = sa.select(labels.c.event_time, labels.c.revision).where(
        labels.c.endpoint == endpoint, labels.c.revision > mark, labels.c.event_time.is_not(None)
    )
    rows = tx.execute(query).all()
    return [row[0] for row in rows], max((row[1] for row in rows), default=mark)


def mark_relabelled(tx: sa.Connection, endpoint: str, revision: int) -> None:
    """Say that every measured window reflects all labels up to this revision."""
    tx.execute(insert_or_ignore(tx, monitors).values(endpoint=endpoint, label_revision=0))
    tx.execute(sa.update(monitors).where(monitors.c.endpoint == endpoint).values(label_revision=revision))


def find_window(tx: sa.Connection, endpoint: str, start: datetime) -> Window | None:
    """Return the window that starts then."""
    query = sa.select(windows).where(windows.c.endpoint == endpoint, windows.c.start == start)
    row = tx.execute(query).mappings().first()
    return None if row is None else _window(row)


def next_incident_number(tx: sa.Connection) -> int:
    """Return the number the next incident gets."""
    return (tx.scalar(sa.select(sa.func.max(incidents.c.number))) or 0) + 1


def add_incident(tx: sa.Connection, incident: Incident) -> None:
    """Add an incident."""
    tx.execute(sa.insert(incidents).values(**msgspec.structs.asdict(incident)))


def save_incident(tx: sa.Connection, incident: Incident) -> None:
    """Write an incident in place of its earlier state; the log keeps that."""
    values = msgspec.structs.asdict(incident)
    tx.execute(sa.update(incidents).where(incidents.c.id == incident.id).values(**values))


def find_incident(tx: sa.Connection, *, id_: str | None = None, number: int | None = None) -> Incident | None:
    """Return an incident by its id or its number."""
    wanted = incidents.c.id == id_ if id_ is not None else incidents.c.number == number
    row = tx.execute(sa.select(incidents).where(wanted)).mappings().first()
    return None if row is None else to_struct(row, Incident)


def list_incidents(
    tx: sa.Connection,
    *,
    endpoint: str | None = None,
    project: str | None = None,
    open_only: bool = False,
    limit: int = 1000,
) -> list[Incident]:
    """Return incidents, newest first."""
    query = sa.select(incidents).order_by(incidents.c.number.desc()).limit(limit)
    if endpoint is not None:
        query = query.where(incidents.c.endpoint == endpoint)
    if project is not None:
        query = query.where(incidents.c.project == project)
    if open_only:
        query = query.where(incidents.c.state != "resolved")
    return [to_struct(row, Incident) for row in tx.execute(query).mappings()]
