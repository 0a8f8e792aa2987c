"""Windows made ready to be drawn: merged upwards until there are few enough, and a mean that calms the curve."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from undrift.monitoring import Measure, Window

__all__ = ["MOST_POINTS", "Point", "points_of", "trailing_means"]

MOST_POINTS = 200


class Point(msgspec.Struct, frozen=True):
    """One or several windows side by side.

    Attributes:
        start: Of the first.
        end: Of the last.
        windows: How many they are.
        predictions: How many were made in them.
        labels: How many of these have a label.
        measured: Whether their labels were due and counted.
        loss: Mean loss of the answers that were given; None without labels.
        rows: Labelled rows behind it.
        suspect: Columns with a data fault in one of them.
    """

    start: datetime
    end: datetime
    windows: int
    predictions: int
    labels: int
    measured: bool
    loss: float | None
    rows: int
    suspect: tuple[str, ...]

    @property
    def maturity(self) -> float:
        """Share of the predictions whose labels have arrived."""
        return self.labels / self.predictions if self.predictions else 0.0


def points_of(windows: Sequence[Window], *, most: int = MOST_POINTS) -> list[Point]:
    """Merge windows, in any order, into at most so many points, oldest first.

    Neighbours are merged in groups of equal size; a loss is weighted by the rows behind it, so that a point says what
    one long window would have said.
    """
    ordered = sorted(windows, key=lambda window: window.start)
    size = -(-len(ordered) // most) or 1
    return [_merge(ordered[first : first + size]) for first in range(0, len(ordered), size)]


def _merge(group: Sequence[Window]) -> Point:
    measures: list[Measure] = [window.served for window in group if window.served is not None]
    rows = sum(measure.rows for measure in measures)
    return Point(
        start=group[0].start,
        end=group[-1].end,
        windows=len(group),
        predictions=sum(window.predictions for window in group),
        labels=sum(window.labels for window in group),
        measured=all(window.measured_at is not None for window in group),
        loss=sum(measure.loss * measure.rows for measure in measures) / rows if rows else None,
        rows=rows,
        suspect=tuple(sorted({column for window in group for column in window.suspect})),
    )


def trailing_means(points: Sequence[Point], span: int) -> list[float | None]:
    """Return for each point the mean loss of it and those before it, weighted by rows.

    Points with a data fault say nothing about the model and are left out; a point has no mean when none is left.
    """
    means: list[float | None] = []
    for place in range(len(points)):
        used = [
            point
            for point in points[max(0, place - span + 1) : place + 1]
            if point.loss is not None and not point.suspect
        ]
        rows = sum(point.rows for point in used)
        means.append(sum((point.loss or 0.0) * point.rows for point in used) / rows if rows else None)
    return means
