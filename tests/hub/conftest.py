"""A workspace with a year of a model's life in it, written through records and operations, and a client for the app."""

from __future__ import annotations

import math
import random
import shutil
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from litestar.testing import TestClient

from undrift import data, loop, monitoring, registry, serving
from undrift.core import Actor, ReplayClock, derive_id
from undrift.hub import build_app
from undrift.loop import records as loop_records
from undrift.monitoring import records as monitoring_records
from undrift.workspace import Workspace

START = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
COLUMNS = ("temp", "wind_speed", "visib", "precip", "carrier")


@pytest.fixture(scope="session")
def blank(tmp_path_factory):
    """The folder of a workspace that was just made: copying it is cheaper than migrating another database."""
    folder = tmp_path_factory.mktemp("blank") / "workspace"
    Workspace.open(folder, create=True).close()
    return folder


@pytest.fixture(scope="session")
def lived(blank, tmp_path_factory):
    """The folder of a workspace after a year in which everything came right again."""
    return _lived(blank, tmp_path_factory.mktemp("lived") / "workspace", trouble=False)


@pytest.fixture(scope="session")
def lived_in_trouble(blank, tmp_path_factory):
    """The folder of a workspace after a year that ends with something wrong."""
    return _lived(blank, tmp_path_factory.mktemp("trouble") / "workspace", trouble=True)


def _lived(blank, folder, *, trouble):
    workspace = Workspace.open(shutil.copytree(blank, folder))
    live_a_year(workspace, trouble=trouble)
    workspace.close()
    return folder


@pytest.fixture
def workspace(tmp_path, request):
    """A workspace: empty, or after the year that the test asks for."""
    asked = {"year": "lived", "troubled_year": "lived_in_trouble"}
    template = next((folder for name, folder in asked.items() if name in request.fixturenames), "blank")
    opened = Workspace.open(shutil.copytree(request.getfixturevalue(template), tmp_path / "workspace"))
    yield opened
    opened.close()


@pytest.fixture
def year(workspace):
    """The workspace has a year behind it in which everything came right again."""


@pytest.fixture
def troubled_year(workspace):
    """The workspace has a year behind it that ends with something wrong."""


@pytest.fixture
def http(workspace):
    """A client of the hub's application, as a program on this machine sees it."""
    with TestClient(build_app(workspace), base_url="http://127.0.0.1:7470") as client:
        yield client


def at(day, hour=0):
    return START + DAY * day + timedelta(hours=hour)


class Life:
    """Writes the life of one model at one endpoint into a workspace."""

    def __init__(self, workspace, *, project="flights", name="late", seed=7):
        self.workspace = workspace
        self.project, self.name = project, name
        self.random = random.Random(seed)

    def ctx(self, moment, actor="loop", kind="service"):
        return self.workspace.context(Actor(actor, kind), clock=ReplayClock(moment))

    def version(self, day, loss, *, window="all"):
        ctx = self.ctx(at(day))
        registry.register_model(ctx, registry.RegisterModel(self.project, self.name, "ops@example.com"))
        signature = registry.Signature(
            tuple(registry.Field(name, "float", nullable=True) for name in COLUMNS), "classification", "late"
        )
        tree = ctx.repository.trees.edit(None, {"model.onnx": f"{self.name} {day}".encode()})
        return registry.register_version(
            ctx,
            registry.RegisterVersion(
                project=self.project,
                model=self.name,
                run_id=derive_id(at(day), self.project, self.name),
                artifact=tree,
                signature=signature,
                training={"rows": 20_000 + day * 800, "window": window, "until": at(day).isoformat()},
                metrics={"log_loss": loss, "roc_auc": 0.74, "label_mean": 0.21, "score_mean": 0.22},
            ),
        )

    def promote(self, day, number, reason, *, actor="loop", evidence=None):
        ctx = self.ctx(at(day), actor)
        asked = registry.MoveAlias(self.project, self.name, "champion", number, reason, evidence=evidence or {})
        registry.move_alias(ctx, asked)
        arms = (serving.SetArm("champion", number, 1.0),)
        serving.set_route(ctx, serving.SetRoute(self.project, self.name, self.name, arms, reason))

    def windows(self, days, loss_of, *, labelled=None, suspect=None, hours=24):
        suspect = suspect or {}
        labelled = days if labelled is None else labelled
        with self.ctx(at(0)).begin() as tx:
            for place in range(days):
                start = START + timedelta(hours=hours * place)
                predictions = self.random.randrange(700, 950)
                labels = predictions - self.random.randrange(0, 12) if place < labelled else 0
                loss = loss_of(place) * (1 + self.random.gauss(0, 0.06)) if place < labelled else None
                measure = None if loss is None else monitoring.Measure(labels, loss, 0.73, 0.21, 0.22)
                monitoring_records.add_window(
                    tx,
                    monitoring.Window(
                        endpoint=self.name,
                        start=start,
                        end=start + timedelta(hours=hours),
                        predictions=predictions,
                        labels=labels,
                        served=measure,
                        versions={} if measure is None else {"1": measure},
                        missing=dict.fromkeys(COLUMNS, 0.01),
                        drift={name: round(abs(self.random.gauss(0, 0.08)), 4) for name in COLUMNS},
                        suspect=suspect.get(place, ()),
                        profile=None,
                        measured_at=None if measure is None else start + 2 * timedelta(hours=hours),
                        restated=place % 3 == 0,
                    ),
                )

    def incident(self, first, last, cause, detector, column, sentence, *, over=True, **given):
        finding = monitoring.Finding(cause, detector, column, at(first), at(first + 1), 0.61, 0.2, sentence, {"n": 1})
        with self.ctx(at(first + 1), "observer").begin() as tx:
            number = monitoring_records.next_incident_number(tx)
            what = f"{detector} in {column}" if column else detector
            incident = monitoring.Incident(
                id=derive_id(at(first), self.name, str(number)),
                number=number,
                project=self.project,
                endpoint=self.name,
                cause=cause,
                title=f"{cause.capitalize()}: {what}",
                columns=(column,) if column else (),
                dataset="weather" if column else None,
                owner="weather-team@example.com" if column else "ops@example.com",
                opened_at=at(first + 1),
                started_at=at(first),
                last_seen_at=at(last),
                resolved_at=at(last) if over else None,
                state="resolved" if over else "open",
                findings=(finding,),
            )
            monitoring_records.add_incident(tx, msgspec.structs.replace(incident, **given))
        ctx = self.ctx(at(first + 1), "loop")
        with ctx.begin():
            ctx.emit(
                "incident.opened", f"incidents/{number}", project=self.project, title=incident.title, findings=[finding]
            )
        return number

    def cycle(self, day, end, stage, trigger, reason, outcome, **given):
        cycle = loop.Cycle(
            id=derive_id(at(day), self.name, "cycle"),
            project=self.project,
            endpoint=self.name,
            model=self.name,
            stage=stage,
            trigger=trigger,
            incident=None,
            reason=reason,
            opened_at=at(day),
            stage_since=at(end),
            closed_at=at(end) if outcome else None,
            outcome=outcome,
        )
        with self.ctx(at(day)).begin() as tx:
            loop_records.add_cycle(tx, msgspec.structs.replace(cycle, **given))


def _season(day):
    # Summer is harder; the version of July has learnt it.
    drift = 0.075 / (1 + math.exp(-(day - 158) / 6)) if day < 192 else 0.012
    return 0.412 + 0.02 * math.sin(day / 365 * 2 * math.pi - 1.2) + drift + (0.24 if 62 <= day < 69 else 0)


def live_a_year(workspace, *, trouble=False):
    """A data fault in March, a worse world in June, a retraining in July, a challenger that was not better in October.

    With trouble, the year ends with an open incident and a challenger that awaits approval.
    """
    life = Life(workspace)
    ctx = life.ctx(at(0), "ada", "person")
    data.register_dataset(
        ctx, data.RegisterDataset("flights", "weather", "origin", "observed", "observed", "weather-team@example.com")
    )
    life.version(0, 0.409)
    life.promote(0, 1, "The first version passed its gates.")
    life.cycle(0, 0, "promoted", "first version", "There is no version yet.", "It passed its gates.", challenger=1)
    suspect = dict.fromkeys(range(62, 69), ("temp",))
    if trouble:
        suspect |= dict.fromkeys(range(355, 360), ("wind_speed",))
    life.windows(360, _season, labelled=357, suspect=suspect)
    first = life.incident(
        62,
        69,
        "data fault",
        "unit change",
        "temp",
        "temp looks like the same quantity in another unit (celsius to fahrenheit).",
    )
    monitoring.describe_incident(
        life.ctx(at(64)),
        monitoring.DescribeIncident(
            first,
            "temp looks like the same quantity in another unit (celsius to fahrenheit): converted, it is 0.04 spreads "
            "from what is usual, as it came 3.10. The values come from dataset 'weather'. A world that changes does "
            "not do this: it is a fault upstream, and its owner can mend it. Retraining would bake it in.",
            "weather is in quarantine from 2013-03-03 00:00 UTC on; weather-team@example.com was told; nothing learns "
            "from it.",
        ),
    )
    monitoring.acknowledge_incident(
        life.ctx(at(65), "grace", "person"), monitoring.AcknowledgeIncident(first, useful=True)
    )
    second = life.incident(
        157, 192, "performance drop", "loss above expected", "", "Over the last 14 windows the log_loss is 0.4742."
    )
    life.version(171, 0.431, window="recent 120 days")
    live = {"gains": [0.021, 0.034, 0.028], "interval": {"mean": 0.0277, "lower": 0.004, "upper": 0.051}}
    life.promote(
        192, 2, "The challenger is surely not worse by more than 0.05: its loss is lower by +0.0277.", evidence=live
    )
    monitoring.describe_incident(
        life.ctx(at(192)),
        monitoring.DescribeIncident(
            second,
            "No input is broken. There are more or fewer positives, and the scores did not follow: the label rate went "
            "from 0.210 to 0.287, the mean score is 0.224. Inputs that moved: precip. A model that has seen this "
            "may do better.",
            "Retrained as version 2 and promoted. The challenger is surely not worse by more than 0.05.",
        ),
    )
    life.cycle(
        171,
        192,
        "promoted",
        "performance",
        "Incident 2 says that the loss is above what is expected.",
        "The challenger is surely not worse by more than 0.05: its loss is lower by +0.0277 [+0.0040, +0.0510].",
        incident=second,
        champion=1,
        challenger=2,
    )
    life.version(280, 0.43, window="weighted 60 days")
    life.cycle(
        280,
        296,
        "rolled back",
        "schedule",
        "90 days have passed since the last one.",
        "Not enough evidence after 14 days: its loss is lower by +0.0011 [-0.0190, +0.0212] over 14 windows.",
        champion=2,
        challenger=3,
    )
    if trouble:
        life.incident(
            355,
            360,
            "data fault",
            "missing values",
            "wind_speed",
            "wind_speed is missing in 61% of the predictions; it never was in more than 4%.",
            over=False,
        )
        life.version(350, 0.421, window="recent 180 days")
        life.cycle(
            350,
            352,
            "awaiting approval",
            "schedule",
            "Version 4 passed its gates against version 2.",
            "",
            champion=2,
            challenger=4,
        )
        arms = (serving.SetArm("champion", 2, 0.95), serving.SetArm("canary", 3, 0.05))
        serving.set_route(
            life.ctx(at(352)),
            serving.SetRoute("flights", "late", "late", arms, "A look at version 3 again.", compare=True),
        )
    return life


@pytest.fixture
def make_life(workspace):
    """Make the life of another model."""
    return lambda **given: Life(workspace, **given)
