"""One column of a table becomes its summary: by its kind, vectorised, and never with an exception."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import polars as pl

from undrift.profiles.bins import LABELS, count_sorted, edges_of
from undrift.profiles.distinct import hash_floats, hash_texts, registers
from undrift.profiles.items import CAPACITY, NUMBERS, keep, label_of
from undrift.profiles.model import ColumnProfile, FrequentItems, Histogram, Kind
from undrift.profiles.quantiles import Floats, QuantileSketch

__all__ = ["as_numbers", "kind_of", "summarise_column"]

_NUMPY_SORTS = 20_000  # above, polars' sort wins, because it uses all cores


def kind_of(dtype: pl.DataType) -> Kind:
    """Return what can be said about values of a type; durations and times of day are numbers of seconds.

    >>> kind_of(pl.Float32()), kind_of(pl.Date()), kind_of(pl.List(pl.Int8))
    ('numeric', 'temporal', 'other')
    """
    if dtype.is_numeric() or dtype.base_type() in {pl.Duration, pl.Time}:
        return "numeric"
    if dtype.base_type() in {pl.String, pl.Categorical, pl.Enum}:
        return "categorical"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.base_type() in {pl.Date, pl.Datetime}:
        return "temporal"
    return "empty" if dtype == pl.Null else "other"


def _name_of(dtype: pl.DataType) -> str:
    # The categories of an Enum can be thousands, and they are the column's values, not its type.
    return type(dtype).__name__ if dtype.base_type() in {pl.Enum, pl.Categorical} else str(dtype)


def as_numbers(series: pl.Series) -> pl.Series:
    """Return a numeric or temporal column as Float64, times and durations in seconds (UTC, since 1970)."""
    dtype = series.dtype
    if dtype.base_type() in {pl.Date, pl.Datetime}:
        return series.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6
    if dtype.base_type() == pl.Duration:
        return series.dt.total_microseconds().cast(pl.Float64) / 1e6
    if dtype == pl.Time:
        return series.cast(pl.Int64).cast(pl.Float64) / 1e9
    return series.cast(pl.Float64)


def summarise_column(series: pl.Series, reference: ColumnProfile | None) -> ColumnProfile:
    """Summarise a column.

    Args:
        series: The column.
        reference: The column whose bins the histogram counts, when it is of the same kind; its own bins otherwise.

    Returns:
        The summary. A column that cannot be summarised has its rows and nulls counted, and says why in ``problem``.
    """
    kind = kind_of(series.dtype)
    nulls = series.null_count()
    basis: dict[str, Any] = {
        "name": series.name,
        "kind": kind,
        "dtypes": (_name_of(series.dtype),),
        "count": len(series),
        "nulls": nulls,
    }
    if reference is not None and reference.kind != kind:
        reference = None
    try:
        present = series.drop_nulls() if nulls else series
        if kind in {"numeric", "temporal"}:
            return ColumnProfile(**basis, **_numbers(present, reference))
        if kind == "categorical":
            return ColumnProfile(**basis, **_labels(present, reference))
        if kind == "boolean":
            return ColumnProfile(**basis, **_booleans(present))
    except Exception as error:  # noqa: BLE001 - one bad column never blanks the rest
        return ColumnProfile(**basis, problem=f"It could not be summarised: {error}"[:300])
    problem = f"Values of type {_name_of(series.dtype)} are counted, not summarised."[:300] if kind == "other" else ""
    return ColumnProfile(**basis, problem=problem)


def _sorted(series: pl.Series) -> Floats:
    numbers = as_numbers(series)
    ordered: Floats = np.sort(numbers.to_numpy()) if len(numbers) < _NUMPY_SORTS else numbers.sort().to_numpy()
    return ordered + 0.0  # makes negative zeros positive


def _numbers(series: pl.Series, reference: ColumnProfile | None) -> dict[str, Any]:
    values = _sorted(series)
    nans = int(np.isnan(values).sum()) if values.size and np.isnan(values[-1]) else 0
    ends = np.searchsorted(values[: values.size - nans], [-np.inf, np.inf], side="right")
    finite = values[ends[0] : np.searchsorted(values[: values.size - nans], np.inf, side="left")]
    infinities = values.size - nans - finite.size
    figures: dict[str, Any] = {"nans": nans, "infinities": infinities}
    if not finite.size:
        return figures
    sketch = QuantileSketch.of(finite)
    if reference is not None and reference.histogram is not None:
        edges = reference.histogram.edges
    elif reference is not None and reference.quantile_sketch:
        edges = edges_of(QuantileSketch.from_bytes(reference.quantile_sketch))
    else:
        edges = edges_of(sketch)
    mean, squares = _moments(finite)
    figures |= {
        "minimum": sketch.minimum,
        "maximum": sketch.maximum,
        "mean": mean,
        "squares": squares,
        "quantile_sketch": sketch.to_bytes(),
        "histogram": Histogram(count_sorted(finite, edges), edges=edges),
    }
    if sketch.grids is not None:
        starts = np.concatenate(([0], np.flatnonzero(finite[1:] != finite[:-1]) + 1))
        figures["distinct_sketch"] = registers(hash_floats(finite[starts]))
        figures["items"] = _spikes(finite[starts], np.diff(starts, append=finite.size))
    return figures


def _moments(values: Floats) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(values.mean())
        if not np.isfinite(mean):  # the sum is too large for a float, the mean is not
            mean = float((values / values.size).sum())
        squares = float(np.square(values - mean).sum())
    return mean, min(squares, sys.float_info.max) if squares == squares else sys.float_info.max  # noqa: PLR0124 - NaN


def _spikes(values: Floats, counts: np.ndarray[Any, np.dtype[np.int64]]) -> FrequentItems:
    limit = int(np.partition(counts, -NUMBERS - 1)[-NUMBERS - 1])
    often = counts > limit
    pairs = zip(map(repr, values[often].tolist()), counts[often].tolist(), strict=True)
    return keep(pairs, NUMBERS, limit)


def _booleans(series: pl.Series) -> dict[str, Any]:
    true = int(series.sum() or 0)
    counts = [(label, count) for label, count in (("false", len(series) - true), ("true", true)) if count]
    return {"mean": true / len(series) if len(series) else None, "items": keep(counts, 2)}


def _labels(series: pl.Series, reference: ColumnProfile | None) -> dict[str, Any]:
    counted = series.alias("label").value_counts(name="n").with_columns(pl.col("label").cast(pl.String))
    if counted.height <= CAPACITY:
        often, error = counted, 0
    else:
        error = int(counted["n"].top_k(CAPACITY + 1).min())  # type: ignore[arg-type]
        often = counted.filter(pl.col("n") > error)
    items = keep(zip(map(label_of, often["label"].to_list()), often["n"].to_list(), strict=True), CAPACITY, error)
    figures: dict[str, Any] = {"items": items}
    if counted.height > CAPACITY:
        names = counted["label"]
        data = np.frombuffer(names.str.join("").item().encode(), np.uint8)
        hashes = hash_texts(data, names.str.len_bytes().cast(pl.Int64).to_numpy())
        figures["distinct_sketch"] = registers(hashes)
    if len(series):
        labels = items.labels[:LABELS]
        if reference is not None and reference.histogram is not None:
            labels = reference.histogram.labels
        elif reference is not None and reference.items is not None:
            labels = reference.items.labels[:LABELS]
        known = dict(zip(items.labels, items.counts, strict=True))
        if error:
            rare = counted.filter(pl.col("label").is_in([label for label in labels if label not in known]))
            known |= dict(zip(rare["label"].to_list(), rare["n"].to_list(), strict=True))
        counts = [known.get(label, 0) for label in labels]
        figures["histogram"] = Histogram((*counts, len(series) - sum(counts)), labels=labels)
    return figures
