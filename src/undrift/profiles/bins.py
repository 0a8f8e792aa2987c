"""Bins: the edges on which two windows of a column are compared, taken from the reference alone.

Twenty bins of equal mass in the reference, so that each matters alike and none is empty there; a value that makes up
more than a bin gets one of its own; and a column with at most twenty distinct values gets a bin for each of them and
one for each gap between, so that a new value shows. Below and above the reference's range there is one bin each.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from undrift.profiles.quantiles import Floats, QuantileSketch

__all__ = ["BINS", "LABELS", "count_sketch", "count_sorted", "edges_of"]

BINS = 20
LABELS = 64  # a categorical histogram counts the reference's most frequent labels, and the rest together

_LARGEST = float(np.finfo(np.float64).max)


def _after(value: float) -> float:
    return min(math.nextafter(value, math.inf), _LARGEST)


def edges_of(sketch: QuantileSketch) -> tuple[float, ...]:
    """Return the edges that a reference with this sketch sets: ascending, from its minimum to just above its maximum.

    >>> edges_of(QuantileSketch.of(np.arange(1000.0)))[:3]
    (0.0, 50.0, 100.0)
    """
    if 0 < sketch.values.size <= BINS:
        marks = np.repeat(sketch.values, 2).tolist()
    else:
        marks = sketch.quantiles(np.linspace(0, 1, BINS + 1)).tolist()
    edges = {*marks[:-1], _after(marks[-1])}
    edges |= {_after(mark) for mark, following in pairwise(marks) if mark == following}
    return tuple(sorted(edges))


def count_sorted(values: Floats, edges: tuple[float, ...]) -> tuple[int, ...]:
    """Count ascending values of shape (n,) in the bins, exactly; one count more than edges."""
    below = np.searchsorted(values, np.array(edges), side="left")
    return tuple(np.diff(below, prepend=0, append=values.size).tolist())


def count_sketch(sketch: QuantileSketch, edges: tuple[float, ...]) -> tuple[float, ...]:
    """Count a sketch's values in the bins; exact where the sketch knows the values one by one."""
    return tuple(np.diff(sketch.below(np.array(edges)), prepend=0.0, append=float(sketch.total)).tolist())
