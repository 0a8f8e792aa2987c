from __future__ import annotations

import math

import numpy as np
import pytest

from undrift.profiles.bins import BINS, count_sketch, count_sorted, edges_of
from undrift.profiles.quantiles import QuantileSketch


def test_bins_hold_equal_shares_of_the_reference():
    values = np.sort(np.random.default_rng(0).normal(size=50_000))
    edges = edges_of(QuantileSketch.of(values))
    counts = count_sorted(values, edges)
    assert len(counts) == BINS + 2
    assert counts[0] == counts[-1] == 0
    assert max(counts[1:-1]) == pytest.approx(50_000 / BINS, rel=0.05)


def test_few_values_have_a_bin_each_and_one_between():
    edges = edges_of(QuantileSketch.of(np.array([1.0, 1.0, 2.0])))
    assert edges == (1.0, math.nextafter(1.0, 2), 2.0, math.nextafter(2.0, 3))
    assert count_sorted(np.array([0.5, 1.0, 1.5, 2.0, 2.0, 3.0]), edges) == (1, 1, 1, 2, 1)


def test_a_value_that_is_more_than_a_bin_gets_its_own():
    values = np.sort(np.where(np.arange(10_000) % 10 < 9, 0.0, np.arange(10_000) + 1.0))
    edges = edges_of(QuantileSketch.of(values))
    assert edges[:2] == (0.0, math.nextafter(0.0, 1))
    assert count_sorted(values, edges)[1] == 9_000


@pytest.mark.parametrize("value", [0.0, -5.0, 1.7976931348623157e308])
def test_a_constant_has_bins_too(value):
    sketch = QuantileSketch.of(np.full(4, value))
    edges = edges_of(sketch)
    assert list(edges) == sorted(set(edges))
    assert sum(count_sorted(np.full(4, value), edges)) == sum(count_sketch(sketch, edges)) == 4


def test_a_sketch_counts_its_own_bins_as_the_values_would():
    values = np.sort(np.random.default_rng(1).lognormal(size=30_000))
    sketch = QuantileSketch.of(values)
    edges = edges_of(sketch)
    assert count_sketch(sketch, edges) == pytest.approx(count_sorted(values, edges), abs=300)
