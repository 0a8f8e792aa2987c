from __future__ import annotations

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest
import scipy.stats

from undrift.profiles import compare, merge, profile

RNG = np.random.default_rng(11)
REFERENCE_ROWS = RNG.normal(10, 2, 20_000)
REFERENCE = profile(pl.DataFrame({"x": REFERENCE_ROWS}))


def x_of(values, reference=REFERENCE, **options):
    return compare(reference, profile(pl.DataFrame({"x": values}), **options)).columns["x"]


def test_windows_that_did_not_change_are_as_far_apart_as_chance_says():
    found = x_of(RNG.normal(10, 2, 1_000), edges=REFERENCE)
    assert found.drift_score == pytest.approx(found.chance_score, abs=0.03)
    assert found.p_value is not None
    assert found.p_value > 0.01
    assert found.could_not_compute == ""


def test_figures_agree_with_what_the_rows_would_give():
    rows = RNG.normal(11, 3, 2_000)
    found = x_of(rows, edges=REFERENCE)
    assert found.ks == pytest.approx(scipy.stats.ks_2samp(REFERENCE_ROWS, rows).statistic, abs=0.005)
    expected = scipy.stats.wasserstein_distance(REFERENCE_ROWS, rows) / REFERENCE_ROWS.std()
    assert found.wasserstein == pytest.approx(expected, abs=0.005)
    assert found.below_range == np.mean(rows < REFERENCE_ROWS.min())
    assert found.above_range == np.mean(rows > REFERENCE_ROWS.max())
    assert found.above_range > 0


def test_sketches_alone_give_nearly_the_same_as_counted_bins():
    rows = RNG.normal(11, 3, 2_000)
    counted, estimated = x_of(rows, edges=REFERENCE), x_of(rows)
    assert estimated.drift_score == pytest.approx(counted.drift_score, abs=0.02)
    assert estimated.psi == pytest.approx(counted.psi, abs=0.05)
    assert estimated.ks == counted.ks


def test_a_merged_reference_without_a_histogram_still_sets_the_bins():
    days = [profile(pl.DataFrame({"x": part})) for part in np.array_split(REFERENCE_ROWS, 20)]
    reference = merge(days)
    assert reference.column("x").histogram is None
    rows = RNG.normal(12, 2, 1_000)
    current = profile(pl.DataFrame({"x": rows}), edges=reference)
    found = compare(reference, current).columns["x"]
    assert found.drift_score == pytest.approx(x_of(rows, edges=REFERENCE).drift_score, abs=0.01)


def test_drift_grows_with_the_change_and_ends_at_one():
    scores = [x_of(RNG.normal(10 + move, 2, 1_000)).drift_score for move in (0, 1, 2, 4, 40)]
    assert scores == sorted(scores)
    assert scores[-1] == 1.0


def test_missing_values_are_a_bin_of_their_own():
    rows = [None if k % 2 else float(value) for k, value in enumerate(RNG.normal(10, 2, 1_000))]
    found = x_of(rows, edges=REFERENCE)
    assert (found.missing_before, found.missing_after) == (0.0, 0.5)
    assert found.drift_score is not None
    assert found.drift_score > 0.4
    assert found.ks is not None
    assert found.ks < 0.1
    assert found.test == "chi-square"
    assert found.p_value is not None
    assert found.p_value < 1e-9


@pytest.mark.parametrize("rows", [[None, None], [math.nan, math.nan], [math.inf, -math.inf]])
def test_a_window_without_values_is_wholly_different_and_says_why_figures_are_missing(rows):
    found = compare(REFERENCE, profile(pl.DataFrame({"x": rows}, schema={"x": pl.Float64}))).columns["x"]
    assert found.drift_score == 1.0
    assert found.ks is None
    assert found.could_not_compute == "The current window has no values."
    back = compare(profile(pl.DataFrame({"x": rows}, schema={"x": pl.Float64})), REFERENCE).columns["x"]
    assert (back.drift_score, back.could_not_compute) == (1.0, "The reference has no values.")


def test_constants_are_compared_without_dividing_by_zero():
    constant = profile(pl.DataFrame({"x": [5.0] * 100}))
    same, other = x_of([5.0] * 10, constant), x_of([6.0] * 10, constant)
    assert (same.drift_score, same.wasserstein, same.ks, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert (other.drift_score, other.ks, other.wasserstein) == (1.0, 1.0, None)
    assert "does not vary" in other.could_not_compute


def test_new_categories_are_counted_and_named():
    reference = profile(pl.DataFrame({"c": ["EWR", "JFK", "LGA"] * 100}))
    current = profile(pl.DataFrame({"c": ["EWR"] * 6 + ["KEWR"] * 3 + ["KJFK"]}), edges=reference)
    found = compare(reference, current).columns["c"]
    assert found.new_categories == pytest.approx(0.4)
    assert found.new_labels == ("KEWR", "KJFK")
    assert found.cramers_v is not None
    assert found.ks is None


def test_columns_with_too_many_categories_are_compared_on_the_frequent_ones():
    labels = [f"c{k % 2_000}" for k in range(4_000)] + ["top"] * 1_000
    reference = profile(pl.DataFrame({"c": labels}))
    same = compare(reference, profile(pl.DataFrame({"c": labels}), edges=reference)).columns["c"]
    other = compare(reference, profile(pl.DataFrame({"c": labels[:4_000]}), edges=reference)).columns["c"]
    assert same.drift_score == 0.0
    assert same.new_categories is None
    assert other.drift_score is not None
    assert other.drift_score > 0.25


def test_booleans_and_low_cardinality_numbers_are_exact():
    reference = profile(pl.DataFrame({"b": [True, False] * 50, "n": [1, 2] * 50}))
    found = compare(reference, profile(pl.DataFrame({"b": [True] * 10, "n": [1.5] * 10}))).columns
    assert found["b"].total_variation == 0.5
    assert found["n"].drift_score == 1.0


def test_a_change_of_schema_is_reported():
    reference = profile(pl.DataFrame({"x": [1.0, 2.0], "old": [1, 2], "kept": ["a", "b"]}))
    current = profile(pl.DataFrame({"x": ["1.0", "2.0"], "new": [1, 2], "kept": ["a", "b"]}))
    result = compare(reference, current)
    assert result.columns["x"].type_change == "Float64 → String"
    assert result.columns["x"].could_not_compute
    assert result.columns["new"].appeared
    assert result.columns["old"].disappeared
    assert [column.name for column in result.ranked()] == ["new", "old", "x", "kept"]


def test_the_event_time_is_not_drift():
    days = [
        profile(pl.DataFrame({"at": [dt.datetime(2013, 1, day, tzinfo=dt.UTC)], "x": [1.0]}), event_time="at")
        for day in (1, 2)
    ]
    result = compare(*days)
    assert result.columns["at"].drift_score is None
    assert "event time" in result.columns["at"].could_not_compute
    assert result.columns["x"].drift_score == 0.0


def test_a_damaged_sketch_leaves_the_other_columns_alone():
    import msgspec

    good = profile(pl.DataFrame({"x": REFERENCE_ROWS, "y": REFERENCE_ROWS}))
    broken = msgspec.structs.replace(good.column("x"), quantile_sketch=b"\x01oops")
    damaged = msgspec.structs.replace(good, columns={**good.columns, "x": broken})
    result = compare(good, damaged)
    assert "cannot be read" in result.columns["x"].could_not_compute
    assert result.columns["y"].drift_score == 0.0


def test_false_discoveries_stay_rare_over_a_wide_scan():
    rng = np.random.default_rng(5)
    reference = profile(pl.DataFrame({f"x{k}": rng.normal(size=2_000) for k in range(60)}), sample_rows=0)
    frame = pl.DataFrame({f"x{k}": rng.normal(0.0 if k else 1.0, 1, size=500) for k in range(60)})
    current = profile(frame, edges=reference, sample_rows=0)
    called = {name for name, column in compare(reference, current).columns.items() if (column.q_value or 1) < 0.05}
    assert called == {"x0"}
    careful = compare(reference, current, correction="benjamini-yekutieli")
    assert careful.columns["x0"].q_value == pytest.approx(0.0, abs=1e-9)
    assert compare(reference, current, columns=["x1", "x0"]).columns.keys() == {"x0", "x1"}


def test_asking_for_a_column_that_nobody_has_is_answered():
    found = compare(REFERENCE, REFERENCE, columns=["nope"]).columns["nope"]
    assert found.could_not_compute == "It is in neither of the two."
    assert not found.appeared
