"""Experiments in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from undrift.core.filters import Clause, OrderBy
from undrift.metastore import bytewise, insert_or_ignore
from undrift.tracking.model import Experiment
from undrift.tracking.records.runs import upsert
from undrift.tracking.records.search import compare_moment, compare_text
from undrift.tracking.tables import experiment_tags, experiments, runs

__all__ = [
    "add_experiment",
    "add_experiment_tags",
    "change_experiment",
    "experiments_of",
    "find_experiment",
    "find_experiments",
    "list_projects",
    "remove_experiment_tags",
    "search_experiments",
    "set_state_of_runs",
]


def add_experiment(
    tx: sa.Connection, project: str, name: str, *, at: datetime, actor: str, id_: int | None = None
) -> bool:
    """Add an experiment unless there is one of that name or number; returns whether it was added."""
    row: dict[str, Any] = {
        "project": project,
        "name": name,
        "state": "active",
        "created_at": at,
        "updated_at": at,
        "created_by": actor,
    }
    if id_ is not None:
        row["id"] = id_
    elif tx.dialect.name == "postgresql":
        # Numbers that an import brought along are not known to the sequence.
        taken = sa.select(sa.func.coalesce(sa.func.max(experiments.c.id), 0)).scalar_subquery()
        sequence = sa.func.pg_get_serial_sequence("experiments", "id")
        row["id"] = tx.scalar(sa.select(sa.func.greatest(sa.func.nextval(sequence), taken + 1)))
    return bool(tx.execute(insert_or_ignore(tx, experiments).values(**row)).rowcount)


def find_experiment(tx: sa.Connection, *, project: str, id_: int | None = None, name: str = "") -> Experiment | None:
    """Return an experiment of a project by its number, or by its name."""
    if id_ is not None and not _fits(id_):
        return None
    query = sa.select(experiments).where(experiments.c.project == project)
    query = query.where(experiments.c.name == name) if id_ is None else query.where(experiments.c.id == id_)
    row = tx.execute(query).mappings().first()
    return None if row is None else _with_tags(tx, [row])[0]


def find_experiments(tx: sa.Connection, ids: Sequence[int]) -> list[Experiment]:
    """Return experiments in the order asked for; those that are not there are left out."""
    by_id: dict[int, Experiment] = {}
    for some in _portions(ids):
        found = tx.execute(sa.select(experiments).where(experiments.c.id.in_(some))).mappings().all()
        by_id.update({one.id: one for one in _with_tags(tx, found)})
    return [by_id[id_] for id_ in ids if id_ in by_id]


def _fits(id_: int) -> bool:
    return -(2**63) <= id_ < 2**63


def _portions(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    # SQLite takes 32,766 values a statement.
    known = [id_ for id_ in ids if _fits(id_)]
    return (known[begin : begin + 10_000] for begin in range(0, len(known), 10_000))


def experiments_of(tx: sa.Connection, project: str, ids: Sequence[int] | None) -> list[int]:
    """Return the numbers of the experiments of a project: of all, or of those of these numbers that it has."""
    query = sa.select(experiments.c.id).where(experiments.c.project == project).order_by(experiments.c.id)
    if ids is None:
        return list(tx.scalars(query))
    return sorted({id_ for some in _portions(ids) for id_ in tx.scalars(query.where(experiments.c.id.in_(some)))})


def list_projects(tx: sa.Connection) -> list[str]:
    """Return the projects that have experiments, in order."""
    return list(tx.scalars(sa.select(experiments.c.project).distinct().order_by(experiments.c.project)))


def _with_tags(tx: sa.Connection, rows: Sequence[sa.RowMapping]) -> list[Experiment]:
    tags: dict[int, dict[str, str]] = {row["id"]: {} for row in rows}
    query = sa.select(experiment_tags).where(experiment_tags.c.experiment_id.in_(tags)).order_by(experiment_tags.c.name)
    for tag in tx.execute(query):
        tags[tag.experiment_id][tag.name] = tag.value
    return [Experiment(**row, tags=tags[row["id"]]) for row in rows]


def change_experiment(tx: sa.Connection, id_: int, **values: Any) -> None:
    """Change columns of an experiment."""
    tx.execute(sa.update(experiments).where(experiments.c.id == id_).values(**values))


def add_experiment_tags(tx: sa.Connection, id_: int, tags: Mapping[str, str]) -> None:
    """Set tags, in place of those of the same name."""
    if tags:
        rows = [{"experiment_id": id_, "name": name, "value": value} for name, value in tags.items()]
        tx.execute(_SET_TAG[tx.dialect.name], rows)


_SET_TAG = upsert(experiment_tags, "value")


def remove_experiment_tags(tx: sa.Connection, id_: int, names: Iterable[str]) -> None:
    """Remove tags."""
    mine = experiment_tags.c.experiment_id == id_
    tx.execute(sa.delete(experiment_tags).where(mine, experiment_tags.c.name.in_(list(names))))


def set_state_of_runs(tx: sa.Connection, experiment_id: int, state: str, at: datetime | None) -> int:
    """Delete or restore all runs of an experiment; returns how many changed."""
    mine = (runs.c.experiment_id == experiment_id) & (runs.c.state != state)
    return tx.execute(sa.update(runs).where(mine).values(state=state, deleted_at=at)).rowcount


_TIMES = {"creation_time": experiments.c.created_at, "last_update_time": experiments.c.updated_at}


def search_experiments(
    tx: sa.Connection,
    *,
    project: str,
    clauses: Sequence[Clause],
    orders: Sequence[OrderBy],
    states: Sequence[str],
    offset: int,
    limit: int,
) -> list[int]:
    """Return the numbers of the experiments that match, one more than asked for when there are more."""
    query = sa.select(experiments.c.id).where(experiments.c.project == project, experiments.c.state.in_(states))
    query = query.where(*(_condition(tx, clause) for clause in clauses))
    by: list[Any] = []
    for order in orders:
        column: Any = _TIMES.get(order.key)
        if column is None:
            column = experiments.c.id if order.key == "experiment_id" else bytewise(tx, experiments.c.name)
        by.append(column.asc() if order.ascending else column.desc())
    # The last word when times are equal is another with an order than without one, as MLflow's clients know it.
    by += [experiments.c.id.desc()] if orders else [experiments.c.created_at.desc(), experiments.c.id.asc()]
    return list(tx.scalars(query.order_by(*by).offset(offset).limit(limit + 1)))


def _condition(tx: sa.Connection, clause: Clause) -> Any:
    if clause.entity == "tag":
        there = sa.exists().where(
            experiment_tags.c.experiment_id == experiments.c.id, experiment_tags.c.name == clause.key
        )
        if clause.op in {"IS NULL", "IS NOT NULL"}:
            return ~there if clause.op == "IS NULL" else there
        return there.where(compare_text(tx, experiment_tags.c.value, clause))
    if clause.key in _TIMES:
        return compare_moment(_TIMES[clause.key], clause)
    if clause.key == "experiment_id":
        return compare_text(tx, sa.cast(experiments.c.id, sa.Text), clause)
    return compare_text(tx, experiments.c.name, clause)
