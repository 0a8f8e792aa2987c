"""The collected prediction log: Parquet files with one row a prediction, and reading them back by event time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING

from undrift.core.context import Context
from undrift.serving import records
from undrift.serving.frames import Predictions
from undrift.serving.model import LOG_COLUMNS

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_predictions", "table_of", "to_parquet"]


def _schema() -> dict[str, pl.DataType]:
    import polars as pl  # noqa: PLC0415 - the hub opens this room without reading predictions

    moment = pl.Datetime("us", "UTC")
    types = {"event_time": moment, "answered_at": moment, "score": pl.Float64(), "shadow_score": pl.Float64()}
    texts = ("prediction_id", "arm")
    return {name: types.get(name, pl.String() if name in texts else pl.Int64()) for name in LOG_COLUMNS}


def table_of(frames: Sequence[Predictions]) -> pl.DataFrame:
    """Lay the rows of frames under each other: first what every prediction has, then the columns that were sent.

    Frames of routes with other columns leave these null. The types of columns come from the signature, not from the
    values, so that the hour without any value has the same type as the next.
    """
    import polars as pl  # noqa: PLC0415 - see above

    # By columns, types and arms: within such a group only lists are laid end to end.
    groups: dict[tuple[object, ...], list[Predictions]] = {}
    for frame in frames:
        groups.setdefault((frame.head.columns, frame.head.types), []).append(frame)
    parts = [_group(group) for group in groups.values()]
    return pl.concat(parts, how="diagonal_relaxed") if parts else pl.DataFrame(schema=_schema())


def _group(frames: Sequence[Predictions]) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415 - see above

    fixed: dict[str, list[object]] = {name: [] for name in LOG_COLUMNS}
    flat: list[object] = []
    for frame in frames:
        rows = len(frame.ids)
        arms = [0] * rows if frame.arms is None else frame.arms
        named = frame.head.arms
        fixed["prediction_id"] += frame.ids
        fixed["event_time"] += [frame.answered_at] * rows if frame.event_times is None else frame.event_times
        fixed["answered_at"] += [frame.answered_at] * rows
        fixed["arm"] += [named[arm][0] for arm in arms]
        fixed["version"] += [named[arm][1] for arm in arms]
        fixed["score"] += frame.scores
        if frame.others is None:
            fixed["shadow_version"] += [None] * rows
            fixed["shadow_score"] += [None] * rows
        else:
            # There are two arms: the one that did not answer is the other one.
            fixed["shadow_version"] += [named[1 - arm][1] for arm in arms]
            fixed["shadow_score"] += frame.others
        fixed["routing_revision"] += [frame.head.revision] * rows
        flat += _row_by_row(frame)
    head = frames[0].head
    kinds = {"float": pl.Float64(), "int": pl.Int64(), "bool": pl.Boolean(), "string": pl.String()}
    width = len(head.columns)
    columns = [
        pl.Series(name, values).cast(dtype) if isinstance(dtype, pl.Datetime) else pl.Series(name, values, dtype=dtype)
        for (name, dtype), values in zip(_schema().items(), fixed.values(), strict=True)
    ]
    columns += [
        pl.Series(name, flat[place::width], dtype=kinds[kind])
        for place, (name, kind) in enumerate(zip(head.columns, head.types, strict=True))
    ]
    return pl.DataFrame(columns)


def _row_by_row(frame: Predictions) -> Sequence[object]:
    if frame.layout == "flat":
        return frame.values
    rows = frame.values if frame.layout == "rows" else zip(*frame.values, strict=True)
    return list(chain.from_iterable(rows))


def to_parquet(table: pl.DataFrame) -> bytes:
    """Return the bytes of a segment."""
    buffer = BytesIO()
    table.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def read_predictions(ctx: Context, endpoint: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Return the collected predictions of an endpoint with event time in [start, end), by event time.

    Only segments with rows in that time are read. Columns: ``prediction_id, event_time, answered_at, arm, version,
    score, shadow_version, shadow_score, routing_revision``, then those that were sent with the requests, as they were
    before they were encoded, nulls kept. ``shadow_version`` and ``shadow_score`` are those of the arm that did not
    answer, where it was asked too.

    Args:
        ctx: The call's context.
        endpoint: Where the predictions were made.
        start: The first moment.
        end: The first moment after.

    Returns:
        One row a prediction; the columns every prediction has, without rows, when there are none.

    Raises:
        Corrupt: A segment was altered, cut off or removed.
    """
    import polars as pl  # noqa: PLC0415 - see above

    with ctx.read() as tx:
        segments = records.overlapping_segments(tx, endpoint, start, end)
    inside = (pl.col("event_time") >= start) & (pl.col("event_time") < end)
    parts = [pl.DataFrame(schema=_schema())]
    for segment in segments:
        if segment.object is None:
            continue
        needed_by = f"segment {segment.id} of the predictions of endpoint {endpoint!r}"
        content = ctx.repository.objects.get(segment.object, needed_by=needed_by)
        parts.append(pl.read_parquet(BytesIO(content)).filter(inside))
    return pl.concat(parts, how="diagonal_relaxed").sort("event_time", "prediction_id")
