from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undrift.core.errors import Corrupt
from undrift.profiles.quantiles import EXACT, QuantileSketch

RNG = np.random.default_rng(7)
SHAPES = {
    "normal": RNG.normal(size=20_000),
    "far from zero": RNG.normal(1013, 9, 20_000),
    "many orders of magnitude": np.exp(RNG.normal(0, 3, 20_000)),
    "heavy tails on both sides": RNG.standard_cauchy(20_000),
    "with an outlier": np.append(RNG.normal(size=20_000), 1e12),
    "half zeros": np.where(RNG.random(20_000) < 0.5, 0.0, RNG.exponential(size=20_000)),
    "few integers": RNG.integers(0, 40, 20_000).astype(float),
    "huge": RNG.normal(size=20_000) * 1e300,
    "tiny": RNG.normal(size=20_000) * 1e-305,
    "all floats there are": RNG.choice([-1.0, 1.0], 20_000) * np.exp(RNG.uniform(-700, 709, 20_000)),
}


def sketch_of(values) -> QuantileSketch:
    return QuantileSketch.of(np.sort(np.asarray(values, np.float64)) + 0.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_sketch_of_parts_is_bit_for_bit_the_sketch_of_the_whole(shape):
    parts = [sketch_of(part) for part in np.array_split(SHAPES[shape], 13)]
    whole = sketch_of(SHAPES[shape]).to_bytes()
    assert QuantileSketch.merge(parts).to_bytes() == whole
    assert QuantileSketch.merge(parts[::-1]).to_bytes() == whole
    nested = QuantileSketch.merge([QuantileSketch.merge(parts[:4]), *parts[4:9], QuantileSketch.merge(parts[9:])])
    assert nested.to_bytes() == whole


@pytest.mark.parametrize("shape", SHAPES)
def test_ranks_are_within_one_percent(shape):
    values = np.sort(SHAPES[shape])
    sketch = sketch_of(values)
    points = values[::97]
    true = np.searchsorted(values, points, side="left")
    assert np.abs(sketch.below(points) - true).max() <= 0.01 * values.size


def test_quantiles_of_smooth_shapes_are_within_one_percent_of_rank():
    for shape in ("normal", "far from zero", "many orders of magnitude", "heavy tails on both sides"):
        values = np.sort(SHAPES[shape])
        found = sketch_of(values).quantiles(np.linspace(0.01, 0.99, 99))
        ranks = np.searchsorted(values, found) / values.size
        assert np.abs(ranks - np.linspace(0.01, 0.99, 99)).max() < 0.01


def test_few_distinct_values_are_all_known():
    sketch = sketch_of([3, 1, 2, 2, 2, 5])
    assert sketch.values.tolist() == [1, 2, 3, 5]
    assert sketch.counts.tolist() == [1, 3, 1, 1]
    assert sketch.below(np.array([0.0, 1.0, 2.0, 2.5, 9.0])).tolist() == [0, 0, 1, 4, 6]
    assert sketch.quantiles([0.0, 0.5, 0.9, 1.0]).tolist() == [1, 2, 5, 5]


def test_a_zero_that_is_half_of_the_values_stays_zero():
    assert sketch_of(SHAPES["half zeros"]).quantiles([0.25]).tolist() == [0.0]


def test_the_number_of_values_is_the_limit_between_known_and_counted_by_cell():
    assert sketch_of(np.arange(EXACT)).grids is None
    assert sketch_of(np.arange(EXACT + 1)).grids is not None


def test_size_does_not_follow_the_number_of_rows():
    assert all(len(sketch_of(values).to_bytes()) < 3_000 for values in SHAPES.values())


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30),
)
def test_any_floats_merge_and_round_trip(left, right):
    scale = np.linspace(0.1, 1, 300)  # enough distinct values for grids in most examples
    one, other = (np.outer(np.array(side), scale).ravel() for side in (left, right))
    both = sketch_of(np.concatenate((one, other)))
    merged = QuantileSketch.merge([sketch_of(one), sketch_of(other)])
    assert merged.to_bytes() == both.to_bytes()
    again = QuantileSketch.from_bytes(both.to_bytes())
    assert again.to_bytes() == both.to_bytes()
    assert again.total == both.total == one.size + other.size
    ends = again.quantiles([0, 1]).tolist()
    assert ends == [both.minimum, both.maximum]
    assert np.all(np.diff(again.quantiles(np.linspace(0, 1, 50))) >= 0)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x05\x00\x00abc", b"\x01abc", b"\x00\x01\x00\x09" + bytes(20)])
def test_garbage_is_corrupt(data):
    with pytest.raises(Corrupt):
        QuantileSketch.from_bytes(data)
