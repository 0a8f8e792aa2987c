"""The town of `town.py` in this process, a turn at a time; and a nursery that lives its life in processes of their own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from undrift.core import Actor, ReplayClock
from undrift.data import ListQuarantines, list_quarantines
from undrift.events import ListEvents, list_events
from undrift.loop import Cycle, ListCycles, list_cycles, turn
from undrift.metastore import metadata
from undrift.monitoring import Incident, ListIncidents, Measure, Observer, Window, list_incidents
from undrift.registry import FindAlias, find_alias
from undrift.serving import FindRoute, collect, find_route
from undrift.tracking import ListRuns, list_runs

START = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TOWN = Path(__file__).with_name("town.py")


@pytest.fixture(scope="session")
def town():
    """The module `town.py`: tests are no package that it could be imported from."""
    spec = importlib.util.spec_from_file_location("town", TOWN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Life:
    """Lives in a town, step by step, in this process.

    With ``twice`` each step of a turn is taken twice, as after a crash, and must find its work done.
    """

    def __init__(self, module, make_ctx, database, folder, *, twice=False, **given):
        self.module, self.make_ctx, self.database, self.folder = module, make_ctx, database, folder
        self.town = module.Town(self.ctx, folder, **given)
        self.observer = Observer(self.town.deployment.monitor)
        self.twice = twice
        self.step = -1

    @property
    def deployment(self):
        return self.town.deployment

    def redeploy(self, train=None, **given):
        """Change what is declared, as a new start of the worker does."""
        self.town.deployment = self.town.deploy(train or self.deployment.recipe.train, **given)

    def ctx(self, moment=None):
        moment = self.module.at(max(self.step, 0)) if moment is None else moment
        return self.make_ctx(self.database, clock=ReplayClock(moment), actor=Actor("worker", "service"))

    def until(self, last):
        """Live up to a step."""
        while self.step < last:
            self.step += 1
            self.town.half_day(self.step, self.advance)
        return self

    def advance(self, endpoint, now):
        ctx = self.ctx(now)
        collect(ctx, self.folder)
        self.do(self.observer.observe, ctx, now)
        if turn.is_needed(ctx, self.deployment, now):
            self.turn(now)

    def turn(self, now=None):
        """Take the turn of a moment; returns what its steps answered."""
        now = now or self.module.at(self.step)
        ctx = self.ctx(now)
        said = [
            self.do(turn.settle_incidents, ctx, self.deployment, now),
            self.do(turn.rule_on_rollout, ctx, self.deployment, now),
            self.do(turn.decide_retraining, ctx, self.deployment, now),
        ]
        if said[-1] is not None:
            said.append(self.do(turn.train_challenger, ctx, self.deployment, said[-1], now))
            if said[-1] is not None:
                said.append(self.do(turn.begin_rollout, ctx, self.deployment, said[2], now))
        return said

    def do(self, step, *given):
        answer = step(*given)
        if self.twice:
            before = contents(self.database)
            step(*given)
            assert contents(self.database) == before, f"{step.__name__} did something twice"
        return answer

    # --- What is known ---

    def cycles(self):
        return list_cycles(self.ctx(), ListCycles())[::-1]

    def incidents(self):
        return list_incidents(self.ctx(), ListIncidents())[::-1]

    def quarantines(self):
        return list_quarantines(self.ctx(), ListQuarantines("town"))

    def runs(self):
        return list_runs(self.ctx(), ListRuns())[::-1]

    def champion(self):
        found = find_alias(self.ctx(), FindAlias("town", "late", "champion"))
        return None if found is None else found.number

    def arms(self):
        return [(arm.name, arm.number, arm.share) for arm in find_route(self.ctx(), FindRoute("late")).arms]

    def transitions(self):
        found = list_events(self.ctx(), ListEvents(type="loop.transition", limit=1000))[::-1]
        return [(event.data["before"], event.data["after"]) for event in found]


def contents(database):
    """Everything there is in the database."""
    with database.read() as tx:
        return {
            table.name: sorted(map(repr, tx.exec_driver_sql(f'SELECT * FROM "{table.name}"').all()))
            for table in metadata.sorted_tables
        }


@pytest.fixture
def make_life(town, make_ctx, sqlite_database, tmp_path):
    """Begin the life of a town."""
    made = []

    def make(**given):
        made.append(Life(town, make_ctx, sqlite_database, tmp_path / "predictions", **given))
        return made[-1]

    yield make
    for one in made:
        one.town.close()


# --- What rules are asked about ---


@pytest.fixture
def make_cycle():
    """Make a cycle; by default it opened and closed on the first day."""

    def make(*, stage="promoted", trigger="performance", opened=0.0, closed=None, **given):
        ended = stage in ("promoted", "rolled back", "refused")
        return Cycle(
            id="c" * 32,
            project="town",
            endpoint="late",
            model="late",
            stage=stage,
            trigger=trigger,
            incident=None,
            reason="",
            opened_at=START + opened * DAY,
            stage_since=START + (given.pop("since", opened)) * DAY,
            rollout_since=START + opened * DAY,
            closed_at=START + (opened if closed is None else closed) * DAY if ended else None,
            champion=1,
            challenger=2,
            **given,
        )

    return make


@pytest.fixture
def make_incident():
    """Make an open incident."""

    def make(cause="performance drop", number=1, **given):
        fixed = {
            "id": "i" * 32,
            "number": number,
            "project": "town",
            "endpoint": "late",
            "cause": cause,
            "title": "",
            "columns": (),
            "dataset": None,
            "owner": "ops@town",
            "opened_at": START,
            "started_at": START,
            "last_seen_at": START,
            "resolved_at": None,
            "state": "open",
            "findings": (),
            "diagnosis": "The world changed.",
        }
        return Incident(**(fixed | given))

    return make


@pytest.fixture
def make_window():
    """Make a measured window of a day; losses are given by version, or whole measures."""

    def make(day, losses, *, rows=100, drift=None):
        return Window(
            endpoint="late",
            start=START + day * DAY,
            end=START + (day + 1) * DAY,
            predictions=rows,
            labels=rows,
            served=None,
            versions={
                str(version): loss if isinstance(loss, Measure) else Measure(rows, loss, None, 0.5, 0.5)
                for version, loss in losses.items()
            },
            missing={},
            drift=drift or {},
            suspect=(),
            profile=None,
            measured_at=START + (day + 2) * DAY,
        )

    return make


class Nursery:
    """A process that lives parts of a life in children of its own, where they can be killed."""

    def __init__(self):
        # What is left to one thread can be forked.
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, str(TOWN)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | threads,
        )
        assert self.process.stdout.readline() == "ready\n"

    def live(self, folder, first, last, **given):
        """Live some steps in a workspace; returns the signal that ended the child, 0 when it came to its end."""
        asked = {"folder": str(folder), "first": first, "last": last} | given
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        error = Path(folder).with_name("error.txt")
        assert not error.exists(), error.read_text()
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="session")
def nursery():
    made = Nursery()
    yield made
    made.close()
