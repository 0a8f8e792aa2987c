from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from undrift.data import RegisterDataset, register_dataset

START = datetime(2013, 1, 1, tzinfo=UTC)


@pytest.fixture
def dataset(ctx):
    """A dataset with key `id`, event time `at` and known-at time `known`."""
    return register_dataset(ctx, RegisterDataset("flights", "departures", "id", "at", "known", "ops@example.com"))


@pytest.fixture
def rows():
    """Make rows with a key and both times; columns are given by name, `first` is the number of the first key."""

    def make(first=0, **columns):
        count = len(next(iter(columns.values()))) if columns else 0
        at = [START + timedelta(hours=place) for place in range(first, first + count)]
        fixed = {
            "id": pl.Series([f"f{place}" for place in range(first, first + count)], dtype=pl.String),
            "at": pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            "known": pl.Series(at, dtype=pl.Datetime("us", "UTC")),
        }
        return pl.DataFrame(fixed | columns)

    return make
