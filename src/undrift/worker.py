"""The worker: applies the project, takes predictions into the store, and brings every endpoint forward.

It decides nothing: what is due at a moment of event time is the loop's business. The worker says which moment it is.
Event time stands still when nobody asks the model: a moment lies at most a window and the wait for its labels after
the last prediction. The loop is told when that moment reaches the end of another window, when labels come, and when
a person has decided; all of this is read from the log.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from undrift.core.clock import Clock, ReplayClock, SystemClock, parse_time
from undrift.core.context import Actor, Context
from undrift.core.errors import NotFound, UndriftError
from undrift.data import find_dataset, read_newest
from undrift.events import Courier, Event, head, read_after
from undrift.loop.deployment import Deployment
from undrift.monitoring import Observation
from undrift.project import Built, build, load_project, snapshot_code
from undrift.serving import FindAccount, account, collect
from undrift.workspace import Workspace

__all__ = ["WORKER", "Loop", "Worker", "apply_project", "run"]

WORKER = Actor("worker", "service")

TICK_S = 2.0
_LONGEST_COLLECT_S = 60.0
_LABELS_S = 10.0
_LONGEST_LABELS_S = 60.0
_FIRST_RETRY_S = 2.5
_LONGEST_RETRY_S = 300.0
_DAY_S = 86_400.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECISIONS = {"loop.decided", "model.approval_given", "model.approval_refused", "model.approval_policy_set"}
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)

Say = Callable[[str], None]


class Loop(Protocol):
    """What the worker needs of `undrift.loop.durable.DurableLoop`."""

    def advance(self, endpoint: str, now: datetime) -> Observation:
        """Bring an endpoint up to a moment of event time."""

    def take_turn(self, endpoint: str, now: datetime) -> None:
        """Take the turn of an endpoint at a moment."""


class _State:
    """What the worker knows of one endpoint.

    Attributes:
        last: Event time of its last prediction; None when there is none.
        mark: What was due when the loop was told last; None when it was told nothing yet.
        told: The moment it was told last.
        labelled: Labels have come since.
        decided: A person has decided since.
        supplied: Rows have come since from others than this worker.
        refreshed: Rows have come since from the project's own sources.
        retry_at: When to try again what failed, by the pace.
        labels_at: When labels are a reason again, by the pace: they may keep coming.
        failures: How often in a row it failed.
        waits: Its model has nothing to learn from, which has been said.
    """

    def __init__(self) -> None:
        self.last: datetime | None = None
        self.mark: datetime | None = None
        self.told: datetime | None = None
        self.labelled = self.decided = self.supplied = self.refreshed = False
        self.retry_at = self.labels_at = 0.0
        self.failures = 0
        self.waits = False


class Worker:
    """Brings the endpoints of a workspace forward, a tick at a time.

    Args:
        workspace: Whose.
        deployments: By endpoint.
        loop: Takes the turns; None when nothing is deployed.
        refresh: Takes in what the project's sources know at a moment; returns how many versions that made.
        say: Told what happens.
        clock: Where the time comes from.
        pace: A clock that only goes forward, in seconds: how long to leave off.
        courier: Carries events to webhooks; None when somebody else does.
    """

    def __init__(
        self,
        workspace: Workspace,
        deployments: Mapping[str, Deployment],
        loop: Loop | None,
        *,
        refresh: Callable[[Context, datetime], int],
        say: Say,
        clock: Clock | None = None,
        pace: Callable[[], float] = time.monotonic,
        courier: Courier | None = None,
    ) -> None:
        self._courier = courier
        self._workspace = workspace
        self._deployments = deployments
        self._loop = loop
        self._source = refresh
        self._say = say
        self._clock = clock or SystemClock()
        self._pace = pace
        self._states = {endpoint: _State() for endpoint in deployments}
        self._collect_at = self._refresh_at = 0.0
        self._collect_pause_s = TICK_S
        self._refreshed: datetime | None = None
        self._position = 0
        self._failures: dict[str, tuple[str, float]] = {}

    def until(self, stop: threading.Event) -> None:
        """Tick until told to stop."""
        self.start()
        while not stop.is_set():
            self.tick(stop)
            stop.wait(TICK_S)

    def start(self) -> None:
        """Learn where the endpoints stand; from here on the log says what is new."""
        with self._workspace.database.read() as tx:
            self._position = head(tx).position
        for endpoint, state in self._states.items():
            with contextlib.suppress(NotFound):
                state.last = account(self._context(), FindAccount(endpoint)).last_event_time

    def tick(self, stop: threading.Event | None = None) -> None:
        """Do what is due; whatever fails is told, and tried again later."""
        self._guarded("Collecting predictions", self._collect)
        self._guarded("Reading the log", self._read_log)
        self._guarded("Delivering to webhooks", self._deliver)
        self._guarded("Reading the project's sources", self._refresh)
        for endpoint in self._states:
            if stop is not None and stop.is_set():
                return
            self._guarded(f"Endpoint {endpoint}", partial(self._bring_forward, endpoint))
        self._guarded("Publishing the head of the log", self._workspace.publish_head)

    def _context(self, at: datetime | None = None) -> Context:
        return self._workspace.context(WORKER, clock=self._clock if at is None else ReplayClock(at))

    def _guarded(self, what: str, do: Callable[[], object]) -> None:
        try:
            do()
        except Exception as error:  # noqa: BLE001 - one part that fails must not stop the others
            # What undrift did not think of is most likely the user's own code: they need to see where.
            said = str(error) if isinstance(error, UndriftError) else "".join(traceback.format_exception(error))
            before, at = self._failures.get(what, ("", 0.0))
            if said != before or self._pace() >= at + _LONGEST_RETRY_S:
                self._failures[what] = (said, self._pace())
                self._say(f"{what} failed: {said}")

    def _collect(self) -> None:
        if self._pace() < self._collect_at:
            return
        report = collect(self._context(), self._workspace.predictions_folder)
        # Each round makes a file of what has come, so rounds get rarer while predictions keep coming.
        self._collect_pause_s = min(2 * self._collect_pause_s, _LONGEST_COLLECT_S) if report.rows else TICK_S
        self._collect_at = self._pace() + self._collect_pause_s
        if report.dropped:
            self._say(f"{report.dropped} predictions were answered but could not be logged.")
        for problem in report.problems:
            self._say(problem)

    def _read_log(self) -> None:
        while True:
            with self._workspace.database.read() as tx:
                events = read_after(tx, self._position)
            if not events:
                return
            for event in events:
                self._take(event)
                self._position = event.position

    def _take(self, event: Event) -> None:
        state = self._states.get(event.subject.removeprefix("endpoints/"))
        if event.type == "predictions.collected" and state is not None and event.data["last_event_time"]:
            moment = parse_time(event.data["last_event_time"])
            state.last = moment if state.last is None else max(state.last, moment)
        elif event.type == "labels.recorded" and state is not None:
            state.labelled = True
        elif event.type in _DECISIONS:
            for one in self._states.values():
                one.decided = True
        elif event.type == "dataset.version_committed":
            for one in self._states.values():
                one.refreshed |= event.actor == WORKER.name
                one.supplied |= event.actor != WORKER.name

    def _deliver(self) -> None:
        if self._courier is None:
            return
        # Waits for no receiver; what its threads have done shows in the next turn.
        for problem in self._courier.turn(self._clock.now()).problems:
            self._say(problem)

    def _refresh(self) -> None:
        if self._pace() < self._refresh_at:
            return
        now = self._clock.now()
        until = max((self._latest(endpoint, now) for endpoint in self._states), default=now)
        length = min((one.monitor.window_s for one in self._deployments.values()), default=_DAY_S)
        mark = _floor(until, timedelta(seconds=length))
        if mark == self._refreshed:
            return
        self._refresh_at = self._pace() + _LONGEST_RETRY_S
        made = self._source(self._context(until), until)
        self._refresh_at = 0.0
        self._refreshed = mark
        if made:
            self._say(f"The project's sources gave {made} new versions of datasets.")
            self._read_log()

    def _latest(self, endpoint: str, now: datetime) -> datetime:
        """Return how far event time is: now, but no further than to when the last prediction's labels are due."""
        last = self._states[endpoint].last
        if last is None:
            return now
        length, wait = self._lengths(endpoint)
        return min(now, _floor(last, length) + length + wait)

    def _lengths(self, endpoint: str) -> tuple[timedelta, timedelta]:
        monitor = self._deployments[endpoint].monitor
        return timedelta(seconds=monitor.window_s), timedelta(seconds=monitor.label_wait_s)

    def _bring_forward(self, endpoint: str) -> None:
        state = self._states[endpoint]
        if self._loop is None or (self._pace() < state.retry_at and not state.decided):
            return
        latest = self._latest(endpoint, self._clock.now())
        length, wait = self._lengths(endpoint)
        # Windows end, and their labels are due.
        mark = max(_floor(latest, length), _floor(latest - wait, length) + wait)
        moved = mark != state.mark
        # The loop asks once for a first version by itself; rows that come later are a reason to ask again.
        ask_again = state.last is None and (state.mark is None or state.supplied or (moved and state.refreshed))
        labelled = state.labelled and self._pace() >= state.labels_at
        if not (moved or labelled or state.decided or ask_again):
            return
        if ask_again and not self._has_rows(endpoint, state):
            return
        moment = self._moment(state, latest, mark)
        state.told = moment
        began = self._pace()
        try:
            seen = self._loop.advance(endpoint, moment)
            if ask_again:
                self._loop.take_turn(endpoint, moment)
        except BaseException:
            state.failures += 1
            state.decided = False
            state.retry_at = self._pace() + min(_FIRST_RETRY_S * 2.0**state.failures, _LONGEST_RETRY_S)
            # What was due stays due.
            state.mark = None
            raise
        state.mark, state.failures, state.retry_at = mark, 0, 0.0
        state.labelled = state.decided = state.supplied = state.refreshed = False
        if labelled:
            # Labels that keep coming may cost a tenth of the time, no more.
            state.labels_at = self._pace() + min(max(_LABELS_S, 10 * (self._pace() - began)), _LONGEST_LABELS_S)
        self._say_seen(endpoint, moment, seen)

    def _has_rows(self, endpoint: str, state: _State) -> bool:
        recipe = self._deployments[endpoint].recipe
        ctx = self._context()
        if read_newest(ctx, find_dataset(ctx, recipe.project, recipe.dataset)) is not None:
            return True
        if not state.waits:
            self._say(f"{endpoint} waits for rows in dataset {recipe.dataset!r}: add some with `undrift data add`.")
        state.waits = True
        return False

    def _moment(self, state: _State, latest: datetime, mark: datetime) -> datetime:
        """Return the moment to tell the loop.

        A turn is named by its moment and taken once. What is due by the clock has a moment of its own; a turn for
        labels, for a decision, or after a restart (which may have missed either) stands a little later.
        """
        if state.last is None:
            return latest
        if state.mark not in (None, mark):
            return mark
        moment = mark + timedelta(microseconds=self._clock.now().microsecond)
        told = state.told
        return moment if told is None or not mark <= told < mark + _SECOND else max(moment, told + _MICROSECOND)

    def _say_seen(self, endpoint: str, moment: datetime, seen: Observation) -> None:
        said = [
            f"{count} {what}"
            for count, what in (
                (seen.closed, "windows closed"),
                (seen.measured - seen.restated, "measured"),
                (seen.restated, "measured anew"),
            )
            if count
        ]
        said += [f"incident {number}" for number in seen.touched]
        if said:
            self._say(f"{endpoint} at {moment:%Y-%m-%d %H:%M} UTC: {', '.join(said)}.")


def _floor(moment: datetime, length: timedelta) -> datetime:
    return _EPOCH + (moment - _EPOCH) // length * length


def apply_project(workspace: Workspace, say: Say) -> Built | None:
    """Load the project that a workspace names, register what it declares and keep its code; None when it names none.

    Raises:
        NotFound: The file is not there.
        Invalid: It fails, or declares no project or several.
    """
    if not workspace.settings.project:
        say("The workspace names no project: there is nothing to run, predictions are only collected.")
        return None
    path = workspace.folder.parent / workspace.settings.project
    # Last, so that a file of the user's, such as queue.py, does not stand in for the interpreter's own.
    sys.path.append(str(path.parent))
    project = load_project(path)
    ctx = workspace.context(WORKER)
    return build(ctx, project, code=snapshot_code(ctx, project.name, path.parent))


def run(workspace: Workspace, stop: threading.Event, *, say: Say, on_ready: Callable[[list[str]], None]) -> None:
    """Run the worker of a workspace until told to stop.

    Args:
        workspace: Whose.
        stop: Set when it shall stop.
        say: Told what happens.
        on_ready: Told the endpoints, once the project was applied.

    Raises:
        Conflict: A worker runs already on this workspace.
        NotFound: The project's file is not there.
        Invalid: The project fails, or declares no project or several.
    """
    with workspace.hold("worker"):
        built = apply_project(workspace, say)
        deployments = {} if built is None else built.deployments
        on_ready(list(deployments))

        def refresh(ctx: Context, until: datetime) -> int:
            return 0 if built is None else len(built.refresh(ctx, until))

        with contextlib.ExitStack() as stack:
            loop: Loop | None = None
            if deployments:
                from undrift.loop.durable import DurableLoop  # noqa: PLC0415 - brings DBOS, which takes a second

                def at(moment: datetime) -> Context:
                    return workspace.context(WORKER, clock=ReplayClock(moment))

                durable = DurableLoop(workspace.loop_url, deployments, at, workspace.predictions_folder)
                loop = stack.enter_context(durable)
            courier = Courier(lambda: workspace.context(WORKER))
            stack.callback(courier.close)
            Worker(workspace, deployments, loop, refresh=refresh, say=say, courier=courier).until(stop)
