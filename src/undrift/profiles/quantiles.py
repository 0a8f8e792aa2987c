"""Quantiles: where a column's values lie, in constant size, and the same in whatever order windows are merged.

The idea. Lay fixed grids over the real line, each level twice as coarse as the one below, cells nested in cells. Count
the values by cell, on the finest level that needs at most `CELLS` cells. That level, and so the whole sketch, depends
on the values alone: sketches of parts, merged in any order and any grouping, are bit for bit the sketch of the whole.
The number of values below any cell border is exact; between borders it is interpolated.

Two grids are kept, and read together:

* ``linear``: cells of width ``2**level``. Good for values with a scale (temperatures, delays).
* ``log``: cells of equal relative width, the leading bits of the floating-point number. Good for values over many
  orders of magnitude (money, durations), and it keeps zero apart.

Up to `EXACT` distinct values there is no grid at all: every value is kept with its count.

Why not KLL (Apache DataSketches)? It draws random bits that cannot be seeded, so the same window gives other bytes and
slightly other figures each time, and its rank error is 1.3 % in 5 kB (k = 200). This one is off by 0.1 to 0.7 %
(measured on ten shapes of distribution) in about 1 kB.
Relatives: DDSketch (Masson et al., VLDB 2019, https://arxiv.org/abs/1908.10693), UDDSketch's uniform collapse
(Epicoco et al. 2020, https://arxiv.org/abs/2004.08604).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from undrift.core.errors import Corrupt

__all__ = ["CELLS", "EXACT", "QuantileSketch"]

EXACT = 256
CELLS = 128

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LOW_63 = np.int64(0x7FFF_FFFF_FFFF_FFFF)
_LARGEST = float(np.finfo(np.float64).max)
_NO_INTEGERS: Integers = np.zeros(0, np.int64)
_NO_FLOATS: Floats = np.zeros(0, np.float64)
_WIDTHS = ("<u1", "<u2", "<u4", "<u8")
_NOTHING = 1e-290  # taken for zero: the cell that holds zero ends at a subnormal number, which nobody wants to see
_KEY_BITS = 60  # a linear key has at most 60 bits, so that neither shifting nor adding one overflows


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Counts by cell on one level; ``keys`` ascend without repeats, and only cells that hold something are kept."""

    level: int
    keys: Integers
    counts: Integers


def _ordered(values: Floats) -> Integers:
    """Map floats to integers that sort the same way; its own inverse on the bits."""
    bits = values.view(np.int64)
    ordered: Integers = bits ^ ((bits >> 63) & _LOW_63)
    return ordered


def _from_ordered(keys: Integers) -> Floats:
    return (keys ^ ((keys >> 63) & _LOW_63)).view(np.float64)


def _finest_linear(largest: float) -> int:
    # Zeros alone can be on any level, so they take the finest: it is never coarser than what they are merged with.
    return (math.frexp(largest)[1] if largest else -1073) - _KEY_BITS


def _linear_keys(values: Floats, level: int) -> Integers:
    scaled = values * math.ldexp(1.0, -level) if abs(level) < 1000 else np.ldexp(values, -level)
    keys = np.floor(scaled).astype(np.int64)
    if level > 0:  # a tiny negative value may have become -0.0, which would lift it into the cell above
        keys[(values < 0) & (keys == 0)] = -1
    return keys


def _steps(keys: Integers) -> Integers:
    """Return, for each pair of neighbours, the number of bits that must go before they share a cell."""
    differing = (keys[1:] ^ keys[:-1]).view(np.uint64)
    # Clearing the bit after the leading one keeps the conversion to float from rounding up to the next power of two.
    leading = (differing & ~(differing >> np.uint64(1))).astype(np.float64)
    steps: Integers = np.maximum((leading.view(np.int64) >> 52) - 1022, 0)
    return steps


def _cells(keys: Integers, weights: Integers | None, level: int, steps: Integers, limit: int) -> Grid:
    """Count sorted keys by cell on the finest level, from ``level`` upwards, that needs at most ``limit`` cells."""
    cells_by_shift = 1 + steps.size - np.cumsum(np.bincount(steps, minlength=65))
    shift = int(np.argmax(cells_by_shift <= limit))
    starts = np.concatenate(([0], np.flatnonzero(steps > shift) + 1))
    counts = np.diff(starts, append=keys.size) if weights is None else np.add.reduceat(weights, starts)
    return Grid(level + shift, keys[starts] >> shift, counts)


def _merge_grids(parts: list[Grid]) -> Grid:
    level = max(part.level for part in parts)
    keys = np.concatenate([part.keys >> (level - part.level) for part in parts])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    weights = np.concatenate([part.counts for part in parts])[order]
    return _cells(keys, weights, level, _steps(keys), CELLS)


def _pack(numbers: Integers) -> tuple[int, bytes]:
    largest = int(numbers.max()) if numbers.size else 0
    width = next(code for code in range(4) if largest < 1 << (8 << code))
    return width, numbers.astype(_WIDTHS[width]).tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class QuantileSketch:
    """The values of a column, summarised: up to `EXACT` distinct ones with their counts, else counts on two grids.

    Attributes:
        minimum: The smallest value, exactly.
        maximum: The largest value, exactly.
        values: The distinct values in ascending order while there are at most `EXACT`, else empty.
        counts: How often each of ``values`` came.
        grids: The logarithmic and the linear grid when there are more, else None.

    >>> sketch = QuantileSketch.of(np.sort(np.arange(10_000) % 1000 / 10))
    >>> sketch.quantiles([0.25, 0.5]).round(1).tolist()
    [25.0, 50.0]
    >>> len(sketch.to_bytes()) < 1500
    True
    """

    minimum: float
    maximum: float
    values: Floats
    counts: Integers
    grids: tuple[Grid, Grid] | None

    @classmethod
    def of(cls, values: Floats) -> QuantileSketch:
        """Summarise finite values of shape (n,), n > 0, sorted ascending, without negative zeros."""
        keys = _ordered(values)
        steps = _steps(keys)
        low, high = float(values[0]), float(values[-1])
        if np.count_nonzero(steps) < EXACT:
            starts = np.concatenate(([0], np.flatnonzero(steps) + 1))
            return cls(low, high, values[starts], np.diff(starts, append=values.size), None)
        level = _finest_linear(max(abs(low), abs(high)))
        linear = _linear_keys(values, level)
        grids = _cells(keys, None, 0, steps, CELLS), _cells(linear, None, level, _steps(linear), CELLS)
        return cls(low, high, _NO_FLOATS, _NO_INTEGERS, grids)

    @classmethod
    def merge(cls, parts: Iterable[QuantileSketch]) -> QuantileSketch:
        """Return the sketch of all values of the parts: exactly the one that `of` would make of them.

        Args:
            parts: One or more sketches; their order does not matter.
        """
        sketches = list(parts)
        low, high = min(part.minimum for part in sketches), max(part.maximum for part in sketches)
        if all(part.grids is None for part in sketches):
            values = np.concatenate([part.values for part in sketches])
            order = np.argsort(values, kind="stable")
            values = values[order]
            counts = np.concatenate([part.counts for part in sketches])[order]
            starts = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))
            if starts.size <= EXACT:
                return cls(low, high, values[starts], np.add.reduceat(counts, starts), None)
        grids = [part.grids or part._finest_grids() for part in sketches]  # noqa: SLF001 - the same class
        both = _merge_grids([log for log, _ in grids]), _merge_grids([linear for _, linear in grids])
        return cls(low, high, _NO_FLOATS, _NO_INTEGERS, both)

    def _finest_grids(self) -> tuple[Grid, Grid]:
        level = _finest_linear(max(abs(self.minimum), abs(self.maximum)))
        log = Grid(0, _ordered(self.values), self.counts)
        return log, Grid(level, _linear_keys(self.values, level), self.counts)

    def knots(self) -> tuple[Floats, Floats]:
        """Return points where the number of smaller values is known exactly, and those numbers.

        Returns:
            Points of shape (k,), ascending, a point may come twice (before and after a value that is a step there);
            counts of shape (k,), ascending from 0 to the number of values.
        """
        if self.grids is None:
            after = np.cumsum(self.counts).astype(np.float64)
            return np.repeat(self.values, 2), np.stack((after - self.counts, after), axis=1).ravel()
        log, linear = self.grids
        top = min(math.nextafter(self.maximum, math.inf), _LARGEST)
        after_log, after_linear = np.cumsum(log.counts), np.cumsum(linear.counts)
        tops = np.where(log.keys < _LOW_63 >> log.level, (log.keys + 1) << log.level, _LOW_63)
        with np.errstate(over="ignore"):
            points = (
                # Bits beyond the largest float decode to NaN; such a border lies outside of the values.
                np.nan_to_num(_from_ordered(log.keys << log.level), nan=self.minimum),
                np.nan_to_num(_from_ordered(tops), nan=top),
                np.ldexp(linear.keys.astype(np.float64), linear.level),
                np.ldexp((linear.keys + 1).astype(np.float64), linear.level),
            )
        x = np.concatenate(points)
        if max(abs(self.minimum), abs(self.maximum)) > 1e90 * _NOTHING:
            x[np.abs(x) < _NOTHING] = 0.0
        x = np.clip(x, self.minimum, top)
        below = (after_log - log.counts, after_log, after_linear - linear.counts, after_linear)
        n = np.concatenate(below).astype(np.float64)
        order = np.lexsort((n, x))
        return x[order], n[order]

    def marks(self) -> Floats:
        """Return the points, ascending, between which the number of smaller values is a straight line."""
        if self.grids is None:
            with np.errstate(over="ignore"):
                after = np.minimum(np.nextafter(self.values, np.inf), _LARGEST)
            return np.stack((self.values, after), axis=1).ravel()
        return np.unique(self.knots()[0])

    @property
    def total(self) -> int:
        """The number of values."""
        return int(self.counts.sum() if self.grids is None else self.grids[0].counts.sum())

    def _scale(self) -> float:
        """Return a power of two that keeps differences of the largest floats from overflowing."""
        return 0.25 if max(abs(self.minimum), abs(self.maximum)) > _LARGEST / 4 else 1.0

    def below(self, points: Floats) -> Floats:
        """Return how many values are strictly smaller than each of the points, interpolated between knots."""
        x, n = self.knots()
        right = np.searchsorted(x, points, side="left")
        left = np.maximum(right - 1, 0)
        right = np.minimum(right, x.size - 1)
        scale = self._scale()
        width = x[right] * scale - x[left] * scale
        inside = np.clip(points, x[0], x[-1]) * scale - x[left] * scale
        share = np.divide(inside, width, out=np.ones_like(points), where=width > 0)
        found = n[left] + np.clip(share, 0.0, 1.0) * (n[right] - n[left])
        return np.where(points <= x[0], 0.0, np.where(points > x[-1], n[-1], found))

    def quantiles(self, ranks: Iterable[float]) -> Floats:
        """Return the values below which the given shares (0 to 1) of all values lie.

        >>> QuantileSketch.of(np.array([1.0, 2.0, 3.0])).quantiles([0, 0.5, 1]).tolist()
        [1.0, 2.0, 3.0]
        """
        x, n = self.knots()
        targets = np.clip(np.fromiter(ranks, np.float64), 0.0, 1.0) * n[-1]
        right = np.searchsorted(n, targets, side="left")
        left = np.maximum(right - 1, 0)
        height = n[right] - n[left]
        share = np.divide(targets - n[left], height, out=np.zeros_like(targets), where=height > 0)
        x = x * self._scale()
        found: Floats = (x[left] + share * (x[right] - x[left])) / self._scale()
        found = np.clip(found, self.minimum, self.maximum)
        found[targets <= 0] = self.minimum
        found[targets >= n[-1]] = self.maximum
        return found

    def to_bytes(self) -> bytes:
        """Write the sketch; equal sketches give equal bytes."""
        if self.grids is None:
            width, counts = _pack(self.counts)
            return struct.pack("<BHB", 0, self.values.size, width) + self.values.astype("<f8").tobytes() + counts
        pieces = [struct.pack("<Bdd", 1, self.minimum, self.maximum)]
        for grid in self.grids:
            first = int(grid.keys[0])
            # The distance between two keys may need 64 bits, so it is taken unsigned.
            offsets = grid.keys.view(np.uint64) - np.uint64(first & 0xFFFF_FFFF_FFFF_FFFF)
            key_width = next(code for code in range(4) if int(offsets[-1]) < 1 << (8 << code))
            count_width, counts = _pack(grid.counts)
            pieces.append(struct.pack("<hHqBB", grid.level, grid.keys.size, first, key_width, count_width))
            pieces += [offsets.astype(_WIDTHS[key_width]).tobytes(), counts]
        return b"".join(pieces)

    @classmethod
    def from_bytes(cls, data: bytes) -> QuantileSketch:
        """Read what `to_bytes` wrote.

        Raises:
            Corrupt: The bytes are not a sketch.
        """
        try:
            if data[0] == 0:
                _, size, width = struct.unpack_from("<BHB", data)
                values = np.frombuffer(data, "<f8", size, 4)
                counts = np.frombuffer(data, _WIDTHS[width], size, 4 + 8 * size).astype(np.int64)
                return cls(float(values[0]), float(values[-1]), values, counts, None)
            _, low, high = struct.unpack_from("<Bdd", data)
            log, at = _read_grid(data, 17)
            linear, _ = _read_grid(data, at)
        except (struct.error, ValueError, IndexError) as error:
            raise Corrupt(f"A quantile sketch cannot be read ({error}).") from error
        return cls(low, high, _NO_FLOATS, _NO_INTEGERS, (log, linear))


def _read_grid(data: bytes, at: int) -> tuple[Grid, int]:
    level, size, first, key_width, count_width = struct.unpack_from("<hHqBB", data, at)
    at += 14
    offsets = np.frombuffer(data, _WIDTHS[key_width], size, at).astype(np.uint64)
    at += size << key_width
    counts = np.frombuffer(data, _WIDTHS[count_width], size, at).astype(np.int64)
    keys = (offsets + np.uint64(first & 0xFFFF_FFFF_FFFF_FFFF)).view(np.int64)
    return Grid(level, keys, counts), at + (size << count_width)
