"""P-values from statistics, and what is left of them after looking at many columns at once.

They say how surprising a difference is when nothing changed and *rows are independent of each other*. Rows of a window
in time seldom are, so these values are too small on real traffic: the effect size decides, this only orders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

__all__ = ["Correction", "chi_square_p", "false_discovery", "kolmogorov_p"]

Correction = Literal["benjamini-hochberg", "benjamini-yekutieli"]


def chi_square_p(statistic: float, degrees: int) -> float:
    """Return the probability of a chi-square statistic at least as large, 0 to 1; with no degrees of freedom 1.

    The finite sum for whole degrees of freedom (Abramowitz and Stegun 1964, 26.4.4 and 26.4.5).

    >>> round(chi_square_p(3.841, 1), 3), round(chi_square_p(18.307, 10), 3)
    (0.05, 0.05)
    """
    if degrees <= 0 or statistic <= 0:
        return 1.0
    half = statistic / 2
    first = 0.5 if degrees % 2 else 1.0
    terms = [math.erfc(math.sqrt(half)) if degrees % 2 else math.exp(-half)]
    terms += [
        math.exp((first + step) * math.log(half) - half - math.lgamma(first + step + 1))
        for step in range(math.ceil(degrees / 2) - 1)
    ]
    return min(math.fsum(terms), 1.0)


def kolmogorov_p(distance: float, rows: float, other_rows: float) -> float:
    """Return the probability of a two-sample Kolmogorov-Smirnov distance at least as large, 0 to 1.

    The asymptotic series; good from about 20 rows a side, and never much too small. Values that come more than once
    make it larger than it need be.

    Source: Smirnov 1948, https://doi.org/10.1214/aoms/1177730256.

    >>> round(kolmogorov_p(0.192, 100, 100), 2), kolmogorov_p(0.0, 100, 100)
    (0.05, 1.0)
    """
    x = math.sqrt(rows * other_rows / (rows + other_rows)) * distance
    if x < 0.3:  # the series would need many terms there, and the answer is 1 to four digits
        return 1.0
    total = math.fsum((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 20))
    return min(max(2 * total, 0.0), 1.0)


def false_discovery(p_values: Sequence[float], correction: Correction = "benjamini-hochberg") -> list[float]:
    """Return q-values: calling everything with q up to 0.05 a change makes at most 5 % of the calls false, on average.

    Args:
        p_values: One per column looked at, shape (k,).
        correction: ``benjamini-hochberg`` holds where columns are independent or move together;
            ``benjamini-yekutieli`` holds always, and finds less.

    Returns:
        One q-value per p-value, in the same order, 0 to 1, never below its p-value.

    Source: Benjamini and Hochberg 1995, https://doi.org/10.1111/j.2517-6161.1995.tb02031.x; Benjamini and Yekutieli
    2001, https://doi.org/10.1214/aos/1013699998.

    >>> [round(q, 3) for q in false_discovery([0.01, 0.5, 0.02])]
    [0.03, 0.5, 0.03]
    """
    count = len(p_values)
    factor = math.fsum(1 / k for k in range(1, count + 1)) if correction == "benjamini-yekutieli" else 1.0
    q_values = [1.0] * count
    smallest = 1.0
    for rank, place in reversed(list(enumerate(sorted(range(count), key=p_values.__getitem__), start=1))):
        smallest = min(smallest, p_values[place] * factor * count / rank)
        q_values[place] = smallest
    return q_values
