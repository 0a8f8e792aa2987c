"""The row sample: some whole rows, drawn evenly, so that merged windows hold an even sample of all their rows.

Each row gets a random priority, and the rows with the smallest ones are kept (bottom-k). The smallest of two samples
together are the smallest of all rows, so merging is exact in any order. The priorities are hashed from the row's place
and a salt from the window's own summary: the same window gives the same sample, and rows that look alike are drawn as
often as they come, which a hash of the row's content would not do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from undrift.profiles.columns import as_numbers, kind_of
from undrift.profiles.distinct import mix
from undrift.profiles.items import label_of
from undrift.profiles.model import RowSample

__all__ = ["draw", "merge_samples"]

_STEP = np.uint64(0x9E3779B97F4A7C15)


def draw(frame: pl.DataFrame, names: Sequence[str], limit: int, salt: int) -> RowSample:
    """Draw up to ``limit`` rows of the named columns; ``salt`` is 64 bits that the window's content decides."""
    priorities = mix(np.arange(1, frame.height + 1, dtype=np.uint64) * _STEP + np.uint64(salt))
    size = min(limit, frame.height)
    rows = np.argpartition(priorities, size - 1)[:size] if 0 < size < frame.height else np.arange(size)
    rows = rows[np.argsort(priorities[rows])]
    drawn = frame.select(names)[rows] if names else frame.select(names)
    columns = {name: _cells(drawn[name]) for name in names}
    return RowSample(limit, tuple(priorities[rows].tolist()), columns)


def _cells(series: pl.Series) -> list[bool | int | float | str | None]:
    kind = kind_of(series.dtype)
    if kind == "categorical":
        return [None if text is None else label_of(text) for text in series.cast(pl.String).to_list()]
    # 128-bit integers do not fit into MessagePack.
    if kind == "temporal" or (kind == "numeric" and series.dtype in {pl.Int128, pl.UInt128}):
        return as_numbers(series).to_list()
    if kind == "numeric" and not (series.dtype.is_integer() or series.dtype.is_float()):
        return as_numbers(series).to_list()
    return series.to_list()


def merge_samples(samples: Sequence[RowSample]) -> RowSample:
    """Return the sample of all rows of the windows; as many rows as the smallest limit allows."""
    limit = min(sample.limit for sample in samples)
    rows = [
        (priority, source, place)
        for source, sample in enumerate(samples)
        for place, priority in enumerate(sample.priorities[:limit])
    ]
    rows = sorted(rows)[:limit]
    names = sorted({name for sample in samples for name in sample.columns})
    nothing: list[bool | int | float | str | None] = [None] * max((len(s.priorities) for s in samples), default=0)
    columns = {}
    for name in names:
        cells = [sample.columns.get(name, nothing) for sample in samples]
        columns[name] = [cells[source][place] for _, source, place in rows]
    return RowSample(limit, tuple(priority for priority, _, _ in rows), columns)
