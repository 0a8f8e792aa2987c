"""Points of metrics in SQL: chunks for histories, the newest point for lists and searches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from undrift.metastore import Prepared
from undrift.tracking.model import LatestMetric, LoggedModelMetric
from undrift.tracking.points import Points, merged, newest, pack, unpack
from undrift.tracking.tables import logged_model_metrics, metric_chunks, run_metrics

__all__ = [
    "Written",
    "add_points",
    "latest_metrics",
    "list_metric_names",
    "model_metrics",
    "page_of_history",
    "read_history",
]

_SMALL = 4096
_MERGE_AFTER = 256
_COUNTED = 100_000
_appended: dict[tuple[str, str], int] = {}

_SOURCE = ("model_id", "dataset_name", "dataset_digest")
_INSERT_CHUNK = Prepared(
    sa.insert(metric_chunks), "run_id", "name", *_SOURCE, "length", "first_ms", "last_ms", "points"
)


class Written(NamedTuple):
    """Points of one metric of one run to be written: three columns of one length, not empty."""

    run_id: str
    experiment_id: int
    name: str
    steps: Sequence[int]
    times_ms: Sequence[int]
    values: Sequence[float]
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


def add_points(tx: sa.Connection, series: Iterable[Written]) -> None:
    """Append points and move the newest ones on; the cost follows the number of series, hardly that of points."""
    chunks: list[dict[str, Any]] = []
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    of_models: dict[tuple[str, ...], dict[str, Any]] = {}
    for one in series:
        source = {
            "model_id": one.model_id,
            "dataset_name": one.dataset_name,
            "dataset_digest": one.dataset_digest,
        }
        chunks.append(
            {
                "run_id": one.run_id,
                "name": one.name,
                **source,
                "length": len(one.steps),
                "first_ms": min(one.times_ms),
                "last_ms": max(one.times_ms),
                "points": pack(one.steps, one.times_ms, one.values),
            }
        )
        step, time_ms, value = newest(one.steps, one.times_ms, one.values)
        point = {"step": step, "time_ms": time_ms, "value": None if math.isnan(value) else value}
        row = {"run_id": one.run_id, "name": one.name, "experiment_id": one.experiment_id, **point, **source}
        _keep_newest(latest, (one.run_id, one.name), row)
        if one.model_id:
            of_model = {"run_id": one.run_id, "name": one.name, **point, **source}
            _keep_newest(
                of_models, (one.model_id, one.name, one.run_id, one.dataset_name, one.dataset_digest), of_model
            )
    if not chunks:
        return
    _INSERT_CHUNK.many(tx, chunks)
    _UPSERT.many(tx, list(latest.values()))
    if of_models:
        _UPSERT_MODEL.many(tx, list(of_models.values()))
    for key in latest:
        _merge_now_and_then(tx, key)


def _keep_newest(kept: dict[Any, dict[str, Any]], key: Any, row: dict[str, Any]) -> None:
    def rank(one: dict[str, Any]) -> tuple[int, int, float]:
        return one["step"], one["time_ms"], -math.inf if one["value"] is None else one["value"]

    if key not in kept or rank(row) >= rank(kept[key]):
        kept[key] = row


def _upsert(table: sa.Table, insert: Any, moving: Sequence[str]) -> Any:
    statement = insert(table)
    new = statement.excluded
    lowest: Any = sa.literal_column("'-Infinity'::float8" if insert is postgresql.insert else "-9e999")

    def rank(columns: Any) -> Any:
        return sa.tuple_(columns.step, columns.time_ms, sa.func.coalesce(columns.value, lowest))

    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: new[name] for name in moving},
        where=rank(new) >= rank(table.c),
    )


_MOVING = ("value", "step", "time_ms")
_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_UPSERT = Prepared(
    {name: _upsert(run_metrics, insert, (*_MOVING, *_SOURCE)) for name, insert in _INSERTS.items()},
    *(column.name for column in run_metrics.c),
)
_UPSERT_MODEL = Prepared(
    {name: _upsert(logged_model_metrics, insert, _MOVING) for name, insert in _INSERTS.items()},
    *(column.name for column in logged_model_metrics.c),
)


def _merge_now_and_then(tx: sa.Connection, key: tuple[str, str]) -> None:
    """Merge the small chunks of a metric once many have been appended, so that a row holds many points again.

    Counted in this process only: after a restart at most one round of small chunks a metric stays as it is.
    """
    appended = _appended.get(key, 0) + 1
    if appended < _MERGE_AFTER:
        if len(_appended) >= _COUNTED:
            _appended.clear()
        _appended[key] = appended
        return
    _appended.pop(key, None)
    run_id, name = key
    small = sa.select(metric_chunks.c.id).where(
        metric_chunks.c.run_id == run_id, metric_chunks.c.name == name, metric_chunks.c.length < _SMALL
    )
    if tx.dialect.name == "postgresql":
        # Whoever merges the same ones at this moment keeps them.
        small = small.with_for_update(skip_locked=True)
    ids = list(tx.scalars(small))
    gone = sa.delete(metric_chunks).where(metric_chunks.c.id.in_(ids)).returning(metric_chunks)
    by_source: dict[tuple[str, ...], list[Any]] = {}
    for row in tx.execute(gone):
        by_source.setdefault((row.model_id, row.dataset_name, row.dataset_digest), []).append(row)
    rows = []
    for source, chunks in by_source.items():
        points = merged(unpack([chunk.points for chunk in chunks]))
        rows.append(
            {
                "run_id": run_id,
                "name": name,
                **dict(zip(_SOURCE, source, strict=True)),
                "length": len(points),
                "first_ms": int(points["time"][0]),
                "last_ms": int(points["time"][-1]),
                "points": pack(*(points[column].tolist() for column in ("step", "time", "value"))),
            }
        )
    if rows:
        _INSERT_CHUNK.many(tx, rows)


_SPANS = (
    sa.select(metric_chunks.c.id, metric_chunks.c.first_ms, metric_chunks.c.last_ms, metric_chunks.c.length)
    .where(metric_chunks.c.run_id == sa.bindparam("run_id"), metric_chunks.c.name == sa.bindparam("name"))
    .order_by(metric_chunks.c.first_ms, metric_chunks.c.id)
)


def read_history(tx: sa.Connection, run_id: str, name: str) -> Points:
    """Return all points of a metric by time, step and value, each exact repeat once."""
    query = sa.select(metric_chunks.c.points).where(metric_chunks.c.run_id == run_id, metric_chunks.c.name == name)
    return merged(unpack(list(tx.scalars(query.order_by(metric_chunks.c.first_ms, metric_chunks.c.id)))))


def page_of_history(
    tx: sa.Connection, run_id: str, name: str, *, after: tuple[int, int, float] | None, limit: int
) -> tuple[Points, bool]:
    """Return the points that follow one, at most so many, and whether there are more.

    Only the chunks that can hold them are read: a page costs the same at the end of a long history as at its beginning.
    """
    import numpy as np  # noqa: PLC0415 - 100 ms that a hub which only takes points need not spend

    spans = [
        span
        for span in tx.execute(_SPANS, {"run_id": run_id, "name": name})
        if after is None or span.last_ms >= after[0]
    ]
    found: list[Points] = []
    length = 0
    at = 0
    while at < len(spans) and length <= limit:
        # Chunks whose times overlap belong together: none of them can be ordered without the others.
        ids: list[int] = []
        count = 0
        until = spans[at].last_ms
        while at < len(spans) and (spans[at].first_ms <= until or length + count <= limit):
            until = max(until, spans[at].last_ms)
            ids.append(spans[at].id)
            count += spans[at].length
            at += 1
        points = merged(unpack(_chunks(tx, ids)))
        if after is not None:
            points = points[_follows(points, after)]
        found.append(points)
        length += len(points)
    points = np.concatenate(found) if found else unpack([])
    return points[:limit], len(points) > limit or at < len(spans)


def _chunks(tx: sa.Connection, ids: Sequence[int]) -> list[bytes]:
    found: dict[int, bytes] = {}
    for begin in range(0, len(ids), 10_000):
        some = list(ids[begin : begin + 10_000])
        query = sa.select(metric_chunks.c.id, metric_chunks.c.points).where(metric_chunks.c.id.in_(some))
        found.update((row.id, row.points) for row in tx.execute(query))
    return [found[id_] for id_ in ids]


def _follows(points: Points, after: tuple[int, int, float]) -> Any:
    time, step, value = after
    import numpy as np  # noqa: PLC0415 - as above

    later = (points["time"] > time) | ((points["time"] == time) & (points["step"] > step))
    same = (points["time"] == time) & (points["step"] == step)
    if not same.any():
        return later
    # As `merged` orders them: NaN as 0, and among equals by their bits.
    shown = np.where(np.isnan(points["value"]), 0.0, points["value"])
    bits = np.ascontiguousarray(points["value"]).view("<i8")
    mine = np.array([value], "<f8")
    mine_shown, mine_bits = (0.0 if math.isnan(value) else value), int(mine.view("<i8")[0])
    return later | (same & ((shown > mine_shown) | ((shown == mine_shown) & (bits > mine_bits))))


def latest_metrics(
    tx: sa.Connection, run_ids: Sequence[str], names: Sequence[str] | None = None
) -> dict[str, list[LatestMetric]]:
    """Return the newest points of runs, by run; of these metrics only, where some are named."""
    found: dict[str, list[LatestMetric]] = {run_id: [] for run_id in run_ids}
    table = run_metrics.c
    columns = (table.run_id, table.name, table.value, table.step, table.time_ms, *(table[name] for name in _SOURCE))
    query = sa.select(*columns).where(table.run_id.in_(run_ids)).order_by(table.run_id, table.name)
    if names is not None:
        query = query.where(table.name.in_(names))
    # All rows at once and by their places: a page has thousands of them.
    for run_id, name, value, *rest in tx.execute(query).all():
        found[run_id].append(LatestMetric(name, math.nan if value is None else value, *rest))
    return found


def model_metrics(tx: sa.Connection, model_ids: Sequence[str]) -> Mapping[str, list[LoggedModelMetric]]:
    """Return the newest points of logged models, by model."""
    found: dict[str, list[LoggedModelMetric]] = {model_id: [] for model_id in model_ids}
    query = sa.select(logged_model_metrics).where(logged_model_metrics.c.model_id.in_(model_ids))
    for row in tx.execute(query.order_by(*logged_model_metrics.primary_key.columns)):
        value = math.nan if row.value is None else row.value
        found[row.model_id].append(
            LoggedModelMetric(row.name, value, row.step, row.time_ms, row.run_id, row.dataset_name, row.dataset_digest)
        )
    return found


def list_metric_names(tx: sa.Connection, experiment_id: int, *, contains: str, limit: int) -> list[str]:
    """Return the names of the metrics of an experiment, in order; the cost follows the names, not the runs."""
    # One look into the index for each name: a DISTINCT would walk over every run.
    mine = run_metrics.c.experiment_id == experiment_id
    names = sa.select(sa.func.min(run_metrics.c.name).label("name")).where(mine).cte("names", recursive=True)
    following = (
        sa.select(sa.func.min(run_metrics.c.name)).where(mine, run_metrics.c.name > names.c.name).scalar_subquery()
    )
    names = names.union_all(sa.select(following).where(names.c.name.is_not(None)))
    query = sa.select(names.c.name).where(names.c.name.is_not(None)).limit(limit)
    if contains:
        query = query.where(names.c.name.contains(contains, autoescape=True))
    return list(tx.scalars(query))
