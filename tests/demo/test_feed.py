from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

pytest.importorskip("lightgbm")

from undrift.demo.flights import feed
from undrift.demo.flights.replay import live_features
from undrift.project import build, load_project


def test_the_year_is_whole_and_three_per_cent_never_get_a_label():
    flights = feed.departures()
    assert flights.height == 336_776
    assert flights["flight_id"].n_unique() == flights.height
    assert flights["late"].null_count() / flights.height == pytest.approx(0.028, abs=0.001)


def test_nothing_is_known_before_it_happened():
    assert feed.departures().filter(pl.col("landed") <= pl.col("scheduled") - pl.duration(hours=1)).is_empty()


def test_the_faults_are_in_the_weather_and_nowhere_else():
    celsius, missing = feed.FAULTS
    inside = pl.col("observed").is_between(celsius.start, celsius.end, closed="left")
    assert feed.weather().filter(inside)["temp"].max() < 40
    before = pl.col("observed").is_between(celsius.start - timedelta(days=7), celsius.start, closed="left")
    assert feed.weather().filter(before)["temp"].min() > 50
    gone = pl.col("observed").is_between(missing.start, missing.end, closed="left")
    assert feed.weather().filter(gone)["temp"].null_count() == feed.weather().filter(gone).height
    assert feed.weather().filter(gone)["dewp"].null_count() == 0


def test_known_gives_each_row_once_however_the_time_is_cut():
    rows = feed.weather()
    cuts = [
        None,
        datetime(2013, 2, 1, tzinfo=UTC),
        datetime(2013, 7, 7, 3, tzinfo=UTC),
        datetime(2014, 2, 1, tzinfo=UTC),
    ]
    parts = [feed.known(rows, "observed", since, until) for since, until in pairwise(cuts)]
    assert sum(part.height for part in parts) == rows.height


def test_live_features_never_look_ahead(ctx):
    project = load_project(Path(feed.__file__).with_name("project.py"))
    deployment = build(ctx, project).deployments["late"]
    year = live_features(deployment)
    assert year.height == feed.departures().height
    assert year.filter(pl.col("weather__time") > pl.col("predicted_at")).is_empty()
    takeoffs = feed.takeoffs()
    for row in year.filter(pl.col("recent_departures") > 0).sample(20, seed=1).iter_rows(named=True):
        at = row["predicted_at"]
        window = takeoffs.filter(
            pl.col("origin") == row["origin"],
            pl.col("departed") <= at,
            pl.col("departed") > at - timedelta(hours=2),
        )
        assert row["recent_departures"] == window.height
        assert row["recent_delay"] == pytest.approx(window["dep_delay"].mean())
