"""Replays the year: asks the model server for every flight, tells the labels as planes land, and lets the loop run.

Nothing here decides anything. Predictions go over HTTP to a model server in a process of its own; labels go in by
prediction id; the loop that runs in production is told what time it is. A run that was cut off goes on where it
stood: windows that are closed say which day comes next, and asking or telling the same thing twice counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import polars as pl

from undrift.core.clock import ReplayClock
from undrift.core.context import Actor, Context
from undrift.core.errors import Conflict, UndriftError, from_problem
from undrift.demo.flights import feed
from undrift.features import point_in_time_join
from undrift.loop import ListCycles, list_cycles
from undrift.loop.deployment import Deployment
from undrift.loop.durable import DurableLoop
from undrift.monitoring import Label, ListWindows, RecordLabels, list_windows, record_labels
from undrift.project import Built, build, load_project, snapshot_code
from undrift.serving import FindRoute, collect, find_route
from undrift.workspace import Workspace

__all__ = ["FIRST_DAY", "LAST_DAY", "MODEL_FROM", "WORKER", "Replay", "live_features", "prepare"]

FIRST_DAY = datetime(2013, 1, 1, tzinfo=UTC)
MODEL_FROM = datetime(2013, 4, 1, tzinfo=UTC)
LAST_DAY = datetime(2014, 1, 1, tzinfo=UTC)
_LABELS_UNTIL = LAST_DAY + timedelta(days=3)
_DAY = timedelta(days=1)
_ENDPOINT = "late"
_BATCH = timedelta(hours=1)
_LABEL_BATCHES = 4
WORKER = Actor("worker", "service")
_AIRPORT = Actor("airport-feed", "service")

Say = Callable[[str, datetime], None]


def live_features(deployment: Deployment) -> pl.DataFrame:
    """Return every flight with the features that were known one hour before its departure, faults of the day included.

    The same views and the same join as in training, over what the feeds sent: ``predicted_at`` says when, ``late`` and
    ``landed`` what came of it and when that was known.
    """
    recipe = deployment.recipe
    tables = {"weather": feed.weather(), "takeoffs": feed.takeoffs(), "planes": feed.planes()}
    flights = feed.departures().with_columns(
        (pl.col("scheduled") - pl.duration(seconds=recipe.lead_s)).alias("predicted_at")
    )
    joined = point_in_time_join(flights, "predicted_at", [(view, tables[view.dataset]) for view in recipe.views])
    return joined.sort("predicted_at", "flight_id")


class Replay:
    """One replay of the year on a workspace.

    Args:
        workspace: Where it happens.
        loop: The running loop.
        built: The project.
        server_url: The model server.
    """

    def __init__(self, workspace: Workspace, loop: DurableLoop, built: Built, server_url: str) -> None:
        self._workspace = workspace
        self._loop = loop
        self._built = built
        self._client = httpx.Client(base_url=server_url, timeout=30.0, trust_env=False)

    def context(self, now: datetime, actor: Actor = WORKER) -> Context:
        """Make a context whose clock stands at a moment of the replay."""
        return self._workspace.context(actor, clock=ReplayClock(now))

    def next_day(self) -> datetime:
        """Return the first day that was not replayed to its end."""
        windows = list_windows(self.context(FIRST_DAY), ListWindows(_ENDPOINT, limit=1))
        return windows[0].end if windows else MODEL_FROM

    def days(self, year: pl.DataFrame, start: datetime, done: Callable[[datetime], None]) -> None:
        """Replay from a day on to the end of the year, and then until the last labels are in.

        Args:
            year: From `live_features`.
            start: The first day.
            done: Called after each day.
        """
        self._loop.advance(_ENDPOINT, start)
        cycles = list_cycles(self.context(start), ListCycles(_ENDPOINT))
        if all(cycle.stage != "promoted" for cycle in cycles):
            outcome = cycles[0].outcome if cycles else "the loop took no turn."
            raise Conflict(f"No version answers: {outcome}", next_step="Change project.py, then start again.")
        day = start
        while day < LAST_DAY:
            self._day(year, day)
            self._end_of_day(day + _DAY)
            day += _DAY
            done(day)
        while day < _LABELS_UNTIL:
            self._tell(year, day, day + _DAY)
            self._loop.advance(_ENDPOINT, day + _DAY)
            day += _DAY
        self._end_of_day(day)

    def _end_of_day(self, now: datetime) -> None:
        if now.day == 1:
            self._built.refresh(self.context(now), now)
        self._loop.advance(_ENDPOINT, now)
        self._workspace.publish_head()

    def _day(self, year: pl.DataFrame, day: datetime) -> None:
        flights = year.filter(pl.col("predicted_at") >= day, pl.col("predicted_at") < day + _DAY)
        revision = find_route(self.context(day), FindRoute(_ENDPOINT)).revision
        part = _DAY / _LABEL_BATCHES
        for number in range(_LABEL_BATCHES):
            start = day + number * part
            hour = start
            while hour < start + part:
                batch = flights.filter(pl.col("predicted_at") >= hour, pl.col("predicted_at") < hour + _BATCH)
                if batch.height:
                    self._ask(batch, revision)
                hour += _BATCH
            collect(self.context(start + part), self._workspace.predictions_folder)
            self._tell(year, start, start + part)

    def _ask(self, flights: pl.DataFrame, revision: int) -> None:
        deployment = self._built.deployments[_ENDPOINT]
        inputs = []
        for name in deployment.recipe.features:
            column = flights[name]
            text = column.dtype == pl.String
            inputs.append(
                {
                    "name": name,
                    "datatype": "BYTES" if text else "INT64" if column.dtype.is_integer() else "FP64",
                    "shape": [flights.height],
                    "data": column.to_list(),
                }
            )
        body = {
            "inputs": inputs,
            "parameters": {
                "prediction_ids": flights["flight_id"].to_list(),
                "event_times": [moment.isoformat() for moment in flights["predicted_at"]],
                "routing_revision": revision,
            },
        }
        answer = self._client.post(
            f"/v2/models/{_ENDPOINT}/infer",
            content=msgspec.json.encode(body),
            headers={"Content-Type": "application/json"},
        )
        if not answer.is_success:
            raise _error(answer)

    def _tell(self, year: pl.DataFrame, start: datetime, end: datetime) -> None:
        landed = year.filter(
            pl.col("landed") > start,
            pl.col("landed") <= end,
            pl.col("predicted_at") >= MODEL_FROM,
            pl.col("predicted_at") < LAST_DAY,
            pl.col("late").is_not_null(),
        )
        if landed.height:
            labels = tuple(
                Label(id_, float(value), at)
                for id_, value, at in landed.select("flight_id", "late", "landed").iter_rows()
            )
            record_labels(self.context(end, _AIRPORT), RecordLabels(_ENDPOINT, labels))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _error(answer: httpx.Response) -> UndriftError:
    try:
        problem: dict[str, Any] = answer.json()
    except ValueError:
        problem = {"detail": f"The model server answered {answer.status_code}: {answer.text[:200]}"}
    return from_problem(problem)


def prepare(workspace: Workspace, say: Say) -> Built:
    """Apply the project and take in what was known before the model goes live, a version a month."""
    ctx = workspace.context(WORKER, clock=ReplayClock(FIRST_DAY))
    path = workspace.folder.parent / workspace.settings.project
    project = load_project(path)
    built = build(ctx, project, code=snapshot_code(ctx, project.name, path.parent))
    for month in (2, 3, 4):
        now = FIRST_DAY.replace(month=month)
        versions = built.refresh(workspace.context(WORKER, clock=ReplayClock(now)), now)
        if versions:
            rows = sum(version.added_rows for version in versions)
            say(f"{rows:,} rows of {len(versions)} datasets became known", now)
    return built
