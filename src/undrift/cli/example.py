"""A first project for undrift: will a delivery be late?

It runs as it is (`undrift up`), on orders that are made up below. To make it yours, read your own rows instead:
every part that you would change says so. Needs LightGBM: pip install 'undrift[lightgbm]'.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

import undrift as ud

# Who hears when something is wrong: write your own address.
project = ud.Project("deliveries", owner="you@example.com")


def read_orders(since: datetime | None, until: datetime) -> pl.DataFrame:
    """Return the orders whose outcome became known after `since` (None: ever) and up to `until`.

    Yours would ask a database or read files. These are made up: one every ten minutes, always the same ones.
    """
    step = timedelta(minutes=10)
    first = datetime(2020, 1, 1, tzinfo=UTC)
    start = max(first, until - timedelta(days=60) if since is None else since - timedelta(hours=2))
    numbers = np.arange((start - first) // step, (until - first) // step + 1)
    chance = np.array([np.random.default_rng(int(number)).random(4) for number in numbers]).reshape(-1, 4)
    distance_km = np.round(1 + 14 * chance[:, 0], 1)
    items = (1 + 6 * chance[:, 1]).astype(int)
    hour = (numbers * 10 // 60) % 24
    rush = np.isin(hour, (17, 18, 19))
    minutes = 12 + 3 * distance_km + 2 * items + 18 * rush + 20 * chance[:, 2]
    orders = pl.DataFrame(
        {
            "order_id": [f"order-{number}" for number in numbers],
            "ordered": [first + int(number) * step for number in numbers],
            "delivered": [
                first + int(number) * step + timedelta(minutes=float(taken))
                for number, taken in zip(numbers, minutes, strict=True)
            ],
            "distance_km": distance_km,
            "items": items,
            "hour": hour,
            "late": (minutes > 60).astype(int),
        },
        schema_overrides={"ordered": pl.Datetime("us", "UTC"), "delivered": pl.Datetime("us", "UTC")},
    )
    known = pl.col("delivered") <= until
    return orders.filter(known if since is None else known & (pl.col("delivered") > since))


# A dataset has a key, the time its rows are about, and the time they became known: a model may learn from a row
# only after that. Without a source, rows are added by hand: undrift data add orders FILE.
orders = project.dataset("orders", key="order_id", time="ordered", known_at="delivered", source=read_orders)


# The inputs are known when the prediction is asked for. Predictions are watched a window at a time, and measured when
# the labels of that window are due.
@project.model(
    "late", predicts="late", data=orders, inputs=["distance_km", "items", "hour"], window="1d", label_wait="2h"
)
def train(rows: pl.DataFrame, late: pl.Series, seed: int) -> Any:
    """Fit a model; undrift calls this with the rows it has chosen, and whenever a new version is needed."""
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_estimators=60, num_leaves=15, random_state=seed, n_jobs=1, verbose=-1)
    return model.fit(rows.to_numpy(), late.to_numpy())


# What a version must show before anybody sees it.
train.gates(ud.at_least("roc_auc", 0.7))
# What to look for in production.
train.watch(ud.performance("log_loss", drop=0.05, span=3), ud.quality(), ud.drift())
# When to train again, and how a new version takes over.
train.retrain(on=["performance", "schedule:30d"], cooldown="7d")
train.rollout(ud.shadow("1d"), ud.canary(10, 50, step="1d"))
