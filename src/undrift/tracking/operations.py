"""What can be done with runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, NotFound, TooLarge
from undrift.core.ids import check_id, check_name, new_id
from undrift.core.operation import operation
from undrift.tracking import records
from undrift.tracking.model import MetricPoint, Run, RunLink, RunStatus

__all__ = [
    "EndRun",
    "FindRun",
    "ListRuns",
    "LogRun",
    "StartRun",
    "end_run",
    "find_run",
    "list_runs",
    "log_run",
    "start_run",
]

_MAX_POINTS = 10_000


class StartRun(msgspec.Struct, frozen=True):
    """A run to begin; see `undrift.tracking.Run` for the fields."""

    project: str
    experiment: str
    name: str
    kind: str = "training"
    id: str | None = None
    parent_id: str | None = None
    parameters: dict[str, Any] = {}
    tags: dict[str, str] = {}
    links: tuple[RunLink, ...] = ()


class LogRun(msgspec.Struct, frozen=True):
    """What a run has to say; at most 10,000 points a call.

    Attributes:
        metrics: Values of now, at step 0.
        points: Values with their own step and time.
    """

    run_id: str
    metrics: dict[str, float] = {}
    points: tuple[MetricPoint, ...] = ()
    parameters: dict[str, Any] = {}
    tags: dict[str, str] = {}
    links: tuple[RunLink, ...] = ()


class EndRun(msgspec.Struct, frozen=True):
    """How a run ended."""

    run_id: str
    status: RunStatus = "finished"
    error: str = ""


class FindRun(msgspec.Struct, frozen=True):
    """Which run."""

    run_id: str


class ListRuns(msgspec.Struct, frozen=True):
    """Which runs, at most so many (1 to 1,000), newest first; ``before`` is the id the next page starts after."""

    project: str | None = None
    experiment: str | None = None
    kind: str | None = None
    before: str | None = None
    limit: int = 100


def _find(tx: Any, run_id: str) -> Run:
    found = records.find_runs(tx, [check_id(run_id)])
    if not found:
        raise NotFound(f"There is no run {run_id}.", next_step="List runs with `undrift runs`.", run_id=run_id)
    return found[0]


@operation("tracking.start_run", permission="tracking:write", emits=("run.started",))
def start_run(ctx: Context, request: StartRun) -> Run:
    """Begin a run; beginning the same id again returns the run that is there."""
    check_name(request.project, "project")
    check_name(request.experiment, "experiment")
    run_id = new_id() if request.id is None else check_id(request.id)
    with ctx.begin() as tx:
        if found := records.find_runs(tx, [run_id]):
            return found[0]
        run = Run(
            id=run_id,
            project=request.project,
            experiment=request.experiment,
            name=request.name,
            kind=request.kind,
            status="running",
            started_at=ctx.now(),
            ended_at=None,
            actor=ctx.actor.name,
            parent_id=request.parent_id,
            parameters=request.parameters,
            tags=request.tags,
            links=request.links,
        )
        records.add_run(tx, run)
        records.add_parameters(tx, run.id, run.parameters)
        records.add_tags(tx, run.id, run.tags)
        records.add_links(tx, run.id, run.links)
        ctx.emit("run.started", f"runs/{run.id}", project=run.project, experiment=run.experiment, kind=run.kind)
        return run


@operation("tracking.log_run", permission="tracking:write", emits=("run.linked",))
def log_run(ctx: Context, request: LogRun) -> None:
    """Add metrics, parameters, tags and links to a run; the same point twice is kept once.

    Raises:
        NotFound: There is no such run.
        TooLarge: More than 10,000 points in one call.
    """
    if len(request.points) > _MAX_POINTS:
        raise TooLarge(f"{len(request.points)} points in one call.", next_step=f"Send at most {_MAX_POINTS} a call.")
    with ctx.begin() as tx:
        run = _find(tx, request.run_id)
        now = ctx.now()
        points = [*request.points, *(MetricPoint(name, value, 0, now) for name, value in request.metrics.items())]
        records.add_metrics(tx, run.id, points)
        records.add_parameters(tx, run.id, request.parameters)
        records.add_tags(tx, run.id, request.tags)
        fresh = tuple(link for link in request.links if link not in run.links)
        records.add_links(tx, run.id, fresh)
        if fresh:
            ctx.emit("run.linked", f"runs/{run.id}", project=run.project, links=fresh)


@operation("tracking.end_run", permission="tracking:write", emits=("run.ended",))
def end_run(ctx: Context, request: EndRun) -> Run:
    """End a run; ending it again the same way changes nothing.

    Raises:
        NotFound: There is no such run.
        Conflict: It ended already in another way.
    """
    with ctx.begin() as tx:
        run = _find(tx, request.run_id)
        if run.status == request.status:
            return run
        if run.status != "running":
            raise Conflict(f"Run {run.id} is {run.status} already.", next_step="A run ends once; start another one.")
        ended_at: datetime = ctx.now()
        records.end_run(tx, run.id, request.status, ended_at, request.error)
        ctx.emit("run.ended", f"runs/{run.id}", project=run.project, status=request.status, error=request.error)
        return msgspec.structs.replace(run, status=request.status, ended_at=ended_at, error=request.error)


@operation("tracking.find_run", permission="tracking:read")
def find_run(ctx: Context, request: FindRun) -> Run:
    """Return a run with everything it logged."""
    with ctx.read() as tx:
        return _find(tx, request.run_id)


@operation("tracking.list_runs", permission="tracking:read")
def list_runs(ctx: Context, request: ListRuns) -> list[Run]:
    """List runs, newest first."""
    with ctx.read() as tx:
        return records.list_runs(
            tx,
            project=request.project,
            experiment=request.experiment,
            kind=request.kind,
            before=request.before,
            limit=max(1, min(request.limit, 1000)),
        )
