from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undrift.core.errors import Invalid
from undrift.profiles import Profile, compare, merge, profile

NOON = dt.datetime(2013, 4, 1, 12, tzinfo=dt.UTC)
EVERY_TYPE = {
    "int8": pl.Series([1, None, 3], dtype=pl.Int8),
    "uint64": pl.Series([0, 2**64 - 1, None], dtype=pl.UInt64),
    "int128": pl.Series([2**100, 0, None], dtype=pl.Int128),
    "float16": pl.Series([1.5, None, 2.5]).cast(pl.Float16),
    "float32": pl.Series([1.5, math.nan, -math.inf], dtype=pl.Float32),
    "extremes": pl.Series([1.7976931348623157e308, -1.7976931348623157e308, 5e-324]),
    "not finite": pl.Series([math.nan, math.inf, -math.inf]),
    "negative zero": pl.Series([-0.0, 0.0, -0.0]),
    "constant": pl.Series([7.5, 7.5, 7.5]),
    "all null": pl.Series([None, None, None], dtype=pl.Float64),
    "decimal": pl.Series([Decimal("1.10"), Decimal("2.20"), None]),
    "boolean": pl.Series([True, None, False]),
    "string": pl.Series(["a", None, "a" * 5_000]),
    "empty string": pl.Series(["", "", "é"]),
    "categorical": pl.Series(["x", None, "y"], dtype=pl.Categorical),
    "enum": pl.Series(["x", None, "y"], dtype=pl.Enum(["x", "y", "z"])),
    "date": pl.Series([dt.date(2013, 1, 1), None, dt.date(1, 1, 1)]),
    "datetime": pl.Series(["2013-01-01", None, "9999-01-01"]).str.to_datetime(),
    "zoned": pl.Series([NOON, None, NOON]).dt.convert_time_zone("America/New_York"),
    "nanoseconds": pl.Series([NOON, None, NOON]).cast(pl.Datetime("ns", "UTC")),
    "duration": pl.Series([dt.timedelta(hours=1), None, dt.timedelta(0)]),
    "time": pl.Series([dt.time(1), None, dt.time(23)]),
    "null": pl.Series([None, None, None]),
    "binary": pl.Series([b"x", None, b"y"]),
    "list": pl.Series([[1, 2], None, []]),
    "array": pl.Series([[1, 2], None, [3, 4]], dtype=pl.Array(pl.Int64, 2)),
    "struct": pl.Series([{"a": 1}, None, {"a": 2}]),
    "object": pl.Series([object(), {1}, print], dtype=pl.Object),
    "label": pl.Series(["n", "label", "count"]),
}


def test_every_type_gets_a_result():
    frame = pl.DataFrame(EVERY_TYPE)
    summary = profile(frame)
    assert set(summary.columns) == set(EVERY_TYPE)
    assert all(column.count == 3 for column in summary.columns.values())
    assert {name for name, column in summary.columns.items() if column.problem} == {
        "binary",
        "list",
        "array",
        "struct",
        "object",
    }
    assert Profile.from_bytes(summary.to_bytes()).to_bytes() == summary.to_bytes()
    assert merge([summary, summary]).rows == 6
    assert all(column.drift_score in (None, 0.0) for column in compare(summary, summary).columns.values())


@pytest.mark.parametrize("name", EVERY_TYPE)
@pytest.mark.parametrize("rows", [0, 1])
def test_every_type_gets_a_result_with_few_rows_too(name, rows):
    frame = pl.DataFrame({name: EVERY_TYPE[name]})
    few, all_rows = profile(frame[:rows]), profile(frame)
    for reference, current in ((few, all_rows), (all_rows, few), (few, few)):
        found = compare(reference, profile(frame, edges=reference) if current is all_rows else current).columns[name]
        assert (found.drift_score is None) <= bool(found.could_not_compute)
    assert merge([few, all_rows]).column(name).count == rows + 3


def test_seconds_are_utc_since_1970():
    summary = profile(pl.DataFrame(EVERY_TYPE))
    assert summary.column("zoned").maximum == NOON.timestamp()
    assert summary.column("nanoseconds").maximum == NOON.timestamp()
    assert summary.column("date").maximum == dt.datetime(2013, 1, 1, tzinfo=dt.UTC).timestamp()
    assert summary.column("duration").maximum == 3600
    assert summary.column("time").maximum == 23 * 3600


def test_nulls_nan_and_infinities_are_kept_apart():
    column = profile(pl.DataFrame({"x": [1.0, None, math.nan, math.inf, -math.inf, 3.0]})).column("x")
    assert (column.count, column.nulls, column.nans, column.infinities, column.values) == (6, 1, 1, 2, 2)
    assert (column.minimum, column.maximum, column.mean) == (1.0, 3.0, 2.0)


def test_moments_of_values_whose_sum_is_no_float():
    column = profile(pl.DataFrame({"x": [1.5e308, 1.5e308, 1.2e308]})).column("x")
    assert column.mean == pytest.approx(1.4e308)
    assert math.isfinite(column.squares or math.nan)


def test_one_bad_column_leaves_the_others_alone(monkeypatch):
    from undrift.profiles import columns

    frame = pl.DataFrame({"bad": [1.0, 2.0], "good": ["a", "b"]})
    expected = profile(frame).column("good")

    def fail(series, reference):
        raise RuntimeError("no luck")

    monkeypatch.setattr(columns, "_numbers", fail)
    summary = profile(frame)
    assert summary.column("good") == expected
    assert summary.column("bad").problem == "It could not be summarised: no luck"
    assert summary.column("bad").count == 2
    assert "bad" not in (summary.sample.columns if summary.sample else {})
    assert compare(summary, summary).columns["bad"].could_not_compute == summary.column("bad").problem


def test_tables_without_rows_or_columns():
    assert profile(pl.DataFrame()).rows == 0
    empty = profile(pl.DataFrame(schema={"x": pl.Float64, "c": pl.String}))
    assert (empty.rows, empty.column("x").kind, empty.column("x").mean) == (0, "numeric", None)
    assert empty.column("c").missing_fraction is None


def mixed(rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {f"f{k}": rng.lognormal(size=rows) if k % 2 else rng.normal(k, 1 + k, rows) for k in range(15)}
        | {f"i{k}": rng.integers(0, 10 ** (k + 1), rows) for k in range(5)}
        | {f"c{k}": rng.integers(0, 4 ** (k + 1), rows).astype(str) for k in range(8)}
        | {f"b{k}": rng.random(rows) < 0.3 for k in range(2)}
    )


def test_the_same_table_gives_the_same_bytes():
    assert profile(mixed(60_000, 1)).to_bytes() == profile(mixed(60_000, 1)).to_bytes()


def test_small_and_large_tables_are_summarised_alike():
    frame = mixed(30_000, 2)
    parts = merge(profile(frame[start : start + 10_000], sample_rows=0) for start in (0, 10_000, 20_000))
    whole = profile(frame, sample_rows=0)
    for name, column in whole.columns.items():
        assert column.quantile_sketch == parts.column(name).quantile_sketch
        assert column.distinct_sketch == parts.column(name).distinct_sketch


def test_size_is_bounded():
    assert len(profile(mixed(60_000, 3)).to_bytes()) < 150_000
    assert len(profile(mixed(60_000, 3), sample_rows=0).to_bytes()) < 100_000


def test_histograms_count_the_bins_of_the_reference():
    rng = np.random.default_rng(0)
    reference = profile(pl.DataFrame({"x": rng.normal(size=5_000), "c": rng.choice(list("abc"), 5_000)}))
    current = profile(pl.DataFrame({"x": rng.normal(1, 2, 500), "c": rng.choice(list("bcd"), 500)}), edges=reference)
    for name in "xc":
        mine, its = current.column(name).histogram, reference.column(name).histogram
        assert mine is not None
        assert its is not None
        assert mine.same_bins(its)
        assert sum(mine.counts) == 500
    bins = current.column("x").histogram
    assert bins is not None
    assert bins.counts[0] > 0
    assert bins.counts[-1] > 0


def test_a_reference_column_of_another_kind_sets_no_bins():
    reference = profile(pl.DataFrame({"x": ["a", "b"]}))
    histogram = profile(pl.DataFrame({"x": [1.0, 2.0]}), edges=reference).column("x").histogram
    assert histogram is not None
    assert histogram.edges[0] == 1.0


def test_labels_beyond_the_limit_are_counted_in_the_reference_bins_exactly():
    reference = profile(pl.DataFrame({"c": [f"c{k % 300}" for k in range(3_000)] + ["top"] * 50}))
    current = profile(pl.DataFrame({"c": [f"d{k % 300}" for k in range(3_000)] + ["top"]}), edges=reference)
    histogram = current.column("c").histogram
    assert histogram is not None
    assert histogram.counts[histogram.labels.index("top")] == 1


def test_the_event_time_range_is_read_as_utc():
    frame = pl.DataFrame({"at": pl.Series(["2013-01-02", None, "2013-01-01"]).str.to_datetime()})
    summary = profile(frame, event_time="at")
    assert summary.first_event_at == dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
    assert summary.last_event_at == dt.datetime(2013, 1, 2, tzinfo=dt.UTC)
    assert profile(frame[1:2], event_time="at").first_event_at is None


def test_what_cannot_be_an_event_time_is_refused():
    with pytest.raises(Invalid, match="Name one of: at"):
        profile(pl.DataFrame({"at": [1]}), event_time="when")
    with pytest.raises(Invalid, match="is of type Int64"):
        profile(pl.DataFrame({"at": [1]}), event_time="at")
    with pytest.raises(Invalid):
        profile(pl.DataFrame(), sample_rows=-1)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(st.one_of(st.none(), st.floats(), st.floats(width=16)), max_size=40),
    st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=40),
)
def test_any_values_are_summarised(numbers, texts):
    frame = pl.DataFrame({"x": pl.Series(numbers[: len(texts)], dtype=pl.Float64)}).hstack(
        [pl.Series("c", texts[: len(numbers)], dtype=pl.String)]
    )
    summary = profile(frame)
    present = [value for value in frame["x"].to_list() if value is not None and math.isfinite(value)]
    column = summary.column("x")
    assert column.problem == summary.column("c").problem == ""
    assert column.values == len(present)
    assert (column.minimum, column.maximum) == (min(present, default=None), max(present, default=None))
    assert summary.column("c").distinct == len(set(frame["c"].drop_nulls().to_list()))
    assert Profile.from_bytes(summary.to_bytes()).to_bytes() == summary.to_bytes()
