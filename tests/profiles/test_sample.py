from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from undrift.profiles import merge, profile


def test_rows_stay_whole():
    frame = pl.DataFrame({"a": range(5_000), "b": [str(k) for k in range(5_000)], "c": [k / 2 for k in range(5_000)]})
    sample = profile(frame).sample
    assert sample is not None
    assert len(sample.priorities) == 200
    assert list(sample.priorities) == sorted(sample.priorities)
    rows = zip(sample.columns["a"], sample.columns["b"], sample.columns["c"], strict=True)
    assert all(str(a) == b and c == a / 2 for a, b, c in rows)


def test_small_tables_are_kept_whole_and_none_when_asked():
    frame = pl.DataFrame({"a": [3, 1, 2]})
    whole, none = profile(frame).sample, profile(frame, sample_rows=0).sample
    assert whole is not None
    assert sorted(whole.columns["a"]) == [1, 2, 3]
    assert none is not None
    assert none.columns == {"a": []}


def test_a_merged_sample_is_an_even_sample_of_all_rows():
    windows = [profile(pl.DataFrame({"w": np.full(rows, rows), "k": np.arange(rows)})) for rows in (1_000, 9_000)]
    drawn = []
    for seed in range(10):
        extra = [profile(pl.DataFrame({"w": np.full(n, n), "k": np.arange(n) + seed})) for n in (1_000, 9_000)]
        sample = merge(extra).sample
        assert sample is not None
        drawn += sample.columns["w"]
    assert drawn.count(9_000) / len(drawn) == pytest.approx(0.9, abs=0.03)
    assert merge(windows).sample == merge(windows[::-1]).sample


def test_rows_that_look_alike_are_drawn_as_often_as_they_come():
    frame = pl.DataFrame({"b": [True] * 3_000 + [False] * 7_000})
    sample = profile(frame, sample_rows=1_000).sample
    assert sample is not None
    assert sample.columns["b"].count(True) == pytest.approx(300, abs=60)


def test_the_smallest_limit_holds_and_missing_columns_are_none():
    one = profile(pl.DataFrame({"a": range(50)}), sample_rows=30)
    other = profile(pl.DataFrame({"b": range(50)}), sample_rows=10)
    sample = merge([one, other]).sample
    assert sample is not None
    assert len(sample.priorities) == sample.limit == 10
    assert all((a is None) != (b is None) for a, b in zip(sample.columns["a"], sample.columns["b"], strict=True))
