"""Logged models in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from undrift.core.filters import Clause, OrderBy
from undrift.metastore import bytewise
from undrift.tracking.model import LoggedModel
from undrift.tracking.records.metrics import model_metrics
from undrift.tracking.records.runs import upsert
from undrift.tracking.records.search import compare_moment, compare_text
from undrift.tracking.tables import logged_model_metrics, logged_model_parameters, logged_model_tags, logged_models

__all__ = [
    "add_model",
    "change_model",
    "find_models",
    "remove_model_tag",
    "search_models",
    "set_model_parameters",
    "set_model_tags",
]

_ROW = tuple(column.name for column in logged_models.c if column.name != "deleted_at")
_TEXTS = {
    "name": logged_models.c.name,
    "model_id": logged_models.c.id,
    "model_type": logged_models.c.type,
    "source_run_id": logged_models.c.source_run_id,
}
_TIMES = {
    "creation_timestamp": logged_models.c.created_at,
    "last_updated_timestamp": logged_models.c.updated_at,
}
_LOGGED = {"parameter": logged_model_parameters, "tag": logged_model_tags}
_SET = {table: upsert(table, "value") for table in _LOGGED.values()}


def add_model(tx: sa.Connection, model: LoggedModel) -> None:
    """Add a logged model, with its parameters and tags."""
    tx.execute(sa.insert(logged_models).values({name: getattr(model, name) for name in _ROW}))
    set_model_parameters(tx, model.id, model.parameters)
    set_model_tags(tx, model.id, model.tags)


def change_model(tx: sa.Connection, id_: str, **values: Any) -> None:
    """Change columns of a logged model."""
    tx.execute(sa.update(logged_models).where(logged_models.c.id == id_).values(**values))


def _set(tx: sa.Connection, table: sa.Table, model_id: str, values: Mapping[str, str]) -> None:
    if values:
        rows = [{"model_id": model_id, "name": name, "value": value} for name, value in sorted(values.items())]
        tx.execute(_SET[table][tx.dialect.name], rows)


def set_model_parameters(tx: sa.Connection, model_id: str, parameters: Mapping[str, str]) -> None:
    """Set parameters, in place of those of the same name."""
    _set(tx, logged_model_parameters, model_id, parameters)


def set_model_tags(tx: sa.Connection, model_id: str, tags: Mapping[str, str]) -> None:
    """Set tags, in place of those of the same name."""
    _set(tx, logged_model_tags, model_id, tags)


def remove_model_tag(tx: sa.Connection, model_id: str, name: str) -> bool:
    """Remove a tag; returns whether it was there."""
    mine = (logged_model_tags.c.model_id == model_id) & (logged_model_tags.c.name == name)
    return bool(tx.execute(sa.delete(logged_model_tags).where(mine)).rowcount)


def find_models(tx: sa.Connection, ids: Sequence[str]) -> list[LoggedModel]:
    """Return logged models with all they have, in the order asked for; those that are not there are left out."""
    query = sa.select(*(logged_models.c[name] for name in _ROW)).where(logged_models.c.id.in_(ids))
    rows = {row["id"]: dict(row) for row in tx.execute(query).mappings()}
    gathered: dict[str, dict[str, Any]] = {id_: {"parameters": {}, "tags": {}} for id_ in rows}
    for field, table in (("parameters", logged_model_parameters), ("tags", logged_model_tags)):
        for row in tx.execute(sa.select(table).where(table.c.model_id.in_(rows)).order_by(table.c.name)):
            gathered[row.model_id][field][row.name] = row.value
    metrics = model_metrics(tx, list(rows))
    return [LoggedModel(**rows[id_], **gathered[id_], metrics=tuple(metrics[id_])) for id_ in ids if id_ in rows]


def search_models(
    tx: sa.Connection,
    *,
    experiment_ids: Sequence[int],
    clauses: Sequence[Clause],
    orders: Sequence[tuple[OrderBy, str, str]],
    datasets: Sequence[tuple[str, str]],
    offset: int,
    limit: int,
) -> list[str]:
    """Return the ids of logged models that match, one more than asked for when there are more.

    Args:
        tx: The transaction.
        experiment_ids: In which experiments.
        clauses: What has to hold.
        orders: By what, each with the name and digest of a dataset that a metric is taken from (empty: any).
        datasets: Names and digests (empty: any) of the datasets whose points count in clauses on metrics.
        offset: How many to leave out.
        limit: How many.
    """
    points = logged_model_metrics
    on_datasets = sa.or_(
        sa.false(),
        *(
            sa.and_(points.c.dataset_name == name, points.c.dataset_digest == digest if digest else sa.true())
            for name, digest in datasets
        ),
    )
    query = sa.select(logged_models.c.id).where(
        logged_models.c.experiment_id.in_(experiment_ids), logged_models.c.state == "active"
    )
    if datasets and not any(clause.entity == "metric" for clause in clauses):
        query = query.where(sa.exists().where(points.c.model_id == logged_models.c.id, on_datasets))
    for clause in clauses:
        if clause.entity == "metric":
            there = [points.c.model_id == logged_models.c.id, points.c.name == clause.key, _number(clause)]
            query = query.where(sa.exists().where(*there, *([on_datasets] if datasets else [])))
        elif clause.entity in _LOGGED:
            table = _LOGGED[clause.entity]
            mine = sa.exists().where(table.c.model_id == logged_models.c.id, table.c.name == clause.key)
            if clause.op in {"IS NULL", "IS NOT NULL"}:
                query = query.where(~mine if clause.op == "IS NULL" else mine)
            else:
                query = query.where(mine.where(compare_text(tx, table.c.value, clause)))
        elif clause.key in _TIMES:
            query = query.where(compare_moment(_TIMES[clause.key], clause))
        elif clause.key == "status":
            query = query.where(
                compare_text(tx, sa.literal("LOGGED_MODEL_") + sa.func.upper(logged_models.c.status), clause)
            )
        else:
            query = query.where(compare_text(tx, _TEXTS[clause.key], clause))
    query = _ordered(tx, query, orders)
    return list(tx.scalars(query.offset(offset).limit(limit + 1)))


def _number(clause: Clause) -> Any:
    value: Any = clause.value
    column = logged_model_metrics.c.value
    if clause.op == "!=":
        return (column != value) | column.is_(None)
    return column.op(clause.op)(value)


def _ordered(tx: sa.Connection, query: Any, orders: Sequence[tuple[OrderBy, str, str]]) -> Any:
    by: list[Any] = []
    for order, dataset_name, dataset_digest in orders:
        if order.entity == "metric":
            points = logged_model_metrics.alias()
            # Of several points the latest one: one scalar look-up for each model.
            newest = sa.select(points.c.value).where(
                points.c.model_id == logged_models.c.id, points.c.name == order.key, points.c.value.is_not(None)
            )
            if dataset_name:
                newest = newest.where(points.c.dataset_name == dataset_name)
            if dataset_digest:
                newest = newest.where(points.c.dataset_digest == dataset_digest)
            value: Any = newest.order_by(points.c.time_ms.desc(), points.c.step.desc()).limit(1).scalar_subquery()
        elif order.key in _TIMES:
            value = _TIMES[order.key]
        else:
            value = bytewise(tx, logged_models.c.status if order.key == "status" else _TEXTS[order.key])
        by += [value.is_(None), value.asc() if order.ascending else value.desc()]
    return query.order_by(*by, logged_models.c.created_at.desc(), logged_models.c.id)
