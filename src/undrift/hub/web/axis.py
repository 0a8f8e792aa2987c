"""Where an axis gets its marks: round numbers, and the beginnings of hours, days, months and years."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

__all__ = ["alike", "time_marks", "value_marks"]

_HOUR_STEPS = (1, 3, 6, 12)
_DAY_STEPS = (1, 2, 7, 14)
_MONTH_STEPS = (1, 2, 3, 6, 12, 24, 60, 120, 600)


def value_marks(low: float, high: float, most: int = 4) -> list[float]:
    """Return round numbers between two values, at most so many.

    >>> value_marks(0.31, 0.52)
    [0.35, 0.4, 0.45, 0.5]
    """
    if not high > low:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 2.5, 5, 10, 20, 25, 50):
        first, last = math.ceil(low / (step * factor)), math.floor(high / (step * factor))
        if last - first + 1 <= most:
            return [round(place * step * factor, 12) for place in range(first, last + 1)]
    return [low]


def alike(values: Sequence[float]) -> list[str]:
    """Write round numbers with as many decimals as the longest of them has.

    >>> alike([0.4, 0.45, 0.5]), alike([1000.0, 2000.0])
    (['0.40', '0.45', '0.50'], ['1,000', '2,000'])
    """
    texts = [f"{value:.6f}".rstrip("0").rstrip(".") for value in values]
    decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
    return [f"{value:,.{decimals}f}" for value in values]


def time_marks(start: datetime, end: datetime, most: int = 5) -> list[tuple[datetime, str]]:
    """Return the moments between two to write on an axis, at most so many, with what to write.

    >>> [said for _, said in time_marks(datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 5, 1, tzinfo=UTC))]
    ['Jan 2013', 'Feb', 'Mar', 'Apr', 'May']
    """
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    hours = (end - start) / timedelta(hours=1)
    for step in _HOUR_STEPS:
        if hours / step < most:
            return _hours(start, end, step)
    for step in _DAY_STEPS:
        if hours / 24 / step < most:
            return _days(start, end, step)
    for step in _MONTH_STEPS:
        if hours / 24 / 30.5 / step <= most:
            return _months(start, end, step)[:most]
    return []


def _hours(start: datetime, end: datetime, step: int) -> list[tuple[datetime, str]]:
    at = start.replace(hour=0, minute=0, second=0, microsecond=0)
    marks: list[tuple[datetime, str]] = []
    while at <= end:
        if at >= start:
            marks.append((at, f"{at.day} {at:%b}" if at.hour == 0 else f"{at:%H:%M}"))
        at += timedelta(hours=step)
    return marks


def _days(start: datetime, end: datetime, step: int) -> list[tuple[datetime, str]]:
    at = start.replace(hour=0, minute=0, second=0, microsecond=0)
    if at < start:
        at += timedelta(days=1)
    marks: list[tuple[datetime, str]] = []
    while at <= end:
        marks.append((at, f"{at.day} {at:%b}" if marks else f"{at.day} {at:%b %Y}"))
        at += timedelta(days=step)
    return marks


def _months(start: datetime, end: datetime, step: int) -> list[tuple[datetime, str]]:
    # Counted from year 0, so that quarters begin in January.
    count = -(-(start.year * 12 + start.month - 1 + (start > _month(start.year * 12 + start.month - 1))) // step) * step
    marks: list[tuple[datetime, str]] = []
    while count < 9999 * 12 and (at := _month(count)) <= end:
        whole_years = step % 12 == 0
        said = f"{at:%Y}" if whole_years else f"{at:%b %Y}" if not marks or at.month == 1 else f"{at:%b}"
        marks.append((at, said))
        count += step
    return marks


def _month(count: int) -> datetime:
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)
