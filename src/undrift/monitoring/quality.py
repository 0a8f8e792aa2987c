"""What no world does by itself: values that vanish, numbers in another unit, unheard-of categories.

These speak for a fault in the data, not for a changed world; retraining would bake the fault in. Each detector looks at
the profile of one window, the profile the model was trained on, and the windows shortly before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from undrift.monitoring.model import Finding, QualityWatch
from undrift.profiles import ColumnProfile, Comparison, Profile, explain_shift

__all__ = ["find_faults"]

_SHIFTED = 0.25


def find_faults(
    watch: QualityWatch,
    comparison: Comparison,
    *,
    reference: Profile,
    current: Profile,
    recent: Sequence[Profile],
    known_missing: Sequence[Mapping[str, float]],
    start: datetime,
    end: datetime,
) -> list[Finding]:
    """Return the data faults of one window; a column shows at most one.

    Args:
        watch: What is allowed.
        comparison: The window against the reference.
        reference: What the model was trained on.
        current: The window.
        recent: The windows before it that had no fault.
        known_missing: Fractions missing per column that were no fault: in windows before it, and in training.
        start: Of the window.
        end: Of the window.
    """
    findings = []
    for name, column in comparison.columns.items():
        if name not in reference.columns or name not in current.columns:
            continue
        missing = column.missing_after or 0.0
        before = max([column.missing_before or 0.0, *(one.get(name, 0.0) for one in known_missing)])
        if missing > before + watch.missing:
            findings.append(
                Finding(
                    "data fault",
                    "missing values",
                    name,
                    start,
                    end,
                    missing,
                    before + watch.missing,
                    f"{name} is missing in {missing:.0%} of the predictions; it never was in more than {before:.0%}.",
                    {"missing": missing, "most_before": before},
                )
            )
            continue
        if column.new_categories is not None and column.new_categories > watch.unseen:
            findings.append(
                Finding(
                    "data fault",
                    "unseen categories",
                    name,
                    start,
                    end,
                    column.new_categories,
                    watch.unseen,
                    f"{name} has values training never saw in {column.new_categories:.0%} of the predictions, "
                    f"such as {', '.join(column.new_labels[:3])}.",
                    {"new": list(column.new_labels)},
                )
            )
            continue
        if (column.drift_score or 0.0) - (column.chance_score or 0.0) < _SHIFTED:
            continue
        change = explain_shift(
            reference.columns[name],
            current.columns[name],
            recent=[window.columns[name] for window in recent if _usable(window.columns.get(name))],
        )
        if change is not None:
            findings.append(
                Finding(
                    "data fault",
                    "unit change",
                    name,
                    start,
                    end,
                    change.distance_before,
                    change.distance_after,
                    f"{name} looks like the same quantity in another unit ({change.name}): converted, it is "
                    f"{change.distance_after:.2f} spreads from what is usual, as it came {change.distance_before:.2f}.",
                    {"conversion": change.name, "scale": change.scale, "offset": change.offset},
                )
            )
    return findings


def _usable(column: ColumnProfile | None) -> bool:
    return column is not None and not column.problem
