from __future__ import annotations

import math

import msgspec
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from undrift.data import Check, InRange, MostlyPresent
from undrift.data.checks import apply_checks, propose_checks


def proposed(frame):
    return {(type(check), check.column): check for check in propose_checks(frame)}


def test_a_range_is_proposed_with_twice_its_width_on_both_sides():
    checks = proposed(pl.DataFrame({"temp": [10.0, 20.0, None], "carrier": ["UA", "AA", "UA"]}))
    assert checks[InRange, "temp"] == InRange("temp", -10.0, 40.0)
    assert (InRange, "carrier") not in checks


def test_presence_is_proposed_only_where_hardly_anything_is_missing():
    frame = pl.DataFrame(
        {"temp": [1.0] * 99 + [None], "gust": [1.0] * 90 + [None] * 10, "nan": [math.nan] * 50 + [1.0] * 50}
    )
    checks = proposed(frame)
    assert (MostlyPresent, "temp") in checks
    assert (MostlyPresent, "gust") not in checks
    assert (MostlyPresent, "nan") not in checks


def test_nothing_is_proposed_from_what_says_nothing():
    assert propose_checks(pl.DataFrame({"temp": pl.Series([], dtype=pl.Float64)})) == []
    constant = pl.DataFrame({"month": [1, 1, 1]})
    assert (InRange, "month") not in proposed(constant)
    assert (InRange, "x") not in proposed(pl.DataFrame({"x": [math.nan, math.inf, None]}))
    # Bounds that are no numbers could not be kept.
    assert (InRange, "x") not in proposed(pl.DataFrame({"x": [-1e308, 1e308]}))
    assert (InRange, "x") not in proposed(pl.DataFrame({"x": [-4e307, 4e307]}))


def test_a_value_outside_the_range_is_put_aside_with_the_reason():
    good, bad = apply_checks(pl.DataFrame({"temp": [-11.0, -10.0, 40.0, 41.0]}), [InRange("temp", -10.0, 40.0)])
    assert good["temp"].to_list() == [-10.0, 40.0]
    assert bad["quarantine_reason"].to_list() == ["temp is outside -10 to 40"] * 2


def test_missing_values_pass_a_range():
    good, bad = apply_checks(pl.DataFrame({"temp": [None, math.nan, 5.0]}), [InRange("temp", 0, 10)])
    assert (good.height, bad.height) == (3, 0)
    good, bad = apply_checks(pl.DataFrame({"temp": [math.inf, -math.inf]}), [InRange("temp", 0, 10)])
    assert (good.height, bad.height) == (0, 2)


def test_missing_rows_are_put_aside_only_when_they_are_too_many():
    check = MostlyPresent("temp", 0.05)
    few = pl.DataFrame({"temp": [1.0] * 95 + [None] * 5})
    assert apply_checks(few, [check])[1].height == 0
    many = pl.DataFrame({"temp": [1.0] * 94 + [None] * 5 + [math.nan]})
    good, bad = apply_checks(many, [check])
    assert (good.height, bad.height) == (94, 6)
    assert set(bad["quarantine_reason"]) == {"temp is missing in 6% of the batch"}


def test_all_reasons_of_a_row_are_told():
    frame = pl.DataFrame({"temp": [99.0], "wind": [99.0]})
    _, bad = apply_checks(frame, [InRange("temp", 0, 10), InRange("wind", 0, 10)])
    assert bad["quarantine_reason"].item() == "temp is outside 0 to 10; wind is outside 0 to 10"


def test_a_check_on_a_column_that_is_not_there_or_became_text_passes():
    frame = pl.DataFrame({"temp": ["warm"]})
    good, bad = apply_checks(frame, [InRange("temp", 0, 10), InRange("gone", 0, 1), MostlyPresent("gone", 0.0)])
    assert (good.height, bad.height) == (1, 0)


def test_checks_are_kept_as_json_that_people_can_read():
    checks = [InRange("temp", 0.5, 1.5), MostlyPresent("temp", 0.05)]
    kept = msgspec.json.encode(checks)
    assert b'{"type":"in_range","column":"temp","low":0.5,"high":1.5}' in kept
    assert msgspec.json.decode(kept, type=list[Check]) == checks


values = st.lists(st.none() | st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf]), max_size=30)


@given(values, values)
def test_no_row_is_lost_and_none_of_the_rows_a_check_was_proposed_from_fails_it(first, second):
    frame = pl.DataFrame({"x": pl.Series(first, dtype=pl.Float64)})
    checks = propose_checks(frame)
    good, bad = apply_checks(frame.filter(pl.col("x").is_infinite().fill_null(value=False).not_()), checks)
    assert bad.is_empty()
    other = pl.DataFrame({"x": pl.Series(second, dtype=pl.Float64)})
    good, bad = apply_checks(other, checks)
    assert good.height + bad.height == other.height
    assert good.columns == ["x"]
    assert bad.columns == ["x", "quarantine_reason"]
    assert (bad["quarantine_reason"] != "").all()
