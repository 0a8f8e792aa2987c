from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.tracking.points import merged, newest, pack, sampled, unpack

WHOLE = st.integers(-(2**63), 2**63 - 1)
POINT = st.tuples(WHOLE, WHOLE, st.floats(allow_nan=True))
SPECIAL = [0.0, -0.0, 1.0, math.nan, math.inf, -math.inf]
CLOSE = st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from(SPECIAL))


def packed(points):
    return pack([p[0] for p in points], [p[1] for p in points], [p[2] for p in points])


def shown(points):
    return [(step, time, repr(value)) for time, step, value in points.tolist()]


@given(st.lists(POINT))
def test_what_is_packed_comes_out_again(points):
    assert shown(unpack([packed(points)])) == [(step, time, repr(value)) for step, time, value in points]


@given(st.lists(st.lists(CLOSE, min_size=1), min_size=1))
def test_chunks_are_merged_alike_in_every_order_and_repeats_once(chunks):
    together = shown(merged(unpack([packed(chunk) for chunk in chunks])))
    assert together == shown(merged(unpack([packed(chunk) for chunk in reversed(chunks)])))
    assert len(together) == len(set(together))
    assert set(together) == {(step, time, repr(value)) for chunk in chunks for step, time, value in chunk}
    again = merged(unpack([packed(chunks[0]), packed([p for chunk in chunks for p in chunk])]))
    assert shown(again) == together
    keys = [(time, step, 0.0 if value == "nan" else float(value)) for step, time, value in together]
    assert keys == sorted(keys)


def test_points_in_order_are_left_as_they_are():
    points = unpack([pack(range(5), range(5), [0.5] * 5)])
    assert merged(points) is points


@given(st.lists(CLOSE, min_size=1))
def test_the_newest_point_is_the_greatest_by_step_time_and_value(points):
    step, time, value = newest([p[0] for p in points], [p[1] for p in points], [p[2] for p in points])
    assert (step, time) == max((p[0], p[1]) for p in points)
    rivals = [p[2] for p in points if (p[0], p[1]) == (step, time)]
    numbers = [v for v in rivals if not math.isnan(v)]
    assert math.isnan(value) if not numbers else value == max(numbers)


@pytest.mark.parametrize(("count", "most"), [(1, 1), (10, 10), (10, 3), (1000, 7), (5, 1)])
def test_a_sample_has_the_first_and_the_last_and_no_more_than_asked_for(count, most):
    points = sampled(unpack([pack(range(count), range(count), [0.0] * count)]), most)
    steps = points["step"].tolist()
    assert len(steps) == min(count, most)
    assert steps == sorted(set(steps))
    assert steps[-1] == count - 1
    assert most == 1 or steps[0] == 0
