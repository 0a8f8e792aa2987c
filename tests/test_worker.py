"""The worker: which moment it tells the loop, when, and what it does when something fails."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import threading
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import undrift as ud
from undrift.core import Actor, ReplayClock, new_id
from undrift.core.errors import Conflict, Invalid, NotFound, Unavailable
from undrift.data import append, find_dataset
from undrift.loop import Cycle, DecideCycle, decide_cycle
from undrift.monitoring import Label, Observation, RecordLabels, record_labels
from undrift.project import build
from undrift.worker import TICK_S, WORKER, Worker, apply_project, run
from undrift.workspace import Workspace

NOW = datetime(2026, 5, 10, 14, 30, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)


def day(number, **time):
    return datetime(2026, 5, number, tzinfo=UTC) + timedelta(**time)


class Recording:
    """A loop that remembers what it was told."""

    def __init__(self):
        self.told = []
        self.turns = []
        self.failing = {}

    def advance(self, endpoint, now):
        self.told.append((endpoint, now))
        if endpoint in self.failing:
            raise self.failing[endpoint]
        return Observation(closed=1, measured=0, restated=0, touched=())

    def take_turn(self, endpoint, now):
        self.turns.append((endpoint, now))

    def fresh(self, endpoint="late"):
        """Return the moments that an endpoint was told since the last time this was asked."""
        moments = [now for name, now in self.told if name == endpoint]
        self.told = [one for one in self.told if one[0] != endpoint]
        return moments


class Stage:
    """A worker with a clock that is moved by hand."""

    def __init__(self, workspace, project, refresh=lambda _ctx, _until: 0):
        self.workspace = workspace
        self.clock = ReplayClock(NOW)
        self.seconds = 0.0
        self.said = []
        self.loop = Recording()
        self.context = workspace.context(Actor("ada"), clock=self.clock)
        self.built = build(workspace.context(WORKER, clock=self.clock), project)
        self.worker = self.make(refresh)

    def make(self, refresh=lambda _ctx, _until: 0):
        made = Worker(
            self.workspace,
            self.built.deployments,
            self.loop,
            refresh=refresh,
            say=self.said.append,
            clock=self.clock,
            pace=lambda: self.seconds,
        )
        made.start()
        return made

    @property
    def now(self):
        return self.clock.now()

    def tick(self, after=timedelta()):
        self.clock.advance_to(self.now + after)
        self.seconds += after.total_seconds() or TICK_S
        self.worker.tick()

    def add_rows(self, dataset="orders"):
        rows = pl.DataFrame({"order_id": [new_id()], "ordered": [self.now], "km": [1.0], "late": [0]})
        append(self.context, find_dataset(self.context, "shop", dataset), rows, known_until=self.now, message="More")

    def predict(self, at, endpoint="late"):
        """As the collector says it."""
        with self.context.begin():
            self.context.emit(
                "predictions.collected", f"endpoints/{endpoint}", project="shop", last_event_time=at.isoformat()
            )

    def label(self, endpoint="late"):
        record_labels(self.context, RecordLabels(endpoint, (Label(new_id(), 1.0, self.now),)))


def declare(*models, label_wait="1d"):
    project = ud.Project("shop", owner="ada@example.com")
    orders = project.dataset("orders", key="order_id", time="ordered")
    for name in models:
        project.model(name, predicts="late", data=orders, inputs=["km"], label_wait=label_wait)(lambda: None)
    return project


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / ".undrift"
    Workspace.open(folder, create=True).close()
    return folder


@pytest.fixture
def workspace(made, tmp_path):
    shutil.copytree(made, tmp_path / ".undrift")
    workspace = Workspace.open(tmp_path / ".undrift")
    yield workspace
    workspace.close()


@pytest.fixture
def stage(workspace):
    return Stage(workspace, declare("late"))


@pytest.fixture
def live(stage):
    """A stage whose endpoint was asked a moment ago and has been brought forward."""
    stage.predict(NOW)
    stage.tick()
    stage.loop.fresh()
    return stage


def test_a_model_without_rows_waits_and_says_so_once(stage):
    for _ in range(3):
        stage.tick()
    assert stage.loop.told == []
    assert stage.said == ["late waits for rows in dataset 'orders': add some with `undrift data add`."]


def test_the_first_version_is_asked_for_now_as_soon_as_there_are_rows(stage):
    stage.tick()
    stage.add_rows()
    stage.tick()
    assert stage.loop.told == stage.loop.turns == [("late", NOW)]
    stage.tick()
    assert len(stage.loop.told) == 1


def test_rows_that_come_later_are_a_reason_to_ask_for_a_first_version_again(stage):
    stage.add_rows()
    stage.tick()
    stage.add_rows()
    stage.tick(HOUR)
    assert stage.loop.turns == [("late", NOW), ("late", NOW + HOUR)]


def test_rows_of_the_projects_own_sources_are_one_only_once_a_window(workspace):
    stage = Stage(workspace, declare("late"))
    stage.add_rows()
    stage.tick()
    ctx = workspace.context(WORKER, clock=ReplayClock(NOW))
    rows = pl.DataFrame({"order_id": ["o1"], "ordered": [NOW], "km": [1.0], "late": [0]})
    append(ctx, find_dataset(ctx, "shop", "orders"), rows, known_until=NOW, message="From the source")
    stage.tick(HOUR)
    assert len(stage.loop.turns) == 1
    stage.tick(DAY)
    assert len(stage.loop.turns) == 2


def test_the_end_of_a_window_is_told_exactly_and_once(live):
    live.predict(day(11, hours=1))
    live.tick(10 * HOUR)
    live.tick()
    live.tick(5 * HOUR)
    assert live.loop.fresh() == [day(11)]
    assert "late at 2026-05-11 00:00 UTC: 1 windows closed." in live.said


def test_event_time_stands_still_when_nobody_asks_the_model(live):
    for _ in range(10):
        live.tick(DAY)
    # The last prediction's window ends on the 11th, and its labels are due a day later.
    assert live.loop.fresh() == [day(11), day(12)]


def test_predictions_of_the_past_are_brought_forward_to_where_their_labels_are_due(stage):
    stage.predict(day(1, hours=5))
    stage.tick()
    (moment,) = stage.loop.fresh()
    assert day(3) <= moment < day(3) + timedelta(seconds=1)


def test_windows_are_measured_when_their_labels_are_due_not_a_window_later(workspace):
    stage = Stage(workspace, declare("late", label_wait="2h"))
    stage.predict(NOW)
    stage.tick()
    stage.loop.fresh()
    for _ in range(48):
        stage.predict(stage.now)
        stage.tick(HOUR)
    assert stage.loop.fresh() == [day(11), day(11, hours=2), day(12), day(12, hours=2)]
    for _ in range(48):
        stage.tick(HOUR)
    assert stage.loop.fresh() == [day(13), day(13, hours=2)]


def test_labels_are_told_at_a_moment_of_their_own_and_not_too_often(live):
    for _ in range(4):
        live.label()
        live.tick(timedelta(seconds=6))
    first, second = live.loop.fresh()
    assert day(10) < first < second < day(10) + timedelta(seconds=1)
    live.tick(timedelta(seconds=6))
    live.tick(HOUR)
    assert len(live.loop.fresh()) == 1


def test_labels_keep_nothing_else_waiting_and_wait_a_minute_at_most(live):
    advance = live.loop.advance

    def slowly(endpoint, now):
        live.seconds += 600
        return advance(endpoint, now)

    live.loop.advance = slowly
    live.label()
    live.tick(timedelta(seconds=11))
    live.label()
    live.predict(day(11))
    live.tick(10 * HOUR - timedelta(minutes=20))
    assert len(live.loop.fresh()) == 2
    live.label()
    live.tick(timedelta(seconds=58))
    live.tick(timedelta(seconds=3))
    assert len(live.loop.fresh()) == 1


def test_labels_of_another_endpoint_are_no_reason(live):
    live.label("another")
    live.tick(HOUR)
    assert live.loop.fresh() == []


def test_a_decision_is_told_at_once(live, workspace):
    from undrift.loop.records import add_cycle

    cycle = Cycle(
        id=new_id(),
        project="shop",
        endpoint="late",
        model="late",
        stage="awaiting approval",
        trigger="schedule",
        incident=None,
        reason="",
        opened_at=NOW,
        stage_since=NOW,
    )
    with live.context.begin() as tx:
        add_cycle(tx, cycle)
    live.label()
    live.tick()
    live.loop.fresh()
    decide_cycle(live.context, DecideCycle(cycle.id, approve=True, reason="Good."))
    live.tick()
    assert len(live.loop.fresh()) == 1


def test_a_worker_that_starts_again_does_not_rely_on_what_it_told_before(live):
    before = live.loop
    live.loop = Recording()
    live.worker = live.make()
    live.predict(NOW)
    live.tick(MICROSECOND)
    (moment,) = live.loop.fresh()
    assert moment == day(10) + MICROSECOND
    assert before.told == []


def test_a_worker_that_starts_again_knows_the_last_prediction(stage, workspace, monkeypatch):
    from undrift import worker
    from undrift.serving import PredictionAccount

    def account(_ctx, request):
        return PredictionAccount(request.endpoint, 1, 1, 0, 0, 0, 1, 1, day(2), day(3, hours=4))

    monkeypatch.setattr(worker, "account", account)
    stage.worker = stage.make()
    stage.tick()
    (moment,) = stage.loop.fresh()
    assert day(5) <= moment < day(5) + timedelta(seconds=1)


def test_an_endpoint_that_fails_does_not_stop_the_others_and_is_tried_again(workspace):
    stage = Stage(workspace, declare("broken", "late"))
    stage.predict(NOW, "broken")
    stage.predict(NOW)
    stage.loop.failing["broken"] = ZeroDivisionError("in train")
    stage.tick()
    assert len(stage.loop.fresh("late")) == 1
    (first,) = stage.loop.fresh("broken")
    assert "Endpoint broken failed: Traceback" in stage.said[-2]
    assert "ZeroDivisionError: in train" in stage.said[-2]
    stage.tick()
    assert stage.loop.fresh("broken") == []
    stage.tick(timedelta(seconds=6))
    (second,) = stage.loop.fresh("broken")
    assert second > first
    stage.tick(timedelta(seconds=6))
    assert stage.loop.fresh("broken") == []
    stage.loop.failing.clear()
    stage.tick(timedelta(seconds=300))
    stage.tick(timedelta(seconds=300))
    assert len(stage.loop.fresh("broken")) == 1


def test_a_failure_that_goes_on_is_not_said_over_and_over(stage, monkeypatch):
    def away(_ctx, _folder):
        raise Unavailable("The store is away.")

    monkeypatch.setattr("undrift.worker.collect", away)
    for _ in range(20):
        stage.tick()
    assert stage.said.count("Collecting predictions failed: The store is away.") == 1
    stage.tick(HOUR)
    assert stage.said.count("Collecting predictions failed: The store is away.") == 2


def test_the_projects_sources_are_read_once_a_window(workspace):
    asked = []
    stage = Stage(workspace, declare("late"), refresh=lambda _ctx, until: asked.append(until) or 2)
    stage.tick()
    stage.tick(HOUR)
    stage.tick(DAY)
    assert asked == [NOW, NOW + HOUR + DAY]
    assert stage.said.count("The project's sources gave 2 new versions of datasets.") == 2


def test_the_sources_of_a_project_without_models_are_read_once_a_day(workspace):
    asked = []
    stage = Stage(workspace, declare(), refresh=lambda _ctx, until: asked.append(until) or 0)
    for _ in range(48):
        stage.tick(HOUR)
    assert [until.day for until in asked] == [10, 11, 12]


def test_a_source_that_fails_is_asked_again_later(workspace):
    asked = []

    def refresh(_ctx, until):
        asked.append(until)
        raise OSError("no such host")

    stage = Stage(workspace, declare("late"), refresh=refresh)
    stage.tick()
    stage.tick()
    assert len(asked) == 1
    stage.tick(timedelta(minutes=6))
    assert len(asked) == 2
    assert "Reading the project's sources failed: Traceback" in stage.said[0]


def test_the_head_of_the_log_is_published(stage, workspace):
    stage.tick()
    assert workspace.published_head().position > 0


def test_collecting_gets_rarer_while_predictions_keep_coming(stage, monkeypatch):
    from undrift.serving import CollectReport

    rounds = []
    monkeypatch.setattr("undrift.worker.collect", lambda _ctx, _folder: rounds.append(stage.seconds) or report)
    report = CollectReport(rows=5)
    for _ in range(150):
        stage.tick()
    gaps = [after - before for before, after in itertools.pairwise(rounds)]
    assert gaps == [4, 8, 16, 32, 60, 60, 60]
    report = CollectReport()
    stage.tick(timedelta(minutes=2))
    rounds.clear()
    for _ in range(3):
        stage.tick()
    assert len(rounds) == 3


def test_a_stop_in_the_middle_of_a_tick_is_heeded(workspace):
    stage = Stage(workspace, declare("first", "second"))
    stop = threading.Event()
    stage.predict(NOW, "first")
    stage.predict(NOW, "second")
    stage.loop.advance = lambda endpoint, now: (
        stop.set() or stage.loop.told.append(endpoint) or Observation(0, 0, 0, ())
    )
    stage.worker.tick(stop)
    assert stage.loop.told == ["first"]


def use(workspace, text):
    (workspace.folder.parent / "project.py").write_text(text)
    settings = workspace.folder / "workspace.json"
    settings.write_text(json.dumps({"format": 1, "project": "project.py"}))
    workspace.close()
    return Workspace.open(workspace.folder)


def test_a_project_may_be_made_of_several_files_and_its_code_is_kept(workspace, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (workspace.folder.parent / "its_owner.py").write_text("OWNER = 'ada@example.com'")
    text = "import undrift as ud\nfrom its_owner import OWNER\nshop = ud.Project('shop', owner=OWNER)\n"
    workspace = use(workspace, text)
    assert apply_project(workspace, print).project.owner == "ada@example.com"
    ctx = workspace.context()
    commit = ctx.repository.commits.read(ctx.repository.refs.read("projects/shop/code"))
    assert ctx.repository.trees.get(commit.tree, "project.py") == text.encode()
    assert ctx.repository.trees.get(commit.tree, "its_owner.py")
    workspace.close()


def test_a_workspace_that_names_no_project_says_so(workspace):
    said = []
    assert apply_project(workspace, said.append) is None
    assert said == ["The workspace names no project: there is nothing to run, predictions are only collected."]


def test_a_project_that_is_gone_or_fails_is_told(workspace):
    workspace = use(workspace, "1 / 0")
    with pytest.raises(Invalid, match="ZeroDivisionError"):
        apply_project(workspace, print)
    (workspace.folder.parent / "project.py").unlink()
    with pytest.raises(NotFound):
        apply_project(workspace, print)
    workspace.close()


def test_a_workspace_has_one_worker(workspace):
    with workspace.hold("worker"), pytest.raises(Conflict, match="runs already"):
        run(workspace, threading.Event(), say=print, on_ready=print)


def test_it_is_ready_once_the_project_is_applied_and_stops_when_told(workspace):
    ready, stop = [], threading.Event()

    def on_ready(endpoints):
        ready.append(endpoints)
        stop.set()

    run(workspace, stop, say=print, on_ready=on_ready)
    assert ready == [[]]
