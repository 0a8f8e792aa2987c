"""A table window becomes a profile: one pass by column, on all cores, in memory that follows the window."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from undrift.core.errors import Invalid
from undrift.core.hashing import hash_bytes
from undrift.profiles.model import Profile

if TYPE_CHECKING:
    import polars as pl

__all__ = ["profile"]

_THREADS_FROM_ROWS = 50_000


def profile(
    frame: pl.DataFrame, *, edges: Profile | None = None, event_time: str | None = None, sample_rows: int = 200
) -> Profile:
    """Summarise a table window.

    It gives a result for every table: without rows, without columns, of types it does not know. A column that cannot
    be summarised says so in its ``problem``, and the others are as they would be without it. The same table gives the
    same bytes every time. Integers beyond 2**53 are rounded to the nearest float.

    Args:
        frame: The rows.
        edges: A reference: histograms count its bins, so that windows can be compared with it exactly, and merged.
        event_time: The date or datetime column that says when each row happened; without a zone it is taken as UTC.
        sample_rows: The largest number of whole rows to keep, values and all; 0 where rows must not be copied.

    Raises:
        Invalid: ``event_time`` names no date or datetime column, or ``sample_rows`` is negative.

    >>> import polars as pl
    >>> window = profile(pl.DataFrame({"origin": ["EWR", "JFK", "EWR"], "temp": [39.0, None, float("nan")]}))
    >>> window.column("temp").nulls, window.column("temp").nans, window.column("temp").maximum
    (1, 1, 39.0)
    >>> window.column("origin").top()
    [('EWR', 2), ('JFK', 1)]
    """
    # numpy and polars are loaded when the first table is summarised, not when the program starts.
    from undrift.profiles.columns import summarise_column  # noqa: PLC0415
    from undrift.profiles.sample import draw  # noqa: PLC0415

    if sample_rows < 0:
        raise Invalid(f"A sample cannot have {sample_rows} rows.", next_step="Use 0 to keep no rows.")
    known = edges.columns if edges is not None else {}
    names = sorted(frame.columns)
    first, last = (None, None) if event_time is None else _time_range(frame, event_time)
    if frame.height < _THREADS_FROM_ROWS:
        columns = {name: summarise_column(frame[name], known.get(name)) for name in names}
    else:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only large windows use it

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            columns = dict(zip(names, pool.map(lambda n: summarise_column(frame[n], known.get(n)), names), strict=True))
    salt = int(hash_bytes(msgspec.msgpack.encode(columns))[:16], 16)
    kept = [name for name in names if columns[name].kind != "other" and not columns[name].problem]
    return Profile(
        rows=frame.height,
        columns=columns,
        event_time=event_time or "",
        first_event_at=first,
        last_event_at=last,
        sample=draw(frame, kept, sample_rows, salt),
    )


def _time_range(frame: pl.DataFrame, name: str) -> tuple[datetime | None, datetime | None]:
    from undrift.profiles.columns import as_numbers, kind_of  # noqa: PLC0415 - as above

    if name not in frame.columns:
        raise Invalid(
            f"The table has no column {name!r} to take the event time from.",
            next_step=f"Name one of: {', '.join(frame.columns[:20]) or 'none'}.",
        )
    if kind_of(frame.schema[name]) not in {"temporal", "empty"}:
        raise Invalid(
            f"The event time {name!r} is of type {frame.schema[name]}.",
            next_step="Convert it to a date or datetime column first.",
        )
    seconds = as_numbers(frame[name])
    low, high = seconds.min(), seconds.max()
    if not isinstance(low, float) or not isinstance(high, float):
        return None, None
    return datetime.fromtimestamp(low, UTC), datetime.fromtimestamp(high, UTC)
