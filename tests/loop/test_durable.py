"""The loop is killed inside each step of a turn, and goes on as if nothing had happened."""

from __future__ import annotations

import collections
import shutil
import signal

import msgspec
import pytest

from undrift.core import Actor, ReplayClock
from undrift.data import ListDatasetVersions, ListQuarantines, list_dataset_versions, list_quarantines
from undrift.events import ListEvents, VerifyLog, list_events, verify_log
from undrift.loop import ListCycles, list_cycles
from undrift.monitoring import (
    FindLabelAccount,
    ListIncidents,
    ListWindows,
    find_label_account,
    list_incidents,
    list_windows,
)
from undrift.registry import ListVersions, alias_history, list_versions
from undrift.serving import FindAccount, RouteHistory, account, route_history
from undrift.tracking import ListRuns, list_runs
from undrift.workspace import Workspace

# At step 2 no temperature comes; from step 4 on the buses are late for the opposite reasons.
WORLD = {"fault": [2], "flips": [4]}
LAST = 16

# Where it is killed: the step of the life, and what happens in it just then.
QUARANTINE, QUARANTINE_ENDS, DIAGNOSIS, RETRAINING, NEXT_STEP, PROMOTION = 3, 4, 6, 9, 10, 14
KILLS = {
    "settling a fault, before": (QUARANTINE, {"kill": "dataset.quarantined@before"}),
    "settling a fault, after": (QUARANTINE, {"kill": "dataset.quarantined@after"}),
    "ending a quarantine": (QUARANTINE_ENDS, {"kill": "dataset.quarantine_ended@after"}),
    "diagnosing a drop": (DIAGNOSIS, {"kill": "incident.diagnosed@after"}),
    "deciding, before": (RETRAINING, {"kill": "loop.transition:retraining@before"}),
    "deciding, after": (RETRAINING, {"kill": "loop.transition:retraining@after"}),
    "taking in rows": (RETRAINING, {"kill_in": "refresh"}),
    "taking in rows, half-way": (RETRAINING, {"kill_in": "between"}),
    "training": (RETRAINING, {"kill_in": "train"}),
    "registering, before": (RETRAINING, {"kill": "model.version_registered@before"}),
    "registering, after": (RETRAINING, {"kill": "model.version_registered@after"}),
    "ending the run": (RETRAINING, {"kill": "run.ended@after"}),
    "starting the rollout, before": (RETRAINING, {"kill": "loop.transition:canary@before"}),
    "starting the rollout, after": (RETRAINING, {"kill": "loop.transition:canary@after"}),
    "the next step of the rollout": (NEXT_STEP, {"kill": "loop.transition:canary@after"}),
    "promoting, before": (PROMOTION, {"kill": "model.alias_moved@before"}),
    "promoting, after": (PROMOTION, {"kill": "model.alias_moved@after"}),
}


def known(folder):
    """Everything that is known in a workspace, without the ids that were drawn."""
    workspace = Workspace.open(folder)
    ctx = workspace.context(Actor("ada"), clock=ReplayClock(workspace_time()))
    events = list_events(ctx, ListEvents(limit=1000))
    # What a run made may be told again, and is kept once.
    told = collections.Counter(
        (event.type, event.subject, event.time) for event in events if event.type != "run.linked"
    )
    found = {
        "versions": list_versions(ctx, ListVersions("town", "late")),
        "aliases": alias_history(ctx, ListVersions("town", "late")),
        "routes": route_history(ctx, RouteHistory("late")),
        "cycles": list_cycles(ctx, ListCycles()),
        "incidents": list_incidents(ctx, ListIncidents()),
        "quarantines": list_quarantines(ctx, ListQuarantines("town")),
        "runs": list_runs(ctx, ListRuns()),
        "windows": list_windows(ctx, ListWindows("late")),
        "buses": list_dataset_versions(ctx, ListDatasetVersions("town", "buses")),
        "weather": list_dataset_versions(ctx, ListDatasetVersions("town", "weather")),
        "labels": find_label_account(ctx, FindLabelAccount("late")),
        "predictions": msgspec.structs.replace(
            account(ctx, FindAccount("late")), segments=0, size_bytes=0, duplicates=0, logged=0
        ),
        "events": sorted(map(repr, told.items())),
    }
    assert verify_log(ctx, VerifyLog()).ok
    workspace.close()
    return {name: without_drawn_ids(msgspec.to_builtins(value)) for name, value in found.items()}


def workspace_time():
    from datetime import UTC, datetime

    return datetime(2014, 1, 1, tzinfo=UTC)


def without_drawn_ids(value):
    """Leave out ids that are made anew each time; those of cycles and runs follow from what they are of."""
    if isinstance(value, list | tuple):
        return [without_drawn_ids(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {name: without_drawn_ids(one) for name, one in value.items() if name not in ("incident_id", "dataset_id")}
    if "trigger" not in value and "experiment" not in value:
        kept.pop("id", None)
    return kept


@pytest.fixture(scope="module")
def undisturbed(nursery, tmp_path_factory):
    """A life that nobody disturbs: what is known after some steps, and a copy of the workspace before each of them."""
    folder = tmp_path_factory.mktemp("undisturbed") / "workspace"
    states, copies, lived = {}, {}, -1
    for step in sorted({step for step, _ in KILLS.values()} | {LAST}):
        if lived + 1 < step:
            assert nursery.live(folder, lived + 1, step - 1, town=WORLD) == 0
        copies[step] = shutil.copytree(folder, folder.with_name(f"before-{step}"))
        assert nursery.live(folder, step, step, town=WORLD) == 0
        states[step], lived = known(folder), step
    return states, copies


def test_a_life_that_nobody_disturbs_goes_as_expected(undisturbed):
    states, _ = undisturbed
    assert [cycle["stage"] for cycle in states[RETRAINING]["cycles"]] == ["canary", "promoted"]
    end = states[LAST]
    assert [cycle["stage"] for cycle in end["cycles"]] == ["promoted", "promoted"]
    assert [version["number"] for version in end["versions"]] == [2, 1]
    assert [len(route["arms"]) for route in end["routes"]] == [1, 2, 2, 1]
    assert [(one["cause"], one["state"]) for one in end["incidents"]] == [
        ("performance drop", "resolved"),
        ("data fault", "resolved"),
    ]
    assert len(end["quarantines"]) == 1
    assert len(end["runs"]) == 2


@pytest.mark.parametrize("kill", KILLS)
def test_killed_while(nursery, undisturbed, tmp_path, kill):
    states, copies = undisturbed
    step, how = KILLS[kill]
    folder = shutil.copytree(copies[step], tmp_path / "workspace")
    assert nursery.live(folder, step, step, town=WORLD, **how) == signal.SIGKILL, "it was not killed"
    assert known(folder) != states[step] or kill in ("the next step of the rollout", "promoting, after")
    assert nursery.live(folder, step, step, town=WORLD) == 0
    resumed = known(folder)
    assert {name for name, value in states[step].items() if resumed[name] != value} == set()


def test_killed_again_and_again_it_comes_to_the_same_end(nursery, undisturbed, tmp_path):
    states, copies = undisturbed
    folder = shutil.copytree(copies[RETRAINING], tmp_path / "workspace")
    for kill in ("taking in rows, half-way", "training", "registering, after", "starting the rollout, before"):
        assert nursery.live(folder, RETRAINING, RETRAINING, town=WORLD, **KILLS[kill][1]) == signal.SIGKILL
    assert nursery.live(folder, RETRAINING, LAST, town=WORLD) == 0
    end = known(folder)
    assert {name for name, value in states[LAST].items() if end[name] != value} == set()


def test_living_a_step_again_changes_nothing(nursery, undisturbed, tmp_path):
    states, copies = undisturbed
    folder = shutil.copytree(copies[NEXT_STEP], tmp_path / "workspace")
    assert nursery.live(folder, RETRAINING, RETRAINING, town=WORLD) == 0
    assert known(folder) == states[RETRAINING]
