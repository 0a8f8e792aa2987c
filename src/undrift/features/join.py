"""The point-in-time join: every row gets the values that were known at its own moment, and no later ones.

Bitemporal by default. Of the reports about an entity that were known at the moment asked for, the one with the latest
event time counts; of several about the same event time, the one that became known last. A report that arrives late and
tells of an older time never takes the place of a newer one.

The join is one sort and one as-of merge per view: n log n in the rows on both sides, whatever the length of history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from undrift.core.errors import Invalid
from undrift.features.model import FeatureView

if TYPE_CHECKING:
    import polars as pl

__all__ = ["MISSING", "Stretch", "point_in_time_join"]

Stretch = tuple[datetime, datetime | None]
"""From, and up to but without (None: still open)."""

MISSING = "missing"
EXPIRED = "expired"


def point_in_time_join(
    rows: pl.DataFrame,
    at: str,
    views: Sequence[tuple[FeatureView, pl.DataFrame]],
    *,
    quarantines: Mapping[str, Sequence[Stretch]] | None = None,
) -> pl.DataFrame:
    """Give every row the features known at its moment.

    Args:
        rows: What to fill; has the entity columns of every view and the moment.
        at: The column with the moment, UTC.
        views: Each view with the rows of its dataset.
        quarantines: By dataset: stretches of its event time whose values are not to be trusted.

    Returns:
        The rows in their order, with the features of each view and two more columns a view: ``<view>__status`` is
        ``present``, ``missing`` (no value was known), ``expired`` (older than its time to live) or ``quarantined`` (the
        values are given, but nobody should learn from them); ``<view>__time`` is the event time they came from.

    Raises:
        Invalid: A column is missing, or a feature would overwrite a column that is there.
    """
    import polars as pl  # noqa: PLC0415 - the hub shows feature views without polars

    place = "__place"
    filled = rows.with_row_index(place)
    for view, source in views:
        _check_columns(filled, at, view, source)
        if source.is_empty() and not source.columns:
            filled = filled.with_columns(
                *(pl.lit(None, pl.Float64).alias(name) for name in view.features),
                pl.lit(MISSING).alias(view.status),
                pl.lit(None, pl.Datetime("us", "UTC")).alias(view.matched),
            )
            continue
        filled = _join_window(filled, at, view, source) if view.aggregates else _join_latest(filled, at, view, source)
        stretches = (quarantines or {}).get(view.dataset, ())
        if stretches and view.time is not None:
            reach = pl.duration(seconds=view.window_s or 0)
            touched = [_touches(pl.col(view.matched), reach, start, end) for start, end in stretches]
            # An expired value is not given, so there is nothing to distrust.
            given = pl.any_horizontal(touched).fill_null(value=False) & (pl.col(view.status) != EXPIRED)
            filled = filled.with_columns(
                pl.when(given).then(pl.lit("quarantined")).otherwise(view.status).alias(view.status)
            )
    return filled.sort(place).drop(place)


def _touches(matched: pl.Expr, reach: pl.Expr, start: datetime, end: datetime | None) -> pl.Expr:
    # A window that ends at `matched` reaches back: it is touched when any part of it lies in the stretch.
    inside = matched >= start
    return inside if end is None else inside & (matched - reach < end)


def _check_columns(rows: pl.DataFrame, at: str, view: FeatureView, source: pl.DataFrame) -> None:
    lacking = [name for name in (*view.entity, at) if name not in rows.columns]
    if lacking:
        raise Invalid(
            f"Feature view {view.name!r} cannot be joined: the rows have no column {', '.join(lacking)}.",
            next_step=f"They have {', '.join(name for name in rows.columns if not name.startswith('__'))}.",
        )
    taken = [name for name in view.features if name in rows.columns]
    if taken:
        raise Invalid(
            f"Feature view {view.name!r} would overwrite {', '.join(taken)}.",
            next_step="Rename the feature or the column.",
        )
    if source.columns:
        needed = {*view.entity, *(view.features if not view.aggregates else ())}
        needed |= {name for name in (view.time, view.known_at) if name is not None}
        needed |= {aggregate.column for aggregate in view.aggregates.values() if aggregate.column}
        gone = sorted(name for name in needed if name not in source.columns)
        if gone:
            raise Invalid(f"Dataset {view.dataset!r} has no column {', '.join(gone)}, which view {view.name!r} needs.")


def _join_latest(rows: pl.DataFrame, at: str, view: FeatureView, source: pl.DataFrame) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415 - see above

    entity, known, came, time = list(view.entity), "__known", "__came", view.matched
    columns = [*entity, *view.features]
    if view.time is None:
        newest = source.select(columns).unique(entity, keep="last", maintain_order=True)
        joined = rows.join(newest.with_columns(__there=pl.lit(value=True)), on=entity, how="left")
        there = pl.col("__there").fill_null(value=False)
        return joined.with_columns(
            pl.when(there).then(pl.lit("present")).otherwise(pl.lit(MISSING)).alias(view.status),
            pl.lit(None, pl.Datetime("us", "UTC")).alias(time),
        ).drop("__there")
    reports = source.select(
        *columns,
        pl.col(view.time).alias(time),
        pl.col(view.known_at or view.time).alias(known),
    ).drop_nulls([*entity, time, known])
    # A report about the future (a forecast's own moment) counts from that moment on; of several, the one known last.
    reports = reports.with_columns(pl.max_horizontal(known, time).alias(known), pl.col(known).alias(came))
    reports = reports.sort(known, time, came, maintain_order=True).drop(came)
    if view.known_at not in (None, view.time):
        # Keep what was the newest knowledge when it came: a late report about an older time never is.
        reports = reports.filter(pl.col(time) >= pl.col(time).cum_max().over(entity))
    joined = rows.sort(at, maintain_order=True).join_asof(
        reports, left_on=at, right_on=known, by=entity, strategy="backward", check_sortedness=False
    )
    joined = joined.drop(known, strict=False)
    absent = pl.col(time).is_null()
    if view.ttl_s is None:
        return joined.with_columns(
            pl.when(absent).then(pl.lit(MISSING)).otherwise(pl.lit("present")).alias(view.status)
        )
    expired = (pl.col(at) - pl.col(time)) > pl.duration(seconds=view.ttl_s)
    return joined.with_columns(
        pl.when(absent)
        .then(pl.lit(MISSING))
        .when(expired)
        .then(pl.lit(EXPIRED))
        .otherwise(pl.lit("present"))
        .alias(view.status)
    ).with_columns(pl.when(pl.col(view.status) == "present").then(pl.col(name)).alias(name) for name in view.features)


def _join_window(rows: pl.DataFrame, at: str, view: FeatureView, source: pl.DataFrame) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415 - see above

    entity, time = list(view.entity), view.matched
    summed = sorted({aggregate.column for aggregate in view.aggregates.values() if aggregate.column})
    # What is no number is missing: in a running total it would stay for ever.
    numbers = [pl.col(name).cast(pl.Float64).alias(name) for name in summed]
    finite = [
        pl.when(number.is_finite()).then(number).alias(name) for name, number in zip(summed, numbers, strict=True)
    ]
    events = source.select(*entity, pl.col(view.time or "").alias("__t"), *finite).drop_nulls([*entity, "__t"])
    # Running totals: a window is the difference of two of them, so its cost does not follow its length.
    running = events.sort("__t", maintain_order=True).select(
        *entity,
        "__t",
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(entity).alias("__n"),
        *(pl.col(name).fill_null(0).cum_sum().over(entity).alias(f"__sum_{name}") for name in summed),
        *(pl.col(name).is_not_null().cast(pl.Int64).cum_sum().over(entity).alias(f"__n_{name}") for name in summed),
    )
    totals = ["__n", *(f"__{kind}_{name}" for name in summed for kind in ("sum", "n"))]

    def at_moment(frame: pl.DataFrame, moment: str, suffix: str) -> pl.DataFrame:
        found = frame.sort(moment, maintain_order=True).join_asof(
            running.rename({name: name + suffix for name in totals}),
            left_on=moment,
            right_on="__t",
            by=entity,
            strategy="backward",
            check_sortedness=False,
        )
        return found.drop("__t", strict=False).with_columns(pl.col(name + suffix).fill_null(0) for name in totals)

    joined = at_moment(rows, at, "_to")
    joined = joined.with_columns((pl.col(at) - pl.duration(seconds=view.window_s)).alias("__from"))
    joined = at_moment(joined, "__from", "_from")

    def total(name: str) -> pl.Expr:
        return pl.col(f"{name}_to") - pl.col(f"{name}_from")

    made = []
    for name, aggregate in view.aggregates.items():
        if aggregate.kind == "count":
            value = total("__n").cast(pl.Float64)
        elif aggregate.kind == "sum":
            value = total(f"__sum_{aggregate.column}")
        else:
            counted = total(f"__n_{aggregate.column}")
            value = pl.when(counted > 0).then(total(f"__sum_{aggregate.column}") / counted)
        made.append(value.alias(name))
    helpers = [name + suffix for name in totals for suffix in ("_to", "_from")]
    return joined.with_columns(
        *made,
        pl.when(total("__n") > 0).then(pl.lit("present")).otherwise(pl.lit(MISSING)).alias(view.status),
        pl.col(at).alias(time),
    ).drop(*helpers, "__from")
