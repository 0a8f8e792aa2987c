"""What can be done with runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid, NotFound, TooLarge, UndriftError
from undrift.core.filters import RUNS, parse_filter, parse_order
from undrift.core.ids import check_id, check_name, new_id
from undrift.core.operation import operation
from undrift.tracking import records
from undrift.tracking.model import LoggedDataset, MetricPoint, MetricSeries, Run, RunLink, RunPage, RunStatus
from undrift.tracking.operations.experiments import active_experiment, ensure_experiment
from undrift.tracking.operations.words import (
    MAX_NAME,
    check_keys,
    check_links,
    check_series,
    check_tags,
    check_text,
    cleaned,
    find_id,
    page_offset,
    page_token,
)

__all__ = [
    "DatasetSummary",
    "DatasetUse",
    "DeleteRun",
    "EndRun",
    "FindRun",
    "ListDatasets",
    "ListRuns",
    "LogDatasets",
    "LogRun",
    "LogRuns",
    "Logged",
    "RestoreRun",
    "RunDataset",
    "RunsDatasets",
    "SearchRuns",
    "StartRun",
    "UntagRun",
    "UpdateRun",
    "delete_run",
    "end_run",
    "find_run",
    "list_datasets",
    "list_runs",
    "log_datasets",
    "log_run",
    "log_runs",
    "restore_run",
    "runs_datasets",
    "search_runs",
    "start_run",
    "untag_run",
    "update_run",
]

_MAX_POINTS = 10_000
_MAX_ENTRIES = 1_000
_MAX_PARAMETER = 6_000
_MAX_PAGE = 50_000
_MAX_EXPERIMENTS = 20
_LONGEST = {"name": 8_000, "kind": 40, "user": 256}
_ENDS = frozenset({"finished", "failed", "killed"})
_ADJECTIVES = """able bold brave bright calm clear clever eager fair fleet fond gentle glad keen kind light lucid merry
mild neat noble proud quick quiet rapid rare sharp sleek smart smooth solid spry steady still swift tidy vivid"""
_NOUNS = """ant auk bat bear bee carp colt crab crane crow deer dove duck eel elk emu fawn finch fox frog gnu goat goose
gull hare hawk heron ibis jay kite lark lynx mink mole moth newt otter owl perch pike quail ram seal shrew"""


class StartRun(msgspec.Struct, frozen=True):
    """A run to begin; see `undrift.tracking.Run` for the fields.

    Attributes:
        experiment: The experiment's name; it is made when there is none. Or say its number.
        experiment_id: The experiment's number.
        name: A name for people; one is made up when it is left out.
        id: Its id; a client may make it, so that a run recorded elsewhere keeps it.
        started_at: When it began; now when left out.
        user: Who started it, as the client knows them.
    """

    project: str
    experiment: str = ""
    name: str = ""
    kind: str = "training"
    id: str | None = None
    parent_id: str | None = None
    parameters: dict[str, Any] = {}
    tags: dict[str, str] = {}
    links: tuple[RunLink, ...] = ()
    experiment_id: int | None = None
    started_at: datetime | None = None
    user: str = ""


class LogRun(msgspec.Struct, frozen=True):
    """What a run has to say; at most 10,000 points a call.

    Attributes:
        metrics: Values of now, at step 0.
        points: Values with their own step and time.
        series: Many values of a metric as columns.
        parameters: Written once: another value for one that is there is refused.
        tags: Set in place of those of the same name.
        links: What it read or made.
        project: Whose the run has to be; any when left out.
    """

    run_id: str
    metrics: dict[str, float] = {}
    points: tuple[MetricPoint, ...] = ()
    parameters: dict[str, Any] = {}
    tags: dict[str, str] = {}
    links: tuple[RunLink, ...] = ()
    series: tuple[MetricSeries, ...] = ()
    project: str = ""


class LogRuns(msgspec.Struct, frozen=True):
    """What several runs have to say, at most 1,000 entries; each is kept whole or refused, whatever the others are."""

    entries: tuple[LogRun, ...]


class Logged(msgspec.Struct, frozen=True):
    """What became of an entry: kept, or refused with problem details (RFC 9457)."""

    problem: dict[str, Any] | None = None


class UpdateRun(msgspec.Struct, frozen=True):
    """What is to change about a run (of this project, where one is said); what is left out stays."""

    run_id: str
    name: str | None = None
    status: RunStatus | None = None
    ended_at: datetime | None = None
    project: str = ""


class EndRun(msgspec.Struct, frozen=True):
    """How a run ended (``finished``, ``failed`` or ``killed``), and when (now when left out)."""

    run_id: str
    status: RunStatus = "finished"
    error: str = ""
    ended_at: datetime | None = None


class FindRun(msgspec.Struct, frozen=True):
    """Which run (of this project, where one is said), and whether the newest points are wanted with step and time."""

    run_id: str
    latest: bool = False
    project: str = ""


class DeleteRun(msgspec.Struct, frozen=True):
    """Which run to delete (of this project, where one is said)."""

    run_id: str
    project: str = ""


class RestoreRun(msgspec.Struct, frozen=True):
    """Which run to bring back (of this project, where one is said)."""

    run_id: str
    project: str = ""


class UntagRun(msgspec.Struct, frozen=True):
    """Which tag to remove from which run (of this project, where one is said)."""

    run_id: str
    name: str
    project: str = ""


class ListRuns(msgspec.Struct, frozen=True):
    """Which runs, at most so many (1 to 1,000), newest first; ``before`` is the id the next page starts after."""

    project: str | None = None
    experiment: str | None = None
    kind: str | None = None
    before: str | None = None
    limit: int = 100


class SearchRuns(msgspec.Struct, frozen=True):
    """Which runs, in which order, and what to show of them.

    Attributes:
        project: Of which project.
        experiment_ids: Of which experiments, by number; of all of the project when left out.
        filter: What has to hold, such as ``metrics.auc > 0.9 AND parameters.model = 'x'``.
        order_by: By what, such as ``metrics.auc DESC``; the newest first when left out.
        view: Those that are active, those that are deleted, or all.
        limit: At most so many, 1 to 50,000.
        page_token: Where the page begins.
        metrics: Which metrics to show; all when left out. The same for parameters and tags.
        parameters: Which parameters to show.
        tags: Which tags to show.
        latest: Whether the newest points of the metrics are wanted with step and time.
    """

    project: str
    experiment_ids: tuple[int, ...] | None = None
    filter: str = ""
    order_by: tuple[str, ...] = ()
    view: Literal["active", "deleted", "all"] = "active"
    limit: int = 100
    page_token: str = ""
    metrics: tuple[str, ...] | None = None
    parameters: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    latest: bool = False


class DatasetUse(msgspec.Struct, frozen=True):
    """A dataset that a run read, what for (the tag ``mlflow.data.context``), and words about it."""

    dataset: LoggedDataset
    tags: dict[str, str] = {}


class LogDatasets(msgspec.Struct, frozen=True):
    """What a run (of this project, where one is said) read, as the client describes it; what it has stays as it is."""

    run_id: str
    datasets: tuple[DatasetUse, ...]
    project: str = ""


class RunsDatasets(msgspec.Struct, frozen=True):
    """Of which runs, at most 50,000, and whether the profiles are wanted, which may be large."""

    run_ids: tuple[str, ...]
    profiles: bool = True


class RunDataset(msgspec.Struct, frozen=True):
    """A dataset that a run read."""

    run_id: str
    use: DatasetUse


class ListDatasets(msgspec.Struct, frozen=True):
    """Of which experiments of a project (at most 20), and how many at most (1 to 1,000)."""

    project: str
    experiment_ids: tuple[int, ...]
    limit: int = 1_000


class DatasetSummary(msgspec.Struct, frozen=True):
    """A dataset that runs of an experiment read, and what for."""

    experiment_id: int
    name: str
    digest: str
    context: str = ""


def _find(tx: Any, run_id: str, *, latest: bool = False, project: str = "") -> Run:
    found = records.find_runs(tx, [find_id(run_id)], with_latest=latest)
    if not found or project not in ("", found[0].project):
        raise _unknown(run_id)
    return found[0]


def _unknown(run_id: str) -> NotFound:
    shown = run_id[:80]
    return NotFound(f"Run with id={shown} not found.", next_step="List runs with `undrift runs`.", run_id=shown)


def _active(tx: Any, run_id: str, project: str = "") -> records.Head:
    head = records.heads(tx, [find_id(run_id)]).get(run_id)
    if head is None or project not in ("", head.project):
        raise _unknown(run_id)
    if head.state != "active":
        raise _deleted(run_id)
    return head


def _deleted(run_id: str) -> Conflict:
    return Conflict(
        f"The run {run_id} must be in the 'active' state. Current state is deleted.",
        next_step="Restore it first.",
        run_id=run_id,
    )


def _made_up_name() -> str:
    # Only a name for people: nothing depends on it.
    choose = random.Random()  # noqa: S311 - as it says
    return f"{choose.choice(_ADJECTIVES.split())}-{choose.choice(_NOUNS.split())}-{choose.randrange(1000)}"


@operation("tracking.start_run", permission="tracking:write", emits=("experiment.created", "run.started"))
def start_run(ctx: Context, request: StartRun) -> Run:
    """Begin a run; beginning the same id again returns the run that is there.

    Raises:
        NotFound: There is no experiment of this number.
        Conflict: The experiment is deleted, or a run of another project has this id.
        Invalid: It is said by neither name nor number, or a name cannot be used.
        TooLarge: A text is too long.
    """
    check_name(request.project, "project")
    run_id = new_id() if request.id is None else check_id(request.id)
    if request.parent_id is not None:
        check_id(request.parent_id)
    _check_said(request.parameters, request.tags, request.links)
    _check_lengths(name=request.name, kind=request.kind, user=request.user)
    with ctx.begin() as tx:
        if request.id is not None and (found := records.find_runs(tx, [run_id])):
            if found[0].project != request.project:
                raise Conflict(f"A run of another project has the id {run_id}.", next_step="Leave the id out.")
            return found[0]
        if request.experiment_id is not None:
            experiment = active_experiment(tx, request.project, request.experiment_id)
        elif request.experiment:
            experiment = ensure_experiment(ctx, tx, request.project, request.experiment)
        else:
            raise Invalid("A run belongs to an experiment.", next_step="Say its name or its number.")
        run = Run(
            id=run_id,
            project=request.project,
            experiment=experiment.name,
            experiment_id=experiment.id,
            name=request.name or _made_up_name(),
            kind=request.kind,
            status="running",
            started_at=request.started_at or ctx.now(),
            ended_at=None,
            actor=ctx.actor.name,
            parent_id=request.parent_id,
            parameters=request.parameters,
            tags=request.tags,
            links=request.links,
            user=request.user,
        )
        head = records.Head(run.id, run.project, experiment.id, "active")
        records.add_run(tx, run)
        records.add_parameters(tx, [(head, run.parameters)])
        records.add_tags(tx, [(head, run.tags)])
        records.add_links(tx, run.id, run.links)
        ctx.emit("run.started", f"runs/{run.id}", project=run.project, experiment=run.experiment, kind=run.kind)
        return run


def _check_lengths(**texts: str) -> None:
    for what, text in texts.items():
        if len(text) > _LONGEST[what]:
            raise TooLarge(f"The {what} of a run has at most {_LONGEST[what]} characters.")


def _check_said(parameters: dict[str, Any], tags: dict[str, str], links: Sequence[RunLink]) -> None:
    check_keys(parameters, "parameter")
    for name, value in parameters.items():
        text = records.text_of(value)
        if len(text) > _MAX_PARAMETER:
            raise TooLarge(
                f"The value of parameter {name!r} exceeds the maximum length of {_MAX_PARAMETER} characters.",
                next_step="Keep long texts as artifacts.",
            )
        check_text(text, f"The value of parameter {name!r}", _MAX_PARAMETER)
    check_tags(tags)
    check_links(links)


def _series_of(request: LogRun, now: datetime) -> tuple[MetricSeries, ...]:
    """Return all points of an entry as columns, after a look at each of them.

    Raises:
        Invalid: Columns differ in length, or a name, step or time cannot be kept.
        TooLarge: There are more than 10,000 points.
    """
    said = [*request.points, *(MetricPoint(name, value, 0, now) for name, value in request.metrics.items())]
    all_series = (*request.series, *MetricSeries.of(said))
    check_series(all_series)
    count = sum(len(series.steps) for series in all_series)
    if count > _MAX_POINTS:
        raise TooLarge(f"{count} points in one call.", next_step=f"Send at most {_MAX_POINTS} a call.")
    return all_series


class _Checked(msgspec.Struct):
    place: int
    request: LogRun
    series: tuple[MetricSeries, ...]


def _log(ctx: Context, tx: Any, entries: Sequence[LogRun]) -> list[UndriftError | None]:
    """Write entries in a few statements, however many they are; returns what is wrong with each."""
    refused: list[UndriftError | None] = [None] * len(entries)
    now = ctx.now()
    good: list[_Checked] = []
    for place, entry in enumerate(entries):
        try:
            find_id(entry.run_id)
            _check_said(entry.parameters, entry.tags, entry.links)
            good.append(_Checked(place, entry, _series_of(entry, now)))
        except UndriftError as error:
            refused[place] = error
    heads = records.heads(tx, list({one.request.run_id for one in good}))
    asked: dict[str, set[str]] = {}
    for one in good:
        if one.request.parameters:
            asked.setdefault(one.request.run_id, set()).update(one.request.parameters)
    known = records.known_parameters(tx, asked)
    kept: list[tuple[records.Head, _Checked]] = []
    for one in good:
        head = heads.get(one.request.run_id)
        if head is None or one.request.project not in ("", head.project):
            refused[one.place] = _unknown(one.request.run_id)
        elif head.state != "active":
            refused[one.place] = _deleted(head.id)
        else:
            refused[one.place] = _rewrites(head.id, one.request.parameters, known)
            if refused[one.place] is None:
                known.update({(head.id, name): records.text_of(v) for name, v in one.request.parameters.items()})
                kept.append((head, one))
    records.add_parameters(tx, [(head, one.request.parameters) for head, one in kept])
    records.add_tags(tx, [(head, one.request.tags) for head, one in kept])
    records.add_points(
        tx,
        (
            records.Written(
                head.id,
                head.experiment_id,
                series.name,
                series.steps,
                series.times_ms,
                series.floats(),
                series.model_id,
                series.dataset_name,
                series.dataset_digest,
            )
            for head, one in kept
            for series in one.series
        ),
    )
    for head, one in kept:
        if one.request.links:
            _link(ctx, tx, head, one.request.links)
    return refused


def _rewrites(run_id: str, parameters: dict[str, Any], known: dict[tuple[str, str], str]) -> Invalid | None:
    conflicts = [
        {"key": name, "old_value": known[run_id, name], "new_value": records.text_of(value)}
        for name, value in parameters.items()
        if known.get((run_id, name), records.text_of(value)) != records.text_of(value)
    ]
    if not conflicts:
        return None
    first = conflicts[0]
    return Invalid(
        f"Changing param values is not allowed. Param with key='{first['key']}' was already logged with "
        f"value='{first['old_value']}' for run ID='{run_id}'. Attempted logging new value '{first['new_value']}'.",
        next_step="A parameter is written once: use a tag or a metric for what changes.",
        conflicts=conflicts,
        run_id=run_id,
    )


def _link(ctx: Context, tx: Any, head: records.Head, links: Sequence[RunLink]) -> None:
    there = records.linked_to(tx, [head.id])
    fresh = []
    for link in links:
        key = (head.id, link.role, link.kind, link.name, link.ref)
        if key not in there:
            there.add(key)
            fresh.append(link)
    records.add_links(tx, head.id, fresh)
    if fresh:
        ctx.emit("run.linked", f"runs/{head.id}", project=head.project, links=fresh)


@operation("tracking.log_run", permission="tracking:write", emits=("run.linked",))
def log_run(ctx: Context, request: LogRun) -> None:
    """Add metrics, parameters, tags and links to a run, all or none; the same point twice is kept once.

    Raises:
        NotFound: There is no such run.
        Conflict: It is deleted.
        Invalid: A name cannot be used, or a parameter is there with another value.
        TooLarge: More than 10,000 points in one call, or a text is too long.
    """
    with ctx.begin() as tx:
        (refused,) = _log(ctx, tx, [request])
        if refused is not None:
            raise refused


@operation("tracking.log_runs", permission="tracking:write", emits=("run.linked",))
def log_runs(ctx: Context, request: LogRuns) -> tuple[Logged, ...]:
    """Log to several runs at once: what comes together from many clients costs one transaction and one flush.

    Raises:
        TooLarge: More than 1,000 entries in one call.
    """
    if len(request.entries) > _MAX_ENTRIES:
        raise TooLarge(f"{len(request.entries)} entries in one call.", next_step=f"Send at most {_MAX_ENTRIES} a call.")
    with ctx.begin() as tx:
        refused = _log(ctx, tx, request.entries)
    return tuple(Logged(None if error is None else error.to_problem()) for error in refused)


@operation("tracking.log_datasets", permission="tracking:write", emits=("run.linked",))
def log_datasets(ctx: Context, request: LogDatasets) -> None:
    """Say which datasets a run read; in an experiment the first description of a dataset stays.

    Raises:
        NotFound: There is no such run.
        Conflict: It is deleted.
        Invalid: A name or a digest is missing.
        TooLarge: A text is too long.
    """
    for use in request.datasets:
        _check_dataset(use)
    with ctx.begin() as tx:
        head = _active(tx, request.run_id, request.project)
        records.add_datasets(tx, head.experiment_id, [use.dataset for use in request.datasets])
        links = [
            RunLink(
                "input",
                "dataset",
                use.dataset.name,
                use.dataset.digest,
                use.tags.get("mlflow.data.context", ""),
                dict(use.tags),
            )
            for use in request.datasets
        ]
        _link(ctx, tx, head, links)


def _check_dataset(use: DatasetUse) -> None:
    limits = {"name": 500, "digest": 36, "source": 65_535, "schema": 1_048_575, "profile": 16_777_215}
    for field, most in limits.items():
        text = getattr(use.dataset, field)
        if len(text) > most:
            raise TooLarge(f"The dataset's '{field}' exceeds the maximum length of {most} characters.")
        check_text(text, f"The dataset's '{field}'", most)
    check_text(use.dataset.source_type, "The dataset's 'source_type'", 65_535)
    if not use.dataset.name or not use.dataset.digest:
        raise Invalid("A dataset has a name and a digest.")
    for name, value in use.tags.items():
        if len(name) > 255 or len(value) > 500:
            raise TooLarge("The name of a dataset's tag has at most 255 characters, its value 500.")
        check_text(value, "The value of a dataset's tag", 500)


@operation("tracking.runs_datasets", permission="tracking:read")
def runs_datasets(ctx: Context, request: RunsDatasets) -> list[RunDataset]:
    """Return the datasets that runs read, as clients described them.

    Raises:
        TooLarge: More than 50,000 runs.
    """
    if len(request.run_ids) > _MAX_PAGE:
        raise TooLarge(f"{len(request.run_ids)} runs in one call.", next_step=f"Ask for at most {_MAX_PAGE}.")
    with ctx.read() as tx:
        return [
            RunDataset(run_id, DatasetUse(dataset, tags))
            for run_id, dataset, tags in records.uses_of_datasets(tx, request.run_ids, with_profile=request.profiles)
        ]


@operation("tracking.list_datasets", permission="tracking:read")
def list_datasets(ctx: Context, request: ListDatasets) -> list[DatasetSummary]:
    """List the datasets that active runs of experiments read.

    Raises:
        TooLarge: More than 20 experiments.
    """
    if len(request.experiment_ids) > _MAX_EXPERIMENTS:
        raise TooLarge(f"{len(request.experiment_ids)} experiments.", next_step=f"Ask for {_MAX_EXPERIMENTS} at most.")
    with ctx.read() as tx:
        mine = records.experiments_of(tx, request.project, request.experiment_ids)
        found = records.list_datasets(tx, mine, limit=max(1, min(request.limit, 1_000)))
    return [DatasetSummary(*one) for one in found]


@operation("tracking.update_run", permission="tracking:write", emits=("run.updated", "run.ended"))
def update_run(ctx: Context, request: UpdateRun) -> Run:
    """Change the name, the status or the end of a run; one that gets the status of an end has ended.

    One that runs again has no end, until it has another.

    Raises:
        NotFound: There is no such run.
        Conflict: It is deleted.
        TooLarge: The name is too long.
    """
    _check_lengths(name=request.name or "")
    with ctx.begin() as tx:
        head = _active(tx, request.run_id, request.project)
        given = {"name": request.name or None, "status": request.status, "ended_at": request.ended_at}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        ended = request.status in _ENDS and records.end_run(tx, head.id, status=request.status)
        if request.status in {"running", "scheduled"}:
            changes["ended_at"] = request.ended_at
        if changes:
            records.change_run(tx, head.id, **changes)
            ctx.emit("run.updated", f"runs/{head.id}", project=head.project, changes=changes)
        if ended:
            ctx.emit("run.ended", f"runs/{head.id}", project=head.project, status=request.status, error="")
        return _find(tx, head.id)


@operation("tracking.end_run", permission="tracking:write", emits=("run.ended",))
def end_run(ctx: Context, request: EndRun) -> Run:
    """End a run; ending it again the same way changes nothing.

    Raises:
        NotFound: There is no such run.
        Conflict: It ended already in another way, or is deleted.
        Invalid: It is none of the ways in which a run ends.
    """
    if request.status not in _ENDS:
        raise Invalid(f"A run that is {request.status} has not ended.", next_step="Say finished, failed or killed.")
    error = cleaned(request.error)
    with ctx.begin() as tx:
        head = _active(tx, request.run_id)
        ended_at: datetime = request.ended_at or ctx.now()
        ended = records.end_run(tx, head.id, status=request.status, ended_at=ended_at, error=error)
        run = _find(tx, head.id)
        if not ended and run.status != request.status:
            raise Conflict(f"Run {run.id} is {run.status} already.", next_step="A run ends once; start another one.")
        if ended:
            ctx.emit("run.ended", f"runs/{run.id}", project=run.project, status=request.status, error=error)
        return run


@operation("tracking.untag_run", permission="tracking:write", emits=("run.untagged",))
def untag_run(ctx: Context, request: UntagRun) -> None:
    """Remove a tag from a run.

    Raises:
        NotFound: There is no such run, or no such tag.
        Conflict: The run is deleted.
    """
    with ctx.begin() as tx:
        head = _active(tx, request.run_id, request.project)
        if len(request.name) > MAX_NAME or not records.remove_tag(tx, head.id, request.name):
            raise NotFound(f"No tag with name: {request.name[:MAX_NAME]} in run with id {head.id}")
        ctx.emit("run.untagged", f"runs/{head.id}", project=head.project, name=request.name)


@operation("tracking.delete_run", permission="tracking:write", emits=("run.deleted",))
def delete_run(ctx: Context, request: DeleteRun) -> None:
    """Delete a run: it is hidden, and kept until storage is freed. One that is deleted stays so.

    Raises:
        NotFound: There is no such run.
    """
    _set_state(ctx, request.run_id, "deleted", request.project)


@operation("tracking.restore_run", permission="tracking:write", emits=("run.restored",))
def restore_run(ctx: Context, request: RestoreRun) -> None:
    """Bring a deleted run back. One that is active stays so.

    Raises:
        NotFound: There is no such run.
    """
    _set_state(ctx, request.run_id, "active", request.project)


def _set_state(ctx: Context, run_id: str, state: Literal["active", "deleted"], project: str) -> None:
    with ctx.begin() as tx:
        head = records.heads(tx, [find_id(run_id)]).get(run_id)
        if head is None or project not in ("", head.project):
            raise _unknown(run_id)
        if head.state == state:
            return
        records.change_run(tx, head.id, state=state, deleted_at=ctx.now() if state == "deleted" else None)
        ctx.emit("run.deleted" if state == "deleted" else "run.restored", f"runs/{head.id}", project=head.project)


@operation("tracking.find_run", permission="tracking:read")
def find_run(ctx: Context, request: FindRun) -> Run:
    """Return a run with everything it logged, also a deleted one.

    Raises:
        NotFound: There is no such run.
    """
    with ctx.read() as tx:
        return _find(tx, request.run_id, latest=request.latest, project=request.project)


@operation("tracking.list_runs", permission="tracking:read")
def list_runs(ctx: Context, request: ListRuns) -> list[Run]:
    """List active runs, newest first.

    Raises:
        NotFound: There is no run that the page is to start after.
    """
    with ctx.read() as tx:
        if request.before is not None and request.before not in records.heads(tx, [request.before]):
            raise _unknown(request.before)
        return records.list_runs(
            tx,
            project=request.project,
            experiment=request.experiment,
            kind=request.kind,
            before=request.before,
            limit=max(1, min(request.limit, 1000)),
        )


@operation("tracking.search_runs", permission="tracking:read")
def search_runs(ctx: Context, request: SearchRuns) -> RunPage:
    """Search runs by what they logged; the cost of a page follows what it shows, not how many runs there are.

    Raises:
        Invalid: The filter, an order or the page token cannot be read.
    """
    limit = max(1, min(request.limit, _MAX_PAGE))
    offset = page_offset(request.page_token)
    clauses = parse_filter(request.filter, RUNS)
    orders = parse_order(request.order_by, RUNS)
    states = ("active", "deleted") if request.view == "all" else (request.view,)
    with ctx.read() as tx:
        experiments = records.experiments_of(tx, request.project, request.experiment_ids)
        asked = records.Asked(experiments, clauses, orders, states, offset, limit)
        ids = records.search_runs(tx, asked)
        runs = records.find_runs(
            tx,
            ids[:limit],
            metrics=request.metrics,
            parameters=request.parameters,
            tags=request.tags,
            with_latest=request.latest,
        )
        return RunPage(tuple(runs), page_token(offset + limit) if len(ids) > limit else "")
