from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from undrift.core.errors import Invalid
from undrift.profiles import distances

BOUNDED = [distances.jensen_shannon, distances.hellinger, distances.total_variation, distances.cramers_v]
COUNTS = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=8).filter(
    lambda pairs: all(map(sum, zip(*pairs, strict=True)))
)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(COUNTS)
def test_all_lie_in_their_range_and_do_not_mind_the_direction(pairs):
    one, other = ([pair[side] for pair in pairs] for side in (0, 1))
    for distance in (*BOUNDED, distances.psi):
        there, back = distance(one, other), distance(other, one)
        assert there == pytest.approx(back, abs=1e-9)
        assert there >= 0
        assert distance(one, one) == 0
        if distance in BOUNDED:
            assert there <= 1


@pytest.mark.parametrize("distance", BOUNDED)
def test_one_means_nothing_in_common(distance):
    assert distance([5, 0, 3], [0, 9, 0]) == pytest.approx(1)


def test_against_scipy():
    one, other = [10, 20, 30, 40], [25, 25, 30, 20]
    p, q = np.array(one) / 100, np.array(other) / 100
    assert distances.jensen_shannon(one, other) == pytest.approx(scipy.spatial.distance.jensenshannon(p, q, 2))
    assert distances.hellinger(one, other) == pytest.approx(np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / math.sqrt(2))
    statistic, degrees = distances.chi_square(one, other)
    expected = scipy.stats.chi2_contingency([one, other], correction=False)
    assert (statistic, degrees) == (pytest.approx(expected.statistic), expected.dof)
    table = np.array([one, other])
    assert distances.cramers_v(one, other) == pytest.approx(scipy.stats.contingency.association(table))


def test_wasserstein_and_kolmogorov_smirnov_against_scipy():
    rng = np.random.default_rng(0)
    one, other = np.sort(rng.normal(size=200)), np.sort(rng.normal(0.5, 2, size=300))
    marks = np.sort(np.concatenate((one, other)))
    points = np.repeat(marks, 2)  # before and after each step
    shares = [
        np.stack((np.searchsorted(x, marks, "left"), np.searchsorted(x, marks, "right")), axis=1).ravel() / x.size
        for x in (one, other)
    ]
    shares = [share.tolist() for share in shares]
    assert distances.wasserstein(points.tolist(), *shares, scale=1.0) == pytest.approx(
        scipy.stats.wasserstein_distance(one, other)
    )
    assert distances.kolmogorov_smirnov(*shares) == pytest.approx(scipy.stats.ks_2samp(one, other).statistic)


def test_curves_that_cross_between_points_are_two_triangles():
    assert distances.wasserstein([0.0, 1.0], [0.4, 0.6], [0.6, 0.4], scale=1.0) == pytest.approx(0.1)


def test_an_empty_bin_makes_psi_large_not_infinite():
    assert 1 < distances.psi([100, 100, 0], [0, 100, 100]) < 10


def test_chance_is_what_equal_windows_are_apart_on_average():
    rng = np.random.default_rng(0)
    shares = np.full(20, 1 / 20)
    for rows in (100, 1_000):
        seen = [
            distances.jensen_shannon(rng.multinomial(10_000, shares).tolist(), rng.multinomial(rows, shares).tolist())
            for _ in range(100)
        ]
        stated = distances.chance_score([500] * 20, [rows / 20] * 20)
        assert float(np.mean(seen)) == pytest.approx(stated, rel=0.08)


@pytest.mark.parametrize(("one", "other"), [([1, 2], [1]), ([0, 0], [1, 2]), ([1, -1], [1, 1]), ([], [])])
def test_what_cannot_be_compared_is_invalid(one, other):
    for distance in (*BOUNDED, distances.psi, distances.chi_square, distances.chance_score):
        with pytest.raises((Invalid, ValueError)) as caught:
            distance(one, other)
        assert isinstance(caught.value, Invalid)


def test_cumulative_distances_want_the_same_points_and_a_scale():
    with pytest.raises(Invalid):
        distances.kolmogorov_smirnov([0.0], [0.0, 1.0])
    with pytest.raises(Invalid):
        distances.wasserstein([], [], [], 1.0)
    with pytest.raises(Invalid):
        distances.wasserstein([1.0], [1.0], [1.0], 0.0)
