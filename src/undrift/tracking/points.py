"""Points of a metric as columns: packed into chunks, merged, cut into samples. No SQL here.

A chunk is the little-endian bytes of three columns of one length: steps (int64), times in milliseconds (int64), values
(float64, with NaN and the infinities as they are). A thousand points logged together are one row of 24 kB instead of a
thousand rows, and reading a million points costs a few hundred rows. An exact repeat of a point is dropped when chunks
are read or merged, so that logging the same again after a lost answer changes nothing.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Points", "merged", "newest", "pack", "sampled", "unpack"]

Points: TypeAlias = "npt.NDArray[np.void]"
"""Points with the fields ``time``, ``step``, ``value``, in the order in which histories are shown."""

_FIELDS = [("time", "<i8"), ("step", "<i8"), ("value", "<f8")]


def pack(steps: Iterable[int], times_ms: Iterable[int], values: Iterable[float]) -> bytes:
    """Return the bytes of a chunk."""
    # Not numpy: who only writes need not wait for it to be loaded.
    columns = array("q", steps), array("q", times_ms), array("d", values)
    if sys.byteorder == "big":
        for column in columns:
            column.byteswap()
    return b"".join(column.tobytes() for column in columns)


def unpack(chunks: Sequence[bytes]) -> Points:
    """Return the points of chunks one after the other, as they were written."""
    import numpy as np  # noqa: PLC0415 - 100 ms that a hub which only takes points need not spend

    points = np.empty(sum(len(chunk) for chunk in chunks) // 24, _FIELDS)
    at = 0
    for chunk in chunks:
        count = len(chunk) // 24
        columns = np.frombuffer(chunk, "<i8")
        points["step"][at : at + count] = columns[:count]
        points["time"][at : at + count] = columns[count : 2 * count]
        points["value"][at : at + count] = columns[2 * count :].view("<f8")
        at += count
    return points


def merged(points: Points) -> Points:
    """Return points by time, step and value, each exact repeat once; NaN stands where 0 would.

    >>> merged(unpack([pack([1, 0, 1], [5, 5, 5], [0.5, 0.1, 0.5])])).tolist()
    [(5, 0, 0.1), (5, 1, 0.5)]
    """
    import numpy as np  # noqa: PLC0415 - as above

    if len(points) < 2:
        return points
    times, steps, values = points["time"], points["step"], points["value"]
    after = (times[1:] > times[:-1]) | ((times[1:] == times[:-1]) & (steps[1:] > steps[:-1]))
    if after.all():  # what a training loop writes: nothing to sort, nothing twice
        return points
    shown = np.where(np.isnan(values), 0.0, values)
    # The bits last: NaN and 0 stand side by side, and equal ones next to each other.
    bits = np.ascontiguousarray(values).view("<i8")
    order = np.lexsort((bits, shown, steps, times))
    points = points[order]
    bits = bits[order]
    fresh = np.ones(len(points), bool)
    fresh[1:] = (
        (points["time"][1:] != points["time"][:-1])
        | (points["step"][1:] != points["step"][:-1])
        | (bits[1:] != bits[:-1])
    )
    return points[fresh]


def newest(steps: Sequence[int], times_ms: Sequence[int], values: Sequence[float]) -> tuple[int, int, float]:
    """Return the greatest point by step, time and value; any number is greater than NaN.

    >>> newest([1, 2, 2], [9, 5, 5], [0.1, float("nan"), 0.2])
    (2, 5, 0.2)
    """
    step = max(steps)
    if steps.count(step) == 1:  # what a training loop writes: nothing to compare
        place = steps.index(step)
        return step, times_ms[place], values[place]
    found = None
    for one, time, value in zip(steps, times_ms, values, strict=True):
        if one == step and (
            found is None or time > found[1] or (time == found[1] and (value > found[2] or found[2] != found[2]))
        ):
            found = (one, time, value)
    assert found is not None, "a series has at least one point"  # noqa: S101 - checked where series come in
    return found


def sampled(points: Points, most: int) -> Points:
    """Return at most ``most`` points: those at the beginnings of as many equal buckets by step, and always the last.

    >>> points = unpack([pack(range(1000), range(1000), [0.0] * 1000)])
    >>> sampled(points, 4)["step"].tolist()
    [0, 250, 500, 999]
    """
    import numpy as np  # noqa: PLC0415 - as above

    points = points[np.lexsort((points["value"], points["time"], points["step"]))]
    if len(points) <= most:
        return points
    # NTILE's buckets: the first ones are longer by one when the points do not divide evenly.
    size, longer = divmod(len(points), most)
    buckets: Any = np.arange(most)
    starts = buckets * size + np.minimum(buckets, longer)
    starts[-1] = len(points) - 1
    chosen: Points = points[starts]
    return chosen
