"""Runs in SQL."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from undrift.metastore import insert_or_ignore
from undrift.tracking.model import MetricPoint, Run, RunLink
from undrift.tracking.tables import run_links, run_metrics, run_parameters, run_tags, runs

__all__ = ["add_links", "add_metrics", "add_parameters", "add_run", "add_tags", "end_run", "find_runs", "list_runs"]

_ROW = tuple(column.name for column in runs.c)


def add_run(tx: sa.Connection, run: Run) -> None:
    """Add a run, without what it has logged."""
    values = msgspec.structs.asdict(run)
    tx.execute(sa.insert(runs).values({name: values[name] for name in _ROW}))


def add_parameters(tx: sa.Connection, run_id: str, parameters: Mapping[str, Any]) -> None:
    """Add parameters that are not there yet."""
    if parameters:
        rows = [{"run_id": run_id, "name": name, "value": value} for name, value in parameters.items()]
        tx.execute(insert_or_ignore(tx, run_parameters), rows)


def add_tags(tx: sa.Connection, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags, in place of those of the same name."""
    if tags:
        tx.execute(sa.delete(run_tags).where(run_tags.c.run_id == run_id, run_tags.c.name.in_(tags)))
        tx.execute(sa.insert(run_tags), [{"run_id": run_id, "name": name, "value": tags[name]} for name in tags])


def add_metrics(tx: sa.Connection, run_id: str, points: Iterable[MetricPoint]) -> None:
    """Append points; one that is there already stays once."""
    rows = [
        {
            "run_id": run_id,
            "name": point.name,
            "step": point.step,
            "time": point.time,
            "value": point.value if math.isfinite(point.value) else None,
            "special": None if math.isfinite(point.value) else str(point.value),
        }
        for point in points
    ]
    if rows:
        tx.execute(insert_or_ignore(tx, run_metrics), rows)


def add_links(tx: sa.Connection, run_id: str, links: Iterable[RunLink]) -> None:
    """Add what a run read or made."""
    rows = [{"run_id": run_id, **msgspec.structs.asdict(link)} for link in links]
    if rows:
        tx.execute(insert_or_ignore(tx, run_links), rows)


def end_run(tx: sa.Connection, run_id: str, status: str, ended_at: datetime, error: str) -> None:
    """Say how a run ended."""
    tx.execute(sa.update(runs).where(runs.c.id == run_id).values(status=status, ended_at=ended_at, error=error))


def find_runs(tx: sa.Connection, ids: Sequence[str]) -> list[Run]:
    """Return runs with all they have logged, in the order asked for; those that are not there are left out.

    Five statements, however many runs: the cost of a page does not follow its length.
    """
    if not ids:
        return []
    rows = {row["id"]: dict(row) for row in tx.execute(sa.select(runs).where(runs.c.id.in_(ids))).mappings()}
    gathered: dict[str, dict[str, Any]] = {
        id_: {"parameters": {}, "tags": {}, "metrics": {}, "links": []} for id_ in rows
    }
    for row in tx.execute(sa.select(run_parameters).where(run_parameters.c.run_id.in_(rows))):
        gathered[row.run_id]["parameters"][row.name] = row.value
    for row in tx.execute(sa.select(run_tags).where(run_tags.c.run_id.in_(rows))):
        gathered[row.run_id]["tags"][row.name] = row.value
    newest = (
        sa.select(
            run_metrics,
            sa.func.row_number()
            .over(
                partition_by=(run_metrics.c.run_id, run_metrics.c.name),
                order_by=(run_metrics.c.step.desc(), run_metrics.c.time.desc()),
            )
            .label("place"),
        )
        .where(run_metrics.c.run_id.in_(rows))
        .subquery()
    )
    for row in tx.execute(sa.select(newest).where(newest.c.place == 1).order_by(newest.c.name)):
        value = row.value if row.special is None else float(row.special)
        # JSON has no such numbers: a summary gives null, the history gives the word.
        gathered[row.run_id]["metrics"][row.name] = value if math.isfinite(value) else None
    for row in tx.execute(sa.select(run_links).where(run_links.c.run_id.in_(rows)).order_by(run_links.c.name)):
        gathered[row.run_id]["links"].append(RunLink(row.role, row.kind, row.name, row.ref))
    return [Run(**rows[id_], **{**gathered[id_], "links": tuple(gathered[id_]["links"])}) for id_ in ids if id_ in rows]


def list_runs(
    tx: sa.Connection, *, project: str | None, experiment: str | None, kind: str | None, before: str | None, limit: int
) -> list[Run]:
    """Return runs, newest id first."""
    query = sa.select(runs.c.id).order_by(runs.c.id.desc()).limit(limit)
    for column, wanted in ((runs.c.project, project), (runs.c.experiment, experiment), (runs.c.kind, kind)):
        if wanted is not None:
            query = query.where(column == wanted)
    if before is not None:
        query = query.where(runs.c.id < before)
    return find_runs(tx, list(tx.scalars(query)))
