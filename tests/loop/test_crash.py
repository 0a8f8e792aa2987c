import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("lightgbm")

pytestmark = pytest.mark.timeout(240)

# A small deployment whose own functions kill the process: in `refresh` (before anything was trained), in the first
# training (a candidate), and in the last one (the model that would be registered).
_PROGRAM = """
import os, sys, json
from datetime import UTC, datetime, timedelta
from pathlib import Path
import numpy as np, polars as pl
import undrift as ud
from undrift.core import Actor, ReplayClock
from undrift.events import ListEvents, VerifyLog, list_events, verify_log
from undrift.loop import ListCycles, list_cycles
from undrift.loop.durable import DurableLoop
from undrift.project import build
from undrift.registry import ListVersions, alias_history, list_versions
from undrift.serving import ListEndpoints, list_endpoints
from undrift.tracking import ListRuns, list_runs
from undrift.workspace import Workspace

folder, die_at = Path(sys.argv[1]), sys.argv[2]
start, now = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 19, tzinfo=UTC)
trained = 0

def die(where):
    if where == die_at:
        os._exit(9)

def source(since, until):
    die("refresh")
    rows = 1200
    random = np.random.default_rng(1)
    x = random.normal(size=rows)
    at = [start + timedelta(hours=place) for place in range(rows)]
    return pl.DataFrame(
        {"id": [f"r{place}" for place in range(rows)], "at": at, "x": x,
         "y": (x + random.normal(size=rows) > 0).astype(int)},
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    ).filter(pl.col("at") <= until)

project = ud.Project("p", owner="o")
rows = project.dataset("rows", key="id", time="at", source=source)

@project.model("m", predicts="y", data=rows, inputs=["x"])
def train(X, y, seed):
    global trained
    trained += 1
    die(f"training {trained}")
    from lightgbm import LGBMClassifier
    model = LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(X.to_numpy(), y.to_numpy())
    die(f"trained {trained}")
    return model

train.gates(ud.at_least("roc_auc", 0.6))
train.retrain(on=["schedule:30d"], windows=["all", "recent:20d"], held_out="12d")

workspace = Workspace.open(folder / ".undrift", create=True)
def context(moment):
    return workspace.context(Actor("worker", "service"), clock=ReplayClock(moment))
built = build(context(now), project)
with DurableLoop(workspace.loop_url, built.deployments, context, workspace.predictions_folder) as loop:
    loop.advance("m", now)
ctx = context(now)
counted = {}
for event in list_events(ctx, ListEvents(limit=1000)):
    counted[event.type] = counted.get(event.type, 0) + 1
print(json.dumps({
    "versions": [(one.number, one.run_id) for one in list_versions(ctx, ListVersions("p", "m"))],
    "moves": [(one.alias, one.number, one.reason) for one in alias_history(ctx, ListVersions("p", "m"))],
    "routes": [(one.endpoint, one.revision) for one in list_endpoints(ctx, ListEndpoints())],
    "cycles": [(one.id, one.stage, one.challenger, one.outcome) for one in list_cycles(ctx, ListCycles())],
    "runs": [(one.id, one.status) for one in list_runs(ctx, ListRuns())],
    "events": counted,
    "log": verify_log(ctx, VerifyLog()).ok,
}, default=str))
workspace.close()
"""


def _run(folder, die_at="never"):
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM, str(folder), die_at],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    done = _run(tmp_path_factory.mktemp("whole"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_an_undisturbed_turn_makes_one_version_and_puts_it_on_the_route(undisturbed):
    assert [stage for _, stage, *_ in undisturbed["cycles"]] == ["promoted"], undisturbed["cycles"]
    assert [number for number, _ in undisturbed["versions"]] == [1]
    assert undisturbed["runs"][0][1] == "finished"
    assert undisturbed["log"] is True


@pytest.mark.parametrize("die_at", ["refresh", "training 1", "trained 3"])
def test_a_turn_killed_inside_a_step_goes_on_and_does_nothing_twice(tmp_path, undisturbed, die_at):
    killed = _run(tmp_path / "cut", die_at)
    assert killed.returncode == 9, killed.stderr
    resumed = _run(tmp_path / "cut")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout.splitlines()[-1]) == undisturbed
