from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from undrift.core.errors import Invalid, NotFound
from undrift.data import AddQuarantine, RegisterDataset, add_quarantine, append, register_dataset
from undrift.features import FeatureView, training_table

START = datetime(2013, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MOMENT = pl.Datetime("us", "UTC")
LATER = START + 1000 * HOUR
WEATHER = FeatureView(
    name="weather", dataset="weather", entity=("origin",), features=("temp",), time="observed", known_at="came"
)


def at(hour):
    return None if hour is None else START + hour * HOUR


class Flights:
    """Writes departures and weather into two datasets."""

    def __init__(self, ctx):
        self.ctx = ctx
        self.departures = register_dataset(
            ctx, RegisterDataset("flights", "departures", "id", "scheduled", "landed", "ops")
        )
        self.weather = register_dataset(ctx, RegisterDataset("flights", "weather", "id", "observed", "came", "ops"))

    def fly(self, *flights, known_until=LATER):
        """Flights are (id, hour scheduled, hour landed, late)."""
        frame = pl.DataFrame(
            {
                "id": pl.Series([one[0] for one in flights], dtype=pl.String),
                "origin": pl.Series(["EWR"] * len(flights), dtype=pl.String),
                "scheduled": pl.Series([at(one[1]) for one in flights], dtype=MOMENT),
                "landed": pl.Series([at(one[2]) for one in flights], dtype=MOMENT),
                "late": pl.Series([one[3] for one in flights], dtype=pl.Float64),
            }
        )
        append(self.ctx, self.departures, frame, known_until=known_until, message="")

    def report(self, *reports, known_until=LATER):
        """Reports are (hour observed, hour it came, temp)."""
        frame = pl.DataFrame(
            {
                "id": pl.Series([f"r{place}" for place in range(len(reports))], dtype=pl.String),
                "origin": pl.Series(["EWR"] * len(reports), dtype=pl.String),
                "observed": pl.Series([at(one[0]) for one in reports], dtype=MOMENT),
                "came": pl.Series([at(one[1]) for one in reports], dtype=MOMENT),
                "temp": pl.Series([one[2] for one in reports], dtype=pl.Float64),
            }
        )
        append(self.ctx, self.weather, frame, known_until=known_until, message="")

    def quarantine(self, dataset, start, end=None):
        add_quarantine(
            self.ctx,
            AddQuarantine("flights", dataset, ("temp",), at(start), "a fault", None if end is None else at(end)),
        )

    def table(self, *, until, views=(WEATHER,), lead_s=3600.0, label="late"):
        return training_table(
            self.ctx,
            project="flights",
            dataset="departures",
            views=views,
            label=label,
            lead_s=lead_s,
            until=at(until),
        )


@pytest.fixture
def flights(ctx):
    return Flights(ctx)


def test_every_labelled_example_gets_what_was_known_when_it_would_have_been_predicted(flights):
    flights.report((1, 1, 10.0), (4, 4, 40.0), (4, 6, 44.0))
    flights.fly(("a", 3, 9, 0.0), ("b", 6, 9, 1.0), ("c", 7, 9, 1.0))
    table = flights.table(until=9)
    assert table.frame["id"].to_list() == ["a", "b", "c"]
    # An hour before: at 2, at 5 (the correction of 6 is not known), at 6.
    assert table.frame["temp"].to_list() == [10.0, 40.0, 44.0]
    assert table.frame["predicted_at"].to_list() == [at(2), at(5), at(6)]
    assert (table.rows, table.unlabelled, table.quarantined) == (3, 0, 0)
    assert {name: version.number for name, version in table.versions.items()} == {"departures": 1, "weather": 1}


def test_answers_that_came_later_are_left_out(flights):
    flights.fly(("a", 3, 5, 0.0), ("b", 3, 7, 1.0), ("c", 3, None, 1.0))
    assert flights.table(until=6, views=()).frame["id"].to_list() == ["a"]
    assert flights.table(until=7, views=()).frame["id"].to_list() == ["a", "b"]


def test_an_example_that_was_to_be_predicted_later_is_left_out_even_when_its_answer_is_known(flights):
    flights.fly(("cancelled", 20, 2, 1.0), ("a", 3, 5, 0.0))
    assert flights.table(until=6, views=()).frame["id"].to_list() == ["a"]


def test_the_latest_report_of_a_key_counts(flights):
    flights.fly(("b", 3, 8, None), ("a", 3, 5, 0.0), ("b", 3, 5, 0.0), ("a", 3, 7, 1.0))
    then, later = flights.table(until=6, views=()), flights.table(until=9, views=())
    assert then.frame["late"].to_list() == [0.0, 0.0]
    assert (later.frame["id"].to_list(), later.frame["late"].to_list()) == (["a"], [1.0])
    assert later.unlabelled == 1


def test_answers_that_are_no_number_are_no_answers(flights):
    flights.fly(("a", 3, 5, math.nan), ("b", 3, 5, None), ("c", 3, 5, 1.0))
    table = flights.table(until=6, views=())
    assert (table.rows, table.unlabelled) == (1, 2)


def test_rows_whose_values_lie_in_quarantine_are_left_out_and_counted(flights):
    flights.report((1, 1, 10.0), (4, 4, 40.0))
    flights.fly(("a", 3, 9, 0.0), ("b", 6, 9, 1.0), ("c", 7, 9, 1.0))
    flights.quarantine("weather", 4, 5)
    table = flights.table(until=9)
    assert table.frame["id"].to_list() == ["a"]
    assert (table.rows, table.quarantined) == (1, 2)


def test_examples_in_quarantine_themselves_are_left_out(flights):
    flights.fly(("a", 3, 9, 0.0), ("b", 6, 9, 1.0), ("c", 8, 9, 1.0))
    flights.quarantine("departures", 5, 7)
    assert flights.table(until=9, views=()).frame["id"].to_list() == ["a", "c"]
    flights.quarantine("departures", 8)
    table = flights.table(until=9, views=())
    assert (table.frame["id"].to_list(), table.quarantined) == (["a"], 2)


def test_rows_that_came_since_change_nothing(flights):
    static = FeatureView(name="planes", dataset="weather", entity=("origin",), features=("temp",))
    flights.report((1, 1, 10.0))
    flights.fly(("a", 3, 5, 0.0))
    before = [flights.table(until=9, views=[view]).frame for view in (WEATHER, static)]
    flights.report((2, 12, 99.0))
    flights.fly(("a", 3, 12, 1.0), ("b", 3, 12, 1.0))
    after = [flights.table(until=9, views=[view]).frame for view in (WEATHER, static)]
    assert all(one.equals(other) for one, other in zip(before, after, strict=True))


def test_two_views_that_give_the_same_column_are_refused(flights):
    stale = FeatureView(**{**{name: getattr(WEATHER, name) for name in WEATHER.__struct_fields__}, "name": "stale"})
    flights.report((1, 1, 10.0))
    flights.fly(("a", 3, 5, 0.0))
    with pytest.raises(Invalid, match="would overwrite temp"):
        flights.table(until=9, views=[WEATHER, stale])


def test_what_is_not_there_is_said(flights):
    with pytest.raises(NotFound, match="'departures' has no version yet"):
        flights.table(until=9)
    flights.fly(("a", 3, 5, 0.0))
    with pytest.raises(NotFound, match="'weather' has no version yet"):
        flights.table(until=9)
    with pytest.raises(Invalid, match="no column 'delayed' with the answer"):
        flights.table(until=9, views=(), label="delayed")


def test_a_dataset_without_rows_makes_a_table_without_rows(flights):
    flights.fly()
    flights.report()
    assert flights.table(until=9).rows == 0


history = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.none() | st.integers(0, 12),
        st.none() | st.integers(0, 16),
        st.sampled_from([0.0, 1.0, None]),
    ),
    max_size=20,
)
stretches = st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(1, 6)), max_size=2)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=history, faults=stretches, until=st.integers(0, 16))
def test_every_key_that_was_known_is_in_the_table_or_counted(ctx, history, faults, until):
    with ctx.begin() as tx:
        for table in ("quarantines", "dataset_versions", "datasets"):
            tx.exec_driver_sql(f"DELETE FROM {table}")
    flights = Flights(ctx)
    flights.fly(*history)
    flights.report(*((hour, hour, 1.0) for hour in range(12)))
    for start, length in faults:
        flights.quarantine("weather", start, None if length is None else start + length)
    made = flights.table(until=until)

    newest = {}
    for key, scheduled, landed, late in sorted((one for one in history if one[2] is not None), key=lambda one: one[2]):
        if landed <= until:
            newest[key] = (scheduled, late)
    asked = {key: one for key, one in newest.items() if one[0] is not None and one[0] - 1 <= until}
    assert made.rows + made.unlabelled + made.quarantined == len(asked)
    assert made.unlabelled == sum(late is None for _, late in asked.values())
    assert (
        dict(made.frame.select("id", "late").iter_rows()).items()
        <= {key: late for key, (_, late) in asked.items()}.items()
    )
    assert made.frame.filter(pl.col("weather__time") > pl.col("predicted_at")).is_empty()
    assert (made.frame["weather__status"] != "quarantined").all()
