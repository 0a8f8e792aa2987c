"""A test that may be looked at every day: confidence sequences for a mean.

A canary is looked at again and again, and stopped when it looks good or bad. A fixed-size test read that way is wrong
far more often than it says. A confidence sequence holds at all looks at once: the chance that the truth *ever* leaves
it is at most ``alpha``.

The sequence here is the anytime-valid t-interval: the values of the mean that a Bayes factor for the t-test, with a
normal prior of variance ``tau2`` on the standardised effect, does not reject at 1/alpha. It holds for every number of
looks when the observations are normal with unknown variance (Lai 1976, Annals of Statistics 4; Wang and Ramdas 2023,
arXiv:2310.03722), and is careful when there are few. Observations must be near independent: give it means of blocks
such as days, not single rows, where neighbours share their weather.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from undrift.core.errors import Invalid

__all__ = ["ConfidenceSequence", "confidence_sequence"]


class ConfidenceSequence(msgspec.Struct, frozen=True):
    """What is known of a mean after some looks.

    Attributes:
        blocks: How many observations.
        mean: Their mean.
        lower: The truth is above this, at every look at once; minus infinity is written as None.
        upper: The truth is below this; None for infinity.
        alpha: The chance that the truth ever leaves the interval.
    """

    blocks: int
    mean: float
    lower: float | None
    upper: float | None
    alpha: float


def confidence_sequence(values: Sequence[float], *, alpha: float = 0.1, tau2: float = 2.0) -> ConfidenceSequence:
    """Return the interval for the mean of all observations so far.

    Args:
        values: One mean a block, in order.
        alpha: The chance that the truth ever leaves the interval on either side; 0.1 makes each side 0.05.
        tau2: Variance of the effect, in standard deviations squared, that it is sharpest for.

    >>> few = confidence_sequence([0.02, 0.05, 0.03])
    >>> few.lower is None  # three days decide nothing
    True
    >>> more = confidence_sequence([0.02, 0.05, 0.03, 0.04, 0.01, 0.03, 0.05, 0.02])
    >>> 0 < more.lower < more.mean < more.upper
    True
    """
    if not 0 < alpha < 1 or tau2 <= 0:
        raise Invalid(f"alpha must lie between 0 and 1 and tau2 above 0, not {alpha} and {tau2}.")
    n = len(values)
    if n == 0:
        return ConfidenceSequence(0, math.nan, None, None, alpha)
    mean = math.fsum(values) / n
    if n == 1:
        return ConfidenceSequence(1, mean, None, None, alpha)
    freedom = n - 1
    growth = 1 + n * tau2
    # (1 + x) / (1 + x / growth) <= bound, with x = t^2 / freedom, is what the Bayes factor says; solved for x.
    bound = (math.sqrt(growth) / alpha) ** (2 / n)
    if bound >= growth:
        return ConfidenceSequence(n, mean, None, None, alpha)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / freedom)
    reach = math.sqrt(freedom * (bound - 1) / (1 - bound / growth)) * deviation / math.sqrt(n)
    return ConfidenceSequence(n, mean, mean - reach, mean + reach, alpha)
