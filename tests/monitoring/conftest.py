"""An endpoint whose predictions are written by the model server's own log and collected by its own collector."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from undrift.core import ReplayClock, new_id
from undrift.events import ListEvents, list_events
from undrift.monitoring import (
    Label,
    ListIncidents,
    ListWindows,
    Monitor,
    Observer,
    PerformanceWatch,
    QualityWatch,
    RecordLabels,
    Source,
    list_incidents,
    list_windows,
    record_labels,
)
from undrift.profiles import profile
from undrift.registry import (
    Field,
    MoveAlias,
    RegisterModel,
    RegisterVersion,
    Signature,
    move_alias,
    register_model,
    register_version,
)
from undrift.serving import SetArm, SetRoute, collect, set_route
from undrift.serving.frames import encode_predictions, head_of
from undrift.serving.wal import Wal

START = datetime(2013, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TYPES = {"temp": "float", "wind": "float", "carrier": "string"}
SOURCES = {
    "temp": Source("weather", "weather-desk@example.com"),
    "wind": Source("weather", "weather-desk@example.com"),
    "carrier": Source("departures", "ops@example.com"),
}


def microseconds(moment):
    return (moment - EPOCH) // timedelta(microseconds=1)


class Endpoint:
    """One endpoint, asked and labelled as a day's traffic would; event time is all there is."""

    def __init__(self, make_ctx, database, folder, name="late"):
        self.make_ctx, self.database, self.folder, self.name = make_ctx, database, folder, name
        self.log = Wal(folder)
        self.rng = np.random.default_rng(3)
        self.signature = Signature(
            tuple(Field(column, kind, True, ("AA", "UA")[: 2 * (kind == "string")]) for column, kind in TYPES.items()),
            "classification",
            "late",
        )
        self.arms = []
        self.monitor = Monitor(
            endpoint=name, project="flights", model="late", owner="ops@example.com", watches=(), sources=SOURCES
        )
        self.observer = Observer(self.monitor)

    def ctx(self, moment=START):
        return self.make_ctx(self.database, clock=ReplayClock(moment))

    def watch(self, *watches, **given):
        fixed = {name: getattr(self.monitor, name) for name in self.monitor.__struct_fields__}
        self.monitor = Monitor(**(fixed | {"watches": watches} | given))
        self.observer = Observer(self.monitor)

    # --- What answers ---

    def columns(self, rows, day=0):
        """A day's inputs: a season moves the temperature, the rest stays as it is."""
        return {
            "temp": (45.0 + 10 * np.sin(day / 30) + self.rng.normal(0, 8, rows)).round(1).tolist(),
            "wind": self.rng.gamma(4, 2.5, rows).round(1).tolist(),
            "carrier": self.rng.choice(["AA", "UA"], rows).tolist(),
        }

    def deploy(self, *arms, moment=START, loss=0.5, compare=False, missing=None, champion=True):
        """Register a version for each arm (name, share) that has none yet and let them answer from a moment on."""
        ctx = self.ctx(moment)
        register_model(ctx, RegisterModel("flights", "late", "ops@example.com"))
        artifact = ctx.repository.trees.edit(None, {"model.onnx": b"model"})
        reference = pl.DataFrame(
            self.columns(3000, day=0), schema={"temp": pl.Float64, "wind": pl.Float64, "carrier": pl.String}
        )
        made = []
        for name, share, number in arms:
            if number is None:
                version = register_version(
                    ctx,
                    RegisterVersion(
                        "flights",
                        "late",
                        new_id(),
                        artifact,
                        self.signature,
                        training={"missing_by_window": missing or {}},
                        metrics={"log_loss": loss},
                        reference_profile=ctx.repository.objects.put(profile(reference).to_bytes()),
                    ),
                )
                number = version.number  # noqa: PLW2901 - the one that was made
            made.append((name, share, number))
        self.arms = made
        set_route(
            ctx,
            SetRoute(
                "flights",
                self.name,
                "late",
                tuple(SetArm(name, number, share) for name, share, number in made),
                "test",
                compare=compare,
            ),
        )
        if champion:
            move_alias(ctx, MoveAlias("flights", "late", "champion", made[0][2], "test"))
        return [number for _, _, number in made]

    # --- What it is asked, and what came of it ---

    def ask(self, moments, columns, scores, *, ids=None, arms=None, others=None):
        """Answer rows as the model server would: a frame in its log."""
        ids = ids or [new_id(moment) for moment in moments]
        head = head_of(
            self.name, "flights", 1, self.signature.inputs, [(name, number) for name, _, number in self.arms]
        )
        frame = encode_predictions(
            head,
            answered_at=microseconds(max(moments)),
            ids=ids,
            event_times=[microseconds(moment) for moment in moments],
            arms=arms,
            scores=scores,
            others=others,
            layout="columns",
            values=[columns[name] for name in TYPES],
        )
        assert self.log.append(frame), self.log.error
        return ids

    def day(self, day, rows=200, *, scores=None, **changes):
        """Answer a day's rows, spread over the day; `changes` replace columns. Returns the prediction ids."""
        moments = [START + day * DAY + place * DAY / rows for place in range(rows)]
        columns = self.columns(rows, day) | changes
        return self.ask(moments, columns, scores if scores is not None else [0.3] * rows)

    def label(self, ids, values, moment=START):
        values = [values] * len(ids) if isinstance(values, int | float) else values
        labels = tuple(Label(id_, float(value)) for id_, value in zip(ids, values, strict=True))
        return record_labels(self.ctx(moment), RecordLabels(self.name, labels))

    def observe(self, moment):
        ctx = self.ctx(moment)
        collect(ctx, self.folder)
        return self.observer.observe(ctx, moment)

    # --- What is known ---

    def windows(self):
        return list_windows(self.ctx(), ListWindows(self.name))[::-1]

    def incidents(self):
        return list_incidents(self.ctx(), ListIncidents(endpoint=self.name))[::-1]

    def events(self, *types):
        return [one for one in list_events(self.ctx(), ListEvents(limit=1000))[::-1] if one.type in types]


@pytest.fixture
def endpoint(make_ctx, sqlite_database, tmp_path):
    """An endpoint with one version that answers everything from 2013-01-01 on."""
    made = Endpoint(make_ctx, sqlite_database, tmp_path / "predictions")
    made.deploy(("champion", 1.0, None))
    yield made
    made.log.close()


@pytest.fixture
def make_endpoint(make_ctx, tmp_path):
    """Make endpoints on a database."""
    made = []

    def make(database, name="late"):
        made.append(Endpoint(make_ctx, database, tmp_path / "predictions", name))
        made[-1].deploy(("champion", 1.0, None))
        return made[-1]

    yield make
    for one in made:
        one.log.close()


@pytest.fixture
def quality():
    return QualityWatch()


@pytest.fixture
def performance():
    """A performance watch that looks at three windows."""
    return PerformanceWatch("log_loss", drop=0.05, span=3)
