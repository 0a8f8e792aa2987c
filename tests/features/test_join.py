from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undrift.core.errors import Invalid
from undrift.features import Aggregate, FeatureView, point_in_time_join

START = datetime(2013, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MOMENT = pl.Datetime("us", "UTC")

WEATHER = FeatureView(
    name="weather", dataset="weather", entity=("origin",), features=("temp",), time="observed", known_at="known"
)
TRAFFIC = FeatureView(
    name="traffic",
    dataset="takeoffs",
    entity=("origin",),
    features=("mean", "sum", "count"),
    time="departed",
    window_s=3 * 3600,
    aggregates={"mean": Aggregate("mean", "delay"), "sum": Aggregate("sum", "delay"), "count": Aggregate("count")},
)


def at(hour):
    return None if hour is None else START + hour * HOUR


def weather_of(*reports):
    """Reports are (origin, hour observed, hour known, temp)."""
    return pl.DataFrame(
        {
            "origin": pl.Series([one[0] for one in reports], dtype=pl.String),
            "observed": pl.Series([at(one[1]) for one in reports], dtype=MOMENT),
            "known": pl.Series([at(one[2]) for one in reports], dtype=MOMENT),
            "temp": pl.Series([one[3] for one in reports], dtype=pl.Float64),
        }
    )


def takeoffs_of(*events):
    """Events are (origin, hour departed, delay)."""
    return pl.DataFrame(
        {
            "origin": pl.Series([one[0] for one in events], dtype=pl.String),
            "departed": pl.Series([at(one[1]) for one in events], dtype=MOMENT),
            "delay": pl.Series([one[2] for one in events], dtype=pl.Float64),
        }
    )


def asked(*rows):
    """Rows are (origin, hour asked for)."""
    return pl.DataFrame(
        {
            "place": range(len(rows)),
            "origin": pl.Series([one[0] for one in rows], dtype=pl.String),
            "moment": pl.Series([at(one[1]) for one in rows], dtype=MOMENT),
        },
        schema_overrides={"place": pl.Int64},
    )


def join(rows, view, source, stretches=None):
    quarantines = None if stretches is None else {view.dataset: [(at(start), at(end)) for start, end in stretches]}
    return point_in_time_join(rows, "moment", [(view, source)], quarantines=quarantines)


def found(view, source, *rows, stretches=None):
    """Return (status, values, matched) for each row asked for."""
    joined = join(asked(*rows), view, source, stretches)
    return [
        (row[view.status], *(row[name] for name in view.features), row[view.matched])
        for row in joined.iter_rows(named=True)
    ]


# --- The definition, row by row ---


def in_stretches(start, end, stretches):
    """Whether any moment of the stretch from start (without, when it is before end) to end lies in quarantine."""
    return any(end >= first and (last is None or start < last) for first, last in stretches)


def latest_of(view, reports, origin, moment, stretches):
    known = [
        (observed, came, place, temp)
        for place, (where, observed, came, temp) in enumerate(reports)
        if where is not None and where == origin and None not in {observed, came, moment}
        # A forecast counts from its own moment on.
        if came <= moment and observed <= moment
    ]
    if not known:
        return ("missing", None, None)
    observed, _, _, temp = max(known, key=lambda one: one[:3])
    if view.ttl_s is not None and (moment - observed) * 3600 > view.ttl_s:
        return ("expired", None, at(observed))
    quarantined = in_stretches(observed, observed, stretches)
    return ("quarantined" if quarantined else "present", temp, at(observed))


def window_of(view, events, origin, moment, stretches):
    first = None if moment is None else moment - view.window_s / 3600
    inside = [
        delay
        for where, departed, delay in events
        if where is not None and where == origin and None not in {departed, moment} and first < departed <= moment
    ]
    numbers = [delay for delay in inside if delay is not None and math.isfinite(delay)]
    status = "present" if inside else "missing"
    if moment is not None and in_stretches(first, moment, stretches):
        status = "quarantined"
    return (status, sum(numbers) / len(numbers) if numbers else None, sum(numbers), float(len(inside)), at(moment))


origins = st.sampled_from(["EWR", "JFK", None])
hours = st.integers(0, 24)
moments = hours | st.just(None)
temps = st.none() | st.integers(-50, 50).map(float)


@st.composite
def reports(draw):
    observed = draw(moments)
    # Known before it happens (a forecast), at once, late, or nobody knows when.
    known = None if observed is None or draw(st.integers(0, 9)) == 0 else observed + draw(st.integers(-4, 8))
    return draw(origins), observed, known, draw(temps)


stretches_of_hours = st.lists(
    st.tuples(hours, st.none() | st.integers(1, 10)).map(lambda one: (one[0], one[1] and one[0] + one[1])), max_size=2
)
questions = st.lists(st.tuples(origins, moments), max_size=12)


@settings(max_examples=250)
@given(
    st.lists(reports(), max_size=25), questions, st.none() | st.sampled_from([3600.0, 3 * 3600.0]), stretches_of_hours
)
def test_the_latest_known_report_is_given_as_if_looked_up_row_by_row(history, rows, ttl_s, stretches):
    view = FeatureView(**{**fields(WEATHER), "ttl_s": ttl_s})
    expected = [latest_of(view, history, *row, stretches) for row in rows]
    assert found(view, weather_of(*history), *rows, stretches=stretches) == expected


@settings(max_examples=100)
@given(st.lists(st.tuples(origins, moments, temps), max_size=25), questions)
def test_reports_that_are_known_at_once_are_given_as_if_looked_up_row_by_row(history, rows):
    view = FeatureView(**{**fields(WEATHER), "known_at": None})
    source = weather_of(*((origin, observed, None, temp) for origin, observed, temp in history)).drop("known")
    expected = [
        latest_of(view, [(origin, hour, hour, temp) for origin, hour, temp in history], *row, []) for row in rows
    ]
    assert found(view, source, *rows) == expected


delays = st.none() | st.integers(-50, 50).map(float) | st.sampled_from([math.nan, math.inf])


@settings(max_examples=250)
@given(st.lists(st.tuples(origins, moments, delays), max_size=25), questions, stretches_of_hours)
def test_windows_are_given_as_if_added_up_row_by_row(history, rows, stretches):
    expected = [window_of(TRAFFIC, history, *row, stretches) for row in rows]
    assert found(TRAFFIC, takeoffs_of(*history), *rows, stretches=stretches) == expected


@settings(max_examples=100)
@given(st.lists(reports(), max_size=25), st.lists(reports(), max_size=10), questions)
def test_what_becomes_known_later_changes_nothing(history, later, rows):
    rows = [(origin, moment) for origin, moment in rows if moment is not None]
    last = max((moment for _, moment in rows), default=0)
    future = [one for one in later if None not in one[1:3] and max(one[1:3]) > last]
    before = join(asked(*rows), WEATHER, weather_of(*history))
    assert before.equals(join(asked(*rows), WEATHER, weather_of(*history, *future)))


def fields(view):
    return {name: getattr(view, name) for name in view.__struct_fields__}


# --- Single cases, as people would tell them ---


def test_a_value_is_given_from_the_moment_it_is_known_and_not_before():
    source = weather_of(("EWR", 1, 5, 20.0))
    assert [one[0] for one in found(WEATHER, source, ("EWR", 1), ("EWR", 4), ("EWR", 5))] == [
        "missing",
        "missing",
        "present",
    ]


def test_a_late_report_of_an_older_hour_does_not_replace_a_newer_one():
    source = weather_of(("EWR", 1, 6, 10.0), ("EWR", 3, 3, 30.0))
    assert found(WEATHER, source, ("EWR", 9)) == [("present", 30.0, at(3))]


def test_a_correction_counts_from_when_it_came():
    source = weather_of(("EWR", 1, 4, 99.0), ("EWR", 1, 1, 10.0))
    assert [one[1] for one in found(WEATHER, source, ("EWR", 3), ("EWR", 4))] == [10.0, 99.0]


def test_of_two_forecasts_the_later_one_counts_in_whatever_order_they_are_stored():
    forecasts = (("EWR", 5, 3, 30.0), ("EWR", 5, 1, 10.0))
    for order in (forecasts, forecasts[::-1]):
        assert found(WEATHER, weather_of(*order), ("EWR", 6)) == [("present", 30.0, at(5))]
        assert found(WEATHER, weather_of(*order), ("EWR", 4))[0][0] == "missing", "a forecast is of its own moment"


def test_a_report_nobody_knows_the_arrival_of_is_never_given():
    assert found(WEATHER, weather_of(("EWR", 1, None, 10.0)), ("EWR", 9)) == [("missing", None, None)]


def test_rows_keep_their_order_and_their_number():
    rows = asked(("JFK", 9), (None, 2), ("EWR", None), ("EWR", 1), ("EWR", 9))
    for view, source in ((WEATHER, weather_of(("EWR", 1, 1, 1.0))), (TRAFFIC, takeoffs_of(("EWR", 1, 1.0)))):
        joined = join(rows, view, source)
        assert joined.select(rows.columns).equals(rows)
        assert set(joined.columns) == {*rows.columns, *view.features, view.status, view.matched}


def test_an_entity_nobody_reported_of_is_missing():
    assert found(WEATHER, weather_of(("EWR", 1, 1, 1.0)), ("LGA", 9), (None, 9)) == [("missing", None, None)] * 2


def test_a_value_expires_and_says_of_when_it_was():
    view = FeatureView(**{**fields(WEATHER), "ttl_s": 3 * 3600.0})
    made = found(view, weather_of(("EWR", 1, 1, 20.0)), ("EWR", 4), ("EWR", 5))
    assert made == [("present", 20.0, at(1)), ("expired", None, at(1))]


def test_a_fraction_of_a_second_counts():
    view = FeatureView(**{**fields(WEATHER), "ttl_s": 0.5})
    rows = pl.DataFrame({"origin": ["EWR"] * 2, "moment": [at(1) + timedelta(milliseconds=ms) for ms in (500, 501)]})
    joined = point_in_time_join(rows, "moment", [(view, weather_of(("EWR", 1, 1, 20.0)))])
    assert joined[view.status].to_list() == ["present", "expired"]


def test_values_from_a_stretch_in_quarantine_are_marked_and_given():
    source = weather_of(*(("EWR", hour, hour, float(hour)) for hour in range(6)))
    asked_for = [("EWR", hour) for hour in range(6)]
    closed = found(WEATHER, source, *asked_for, stretches=[(2, 4)])
    assert [one[0] for one in closed] == ["present", "present", "quarantined", "quarantined", "present", "present"]
    assert [one[1] for one in closed] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    still_open = found(WEATHER, source, *asked_for, stretches=[(4, None)])
    assert [one[0] for one in still_open] == ["present"] * 4 + ["quarantined"] * 2


def test_an_expired_value_of_a_quarantined_stretch_is_expired():
    view = FeatureView(**{**fields(WEATHER), "ttl_s": 3600.0})
    made = found(view, weather_of(("EWR", 1, 1, 20.0)), ("EWR", 2), ("EWR", 9), stretches=[(1, 2)])
    assert made == [("quarantined", 20.0, at(1)), ("expired", None, at(1))]


def test_a_window_that_reaches_back_into_a_quarantined_stretch_is_marked():
    source = takeoffs_of(*(("EWR", hour, 1.0) for hour in range(12)))
    made = found(TRAFFIC, source, *(("EWR", hour) for hour in range(10)), stretches=[(3, 5)])
    # Three hours long: the one that ends at 8 begins after 5, where the stretch has ended.
    assert [one[0] == "quarantined" for one in made] == [False] * 3 + [True] * 5 + [False] * 2


def test_a_quarantine_of_another_dataset_marks_nothing():
    joined = point_in_time_join(
        asked(("EWR", 5)), "moment", [(WEATHER, weather_of(("EWR", 1, 1, 1.0)))], quarantines={"other": [(START, None)]}
    )
    assert joined[WEATHER.status].to_list() == ["present"]


def test_one_value_that_is_no_number_does_not_spoil_the_windows_after_it():
    source = takeoffs_of(("EWR", 1, math.nan), ("EWR", 2, math.inf), ("EWR", 10, 5.0))
    assert found(TRAFFIC, source, ("EWR", 11)) == [("present", 5.0, 5.0, 1.0, at(11))]


def test_a_window_begins_after_its_start_and_ends_with_its_moment():
    source = takeoffs_of(("EWR", 1, 1.0), ("EWR", 2, 10.0), ("EWR", 4, 100.0))
    assert found(TRAFFIC, source, ("EWR", 4))[0][2:4] == (110.0, 2.0)


def test_values_that_hold_for_ever_need_no_time():
    planes = FeatureView(name="planes", dataset="planes", entity=("origin",), features=("seats",))
    source = pl.DataFrame({"origin": ["EWR", "EWR", None], "seats": [100, 120, 7]})
    made = found(planes, source, ("EWR", 1), ("JFK", 1), (None, 1), ("EWR", None))
    assert made == [
        ("present", 120, None),
        ("missing", None, None),
        ("missing", None, None),
        ("present", 120, None),
    ], "of several reports the last one"


def test_a_dataset_without_rows_leaves_everything_missing():
    for source in (pl.DataFrame(), weather_of()):
        assert found(WEATHER, source, ("EWR", 1)) == [("missing", None, None)]
    assert found(TRAFFIC, takeoffs_of(), ("EWR", 1)) == [("missing", None, 0.0, 0.0, at(1))]
    assert join(asked(), WEATHER, weather_of(("EWR", 1, 1, 1.0))).height == 0


def test_several_views_are_joined_side_by_side():
    joined = point_in_time_join(
        asked(("EWR", 2)),
        "moment",
        [(WEATHER, weather_of(("EWR", 1, 1, 20.0))), (TRAFFIC, takeoffs_of(("EWR", 1, 7.0)))],
    )
    assert joined.select("temp", "mean", "count").row(0) == (20.0, 7.0, 1.0)


def test_an_entity_of_several_columns_is_matched_in_all_of_them():
    view = FeatureView(name="v", dataset="d", entity=("origin", "gate"), features=("x",), time="t")
    source = pl.DataFrame({"origin": ["EWR", "EWR"], "gate": [1, 2], "t": [at(1), at(1)], "x": [1.0, 2.0]})
    rows = asked(("EWR", 2), ("EWR", 2), ("JFK", 2)).with_columns(gate=pl.Series([2, 3, 1]))
    joined = point_in_time_join(rows, "moment", [(view, source)])
    assert joined["x"].to_list() == [2.0, None, None]


def test_what_cannot_be_joined_is_refused_by_name():
    source = weather_of(("EWR", 1, 1, 20.0))
    with pytest.raises(Invalid, match="no column origin") as caught:
        join(asked(("EWR", 1)).drop("origin"), WEATHER, source)
    assert "They have place, moment." in str(caught.value)
    with pytest.raises(Invalid, match="would overwrite temp"):
        join(asked(("EWR", 1)).with_columns(temp=pl.lit(1.0)), WEATHER, source)
    with pytest.raises(Invalid, match="has no column known, temp"):
        join(asked(("EWR", 1)), WEATHER, source.drop("temp", "known"))
    with pytest.raises(Invalid, match="has no column delay"):
        join(asked(("EWR", 1)), TRAFFIC, takeoffs_of(("EWR", 1, 1.0)).drop("delay"))
