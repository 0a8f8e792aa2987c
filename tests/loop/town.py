"""A town whose buses run late: a small deployment made of numbers, and its life in a process of its own.

The life goes in steps of half a day. At each step the buses of the last half day were asked about, the labels of the
one before are in, and the loop is told the time. All numbers follow from the step, so that a life can be lived again.

    python town.py

reads one JSON object a line (see `live`), lives that part of a life in a forked child, and answers with a line: the
child's exit status. What is slow to import is imported once. Polars is not among it: its threads do not survive a fork.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from undrift.core import Actor, Context, ReplayClock
from undrift.data import RegisterDataset, append, find_dataset, read_newest, register_dataset
from undrift.evaluation import AtLeast, BeatsChampion
from undrift.events import EventLog
from undrift.features import FeatureView
from undrift.governance import WorkspaceOwner
from undrift.loop import Retraining, Rollout, RolloutStep, TrainingWindow
from undrift.loop.deployment import Deployment
from undrift.loop.training import Recipe
from undrift.monitoring import (
    DriftWatch,
    Label,
    Monitor,
    PerformanceWatch,
    QualityWatch,
    RecordLabels,
    Source,
    record_labels,
)
from undrift.registry import FindVersion, encode_frame, find_version, load_scorer
from undrift.serving import FindRoute, find_route
from undrift.serving.frames import encode_predictions, head_of
from undrift.serving.wal import Wal

START = datetime(2013, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HALF_DAY = timedelta(hours=12)
MICROSECOND = timedelta(microseconds=1)
ROWS = 150
HISTORY = 8
SITES = ("north", "south")

WEATHER = FeatureView(
    name="weather", dataset="weather", entity=("site",), features=("temp",), time="observed", ttl_s=2 * 86_400.0
)
GATES = (AtLeast("roc_auc", 0.6), BeatsChampion("log_loss"))
ROLLOUT = Rollout(
    steps=(RolloutStep("canary", 0.25, 43_200.0), RolloutStep("canary", 0.5, 43_200.0)), give_up_s=20 * 86_400.0
)


def at(step):
    return START + step * HALF_DAY


def fit(X, y, seed, weight=None):  # noqa: N803 - as in the docs
    """Train on a few hundred rows in a few milliseconds."""
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(
        n_estimators=15,
        num_leaves=7,
        min_child_samples=15,
        learning_rate=0.2,
        n_jobs=1,
        random_state=seed,
        deterministic=True,
        force_col_wise=True,
        verbose=-1,
    )
    return model.fit(X.to_numpy(), y.to_numpy(), sample_weight=None if weight is None else weight.to_numpy())


class Town:
    """The town, on a database and a folder.

    Args:
        context: Makes the context of a moment.
        predictions: Where the model server writes its log.
        flips: Steps at which what makes buses late turns into its opposite.
        fault: Steps in which no temperature comes.
        train: The training function.
    """

    def __init__(self, context, predictions, *, flips=(), fault=(), train=fit, **given):
        self.context, self.predictions = context, predictions
        self.flips, self.fault = flips, fault
        self.before_refresh = self.between_datasets = lambda: None
        self.told = set()
        self.log = None
        self.deployment = self.deploy(train, **given)
        ctx = context(at(-HISTORY))
        register_dataset(ctx, RegisterDataset("town", "buses", "id", "scheduled", "arrived", "ops@town"))
        register_dataset(ctx, RegisterDataset("town", "weather", "id", "observed", "observed", "weather-desk@town"))

    def deploy(
        self,
        train,
        *,
        gates=GATES,
        watches=(PerformanceWatch("log_loss", drop=0.2, span=2), QualityWatch(), DriftWatch()),
        rollout=ROLLOUT,
        inputs=("x", "site"),
        views=(WEATHER,),
        **retraining,
    ):
        fixed = {
            "cooldown_s": 9 * 43_200.0,
            "windows": (TrainingWindow("all"), TrainingWindow("recent", 1.5)),
            "held_out_s": 86_400.0,
        }
        return Deployment(
            recipe=Recipe(
                project="town",
                model="late",
                train=train,
                dataset="buses",
                label="late",
                inputs=inputs,
                views=views,
                lead_s=0.0,
                gates=gates,
                block_s=3 * 3600.0,
            ),
            monitor=Monitor(
                endpoint="late",
                project="town",
                model="late",
                owner="ops@town",
                window_s=43_200.0,
                label_wait_s=43_200.0,
                watches=watches,
                sources={
                    **{name: Source("buses", "ops@town") for name in inputs},
                    **{name: Source("weather", "weather-desk@town") for view in views for name in view.features},
                },
            ),
            retraining=Retraining(**(fixed | retraining)),
            rollout=rollout,
            refresh=self.refresh,
        )

    # --- What happens in the town ---

    def buses(self, step):
        """The buses of half a day, with what came of them six hours later."""
        import polars as pl

        rng = np.random.default_rng([7, step + 1000])
        x = rng.normal(size=ROWS).round(4)
        sign = -1.0 if sum(step >= flip for flip in self.flips) % 2 else 1.0
        late = rng.random(ROWS) < 1 / (1 + np.exp(-3.0 * sign * x))
        scheduled = [at(step) + place * HALF_DAY / ROWS for place in range(ROWS)]
        return pl.DataFrame(
            {
                "id": [f"bus{step:+04d}.{place:03d}".replace("+", "p").replace("-", "m") for place in range(ROWS)],
                "site": rng.choice(SITES, ROWS).tolist(),
                "scheduled": scheduled,
                "arrived": [moment + timedelta(hours=6) for moment in scheduled],
                "x": x.tolist(),
                "late": late.astype(int).tolist(),
            }
        ).cast({"scheduled": pl.Datetime("us", "UTC"), "arrived": pl.Datetime("us", "UTC")})

    def weather(self, step):
        """The reports of half a day; in a fault they come without a temperature."""
        import polars as pl

        rng = np.random.default_rng([8, step + 1000])
        hours = range(0, 12, 3)
        temps = rng.normal(50, 8, len(hours) * 2).round(1).tolist()
        return pl.DataFrame(
            {
                "id": [f"{site}.{step}.{hour}" for site in SITES for hour in hours],
                "site": [site for site in SITES for _ in hours],
                "observed": [at(step) + timedelta(hours=hour) for _ in SITES for hour in hours],
                "temp": [None] * len(temps) if step in self.fault else temps,
            },
            schema_overrides={"temp": pl.Float64, "observed": pl.Datetime("us", "UTC")},
        )

    def refresh(self, ctx, until):
        """Take in what has become known."""
        import polars as pl

        self.before_refresh()
        last = (until - START) // HALF_DAY + 1
        for name, made, known in (("buses", self.buses, "arrived"), ("weather", self.weather, "observed")):
            dataset = find_dataset(ctx, "town", name)
            newest = read_newest(ctx, dataset)
            since = at(-HISTORY - 2) if newest is None else newest.known_until
            if since < until:
                steps = range(max((since - START) // HALF_DAY - 2, -HISTORY), last)
                frame = pl.concat([made(step) for step in steps])
                frame = frame.filter(pl.col(known) > since, pl.col(known) <= until)
                append(ctx, dataset, frame, known_until=until, message="refresh")
            self.between_datasets()

    # --- Half a day ---

    def ask(self, step):
        """Ask about the buses of half a day, and answer as the model server would, both arms where there are two."""
        import polars as pl

        from undrift.features import point_in_time_join

        ctx = self.context(at(step))
        route = find_route(ctx, FindRoute("late"))
        weather = pl.concat([self.weather(one) for one in range(step - 4, step + 1)])
        frame = point_in_time_join(self.buses(step), "scheduled", [(WEATHER, weather)])
        signatures = [find_version(ctx, FindVersion("town", "late", number=arm.number)).signature for arm in route.arms]
        scores = [
            load_scorer(ctx, arm.artifact)(encode_frame(signature, frame)).tolist()
            for arm, signature in zip(route.arms, signatures, strict=True)
        ]
        answered_by = [int(len(scores) == 2 and place % 100 < 100 * route.arms[1].share) for place in range(ROWS)]
        fields = signatures[0].inputs
        payload = encode_predictions(
            head_of("late", "town", route.revision, fields, [(arm.name, arm.number) for arm in route.arms]),
            answered_at=(at(step + 1) - EPOCH) // MICROSECOND - 1,
            ids=frame["id"].to_list(),
            event_times=[(moment - EPOCH) // MICROSECOND for moment in frame["scheduled"]],
            arms=answered_by,
            scores=[scores[arm][row] for row, arm in enumerate(answered_by)],
            others=[scores[1 - arm][row] for row, arm in enumerate(answered_by)] if len(scores) == 2 else None,
            layout="columns",
            values=[frame[field.name].to_list() for field in fields],
        )
        if self.log is None:
            self.log = Wal(self.predictions)
        assert self.log.append(payload), self.log.error

    def tell(self, step):
        """Tell what came of half a day's buses."""
        buses = self.buses(step)
        labels = tuple(Label(*row) for row in buses.select("id", buses["late"].cast(float), "arrived").iter_rows())
        record_labels(self.context(at(step + 2)), RecordLabels("late", labels))

    def half_day(self, step, advance):
        """Live up to a step: what was asked and told before it, then the loop."""
        if step > 0:
            self.ask(step - 1)
        if step > 1:
            self.tell(step - 2)
        advance("late", at(step))

    def close(self):
        if self.log is not None:
            self.log.close()


# --- In a process of its own ---


class Killing(EventLog):
    """A log that kills the process when something happens, right before it is written or right after the commit.

    Args:
        kill: ``type[:word]@when``: an event's type, a word of its data, and ``before`` or ``after``.
    """

    def __init__(self, kill):
        self.kind, _, self.when = kill.partition("@")
        self.armed = False

    def append(self, tx, drafts):
        kind, _, word = self.kind.partition(":")
        if any(one.type == kind and (not word or word in map(str, one.data.values())) for one in drafts):
            if self.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            self.armed = True
        super().append(tx, drafts)


class Watched:
    """A database that kills the process once a commit has ended that the log has marked."""

    def __init__(self, database, log):
        self._database, self._log = database, log

    def __getattr__(self, name):
        return getattr(self._database, name)

    @contextmanager
    def begin(self):
        with self._database.begin() as tx:
            yield tx
        if self._log.armed:
            os.kill(os.getpid(), signal.SIGKILL)


def live(*, folder, first, last, town, kill="", kill_in=""):
    """Live the steps from first to last in a workspace.

    Args:
        folder: Of the workspace.
        first: The step that comes first.
        last: The last one.
        town: What the town is like.
        kill: When to kill this process; see `Killing`.
        kill_in: Or in which call of the town's own functions: ``refresh``, ``between`` or ``train``.
    """
    from undrift.loop.durable import DurableLoop
    from undrift.workspace import Workspace

    workspace = Workspace.open(folder, create=True)
    log = Killing(kill) if kill else EventLog()
    database = Watched(workspace.database, log) if kill else workspace.database

    def context(moment):
        return Context(
            actor=Actor("worker", "service"),
            clock=ReplayClock(moment),
            database=database,
            repository=workspace.repository,
            policy=WorkspaceOwner(),
            events=log,
        )

    calls = []

    def train(*given):
        calls.append(given)
        # The first window was tried, the second is at it.
        if kill_in == "train" and len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return fit(*given)

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    made = Town(context, workspace.predictions_folder, train=train, **town)
    if kill_in == "refresh":
        made.before_refresh = die
    if kill_in == "between":
        made.between_datasets = die
    with DurableLoop(workspace.loop_url, {"late": made.deployment}, context, workspace.predictions_folder) as loop:
        for step in range(first, last + 1):
            made.half_day(step, loop.advance)
    made.close()
    workspace.close()


def main():
    """Serve: one forked child a line."""
    import dbos  # noqa: F401 - slow to import, as the next ones
    import lightgbm  # noqa: F401
    import onnxmltools  # noqa: F401
    import onnxruntime  # noqa: F401

    import undrift.loop.durable
    import undrift.workspace  # noqa: F401

    assert "polars" not in sys.modules
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                live(**json.loads(line))
            except BaseException:
                Path(json.loads(line)["folder"]).with_name("error.txt").write_text(traceback.format_exc())
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
