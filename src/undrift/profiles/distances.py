"""Distances between two distributions, one function each, on the counts or cumulative shares that profiles hold.

All are plain sums over a few dozen bins, added exactly (`math.fsum`), so that a figure is the same on every machine.
None of them is a verdict. What is large depends on the column and the model; with many rows, everything differs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from undrift.core.errors import Invalid

__all__ = [
    "chance_score",
    "chi_square",
    "cramers_v",
    "hellinger",
    "jensen_shannon",
    "kolmogorov_smirnov",
    "psi",
    "total_variation",
    "wasserstein",
]

Counts = Sequence[float]


def _shares(reference: Counts, current: Counts) -> tuple[list[float], list[float]]:
    if len(reference) != len(current):
        raise Invalid(f"{len(reference)} bins cannot be compared with {len(current)}.", next_step="Use the same bins.")
    totals = math.fsum(reference), math.fsum(current)
    if min(totals) <= 0 or min(*reference, *current) < 0:
        raise Invalid("Counts must not be negative, and each side must count something.")
    return [count / totals[0] for count in reference], [count / totals[1] for count in current]


def jensen_shannon(reference: Counts, current: Counts) -> float:
    """Return the Jensen-Shannon distance, base 2: the effect size undrift puts first.

    For numbers and categories alike. From 0 (the same shares) to 1 (nothing in common); symmetric; a metric; bins that
    are empty on one side need no care. As a feel, on twenty bins: a normal distribution moved by half its deviation
    gives 0.21, by one 0.40, by two 0.69. Small windows are apart by chance, see `chance_score`.

    Args:
        reference: Counts by bin, shape (k,).
        current: Counts in the same bins, shape (k,).

    Raises:
        Invalid: The bins differ in number, a count is negative, or one side counts nothing.

    Source: Lin 1991, https://doi.org/10.1109/18.61115; Endres and Schindelin 2003 for the square root.

    >>> jensen_shannon([50, 50], [50, 50]), jensen_shannon([9, 0], [0, 3])
    (0.0, 1.0)
    >>> round(jensen_shannon([50, 50], [80, 20]), 3)
    0.27
    """
    pairs = list(zip(*_shares(reference, current), strict=True))
    terms = [a * math.log2(2 * a / (a + b)) for a, b in pairs if a > 0]
    terms += [b * math.log2(2 * b / (a + b)) for a, b in pairs if b > 0]
    return math.sqrt(min(max(math.fsum(terms) / 2, 0.0), 1.0))


def chance_score(reference: Counts, current: Counts) -> float:
    """Return the Jensen-Shannon distance that windows of these sizes have on average when nothing changed.

    A score near it is no news, however large it looks: with 20 bins, 50 rows against many are 0.26 apart by chance.
    To first order the squared distance is (k - 1) (1/n + 1/m) / (8 ln 2), with k the bins that are not empty on both
    sides. From 0 to 1, at most 1.

    Raises:
        Invalid: The bins differ in number, a count is negative, or one side counts nothing.

    Source: the second-order expansion of the divergence around equal shares; Grosse et al. 2002,
    https://doi.org/10.1103/PhysRevE.65.041905.

    >>> round(chance_score([5000] * 20, [2.5] * 20), 2)
    0.26
    """
    _shares(reference, current)
    bins = sum(1 for a, b in zip(reference, current, strict=True) if a or b)
    rows = 1 / math.fsum(reference) + 1 / math.fsum(current)
    return min(math.sqrt((bins - 1) * rows / (8 * math.log(2))), 1.0)


def psi(reference: Counts, current: Counts) -> float:
    """Return the population stability index: the figure that credit risk teams know and have thresholds for.

    From 0 (the same shares) upwards without end; symmetric; the sum of (a - b) ln(a / b). Customary readings are 0.1
    (look) and 0.25 (act), for about ten to twenty bins and thousands of rows. Half a row is added to every bin, so that
    an empty one gives a large number and not an infinite one; bins empty on both sides are left out.

    Raises:
        Invalid: The bins differ in number, a count is negative, or one side counts nothing.

    Source: Yurdakul and Naranjo 2020, https://doi.org/10.21314/JRMV.2020.227; the half row is Jeffreys' prior.

    >>> psi([500, 500], [500, 500]), round(psi([500, 500], [600, 400]), 3)
    (0.0, 0.04)
    """
    _shares(reference, current)
    used = [(a + 0.5, b + 0.5) for a, b in zip(reference, current, strict=True) if a or b]
    left, right = _shares([a for a, _ in used], [b for _, b in used])
    return math.fsum((a - b) * math.log(a / b) for a, b in zip(left, right, strict=True))


def hellinger(reference: Counts, current: Counts) -> float:
    """Return the Hellinger distance: like Jensen-Shannon, and more sensitive in bins that are rare.

    From 0 (the same shares) to 1 (nothing in common); symmetric; a metric.

    Raises:
        Invalid: The bins differ in number, a count is negative, or one side counts nothing.

    Source: Hellinger 1909, https://doi.org/10.1515/crll.1909.136.210.

    >>> hellinger([1, 1], [1, 1]), hellinger([1, 0], [0, 1]), round(hellinger([50, 50], [80, 20]), 3)
    (0.0, 1.0, 0.227)
    """
    pairs = zip(*_shares(reference, current), strict=True)
    return math.sqrt(min(math.fsum((math.sqrt(a) - math.sqrt(b)) ** 2 for a, b in pairs) / 2, 1.0))


def total_variation(reference: Counts, current: Counts) -> float:
    """Return the total variation distance: the share of rows that would have to change bins.

    From 0 (the same shares) to 1 (nothing in common); symmetric; the figure that is easiest to say in words.

    Raises:
        Invalid: The bins differ in number, a count is negative, or one side counts nothing.

    Source: Levin and Peres, Markov Chains and Mixing Times, 2017, section 4.1.

    >>> round(total_variation([50, 50], [80, 20]), 3)
    0.3
    """
    return min(math.fsum(abs(a - b) for a, b in zip(*_shares(reference, current), strict=True)) / 2, 1.0)


def chi_square(reference: Counts, current: Counts) -> tuple[float, int]:
    """Return Pearson's chi-square statistic of "both windows come from one distribution", and its degrees of freedom.

    From 0 upwards, growing with the number of rows: an input to a p-value, not an effect size. The degrees are one
    less than the bins that are not empty on both sides. The p-value is rough where fewer than about five rows are
    expected in a bin.

    Raises:
        Invalid: The bins differ in number, a count is negative, or one side counts nothing.

    Source: Pearson 1900, https://doi.org/10.1080/14786440009463897.

    >>> chi_square([50, 50], [30, 70])
    (8.333333333333334, 1)
    """
    _shares(reference, current)
    left, right = math.fsum(reference), math.fsum(current)
    used = [(a, b) for a, b in zip(reference, current, strict=True) if a or b]
    # For two rows the usual sum over both cells of a column is this one term.
    statistic = math.fsum((a * right - b * left) ** 2 / (a + b) for a, b in used) / (left * right)
    return statistic, len(used) - 1


def cramers_v(reference: Counts, current: Counts) -> float:
    """Return Cramér's V: the strength of the association between "which window" and "which bin".

    From 0 (the same shares) to 1 (the bin tells the window); chi-square with the number of rows taken out. It depends
    on how the rows divide between the two windows, which Jensen-Shannon does not: 1 is reached by windows with nothing
    in common, but a window that is small beside its reference gives small numbers on the way there.

    Raises:
        Invalid: The bins differ in number, a count is negative, or one side counts nothing.

    Source: Cramér, Mathematical Methods of Statistics, 1946, section 21.9.

    >>> round(cramers_v([50, 50], [30, 70]), 3), cramers_v([50, 0], [0, 5])
    (0.204, 1.0)
    """
    statistic, _ = chi_square(reference, current)
    return math.sqrt(min(statistic / (math.fsum(reference) + math.fsum(current)), 1.0))


def kolmogorov_smirnov(reference_below: Sequence[float], current_below: Sequence[float]) -> float:
    """Return the Kolmogorov-Smirnov distance: the largest gap between the two cumulative distributions.

    For numbers. From 0 (the same) to 1 (one lies wholly above the other); symmetric; unchanged when both are measured
    in another unit. It sees shifts of the middle well and changes in the tails badly.

    Args:
        reference_below: The share of the reference below each of k points, shape (k,), ascending.
        current_below: The share of the current window below the same points, shape (k,).

    Raises:
        Invalid: The two differ in length, or are empty.

    Source: Smirnov 1939; Massey 1951, https://doi.org/10.1080/01621459.1951.10500769.

    >>> kolmogorov_smirnov([0.0, 0.5, 1.0], [0.0, 0.25, 1.0])
    0.25
    """
    if len(reference_below) != len(current_below) or not reference_below:
        raise Invalid("Two cumulative distributions are compared at the same points, at least one.")
    return max(abs(a - b) for a, b in zip(reference_below, current_below, strict=True))


def wasserstein(
    points: Sequence[float], reference_below: Sequence[float], current_below: Sequence[float], scale: float
) -> float:
    """Return the Wasserstein-1 distance: how far a value has to move on average, in deviations of the reference.

    For numbers. From 0 (the same) upwards without end; 1 means that values moved by one standard deviation of the
    reference (or whatever ``scale`` is). Unlike the distances by bin it says how far, also where nothing overlaps.

    Args:
        points: Where the distributions are known, shape (k,), ascending; from the smallest value to the largest.
        reference_below: The share of the reference below each point, shape (k,); linear in between.
        current_below: The share of the current window below the same points, shape (k,).
        scale: The unit, above 0: the reference's standard deviation or interquartile range.

    Raises:
        Invalid: The lengths differ, there is no point, or the scale is not above 0.

    Source: Vallender 1974, https://doi.org/10.1137/1118101; Ramdas et al. 2017, https://arxiv.org/abs/1509.02237.

    >>> wasserstein([0.0, 1.0, 2.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0], scale=0.5)
    2.0
    """
    if not len(points) == len(reference_below) == len(current_below) or not len(points):
        raise Invalid("Two cumulative distributions are compared at the same points, at least one.")
    if not scale > 0:
        raise Invalid(f"The scale of a Wasserstein distance must be above 0, not {scale}.")
    gaps = [a - b for a, b in zip(reference_below, current_below, strict=True)]
    areas = []
    for (start, end), (left, right) in zip(pairwise(points), pairwise(gaps), strict=True):
        width = end - start
        if left * right >= 0:
            areas.append(width * (abs(left) + abs(right)) / 2)
        else:  # the curves cross between the points: two triangles
            areas.append(width * (left * left + right * right) / (2 * (abs(left) + abs(right))))
    return math.fsum(areas) / scale
