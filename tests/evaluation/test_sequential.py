from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.core.errors import Invalid
from undrift.evaluation import confidence_sequence


def ever_outside(values, truth, alpha):
    """Whether the truth lies below, and above, the interval at any of the looks."""
    below = above = False
    for look in range(1, len(values) + 1):
        found = confidence_sequence(values[:look], alpha=alpha)
        if found.lower is not None:
            below |= truth < found.lower
            above |= truth > found.upper
    return below, above


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (0.03, 0.2), (-5.0, 0.001)])
@pytest.mark.parametrize("alpha", [0.1, 0.05])
def test_the_truth_leaves_the_interval_at_any_of_sixty_looks_no_more_often_than_it_says(mean, deviation, alpha):
    rng = np.random.default_rng(20130101)
    outside = [ever_outside(rng.normal(mean, deviation, 60).tolist(), mean, alpha) for _ in range(400)]
    either = np.mean([below or above for below, above in outside])
    # Three standard errors of 400 sequences.
    assert either <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 400)
    assert either > 0, "an interval that is never left says less than it could"


def test_a_difference_is_found_after_a_while():
    rng = np.random.default_rng(7)
    looks = []
    for _ in range(50):
        values = rng.normal(0.5, 1.0, 120).tolist()
        found = [confidence_sequence(values[:look]).lower for look in range(1, 121)]
        looks.append(next((look for look, lower in enumerate(found, 1) if lower is not None and lower > 0), 999))
    assert np.median(looks) < 80


@pytest.mark.parametrize("blocks", [0, 1, 2, 3])
def test_few_blocks_decide_nothing(blocks):
    found = confidence_sequence([0.1, 0.11, 0.12][:blocks])
    assert (found.lower, found.upper, found.blocks) == (None, None, blocks)
    assert math.isnan(found.mean) == (blocks == 0)


numbers = st.lists(st.integers(-1000, 1000).map(lambda value: value / 8), min_size=4, max_size=30)


@given(numbers, st.sampled_from([0.01, 0.05, 0.1, 0.2]))
def test_the_interval_lies_around_the_mean(values, alpha):
    found = confidence_sequence(values, alpha=alpha)
    assert found.mean == pytest.approx(np.mean(values))
    if found.lower is not None:
        assert found.lower <= found.mean <= found.upper
        assert found.upper - found.mean == pytest.approx(found.mean - found.lower, abs=1e-9)


@given(numbers)
def test_a_surer_interval_is_a_wider_one(values):
    widths = [
        math.inf if found.lower is None else found.upper - found.lower
        for found in (confidence_sequence(values, alpha=alpha) for alpha in (0.2, 0.1, 0.05, 0.01))
    ]
    assert widths == sorted(widths)


@given(numbers, st.integers(-100, 100), st.sampled_from([0.25, 2.0, 16.0]))
def test_another_unit_or_origin_moves_the_interval_along(values, shift, scale):
    one = confidence_sequence(values)
    other = confidence_sequence([value * scale + shift for value in values])
    if one.lower is None:
        assert other.lower is None
    else:
        assert other.lower == pytest.approx(one.lower * scale + shift, abs=1e-6)
        assert other.upper == pytest.approx(one.upper * scale + shift, abs=1e-6)


@given(numbers)
def test_the_order_of_the_blocks_does_not_matter(values):
    one, other = confidence_sequence(values), confidence_sequence(values[::-1])
    assert (one.mean, one.lower, one.upper) == pytest.approx((other.mean, other.lower, other.upper))


def test_more_of_the_same_makes_it_narrower():
    values = [1.0, 2.0, 3.0, 2.0]
    widths = [found.upper - found.lower for found in (confidence_sequence(values * times) for times in (2, 4, 8, 16))]
    assert widths == sorted(widths, reverse=True)


def test_blocks_that_do_not_differ_are_sure():
    found = confidence_sequence([0.25] * 8)
    assert (found.lower, found.upper) == (0.25, 0.25)


@pytest.mark.parametrize("given_", [{"alpha": 0.0}, {"alpha": 1.0}, {"tau2": 0.0}, {"alpha": math.nan}])
def test_what_cannot_be_a_level_is_refused(given_):
    with pytest.raises(Invalid, match="must lie between 0 and 1"):
        confidence_sequence([1.0, 2.0], **given_)
