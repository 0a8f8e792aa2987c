"""Profiles become one: hours merge into days, windows into a reference, devices into a fleet."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from undrift.profiles.model import ColumnProfile, FrequentItems, Histogram, Kind, Profile

__all__ = ["merge"]


def merge(profiles: Iterable[Profile]) -> Profile:
    """Return the profile of all rows of these windows.

    The order of the profiles does not matter, and the empty profile changes nothing. In whatever grouping they are
    merged, counts, minimum, maximum, quantiles, distinct values, histograms on shared edges and the row sample come
    out the same, and (the sample apart) the same as from all rows at once; mean and deviation up to rounding, frequent
    items within their stated error. A column that only some windows have is kept with the rows it had. One that had
    different kinds becomes ``mixed`` and says so in its ``problem``.

    Args:
        profiles: Any number of profiles; none gives the empty one.

    >>> from undrift.profiles import profile
    >>> import polars as pl
    >>> days = [profile(pl.DataFrame({"delay": [1.0, 2.0]})), profile(pl.DataFrame({"delay": [9.0]}))]
    >>> whole = merge(days)
    >>> whole.rows, whole.column("delay").mean, whole.column("delay").quantiles([0.5])
    (3, 4.0, [2.0])
    """
    parts = [part for part in profiles if part != Profile()]
    if len(parts) <= 1:
        return parts[0] if parts else Profile()
    names = sorted({name for part in parts for name in part.columns})
    events = sorted({part.event_time for part in parts if part.event_time})
    starts = [part.first_event_at for part in parts if part.first_event_at is not None]
    ends = [part.last_event_at for part in parts if part.last_event_at is not None]
    return Profile(
        rows=sum(part.rows for part in parts),
        columns={name: _column([part.columns[name] for part in parts if name in part.columns]) for name in names},
        event_time=events[0] if events else "",
        first_event_at=min(starts, default=None),
        last_event_at=max(ends, default=None),
        sample=_sample(parts),
    )


def _sample(parts: Sequence[Profile]) -> Any:
    from undrift.profiles.sample import merge_samples  # noqa: PLC0415 - numpy and polars are loaded at the first merge

    samples = [part.sample for part in parts if part.sample is not None]
    return merge_samples(samples) if samples else None


def _column(parts: Sequence[ColumnProfile]) -> ColumnProfile:
    if len(parts) == 1:
        return parts[0]
    dtypes = tuple(sorted({dtype for part in parts for dtype in part.dtypes}))
    kinds = {part.kind for part in parts} - {"empty"}
    kind: Kind = "mixed" if len(kinds) > 1 else next(iter(kinds), "empty")
    counts: dict[str, Any] = {
        "name": parts[0].name,
        "kind": kind,
        "dtypes": dtypes,
        "count": sum(part.count for part in parts),
        "nulls": sum(part.nulls for part in parts),
        "nans": sum(part.nans for part in parts),
        "infinities": sum(part.infinities for part in parts),
    }
    if kind == "mixed":
        return ColumnProfile(**counts, problem=f"Its type changed within the window: {', '.join(dtypes)}.")
    counts["problem"] = min((part.problem for part in parts if part.problem), default="")
    filled = [part for part in parts if part.values]
    if kind in {"numeric", "temporal"}:
        return ColumnProfile(**counts, **_numbers([part for part in filled if part.quantile_sketch]))
    if kind in {"categorical", "boolean"}:
        return ColumnProfile(**counts, **_labels(filled, kind))
    return ColumnProfile(**counts)


def _numbers(parts: Sequence[ColumnProfile]) -> dict[str, Any]:
    from undrift.profiles.distinct import hash_floats, registers, union  # noqa: PLC0415 - as above
    from undrift.profiles.items import NUMBERS, all_items, merge_items  # noqa: PLC0415
    from undrift.profiles.quantiles import QuantileSketch  # noqa: PLC0415

    if not parts:
        return {}
    sketches = [QuantileSketch.from_bytes(part.quantile_sketch) for part in parts]
    sketch = QuantileSketch.merge(sketches)
    mean, squares = _moments(parts)
    figures: dict[str, Any] = {
        "minimum": sketch.minimum,
        "maximum": sketch.maximum,
        "mean": mean,
        "squares": squares,
        "quantile_sketch": sketch.to_bytes(),
        "histogram": _histogram(parts),
    }
    if sketch.grids is not None:
        figures["distinct_sketch"] = union(
            [
                part.distinct_sketch or registers(hash_floats(known.values))
                for part, known in zip(parts, sketches, strict=True)
            ]
        )
        items = [all_items(part.quantile_sketch) if part.items is None else part.items for part in parts]
        figures["items"] = merge_items(items, NUMBERS)
    return figures


def _labels(parts: Sequence[ColumnProfile], kind: Kind) -> dict[str, Any]:
    from undrift.profiles.distinct import registers, union  # noqa: PLC0415 - as above
    from undrift.profiles.items import CAPACITY, hash_labels, merge_items  # noqa: PLC0415

    items = [part.items or FrequentItems() for part in parts]
    figures: dict[str, Any] = {"items": merge_items(items, CAPACITY)}
    if figures["items"].error:
        figures["distinct_sketch"] = union(
            [
                part.distinct_sketch or registers(hash_labels(known.labels))
                for part, known in zip(parts, items, strict=True)
            ]
        )
    if kind == "boolean":
        rows = sum(part.values for part in parts)
        figures["mean"] = math.fsum((part.mean or 0.0) * part.values for part in parts) / rows if rows else None
    else:
        figures["histogram"] = _histogram(parts)
    return figures


def _moments(parts: Sequence[ColumnProfile]) -> tuple[float, float]:
    """Add means and sums of squares pairwise (Chan, Golub, LeVeque 1979), in an order of their own making."""
    ordered = sorted((part.values, part.mean or 0.0, part.squares or 0.0) for part in parts)
    n, mean, squares = ordered[0]
    for more, other, other_squares in ordered[1:]:
        distance = other - mean
        total = n + more
        mean += distance * (more / total)
        squares += other_squares + distance * distance * (n * more / total)
        n = total
    return mean, min(squares, sys.float_info.max)


def _histogram(parts: Sequence[ColumnProfile]) -> Histogram | None:
    first = parts[0].histogram if parts else None
    histograms = [part.histogram for part in parts if part.histogram is not None]
    if first is None or len(histograms) < len(parts) or not all(first.same_bins(other) for other in histograms):
        return None
    counts = tuple(map(sum, zip(*(other.counts for other in histograms), strict=True)))
    return Histogram(counts, edges=first.edges, labels=first.labels)
