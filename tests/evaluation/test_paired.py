from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undrift.core.errors import Invalid
from undrift.evaluation import block_means, compare_paired


def made(seed, *, rows=600, days=30, better=0.0, day_noise=0.0):
    """Labels, scores of two models and days; the second is nearer to the truth by `better`, more on some days."""
    rng = np.random.default_rng(seed)
    blocks = np.sort(rng.integers(0, days, rows))
    labels = rng.normal(size=rows)
    champion = labels + 1.0
    daily = rng.normal(scale=day_noise, size=days)[blocks]
    return labels, champion, champion - better - daily + rng.normal(scale=0.1, size=rows), blocks


def compare(data, **given):
    labels, champion, challenger, blocks = data
    return compare_paired("mean_absolute_error", labels, champion, challenger, blocks, **given)


def test_the_gain_is_how_much_lower_the_loss_is():
    found = compare(made(1, better=0.2))
    assert found.gain == pytest.approx(found.champion_loss - found.challenger_loss)
    assert found.gain == pytest.approx(0.2, abs=0.02)
    assert found.lower < found.gain < found.upper
    assert (found.rows, found.blocks, found.metric, found.confidence) == (600, 30, "mean_absolute_error", 0.9)


def test_the_same_numbers_give_the_same_interval():
    data = made(2, better=0.1, day_noise=0.2)
    assert compare(data) == compare(data)
    assert compare(data, seed=1) != compare(data, seed=2)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.permutations(range(40)))
def test_neither_the_order_of_rows_nor_the_names_of_days_matter(seed, order):
    labels, champion, challenger, blocks = made(seed, rows=40, days=8, better=0.1)
    order = np.array(order)
    one = compare((labels, champion, challenger, blocks), draws=200)
    other = compare((labels[order], champion[order], challenger[order], blocks[order] * 86_400 + 7), draws=200)
    assert (other.gain, other.lower, other.upper) == pytest.approx((one.gain, one.lower, one.upper))


def test_swapping_the_models_swaps_the_sign():
    labels, champion, challenger, blocks = made(3, better=0.2, day_noise=0.1)
    one = compare((labels, champion, challenger, blocks))
    other = compare((labels, challenger, champion, blocks))
    assert (other.gain, other.lower, other.upper) == pytest.approx((-one.gain, -one.upper, -one.lower))


def test_rows_that_share_their_fate_make_the_interval_wide():
    data = made(4, better=0.1, day_noise=0.3)
    by_row = compare((*data[:3], np.arange(len(data[0]))))
    by_day = compare(data)
    assert by_day.upper - by_day.lower > 2 * (by_row.upper - by_row.lower)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    # Day by day the gain varies around 0.1; the rows of a day share it.
    hits = sum(
        found.lower <= 0.1 <= found.upper
        for found in (compare(made(seed, better=0.1, day_noise=0.3), draws=400) for seed in range(150))
    )
    assert 0.80 <= hits / 150 <= 0.97


def test_one_day_shows_nothing():
    labels, champion, challenger, _ = made(5, better=0.5)
    found = compare((labels, champion, challenger, np.zeros(len(labels), dtype=np.int64)))
    assert (found.lower, found.upper) == (-math.inf, math.inf)
    assert found.gain > 0.4


@pytest.mark.parametrize("cut", [slice(0, 0), slice(0, 5)], ids=["no rows", "fewer labels"])
def test_other_rows_are_no_pairs(cut):
    labels, champion, challenger, blocks = made(6)
    with pytest.raises(Invalid, match="the same rows"):
        compare((labels[cut], champion, challenger, blocks))
    with pytest.raises(Invalid, match="the same rows"):
        compare(tuple(part[:0] for part in (labels, champion, challenger, blocks)))


def test_means_are_taken_block_by_block_in_their_order():
    assert block_means(np.array([5.0, 1.0, 3.0, 9.0]), np.array([9, 2, 2, 9])).tolist() == [2.0, 7.0]
