from __future__ import annotations

import datetime as dt
import math
import random

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undrift.profiles import Profile, merge, profile

ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0])),
        st.one_of(st.none(), st.sampled_from("abcdef")),
        st.one_of(st.none(), st.booleans()),
    ),
    max_size=30,
)
SCHEMA = {"x": pl.Float64, "c": pl.String, "b": pl.Boolean}


def frame_of(rows) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def exact(whole: Profile) -> Profile:
    """The parts of a profile that merging must give exactly: all but moments and the row sample."""
    columns = {name: msgspec.structs.replace(column, mean=None, squares=None) for name, column in whole.columns.items()}
    return msgspec.structs.replace(whole, columns=columns, sample=None)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(ROWS, ROWS)
def test_merged_windows_equal_the_window_of_all_rows(one, other):
    reference = profile(frame_of([(0.0, "a", True), (5.0, "b", False), (1e6, "c", True)]))
    merged = merge([profile(frame_of(rows), edges=reference) for rows in (one, other)])
    whole = profile(frame_of(one + other), edges=reference)
    assert exact(merged) == exact(whole)
    for name in ("x", "b"):
        left, right = merged.column(name), whole.column(name)
        assert left.mean == (None if right.mean is None else pytest.approx(right.mean, rel=1e-9, abs=1e-9))
        assert left.deviation == (
            None if right.deviation is None else pytest.approx(right.deviation, rel=1e-6, abs=1e-6)
        )


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.lists(ROWS, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_order_does_not_matter_to_the_byte_and_the_grouping_not_to_the_figures(windows, rng: random.Random):
    profiles = [profile(frame_of(rows), sample_rows=20) for rows in windows]
    merged = merge(profiles)
    shuffled = profiles[:]
    rng.shuffle(shuffled)
    assert merge(shuffled).to_bytes() == merged.to_bytes()
    nested = merge([profiles[0], merge(profiles[1:])])
    assert exact(nested) == exact(merged)
    assert msgspec.msgpack.encode(nested.sample) == msgspec.msgpack.encode(merged.sample)
    assert merge([Profile(), merged, Profile()]).to_bytes() == merged.to_bytes()


def test_nothing_merges_to_nothing():
    assert merge([]) == merge([Profile(), Profile()]) == Profile()


def test_columns_are_united_and_keep_the_rows_they_had():
    merged = merge([profile(pl.DataFrame({"a": [1, 2], "b": [1, 2]})), profile(pl.DataFrame({"b": [3], "c": ["x"]}))])
    assert merged.rows == 3
    assert {name: column.count for name, column in merged.columns.items()} == {"a": 2, "b": 3, "c": 1}


def test_a_change_of_type_is_noted_and_stays_noted():
    windows = [profile(pl.DataFrame({"x": values})) for values in ([1.0], ["a"], [2], [None], [True])]
    merged = merge(windows)
    column = merged.column("x")
    assert (column.kind, column.count, column.nulls) == ("mixed", 5, 1)
    assert column.problem == "Its type changed within the window: Boolean, Float64, Int64, Null, String."
    assert merge([merge(windows[:2]), merge(windows[2:])]) == merged


def test_integers_and_floats_are_both_numbers_and_all_null_windows_join_any():
    merged = merge([profile(pl.DataFrame({"x": values})) for values in ([1], [None], [2.5])])
    column = merged.column("x")
    assert (column.kind, column.dtypes, column.nulls, column.mean) == ("numeric", ("Float64", "Int64", "Null"), 1, 1.75)
    assert column.problem == ""


def test_a_problem_survives():
    windows = [profile(pl.DataFrame({"x": [[1]]})), profile(pl.DataFrame({"x": [[2], [3]]}))]
    column = merge(windows).column("x")
    assert (column.count, column.problem) == (3, "Values of type List(Int64) are counted, not summarised.")


def test_histograms_on_different_edges_are_dropped_for_good():
    one, other, third = (profile(pl.DataFrame({"x": [start, start + 1.0]})) for start in (0.0, 5.0, 0.0))
    assert merge([one, third]).column("x").histogram is not None
    assert merge([one, other]).column("x").histogram is None
    assert merge([merge([one, other]), third]).column("x").histogram is None


def test_more_values_than_can_be_known_turn_into_estimates():
    windows = [
        profile(pl.DataFrame({"x": range(start, start + 200), "c": [f"{k}" for k in range(start, start + 200)]}))
        for start in range(0, 4_000, 200)
    ]
    merged = merge(windows)
    assert [column.distinct for column in windows[0].columns.values()] == [200, 200]
    assert merged.column("x").distinct == pytest.approx(4_000, rel=0.1)
    assert merged.column("c").distinct == pytest.approx(4_000, rel=0.1)
    assert merged.column("x").quantiles([0.5]) == pytest.approx([2_000], abs=20)


def test_a_sentinel_stays_visible_among_many_values():
    frame = pl.DataFrame({"x": [-999.0 if k % 5 == 0 else k / 7 for k in range(5_000)]})
    merged = merge([profile(frame[start : start + 1_000]) for start in range(0, 5_000, 1_000)])
    assert merged.column("x").top(1) == [("-999.0", 1_000)]


def test_the_event_time_spans_all_windows():
    days = [
        profile(pl.DataFrame({"at": [dt.datetime(2013, 1, day, tzinfo=dt.UTC)]}), event_time="at") for day in (3, 1, 2)
    ]
    merged = merge(days)
    assert merged.event_time == "at"
    assert merged.first_event_at == dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
    assert merged.last_event_at == dt.datetime(2013, 1, 3, tzinfo=dt.UTC)
