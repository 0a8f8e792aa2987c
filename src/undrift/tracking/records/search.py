"""Searches for runs in SQL that stay quick with a hundred thousand runs.

A search is answered in one of two ways, and both give the same runs in the same order:

* *Along an order.* With the runs of an experiment ordered by start, or by a metric, an index has that order already:
  walk along it, look each clause up for each run, and stop when the page is full. Quick when many runs match.
* *From a clause.* When some clause matches few runs (asked first, up to a limit), gather those, check the rest for
  them only, and sort. Quick when few match, in whatever order.

Values are compared byte by byte on both engines; NaN and what is missing come last in both directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from undrift.core.errors import Invalid
from undrift.core.filters import Clause, OrderBy
from undrift.metastore import bytewise, like
from undrift.tracking.model import to_time
from undrift.tracking.tables import run_links, run_metrics, run_parameters, run_tags, runs

__all__ = ["Asked", "compare_moment", "compare_text", "search_runs"]

_FEW = 2_000
_WALKED = 16
_HEAD = 64
_LOGGED = {"parameter": run_parameters, "tag": run_tags}
_RUN_NAME = "mlflow.runName"
_PARENT = "mlflow.parentRunId"
_ARTIFACTS = sa.literal("mlflow-artifacts:/") + sa.cast(runs.c.experiment_id, sa.Text) + "/" + runs.c.id + "/artifacts"
_TEXTS = {"run_id": runs.c.id, "run_name": runs.c.name, "user_id": runs.c.user, "artifact_uri": _ARTIFACTS}
_TIMES = {"start_time": runs.c.started_at, "end_time": runs.c.ended_at}


class Asked(NamedTuple):
    """A search for runs."""

    experiment_ids: Sequence[int]
    clauses: Sequence[Clause]
    orders: Sequence[OrderBy]
    states: Sequence[str]
    offset: int
    limit: int


def search_runs(tx: sa.Connection, asked: Asked) -> list[str]:
    """Return the ids of the runs that match, one more than asked for when there are more."""
    if not asked.experiment_ids:
        return []
    need = asked.offset + asked.limit + 1
    few = _from_a_clause(tx, asked)
    walk = _walk_of(asked.orders)
    if few is None and len(asked.experiment_ids) == 1 and walk is _walk_by_start:
        # A later page: the engine walks over what comes before it, without handing it out.
        return [id_ for _, id_ in _walk_by_start(tx, asked, asked.experiment_ids[0], asked.limit + 1, asked.offset)]
    if few is None and len(asked.experiment_ids) <= _WALKED and walk is not None:
        rows: list[tuple[Any, str]] = []
        for experiment_id in asked.experiment_ids:
            rows.extend(walk(tx, asked, experiment_id, need))
        if len(asked.experiment_ids) > 1:
            rows.sort()
        return [id_ for _, id_ in rows[asked.offset : need]]
    query = sa.select(runs.c.id).where(runs.c.experiment_id.in_(asked.experiment_ids), runs.c.state.in_(asked.states))
    if few is not None:
        query = query.where(runs.c.id.in_(few))
    query = query.where(*_conditions(tx, asked.clauses))
    query = _ordered(tx, query, asked.orders)
    return list(tx.scalars(query.offset(asked.offset).limit(asked.limit + 1)))


def _walk_of(orders: Sequence[OrderBy]) -> Any:
    if not orders:
        return _walk_by_start
    if len(orders) == 1:
        first = orders[0]
        if first.entity == "attribute" and first.key == "start_time" and not first.ascending:
            return _walk_by_start
        if first.entity == "metric":
            return _walk_by_metric
    return None


def _walk_by_start(
    tx: sa.Connection, asked: Asked, experiment_id: int, need: int, offset: int = 0
) -> list[tuple[tuple[float, str], str]]:
    query = (
        sa.select(runs.c.id, runs.c.started_at)
        .where(runs.c.experiment_id == experiment_id, runs.c.state.in_(asked.states))
        .where(*_conditions(tx, asked.clauses))
        .order_by(runs.c.started_at.desc(), runs.c.id)
        .limit(need)
        .offset(offset)
    )
    return [((_falling(row.started_at), row.id), row.id) for row in tx.execute(query)]


def _walk_by_metric(
    tx: sa.Connection, asked: Asked, experiment_id: int, need: int
) -> list[tuple[tuple[int, float, float, str], str]]:
    order = asked.orders[0]
    metric = run_metrics.alias("ordering")
    # A clause on the same metric is a range of the index that is walked.
    own = [clause for clause in asked.clauses if clause.entity == "metric" and clause.key == order.key]
    others = [clause for clause in asked.clauses if clause not in own]
    there = sa.and_(
        metric.c.experiment_id == experiment_id,
        metric.c.name == order.key,
        *(_compared(metric.c.value, clause) for clause in own),
    )
    right = sa.and_(runs.c.state.in_(asked.states), *_conditions(tx, others))
    joined = sa.select(runs.c.id, runs.c.started_at, metric.c.value).join_from(
        metric, runs, runs.c.id == metric.c.run_id
    )
    rows: list[tuple[tuple[int, float, float, str], str]] = []

    def take(query: Any, rank: int) -> None:
        for row in tx.execute(query.limit(need - len(rows))):
            value = 0.0 if rank else (row.value if order.ascending else -row.value)
            rows.append(((rank, value, _falling(row.started_at), row.id), row.id))

    numbers = joined.where(there, right, metric.c.value.is_not(None))
    direction = metric.c.value.asc() if order.ascending else metric.c.value.desc()
    take(numbers.order_by(direction, runs.c.started_at.desc(), runs.c.id), 0)
    if len(rows) < need:
        nans = joined.where(there, right, metric.c.value.is_(None))
        take(nans.order_by(runs.c.started_at.desc(), runs.c.id), 1)
    if len(rows) < need and not own:
        without = sa.select(runs.c.id, runs.c.started_at).where(
            runs.c.experiment_id == experiment_id,
            right,
            ~sa.exists().where(metric.c.run_id == runs.c.id, metric.c.name == order.key),
        )
        take(without.order_by(runs.c.started_at.desc(), runs.c.id), 2)
    return rows


def _falling(at: datetime) -> float:
    return -at.timestamp()


def _from_a_clause(tx: sa.Connection, asked: Asked) -> Any | None:
    """Return the runs of the clause that matches the fewest, when it matches few; without it walking is quicker."""
    best: tuple[int, Any] | None = None
    for clause in asked.clauses:
        matching = _indexed(clause, asked.experiment_ids)
        if matching is None:
            continue
        most = _FEW if best is None else best[0]
        count = tx.scalar(sa.select(sa.func.count()).select_from(matching.limit(most + 1).subquery())) or 0
        if count <= most:
            best = count, matching
    return None if best is None else best[1]


def _indexed(clause: Clause, experiment_ids: Sequence[int]) -> Any | None:
    """Return a query for the ids of the runs that a clause matches, or a little more, if an index can answer it."""
    if clause.entity in _LOGGED and clause.op == "=" and clause.key != _RUN_NAME:
        table = _LOGGED[clause.entity]
        matching = sa.select(table.c.run_id).where(
            table.c.experiment_id.in_(experiment_ids),
            table.c.name == clause.key,
            table.c.head == str(clause.value)[:_HEAD],
        )
        if clause.entity == "tag" and clause.key == _PARENT:
            parts = sa.select(runs.c.id.label("run_id")).where(runs.c.parent_id == clause.value)
            return sa.select(sa.union(matching, parts).subquery().c.run_id)
        return matching
    if clause.entity == "metric" and clause.op in {"=", ">", ">=", "<", "<="}:
        return sa.select(run_metrics.c.run_id).where(
            run_metrics.c.experiment_id.in_(experiment_ids),
            run_metrics.c.name == clause.key,
            _compared(run_metrics.c.value, clause),
        )
    if clause.entity == "attribute" and clause.key == "run_id" and clause.op in {"=", "IN"}:
        ids = [clause.value] if clause.op == "=" else list(clause.value)  # type: ignore[arg-type]  # IN has a tuple
        return sa.select(runs.c.id.label("run_id")).where(runs.c.id.in_(ids))
    return None


def _conditions(tx: sa.Connection, clauses: Sequence[Clause]) -> list[Any]:
    return [_condition(tx, clause) for clause in clauses]


def _condition(tx: sa.Connection, clause: Clause) -> Any:
    if clause.entity == "metric":
        return sa.exists().where(
            run_metrics.c.run_id == runs.c.id, run_metrics.c.name == clause.key, _compared(run_metrics.c.value, clause)
        )
    if clause.entity == "tag" and clause.key == _RUN_NAME:
        if clause.op in {"IS NULL", "IS NOT NULL"}:
            return runs.c.name == "" if clause.op == "IS NULL" else runs.c.name != ""
        return compare_text(tx, runs.c.name, clause)
    if clause.entity in _LOGGED:
        table = _LOGGED[clause.entity]
        there: Any = sa.exists().where(table.c.run_id == runs.c.id, table.c.name == clause.key)
        # The run that a run is part of is a column, whoever made it; clients of MLflow know it as a tag.
        part = clause.entity == "tag" and clause.key == _PARENT
        if clause.op in {"IS NULL", "IS NOT NULL"}:
            there = there | runs.c.parent_id.is_not(None) if part else there
            return there if clause.op == "IS NOT NULL" else ~there
        there = there.where(compare_text(tx, table.c.value, clause))
        return there | compare_text(tx, runs.c.parent_id, clause) if part else there
    if clause.entity == "dataset":
        columns = {"name": run_links.c.name, "digest": run_links.c.ref, "context": run_links.c.context}
        return sa.exists().where(
            run_links.c.run_id == runs.c.id,
            run_links.c.role == "input",
            run_links.c.kind == "dataset",
            compare_text(tx, columns[clause.key], clause),
        )
    if clause.key in _TIMES:
        return compare_moment(_TIMES[clause.key], clause)
    if clause.key == "status":
        return compare_text(tx, sa.func.upper(runs.c.status), _upper(clause))
    return compare_text(tx, _TEXTS[clause.key], clause)


def compare_text(tx: sa.Connection, column: Any, clause: Clause) -> Any:
    """Return the condition that a clause puts on a text column."""
    value: Any = clause.value
    if clause.op == "=":
        return column == value
    if clause.op == "!=":
        return column != value
    if clause.op == "IN":
        return column.in_(value)
    if clause.op == "NOT IN":
        return column.not_in(value)
    return like(tx, column, value, case_sensitive=clause.op == "LIKE")


def _compared(column: Any, clause: Clause) -> Any:
    value: Any = clause.value
    if clause.op == "!=":
        return (column != value) | column.is_(None)
    return {
        "=": column == value,
        "<": column < value,
        "<=": column <= value,
        ">": column > value,
        ">=": column >= value,
    }[clause.op]


def compare_moment(column: Any, clause: Clause) -> Any:
    """Compare a moment with milliseconds: a moment counts as the millisecond it lies in."""
    value: Any = clause.value
    if clause.op in {"=", "!="}:
        within = sa.and_(column >= _at(int(value)), column < _at(int(value) + 1)) if value == int(value) else sa.false()
        return within if clause.op == "=" else ~within
    if clause.op in {">", "<="}:
        following = _at(math.floor(value) + 1)
        return column >= following if clause.op == ">" else column < following
    return column >= _at(math.ceil(value)) if clause.op == ">=" else column < _at(math.ceil(value))


def _at(ms: int) -> datetime:
    try:
        return to_time(ms)
    except Invalid:
        return datetime.max.replace(tzinfo=to_time(0).tzinfo) if ms > 0 else to_time(0)


def _ordered(tx: sa.Connection, query: Any, orders: Sequence[OrderBy]) -> Any:
    by: list[Any] = []
    for place, order in enumerate(orders):
        if order.entity == "attribute" or (order.entity == "tag" and order.key == _RUN_NAME):
            column = _TEXTS.get(order.key)
            if order.key == _RUN_NAME:
                column = runs.c.name
            if order.key == "status":
                column = runs.c.status
            value = _TIMES[order.key] if column is None else bytewise(tx, column)
            missing: list[Any] = [value.is_(None)]
        else:
            table = (run_metrics if order.entity == "metric" else _LOGGED[order.entity]).alias(f"ordering_{place}")
            query = query.outerjoin(table, sa.and_(table.c.run_id == runs.c.id, table.c.name == order.key))
            value = table.c.value if order.entity == "metric" else bytewise(tx, table.c.value)
            # What has no such metric comes after what has one that is not a number.
            missing = [table.c.run_id.is_(None), table.c.value.is_(None)]
        by += [*missing, value.asc() if order.ascending else value.desc()]
    if not any(order.entity == "attribute" and order.key == "start_time" for order in orders):
        by.append(runs.c.started_at.desc())
    return query.order_by(*by, runs.c.id)


def _upper(clause: Clause) -> Clause:
    return msgspec.structs.replace(clause, value=str(clause.value).upper())
