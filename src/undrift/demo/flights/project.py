"""Will a flight from New York arrive more than 30 minutes late? Asked one hour before its scheduled departure."""

from datetime import datetime
from typing import Any

import polars as pl

import undrift as ud
from undrift.demo.flights import feed

flights = ud.Project("flights", owner="ops@flights.example")

departures = flights.dataset(
    "departures",
    key="flight_id",
    time="scheduled",
    known_at="landed",
    source=lambda since, until: feed.known(feed.departures(), "landed", since, until),
)
takeoffs = flights.dataset(
    "takeoffs",
    key="flight_id",
    time="departed",
    source=lambda since, until: feed.known(feed.takeoffs(), "departed", since, until),
)


def read_weather(since: datetime | None, until: datetime) -> pl.DataFrame:
    """Return the weather reports that came in."""
    return feed.known(feed.weather(), "observed", since, until)


reports = flights.dataset(
    "weather", key="report_id", time="observed", owner="weather-desk@flights.example", source=read_weather
)
register = flights.dataset(
    "planes",
    key="tailnum",
    time="registered",
    source=lambda since, until: feed.known(feed.planes(), "registered", since, until),
)

weather = flights.feature_view(
    "weather",
    source=reports,
    entity="origin",
    ttl="3h",
    features=["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"],
)
congestion = flights.feature_view(
    "congestion",
    source=takeoffs,
    entity="origin",
    window="2h",
    aggregates={"recent_delay": ("mean", "dep_delay"), "recent_departures": "count"},
)
planes = flights.feature_view("planes", source=register, entity="tailnum", features=["plane_age", "seats"], static=True)


@flights.model(
    "late",
    predicts="late",
    data=departures,
    inputs=["carrier", "origin", "dest", "weekday", "scheduled_minute", "block_minutes", "distance"],
    features=[planes, weather, congestion],
    lead="1h",
    label_wait="1d",
)
def train(X: pl.DataFrame, y: pl.Series, seed: int, weight: pl.Series | None = None) -> Any:  # noqa: N803
    """Fit a small gradient-boosted forest."""
    from lightgbm import LGBMClassifier  # noqa: PLC0415 - only whoever trains needs it

    model = LGBMClassifier(
        n_estimators=120,
        num_leaves=31,
        learning_rate=0.05,
        min_child_samples=100,
        n_jobs=2,
        random_state=seed,
        deterministic=True,
        force_col_wise=True,
        verbose=-1,
    )
    return model.fit(X.to_numpy(), y.to_numpy(), sample_weight=None if weight is None else weight.to_numpy())


train.gates(
    ud.at_least("roc_auc", 0.6),
    ud.beats_champion("log_loss"),
    ud.no_segment_worse_than("carrier", "log_loss", by=0.05),
)
train.watch(ud.performance("log_loss", drop=0.03, span=14), ud.quality(), ud.drift())
train.retrain(
    on=["performance", "schedule:30d"],
    cooldown="14d",
    budget=6,
    windows=["all", "recent:60d", "weighted:60d"],
    held_out="14d",
)
train.rollout(ud.canary(25, 50, step="2d"), margin=0.05, worth=0.002, give_up="14d")
