"""Is a column that moved the old one in another unit? Degrees, miles and percent explain more shifts than nature does.

The question is asked of two summaries, for a list of known conversions ``new = scale * old + offset``. Two kinds of
evidence are looked at:

* **values**: while both summaries know every value, a conversion leaves fingerprints. Sensors report on a grid; the new
  values lie on the old grid, converted, and hardly any lies on the old grid as it was. Seasons leave the grid alone,
  so this holds in any week, and it tells 1.609 (miles) from 1.852 (nautical miles).
* **shape**: the quantiles lie far apart as they are, and near each other once converted. Seasons move columns, too:
  over a year of hourly weather in New York a week lay up to 2.5 units from the two months before it (temperature; dew
  point 3.4), and °F read as °C at least 4.1. So temperatures must be 4 units apart before and within 3 after, and be
  temperatures one meets. A factor of 8 or more, or a flipped sign, must bring medians within a quarter of each other.
  A smaller factor is never taken from the shape: any growth is near one factor or other of a long list.

The unit of distance is the geometric mean of both standard deviations. With it, shrinking a column to nothing does not
bring it near, and a thousandfold is as far as a thousandth.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from undrift.profiles.model import ColumnProfile

__all__ = ["CONVERSIONS", "Conversion", "UnitChange", "explain_shift"]


class Conversion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of unit: ``new = scale * old + offset``.

    Attributes:
        low: The smallest old value one meets where seasons move the values; leave out where they do not.
        high: The largest such value.
    """

    name: str
    scale: float
    offset: float = 0.0
    low: float | None = None
    high: float | None = None


class UnitChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a shift looks like.

    Attributes:
        name: The conversion, such as ``°F → °C``.
        scale: ``new = scale * old + offset``.
        offset: In the new unit.
        distance_before: How far the quantiles are apart as they are, in the geometric mean of both deviations.
        distance_after: How far they are apart once converted, in the same unit.
        evidence: ``values`` (the new values are the old grid, converted: all but certain) or ``shape`` (likely).
        matched: The share of the new distinct values, 0 to 1, that are converted old ones; None without a grid.
        alternatives: Other conversions that fit about as well, the better first.
    """

    name: str
    scale: float
    offset: float
    distance_before: float
    distance_after: float
    evidence: Literal["values", "shape"]
    matched: float | None = None
    alternatives: tuple[str, ...] = ()


def _both_ways(scale: float, *units: tuple[str, str]) -> tuple[Conversion, Conversion]:
    return (
        Conversion(" or ".join(f"{one} → {other}" for one, other in units), scale),
        Conversion(" or ".join(f"{other} → {one}" for one, other in units), 1 / scale),
    )


CONVERSIONS: tuple[Conversion, ...] = (
    Conversion("°F → °C", 1 / 1.8, -32 / 1.8, low=-80, high=140),
    Conversion("°C → °F", 1.8, 32.0, low=-62, high=60),
    Conversion("°F → K", 1 / 1.8, 459.67 / 1.8, low=-80, high=140),
    Conversion("K → °F", 1.8, -459.67, low=211, high=333),
    Conversion("°C → K", 1.0, 273.15, low=-62, high=60),
    Conversion("K → °C", 1.0, -273.15, low=211, high=333),
    *_both_ways(1.609344, ("mile", "km"), ("mph", "km/h")),
    *_both_ways(1.852, ("nautical mile", "km"), ("knot", "km/h")),
    *_both_ways(1.609344 / 1.852, ("mile", "nautical mile"), ("mph", "knot")),
    *_both_ways(0.44704, ("mph", "m/s")),
    *_both_ways(1 / 3.6, ("km/h", "m/s")),
    *_both_ways(1.852 / 3.6, ("knot", "m/s")),
    *_both_ways(25.4, ("inch", "mm")),
    *_both_ways(2.54, ("inch", "cm")),
    *_both_ways(0.3048, ("foot", "m")),
    *_both_ways(0.0295299830714, ("hPa", "inHg")),
    *_both_ways(0.750061683, ("hPa", "mmHg")),
    *_both_ways(6.894757293, ("psi", "kPa")),
    *_both_ways(0.45359237, ("pound", "kg")),
    *_both_ways(28.349523125, ("ounce", "g")),
    *_both_ways(3.785411784, ("US gallon", "litre")),
    *_both_ways(math.pi / 180, ("degree", "radian")),
    *_both_ways(60.0, ("minute", "second"), ("hour", "minute")),
    *_both_ways(3600.0, ("hour", "second")),
    *_both_ways(24.0, ("day", "hour")),
    *_both_ways(86400.0, ("day", "second")),
    *_both_ways(1024.0, ("KiB", "byte"), ("MiB", "KiB")),
    *(Conversion(f"× {factor}", float(factor)) for factor in (10, 100, 1000, 1_000_000)),  # noqa: RUF001 - as written
    *(Conversion(f"÷ {factor}", 1 / factor) for factor in (10, 100, 1000, 1_000_000)),
    Conversion("sign flipped", -1.0),
)
"""The conversions that are looked for; one may have several names, because a factor does not say what it is of."""

_RANKS = tuple(k / 40 for k in range(1, 40))
_BEFORE = 4.0
_SEASONAL = 3.0, 0.45  # the largest distance after conversion; and in shares of the distance before
_LARGE_FACTOR = 1.5, 0.15
_LARGE = 8.0
_MEDIANS = 1.25
_ABSURD = 6.0  # even matching values are no evidence for what lies further away than this
_FEWEST_VALUES = 5
_MATCHED = 0.75
_BEYOND_CHANCE = 0.5
_EQUAL = 1e-6  # single-precision floats keep seven digits


def explain_shift(
    reference: ColumnProfile,
    current: ColumnProfile,
    *,
    recent: Sequence[ColumnProfile] = (),
    conversions: Sequence[Conversion] = CONVERSIONS,
) -> UnitChange | None:
    """Say whether the current numbers look like the reference's in another unit.

    It errs on the side of silence: None for what could be a season, for columns that are not numbers or do not vary,
    and for a smaller factor than 8 unless the values themselves prove it. Give it a week or more: a day's values have
    little spread, and a cold day is like another unit. On a year of New York's weather, week by week against two
    months, it named °F → °C each time and found nothing in nine unconverted columns.

    Args:
        reference: The column over a longer time before, such as two months.
        current: The column now, such as a week.
        recent: The column in windows shortly before the change; a season has moved them, too, so they say better what
            to expect. The nearest of all is taken.
        conversions: What to look for.

    >>> from undrift.profiles import profile
    >>> import polars as pl
    >>> old = pl.DataFrame({"temp": [50.0, 53.1, 55.4, 59.0, 61.7, 68.0, 69.8, 71.6, 75.2, 77.0]})
    >>> new = old[2:9].select(((pl.col("temp") - 32) / 1.8).round(1))
    >>> change = explain_shift(profile(old).column("temp"), profile(new).column("temp"))
    >>> change.name, change.evidence
    ('°F → °C', 'values')
    """
    from undrift.profiles.quantiles import QuantileSketch  # noqa: PLC0415 - numpy is loaded by the first call

    columns = [reference, *recent]
    if any(column.kind != "numeric" or not column.quantile_sketch for column in (*columns, current)):
        return None
    if not all(column.deviation for column in (*columns, current)):
        return None
    before = [QuantileSketch.from_bytes(column.quantile_sketch) for column in columns]
    now = QuantileSketch.from_bytes(current.quantile_sketch)
    spreads = reference.deviation or 1.0, current.deviation or 1.0
    olds, new = [sketch.quantiles(_RANKS).tolist() for sketch in before], now.quantiles(_RANKS).tolist()
    same = _distance(olds, new, spreads, Conversion("", 1.0))
    matches = _matches(before[0].values.tolist(), now.values.tolist(), conversions)
    if matches is None:
        return None
    found: list[tuple[float, float, float, Conversion, float | None]] = []
    for conversion, match in zip(conversions, matches, strict=True):
        after = _distance(olds, new, spreads, conversion)
        # Where °C are near zero, ÷ 10 fits the middle of former °F, too, but not how much they vary.
        rank = after + abs(math.log(spreads[1]) - math.log(spreads[0]) - math.log(abs(conversion.scale)))
        if match is not None and after <= _ABSURD:
            found.append((-match.beyond, rank, after, conversion, match.share))
        elif same >= _BEFORE and _fits(conversion, reference, current, after, same):
            found.append((0.0, rank, after, conversion, None))
    if not found:
        return None
    found.sort(key=lambda candidate: candidate[:2])
    _, _, after, conversion, matched = found[0]
    others = [other.name for _, _, _, other, share in found[1:] if (share is None) == (matched is None)]
    return UnitChange(
        conversion.name,
        conversion.scale,
        conversion.offset,
        distance_before=same,
        distance_after=after,
        evidence="shape" if matched is None else "values",
        matched=matched,
        alternatives=tuple(others),
    )


def _distance(olds: list[list[float]], new: list[float], spreads: tuple[float, float], by: Conversion) -> float:
    converted = [(value - by.offset) / by.scale for value in (new if by.scale > 0 else new[::-1])]
    gaps = [sum(abs(a - b) for a, b in zip(old, converted, strict=True)) / len(old) for old in olds]
    return min(gaps) / (math.sqrt(spreads[0]) * math.sqrt(spreads[1]) / math.sqrt(abs(by.scale)))


def _fits(conversion: Conversion, reference: ColumnProfile, current: ColumnProfile, after: float, same: float) -> bool:
    if conversion.low is not None and conversion.high is not None:
        ends = [((end or 0.0) - conversion.offset) / conversion.scale for end in (current.minimum, current.maximum)]
        ends += [reference.minimum or 0.0, reference.maximum or 0.0]
        usual = conversion.low <= min(ends) and max(ends) <= conversion.high
        return usual and after <= min(_SEASONAL[0], _SEASONAL[1] * same)
    if conversion.offset or 1 / _LARGE < conversion.scale < _LARGE:
        return False
    (old,), (new,) = reference.quantiles([0.5]) or [0.0], current.quantiles([0.5]) or [0.0]
    growth = new / conversion.scale / old if old else 0.0
    return 1 / _MEDIANS <= growth <= _MEDIANS and after <= min(_LARGE_FACTOR[0], _LARGE_FACTOR[1] * same)


class _Match(NamedTuple):
    share: float  # of the values within the grid's range, the share that lies on it
    beyond: float  # how much more than by chance
    inside: int  # how many values lie within the range


def _matches(old: list[float], new: list[float], conversions: Sequence[Conversion]) -> list[_Match | None] | None:
    """Return for each conversion how many new values are converted old ones, None where that says nothing.

    None for all when the new values lie on the old grid as it is, so that there is no conversion to look for.
    """
    nothing: list[_Match | None] = [None] * len(conversions)
    if min(len(old), len(new)) < _FEWEST_VALUES:  # a sketch with grids gives no values at all
        return nothing
    # The new values may have been rounded after conversion, or not; where they are no decimals, they were not.
    decimals = next((digits for digits in range(5) if all(_on_grid(value, digits) for value in new)), None)
    steps = [0.0] if decimals is None else [0.0, 10.0**-decimals]
    unchanged = [_match(old, new, step, 0.0) for step in steps]
    if any(match.beyond >= _BEYOND_CHANCE and match.inside >= _FEWEST_VALUES for match in unchanged):
        return None
    same = max(match.share for match in unchanged)  # "as before, now rounded" explains as much as this
    found: list[_Match | None] = []
    for by in conversions:
        converted = sorted(by.scale * value + by.offset for value in old)
        # A value that converts to itself, such as zero, is no evidence either way.
        moved = [value for value in new if not math.isclose(by.scale * value + by.offset, value, abs_tol=1e-12)]
        telling = [
            match
            for match in (_match(converted, moved, step, by.offset) for step in steps)
            if match.inside >= max(_FEWEST_VALUES, len(moved) / 2)
            and match.share >= _MATCHED
            and min(match.beyond, match.share - same) >= _BEYOND_CHANCE
        ]
        found.append(max(telling, key=lambda match: match.beyond, default=None))
    return found


def _on_grid(value: float, digits: int) -> bool:
    return math.isclose(value, round(value, digits), rel_tol=1e-7, abs_tol=1e-12)


def _match(grid: list[float], values: list[float], step: float, offset: float) -> _Match:
    """Hold values against a grid, ascending; they are multiples of ``step`` when it is not 0.

    What they would match by chance is what they still do when moved by a few steps: rounded values fit anything dense.
    """

    def hits(moved_by: float) -> float:
        # The offset was added to the grid's values, which cost them digits.
        return sum(_near(grid, value + moved_by, step / 2 + _EQUAL * (abs(value) + abs(offset))) for value in inside)

    inside = [value for value in values if grid[0] - step <= value <= grid[-1] + step]
    if not inside:
        return _Match(0.0, 0.0, 0)
    moves = [step * k for k in (-3, -2, -1, 1, 2, 3)] if step else []
    chance = sum(map(hits, moves)) / max(len(moves), 1)
    return _Match(hits(0.0) / len(inside), (hits(0.0) - chance) / len(inside), len(inside))


def _near(grid: list[float], value: float, tolerance: float) -> bool:
    place = bisect_left(grid, value)
    return any(abs(value - near) <= tolerance for near in grid[max(place - 1, 0) : place + 1])
