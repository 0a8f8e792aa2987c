"""Kills a worker in the middle of a rollout, an approval, a promotion, a quarantine, and looks at what it did."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Two weeks of one deployment, a day at a time. Every version has to be approved by bob. On day 4 an input is missing;
# after day 7 another version is made, shadowed, shown as a canary, and promoted. What dies: the process, either when
# an event is about to be written with its change (nothing is on disk yet), or when a step has committed and the turn
# does not know it yet.
_PROGRAM = """
import json, os, shutil, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
import numpy as np, polars as pl
import undrift as ud
from undrift.core import Actor, Context, ReplayClock
from undrift.data import ListQuarantines, list_quarantines
from undrift.events import VerifyLog, read_after, verify_log
from undrift.loop import DecideCycle, ListCycles, decide_cycle, list_cycles, turn
from undrift.loop.durable import DurableLoop
from undrift.monitoring import Label, ListIncidents, RecordLabels, list_incidents, record_labels
from undrift.project import build
from undrift.registry import (FindVersion, ListApprovals, ListVersions, SetApprovalPolicy, alias_history, encode_frame,
                              find_version, list_approvals, list_versions, load_scorer, set_approval_policy)
from undrift.serving import FindRoute, ListEndpoints, find_route, list_endpoints
from undrift.core.errors import NotFound
from undrift.serving.frames import encode_predictions, head_of
from undrift.serving.wal import Wal
from undrift.tracking import ListRuns, list_runs
from undrift.workspace import Workspace

folder, die_at, copies = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
DAY, EPOCH = timedelta(days=1), datetime(1970, 1, 1, tzinfo=UTC)
LIVE, LAST = datetime(2020, 2, 19, tzinfo=UTC), 14
BOB, WORKER = Actor("bob"), Actor("worker", "service")

def world(start, rows, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    return pl.DataFrame(
        {"id": [f"{seed}-{place}" for place in range(rows)],
         "at": [start + place * DAY / 200 for place in range(rows)], "x": x,
         "y": (x + random.normal(size=rows) > 0).astype(int)},
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )

def source(since, until):
    found = pl.concat([world(LIVE - 30 * DAY, 6000, 999), *(world(LIVE + day * DAY, 200, day) for day in range(LAST))])
    found = found.filter(pl.col("at") <= until)
    return found if since is None else found.filter(pl.col("at") > since)

project = ud.Project("p", owner="o")
rows = project.dataset("rows", key="id", time="at", source=source)

@project.model("m", predicts="y", data=rows, inputs=["x"], label_wait="1h")
def train(X, y, seed):
    from sklearn.linear_model import LogisticRegression
    return LogisticRegression(solver="newton-cholesky").fit(X.to_numpy(), y.to_numpy())

train.gates(ud.at_least("roc_auc", 0.6))
train.watch(ud.quality())
train.retrain(on=["schedule:6d"], cooldown="1d", held_out="6d")
train.rollout(ud.shadow("1d"), ud.canary(25, step="1d"), margin=0.5)

emit = Context.emit
def emitting(self, type_, subject, **data):
    emit(self, type_, subject, **data)
    what = data.get("after") or data.get("number") or ""
    if die_at == f"before {type_} {what}".strip():
        os._exit(9)
Context.emit = emitting

def dying(name):
    step = getattr(turn, name)
    def done(ctx, deployment, *rest):
        answer = step(ctx, deployment, *rest)
        if die_at == f"after {name} {answer}":
            os._exit(9)
        return answer
    setattr(turn, name, done)
for name in ("settle_incidents", "rule_on_rollout", "begin_rollout"):
    dying(name)

workspace = Workspace.open(folder / ".undrift", create=True)
def context(moment, actor=WORKER):
    return workspace.context(actor, clock=ReplayClock(moment))

def decide(moment):
    for cycle in list_cycles(context(moment), ListCycles("m")):
        if cycle.stage == "awaiting approval":
            ctx = context(moment, BOB).once(f"bob about {cycle.id}")
            decide_cycle(ctx, DecideCycle(cycle.id, approve=True, reason="I looked."))
            if die_at == f"after decide_cycle {cycle.challenger}":
                os._exit(9)

def serve(day):
    start, answered = LIVE + day * DAY, folder / f"answered-{day}"
    ctx = context(start)
    try:
        route = find_route(ctx, FindRoute("m"))
    except NotFound:
        (folder / f"closed-{day}").touch()
    # Whatever the worker does later, the customers of a morning came once.
    if (folder / f"closed-{day}").exists():
        return
    asked = world(start, 200, day)
    if not answered.exists():
        sent = asked.with_columns(x=pl.lit(None, dtype=pl.Float64)) if day == 4 else asked
        versions = [find_version(ctx, FindVersion("p", "m", number=arm.number)) for arm in route.arms]
        scores = [load_scorer(ctx, one.files)(encode_frame(one.contract, sent)).tolist() for one in versions]
        log = Wal(workspace.predictions_folder)
        arms = [(arm.name, arm.number) for arm in route.arms]
        assert log.append(encode_predictions(
            head_of("m", "p", route.revision, versions[0].contract.inputs, arms),
            answered_at=(start + DAY - EPOCH) // timedelta(microseconds=1), ids=asked["id"].to_list(),
            event_times=[(one - EPOCH) // timedelta(microseconds=1) for one in asked["at"]], arms=None,
            scores=scores[0], others=scores[1] if len(scores) > 1 else None, layout="columns",
            values=[sent["x"].to_list()]))
        log.close()
        answered.touch()
    labels = tuple(Label(id_, float(y)) for id_, y in asked.select("id", "y").iter_rows())
    record_labels(context(start + DAY).once(f"labels {day}"), RecordLabels("m", labels))

set_approval_policy(context(LIVE, Actor("boss")), SetApprovalPolicy("p", 1, "Four eyes."))
built = build(context(LIVE), project)
begun = folder / "day"
first = int(begun.read_text()) if begun.exists() else 0
for day in range(first, LAST):
    begun.write_text(str(day))
    if str(day) in copies:
        workspace.close()
        shutil.copytree(folder, folder.with_name(f"day-{day}"))
        workspace = Workspace.open(folder / ".undrift")
    if day == first or str(day) in copies:
        loop = DurableLoop(workspace.loop_url, built.deployments, context, workspace.predictions_folder).__enter__()
    if not (folder / f"decided-{day}").exists():
        decide(LIVE + day * DAY)
        (folder / f"decided-{day}").touch()
    serve(day)
    loop.advance("m", LIVE + (day + 1) * DAY + timedelta(hours=1))
    if str(day + 1) in copies or day + 1 == LAST:
        loop.__exit__()

ctx = context(LIVE + (LAST + 1) * DAY)
with workspace.database.read() as tx:
    events = read_after(tx, 0, limit=10_000)
print(json.dumps({
    "versions": [one.number for one in list_versions(ctx, ListVersions("p", "m"))],
    "moves": [(one.alias, one.number, one.at, one.reason) for one in alias_history(ctx, ListVersions("p", "m"))],
    "approvals": [(one.number, one.state, [(said.actor, said.approve) for said in one.decisions])
                  for one in list_approvals(ctx, ListApprovals("p"))],
    "routes": [(one.endpoint, one.revision, one.champion.number) for one in list_endpoints(ctx, ListEndpoints())],
    "cycles": [(one.id, one.stage, one.challenger, one.outcome) for one in list_cycles(ctx, ListCycles())],
    "runs": [(one.id, one.status) for one in list_runs(ctx, ListRuns())],
    "incidents": [(one.number, one.cause, one.state, one.diagnosis, one.action)
                  for one in list_incidents(ctx, ListIncidents(endpoint="m"))],
    "quarantines": [(one.dataset, one.start, one.end, one.reason)
                    for one in list_quarantines(ctx, ListQuarantines("p"))],
    "events": [(one.type, one.time, one.data.get("before"), one.data.get("after"), one.data.get("number"))
               for one in events],
    "log": verify_log(ctx, VerifyLog()).ok,
}, default=str))
workspace.close()
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run the program on a folder; returns the process when it has ended."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    if env.pop("PYTHONDONTWRITEBYTECODE", ""):
        # Compiling all that a worker imports takes longer than all it does here.
        env["PYTHONPYCACHEPREFIX"] = str(tmp_path_factory.mktemp("bytecode"))
    return lambda folder, die_at="never", *copies: _run(env, folder, die_at, *copies)


def _run(env, folder, die_at, *copies):
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM, str(folder), die_at, *copies],
        capture_output=True,
        text=True,
        timeout=280,
        env=env,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, run):
    """What two weeks come to, and copies of the folder as it was on the mornings on which something is to die."""
    folder = tmp_path_factory.mktemp("weeks") / "whole"
    done = run(folder, "never", "1", "4", "7", "8")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), folder.parent


def test_two_undisturbed_weeks_hold_all_that_is_cut_off_below(undisturbed):
    did, _ = undisturbed
    assert did["versions"] == [2, 1]
    assert [(alias, number) for alias, number, *_ in did["moves"]] == [("champion", 2), ("champion", 1)]
    assert did["approvals"] == [[2, "approved", [["bob", True]]], [1, "approved", [["bob", True]]]]
    assert [after for kind, _, _, after, _ in did["events"] if kind == "loop.transition"] == [
        "retraining",
        "awaiting approval",
        "promoted",
        "retraining",
        "awaiting approval",
        "shadow",
        "canary",
        "promoted",
    ]
    assert [(cause, state) for _, cause, state, *_ in did["incidents"]] == [("data fault", "resolved")]
    assert len(did["quarantines"]) == 1
    assert did["quarantines"][0][2] is not None
    assert did["log"] is True


@pytest.mark.parametrize(
    ("day", "die_at"),
    [
        (1, "after begin_rollout promoted"),
        (4, "before dataset.quarantined"),
        (7, "after begin_rollout awaiting approval"),
        (8, "after decide_cycle 2"),
        (8, "after rule_on_rollout next step"),
        (8, "before model.alias_moved 2"),
    ],
)
def test_a_worker_killed_on_the_way_goes_on_and_does_nothing_twice(tmp_path, run, undisturbed, day, die_at):
    did, mornings = undisturbed
    folder = shutil.copytree(mornings / f"day-{day}", tmp_path / "cut")
    killed = run(folder, die_at)
    assert killed.returncode == 9, killed.stderr or killed.stdout
    resumed = run(folder)
    assert resumed.returncode == 0, resumed.stderr
    found = json.loads(resumed.stdout.splitlines()[-1])
    for what, expected in did.items():
        assert found[what] == expected, what
