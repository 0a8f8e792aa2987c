"""What imports and exports need of tracking in SQL: rows as they are, with their times, and whether ids are taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from undrift.metastore import insert_or_ignore
from undrift.tracking.artifacts.model import Artifact
from undrift.tracking.artifacts.tables import artifacts
from undrift.tracking.model import LoggedModel
from undrift.tracking.points import Points, merged, unpack
from undrift.tracking.records.metrics import Written, add_points
from undrift.tracking.records.models import find_models
from undrift.tracking.tables import (
    experiments,
    logged_model_parameters,
    logged_model_tags,
    logged_models,
    metric_chunks,
    runs,
)

__all__ = [
    "add_artifacts_as_of",
    "add_missing_points",
    "add_model_as_was",
    "add_run_rows",
    "is_free",
    "page_of_artifacts",
    "page_of_models",
    "page_of_points",
    "projects_of",
    "set_experiment_state",
]

_MANY = 5_000


def projects_of(tx: sa.Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return whose the runs and logged models of these ids are; those that are not there are left out."""
    found: dict[str, str] = {}
    for table in (runs, logged_models):
        for begin in range(0, len(ids), _MANY):
            query = sa.select(table.c.id, table.c.project).where(table.c.id.in_(ids[begin : begin + _MANY]))
            found |= {row.id: row.project for row in tx.execute(query)}
    return found


def is_free(tx: sa.Connection, id_: int) -> bool:
    """Return whether no experiment, of any project, has this number."""
    return tx.scalar(sa.select(experiments.c.id).where(experiments.c.id == id_)) is None


def set_experiment_state(tx: sa.Connection, id_: int, state: str, updated_at: datetime) -> None:
    """Say what an imported experiment is, without touching its runs."""
    tx.execute(sa.update(experiments).where(experiments.c.id == id_).values(state=state, updated_at=updated_at))


def add_run_rows(tx: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add runs with all their columns; those that are there stay."""
    if rows:
        tx.execute(insert_or_ignore(tx, runs), list(rows))


def add_missing_points(tx: sa.Connection, series: Iterable[Written]) -> int:
    """Append those points that are not there yet, exactly as they are; returns how many those were."""
    import numpy as np  # noqa: PLC0415 - 100 ms that a hub which only takes points need not spend

    fresh: list[Written] = []
    for one in series:
        given = np.empty(len(one.steps), [("time", "<i8"), ("step", "<i8"), ("value", "<f8")])
        given["time"], given["step"], given["value"] = one.times_ms, one.steps, one.values
        given = merged(given)
        c = metric_chunks.c
        query = sa.select(c.points).where(
            c.run_id == one.run_id,
            c.name == one.name,
            c.model_id == one.model_id,
            c.dataset_name == one.dataset_name,
            c.dataset_digest == one.dataset_digest,
            c.last_ms >= int(given["time"].min()),
            c.first_ms <= int(given["time"].max()),
        )
        known = unpack(list(tx.scalars(query)))
        if len(known):
            given = _without(given, known)
        if len(given):
            columns = given["step"].tolist(), given["time"].tolist(), given["value"].tolist()
            fresh.append(Written(one.run_id, one.experiment_id, one.name, *columns, *one[6:]))
    add_points(tx, fresh)
    return sum(len(one.steps) for one in fresh)


def _without(given: Points, known: Points) -> Points:
    """Return the points that are not among the known ones; NaN is equal to itself here, and 0 is not -0."""
    import numpy as np  # noqa: PLC0415 - as above

    both = np.concatenate([known, given])
    bits = np.ascontiguousarray(both["value"]).view("<i8")
    place = np.arange(len(both))
    # Of equal ones the known come first.
    order = np.lexsort((place, bits, both["step"], both["time"]))
    same = np.zeros(len(both), bool)
    same[1:] = (
        (both["time"][order][1:] == both["time"][order][:-1])
        & (both["step"][order][1:] == both["step"][order][:-1])
        & (bits[order][1:] == bits[order][:-1])
    )
    repeated = np.zeros(len(both), bool)
    repeated[order] = same
    fresh: Points = given[~repeated[len(known) :]]
    return fresh


def page_of_points(
    tx: sa.Connection, run_id: str, after: tuple[str, str, str, str, int] | None, limit: int
) -> tuple[list[tuple[tuple[str, str, str, str], Points]], tuple[str, str, str, str, int] | None]:
    """Return points of a run by metric and source, at most about so many, and where the next page begins.

    Each source (model and dataset that were measured) is a series of its own, ordered by time, step and value.

    Args:
        tx: The transaction.
        run_id: The run.
        after: Metric, model, dataset name, digest of the series to go on with, and how many of its points to leave out.
        limit: How many points; a page always holds at least one.
    """
    c = metric_chunks.c
    spans = tx.execute(
        sa.select(c.id, c.name, c.model_id, c.dataset_name, c.dataset_digest, c.length).where(c.run_id == run_id)
    ).all()
    # Here and not in SQL: engines order text each in their own way.
    series: dict[tuple[str, str, str, str], list[int]] = {}
    for span in spans:
        series.setdefault((span.name, span.model_id, span.dataset_name, span.dataset_digest), []).append(span.id)
    found: list[tuple[tuple[str, str, str, str], Points]] = []
    left = limit
    for key in sorted(series):
        if after is not None and key < after[:4]:
            continue
        skip = after[4] if after is not None and key == after[:4] else 0
        if left <= 0:
            return found, (*key, 0)
        points = merged(unpack(_points_of(tx, series[key])))
        taken = points[skip : skip + left]
        if len(taken):
            found.append((key, taken))
        if skip + len(taken) < len(points):
            return found, (*key, skip + len(taken))
        left -= len(taken)
    return found, None


def _points_of(tx: sa.Connection, ids: Sequence[int]) -> list[bytes]:
    found: list[bytes] = []
    c = metric_chunks.c
    for begin in range(0, len(ids), _MANY):
        some = sa.select(c.points).where(c.id.in_(list(ids[begin : begin + _MANY]))).order_by(c.first_ms, c.id)
        found.extend(tx.scalars(some))
    return found


def add_model_as_was(tx: sa.Connection, model: LoggedModel, deleted_at: datetime | None) -> bool:
    """Add a logged model with all its columns; of one that is there, what it lacks. Returns whether it was added."""
    row = {c.name: getattr(model, c.name) for c in logged_models.c if c.name != "deleted_at"}
    values = insert_or_ignore(tx, logged_models).values(**row, deleted_at=deleted_at)
    added = bool(tx.execute(values).rowcount)
    for table, words in ((logged_model_parameters, model.parameters), (logged_model_tags, model.tags)):
        rows = [{"model_id": model.id, "name": name, "value": value} for name, value in sorted(words.items())]
        if rows:
            tx.execute(insert_or_ignore(tx, table), rows)
    return added


def page_of_models(tx: sa.Connection, experiment_id: int, after: str, limit: int) -> list[LoggedModel]:
    """Return logged models of an experiment by id, also deleted ones."""
    of = logged_models.c
    query = sa.select(of.id).where(of.experiment_id == experiment_id, of.id > after).order_by(of.id).limit(limit)
    return find_models(tx, list(tx.scalars(query)))


def page_of_artifacts(tx: sa.Connection, root: str, after: str, limit: int) -> list[Artifact]:
    """Return the artifacts of a root by path."""
    query = sa.select(artifacts).where(artifacts.c.root == root, artifacts.c.path > after)
    return [Artifact(*row) for row in tx.execute(query.order_by(artifacts.c.path).limit(limit))]


def add_artifacts_as_of(tx: sa.Connection, entries: Sequence[Artifact]) -> int:
    """Add files with the time they came; those that are there stay. Returns how many were new."""
    if not entries:
        return 0
    there: set[str] = set()
    paths = [entry.path for entry in entries]
    for begin in range(0, len(paths), _MANY):
        some = artifacts.c.path.in_(paths[begin : begin + _MANY])
        there.update(tx.scalars(sa.select(artifacts.c.path).where(artifacts.c.root == entries[0].root, some)))
    rows = [
        {
            "root": entry.root,
            "path": entry.path,
            "digest": entry.digest,
            "size_bytes": entry.size_bytes,
            "created_at": entry.created_at,
        }
        for entry in entries
        if entry.path not in there
    ]
    if rows:
        tx.execute(insert_or_ignore(tx, artifacts), rows)
    return len(rows)
