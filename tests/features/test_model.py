from __future__ import annotations

import pytest

from undrift.core.errors import Invalid
from undrift.features import Aggregate, FeatureView


@pytest.mark.parametrize(
    ("kind", "column"), [("median", "x"), ("count", "x"), ("mean", ""), ("sum", "")], ids=lambda value: value or "none"
)
def test_what_is_no_aggregate_is_refused(kind, column):
    with pytest.raises(Invalid, match="is no aggregate"):
        Aggregate(kind, column)


def view(**given):
    fixed = {"name": "weather", "dataset": "weather", "entity": ("origin",), "features": ("temp",), "time": "observed"}
    return FeatureView(**(fixed | given))


MEAN = {"temp": Aggregate("mean", "temp")}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"entity": ()}, "at least one entity"),
        ({"features": ()}, "at least one entity column and one feature"),
        ({"window_s": 60.0}, "has a window but no aggregates"),
        ({"aggregates": MEAN}, "needs a time, a window"),
        ({"aggregates": MEAN, "window_s": 60.0, "time": None}, "needs a time, a window"),
        ({"aggregates": MEAN, "window_s": 60.0, "features": ("temp", "wind")}, "and nothing else"),
        ({"aggregates": MEAN, "window_s": 60.0, "known_at": "came"}, "become known later"),
    ],
)
def test_a_view_that_cannot_be_is_refused(given, said):
    with pytest.raises(Invalid, match=said):
        view(**given)


def test_a_view_names_the_columns_it_adds():
    made = view(aggregates=MEAN, window_s=60.0, known_at="observed")
    assert (made.status, made.matched) == ("weather__status", "weather__time")
