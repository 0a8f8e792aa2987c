"""Two profiles side by side: what changed, by how much, and how surprising that is. No row is read for it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from undrift.core.errors import UndriftError
from undrift.profiles.distances import (
    chance_score,
    chi_square,
    cramers_v,
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    psi,
    total_variation,
    wasserstein,
)
from undrift.profiles.model import ColumnProfile, FrequentItems, Kind, Profile
from undrift.profiles.significance import Correction, chi_square_p, false_discovery, kolmogorov_p

__all__ = ["ColumnComparison", "Comparison", "compare"]


class ColumnComparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one column of the current window differs from the reference.

    A figure is None where it has no meaning for the column's kind, or where ``could_not_compute`` says why.

    Attributes:
        kind: The kind in the current window; in the reference when the column disappeared.
        drift_score: The effect size, 0 (the same) to 1 (nothing in common): the Jensen-Shannon distance over the
            reference's bins, with missing and infinite values as bins of their own.
        chance_score: The drift score that windows of these sizes have on average when nothing changed.
        psi: Population stability index over the same bins, 0 upwards.
        hellinger: Hellinger distance over the same bins, 0 to 1.
        total_variation: The share of rows, 0 to 1, that would have to change bins.
        cramers_v: The strength of the association between window and category, 0 to 1; categories only.
        ks: Kolmogorov-Smirnov distance of the finite values, 0 to 1; numbers only.
        wasserstein: How far the finite values moved on average, in standard deviations of the reference.
        missing_before: The share of the reference's rows that is null or not a number, 0 to 1.
        missing_after: The same share of the current window's rows.
        below_range: The share of the current values below the reference's smallest.
        above_range: The share of the current values above the reference's largest.
        new_categories: The share of the current values in categories that the reference does not have; None when the
            reference had too many to know them all.
        new_labels: Up to ten of these categories, the most frequent first.
        p_value: The probability of a difference at least as large when nothing changed and rows are independent.
        q_value: The p-value after false-discovery control over all columns of the comparison.
        test: What gave the p-value: ``kolmogorov-smirnov``, or ``chi-square`` (categories, or missing values).
        type_change: Such as ``Float64 → String``, when the kind changed; else empty.
        appeared: The reference does not have the column.
        disappeared: The current window does not have the column.
        could_not_compute: Why figures are None that one would expect; else empty.
    """

    name: str
    kind: Kind
    drift_score: float | None = None
    chance_score: float | None = None
    psi: float | None = None
    hellinger: float | None = None
    total_variation: float | None = None
    cramers_v: float | None = None
    ks: float | None = None
    wasserstein: float | None = None
    missing_before: float | None = None
    missing_after: float | None = None
    below_range: float | None = None
    above_range: float | None = None
    new_categories: float | None = None
    new_labels: tuple[str, ...] = ()
    p_value: float | None = None
    q_value: float | None = None
    test: str = ""
    type_change: str = ""
    appeared: bool = False
    disappeared: bool = False
    could_not_compute: str = ""


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the current window differs from the reference: the columns by name, names ascending."""

    reference_rows: int
    current_rows: int
    correction: Correction
    columns: dict[str, ColumnComparison]

    def ranked(self) -> list[ColumnComparison]:
        """Return the columns by what wants looking at first: changed schema, then drift beyond chance."""
        return sorted(self.columns.values(), key=_urgency)


def _urgency(column: ColumnComparison) -> tuple[bool, float, str]:
    schema = bool(column.type_change) or column.appeared or column.disappeared
    return not schema, (column.chance_score or 0.0) - (column.drift_score or 0.0), column.name


def compare(
    reference: Profile,
    current: Profile,
    *,
    columns: Iterable[str] | None = None,
    correction: Correction = "benjamini-hochberg",
) -> Comparison:
    """Compare a window with a reference, column by column.

    Every column gets a result, whatever is in it; one that cannot be compared says why and leaves the others alone.
    The bins are the reference's. They are counted exactly when the window was profiled with ``edges=reference`` or
    its sketch knows every value, and otherwise within the sketch's error (at most 1 % of the rows, commonly 0.1 %).

    Args:
        reference: What the window is held against, often many windows merged.
        current: The window.
        columns: The columns to look at; all columns of both when left out.
        correction: How q-values are made of the p-values of the columns looked at.

    >>> from undrift.profiles import profile
    >>> import polars as pl
    >>> reference = profile(pl.DataFrame({"origin": ["EWR", "JFK"] * 50}))
    >>> window = profile(pl.DataFrame({"origin": ["EWR", "JFK", "EWR", "KEWR"]}), edges=reference)
    >>> found = compare(reference, window).columns["origin"]
    >>> found.new_categories, found.new_labels, found.missing_after
    (0.25, ('KEWR',), 0.0)
    """
    names = sorted(set(columns) if columns is not None else {*reference.columns, *current.columns})
    moving = {reference.event_time, current.event_time}
    found = {name: _column(name, reference.columns.get(name), current.columns.get(name), moving) for name in names}
    tested = [name for name in names if found[name].p_value is not None]
    q_values = false_discovery([found[name].p_value or 0.0 for name in tested], correction)
    for name, q_value in zip(tested, q_values, strict=True):
        found[name] = msgspec.structs.replace(found[name], q_value=q_value)
    return Comparison(reference.rows, current.rows, correction, found)


def _column(
    name: str, reference: ColumnProfile | None, current: ColumnProfile | None, moving: set[str]
) -> ColumnComparison:
    if reference is None or current is None:
        there = reference or current
        return ColumnComparison(
            name,
            there.kind if there else "empty",
            missing_before=reference.missing_fraction if reference else None,
            missing_after=current.missing_fraction if current else None,
            appeared=current is not None,
            disappeared=reference is not None,
            could_not_compute="It is in only one of the two." if there else "It is in neither of the two.",
        )
    shared: dict[str, Any] = {
        "name": name,
        "kind": current.kind,
        "missing_before": reference.missing_fraction,
        "missing_after": current.missing_fraction,
    }
    kinds = {reference.kind, current.kind} - {"empty"}
    if len(kinds) > 1:
        shared["type_change"] = f"{' | '.join(reference.dtypes)} → {' | '.join(current.dtypes)}"
        return ColumnComparison(**shared, could_not_compute="Its type changed, so the values cannot be compared.")
    kind = next(iter(kinds), "empty")
    reason = _reason(name, reference, current, moving)
    if reason:
        return ColumnComparison(**shared, could_not_compute=reason)
    try:
        figures = _numbers(reference, current) if kind in {"numeric", "temporal"} else _labels(reference, current)
    except UndriftError as error:
        return ColumnComparison(**shared, could_not_compute=str(error))
    return ColumnComparison(**shared, **figures)


def _reason(name: str, reference: ColumnProfile, current: ColumnProfile, moving: set[str]) -> str:
    if name in moving:
        return "It is the event time, which moves on by itself."
    if not reference.count or not current.count:
        return f"The {'current window' if reference.count else 'reference'} has no rows."
    return reference.problem or current.problem


def _binned(reference: list[float], current: list[float]) -> dict[str, Any]:
    return {
        "drift_score": jensen_shannon(reference, current),
        "chance_score": chance_score(reference, current),
        "psi": psi(reference, current),
        "hellinger": hellinger(reference, current),
        "total_variation": total_variation(reference, current),
    }


def _absent(column: ColumnProfile) -> list[float]:
    return [column.nulls + column.nans, column.infinities]


def _numbers(reference: ColumnProfile, current: ColumnProfile) -> dict[str, Any]:
    import numpy as np  # noqa: PLC0415 - loaded when profiles are compared, not when the program starts

    from undrift.profiles.bins import count_sketch, edges_of  # noqa: PLC0415 - the same
    from undrift.profiles.quantiles import QuantileSketch  # noqa: PLC0415 - the same

    before, after = (
        QuantileSketch.from_bytes(column.quantile_sketch) if column.quantile_sketch else None
        for column in (reference, current)
    )
    if before is None:
        figures = _binned([*_absent(reference), 0], [*_absent(current), current.values])
        return figures | _tested(reference, current, None) | {"could_not_compute": "The reference has no values."}
    histogram = reference.histogram
    edges = histogram.edges if histogram is not None else edges_of(before)
    left = histogram.counts if histogram is not None else count_sketch(before, edges)
    right: tuple[float, ...] = (0,) * len(left)
    if current.histogram is not None and current.histogram.edges == edges:
        right = current.histogram.counts
    elif after is not None:
        right = count_sketch(after, edges)
    figures = _binned([*left, *_absent(reference)], [*right, *_absent(current)])
    if after is None:
        return figures | _tested(reference, current, None) | {"could_not_compute": "The current window has no values."}
    marks = np.unique(np.concatenate((before.marks(), after.marks())))
    shares = (before.below(marks) / before.total).tolist(), (after.below(marks) / after.total).tolist()
    points = marks.tolist()
    figures["ks"] = min(kolmogorov_smirnov(*shares), 1.0)
    figures["below_range"] = right[0] / after.total
    figures["above_range"] = right[-1] / after.total
    if figures["ks"] == 0:
        figures["wasserstein"] = 0.0
    elif not reference.deviation:
        figures["could_not_compute"] = "The reference does not vary, so there is no unit for the Wasserstein distance."
    elif math.isinf(points[-1] - points[0]):
        figures["could_not_compute"] = "The values are too far apart for the Wasserstein distance."
    else:
        figures["wasserstein"] = wasserstein(points, *shares, reference.deviation)
    return figures | _tested(reference, current, figures["ks"])


def _tested(reference: ColumnProfile, current: ColumnProfile, ks: float | None) -> dict[str, Any]:
    tests = []
    if ks is not None:
        tests.append((kolmogorov_p(ks, reference.values, current.values), "kolmogorov-smirnov"))
    absent = [*_absent(reference), reference.values], [*_absent(current), current.values]
    if not tests or any(_absent(reference)) or any(_absent(current)):
        tests.append((chi_square_p(*chi_square(*absent)), "chi-square"))
    smallest, test = min(tests)
    return {"p_value": min(smallest * len(tests), 1.0), "test": test}  # Bonferroni: two looks at one column


def _labels(reference: ColumnProfile, current: ColumnProfile) -> dict[str, Any]:
    before, after = reference.items or FrequentItems(), current.items or FrequentItems()
    left, right = (dict(zip(items.labels, items.counts, strict=True)) for items in (before, after))
    labels: Iterable[str] = sorted({*left, *right})
    if before.error or after.error:  # with too many categories to know, the reference's most frequent and the rest
        histogram = reference.histogram or current.histogram
        labels = histogram.labels if histogram is not None else ()
        for column, counts in ((reference, left), (current, right)):
            if column.histogram is not None:
                counts |= dict(zip(column.histogram.labels, column.histogram.counts, strict=False))
    counted = [[float(counts.get(label, 0)) for label in labels] for counts in (left, right)]
    for column, bins in zip((reference, current), counted, strict=True):
        bins += [max(column.values - math.fsum(bins), 0.0), *_absent(column)]
    figures = _binned(*counted)
    figures["cramers_v"] = cramers_v(*counted)
    figures |= {"p_value": chi_square_p(*chi_square(*counted)), "test": "chi-square"}
    if not before.error:
        listed = sum(right.get(label, 0) for label in left)
        figures["new_categories"] = 1 - listed / current.values if current.values else 0.0
        figures["new_labels"] = tuple(label for label in after.labels if label not in left)[:10]
    return figures
