"""What can be done with experiments."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.core.filters import EXPERIMENTS, parse_filter, parse_order
from undrift.core.ids import check_name
from undrift.core.operation import operation
from undrift.tracking import records
from undrift.tracking.model import Experiment
from undrift.tracking.operations.words import MAX_NUMBER, check_experiment_name, check_tags, page_offset, page_token

__all__ = [
    "CreateExperiment",
    "DeleteExperiment",
    "ExperimentPage",
    "FindExperiment",
    "ListProjects",
    "RestoreExperiment",
    "SearchExperiments",
    "TagExperiment",
    "UpdateExperiment",
    "active_experiment",
    "create_experiment",
    "delete_experiment",
    "ensure_experiment",
    "find_experiment",
    "list_projects",
    "restore_experiment",
    "search_experiments",
    "tag_experiment",
    "update_experiment",
]

_MAX_TAG = 20_000


class CreateExperiment(msgspec.Struct, frozen=True):
    """An experiment to make; an import brings its number and its time along."""

    project: str
    name: str
    tags: dict[str, str] = {}
    id: int | None = None
    created_at: datetime | None = None


class FindExperiment(msgspec.Struct, frozen=True):
    """Which experiment of a project: by its number, or by its name."""

    project: str
    id: int | None = None
    name: str = ""


class SearchExperiments(msgspec.Struct, frozen=True):
    """Which experiments.

    Attributes:
        project: Of which project.
        filter: What has to hold, such as ``name LIKE 'late%' AND tags.team = 'ops'``.
        order_by: By what, such as ``last_update_time DESC``; the newest first when left out.
        view: Those that are active, those that are deleted, or all.
        limit: At most so many, 1 to 50,000.
        page_token: Where the page begins.
    """

    project: str
    filter: str = ""
    order_by: tuple[str, ...] = ()
    view: Literal["active", "deleted", "all"] = "active"
    limit: int = 100
    page_token: str = ""


class ExperimentPage(msgspec.Struct, frozen=True):
    """Some of the experiments that were asked for, and the way to the next ones."""

    experiments: tuple[Experiment, ...]
    next_page_token: str = ""


class ListProjects(msgspec.Struct, frozen=True):
    """All projects that have experiments."""


class UpdateExperiment(msgspec.Struct, frozen=True):
    """A new name for an experiment."""

    project: str
    id: int
    name: str


class TagExperiment(msgspec.Struct, frozen=True):
    """Tags to set, and names of tags to remove."""

    project: str
    id: int
    tags: dict[str, str] = {}
    removed: tuple[str, ...] = ()


class DeleteExperiment(msgspec.Struct, frozen=True):
    """Which experiment to delete, with all its runs."""

    project: str
    id: int


class RestoreExperiment(msgspec.Struct, frozen=True):
    """Which experiment to bring back, with all its runs."""

    project: str
    id: int


def _find(tx: Any, project: str, id_: int) -> Experiment:
    found = records.find_experiment(tx, project=project, id_=id_)
    if found is None:
        raise NotFound(f"No Experiment with id={id_} exists", next_step="List them with `undrift runs experiments`.")
    return found


def active_experiment(tx: Any, project: str, id_: int) -> Experiment:
    """Return an experiment that can be written to.

    Raises:
        NotFound: There is none of this number in the project.
        Conflict: It is deleted.
    """
    found = _find(tx, project, id_)
    if found.state != "active":
        raise Conflict(
            f"The experiment {found.id} must be in the 'active' state. Current state is deleted.",
            next_step="Restore it first.",
        )
    return found


def ensure_experiment(ctx: Context, tx: Any, project: str, name: str) -> Experiment:
    """Return the active experiment of a name, which is made when there is none.

    Raises:
        Conflict: The one of this name is deleted.
    """
    found = records.find_experiment(tx, project=project, name=name)
    if found is not None:
        return active_experiment(tx, project, found.id)
    return _create(ctx, tx, CreateExperiment(project, name))


def _create(ctx: Context, tx: Any, request: CreateExperiment) -> Experiment:
    check_name(request.project, "project")
    check_experiment_name(request.name)
    check_tags(request.tags, most=_MAX_TAG)
    if request.id is not None and not 0 <= request.id <= MAX_NUMBER:
        raise Invalid(f"{request.id} cannot be the number of an experiment.", next_step="It has at most 18 digits.")
    at = request.created_at or ctx.now()
    added = records.add_experiment(tx, request.project, request.name, at=at, actor=ctx.actor.name, id_=request.id)
    found = records.find_experiment(tx, project=request.project, name=request.name)
    if not added or found is None:
        if found is None:
            raise Conflict(f"Another experiment has the number {request.id}.", next_step="Leave the number out.")
        hint = " in deleted state" if found.state == "deleted" else ""
        raise Conflict(
            f"Experiment(name={request.name}) already exists{hint}.",
            next_step="Choose another name, or restore the deleted one." if hint else "Use that one.",
            id=found.id,
        )
    records.add_experiment_tags(tx, found.id, request.tags)
    ctx.emit("experiment.created", f"experiments/{found.id}", project=found.project, name=found.name)
    return msgspec.structs.replace(found, tags=dict(request.tags))


@operation("tracking.create_experiment", permission="tracking:write", emits=("experiment.created",))
def create_experiment(ctx: Context, request: CreateExperiment) -> Experiment:
    """Make an experiment.

    Raises:
        Conflict: One of this name is there, perhaps deleted.
        Invalid: The name or the number cannot be used.
    """
    with ctx.begin() as tx:
        return _create(ctx, tx, request)


@operation("tracking.find_experiment", permission="tracking:read")
def find_experiment(ctx: Context, request: FindExperiment) -> Experiment:
    """Return an experiment by number or name, also a deleted one.

    Raises:
        NotFound: There is none in this project.
    """
    with ctx.read() as tx:
        if request.id is not None:
            return _find(tx, request.project, request.id)
        found = records.find_experiment(tx, project=request.project, name=request.name)
    if found is None:
        raise NotFound(
            f"Could not find experiment with name '{request.name}'",
            next_step="It is made with its first run, or by `tracking.create_experiment`.",
        )
    return found


@operation("tracking.search_experiments", permission="tracking:read")
def search_experiments(ctx: Context, request: SearchExperiments) -> ExperimentPage:
    """Search the experiments of a project."""
    limit = max(1, min(request.limit, 50_000))
    offset = page_offset(request.page_token)
    with ctx.read() as tx:
        ids = records.search_experiments(
            tx,
            project=request.project,
            clauses=parse_filter(request.filter, EXPERIMENTS),
            orders=parse_order(request.order_by, EXPERIMENTS),
            states=("active", "deleted") if request.view == "all" else (request.view,),
            offset=offset,
            limit=limit,
        )
        more = page_token(offset + limit) if len(ids) > limit else ""
        return ExperimentPage(tuple(records.find_experiments(tx, ids[:limit])), more)


@operation("tracking.list_projects", permission="tracking:read")
def list_projects(ctx: Context, request: ListProjects) -> list[str]:  # noqa: ARG001 - there is nothing to choose
    """List the projects that have experiments, in order."""
    with ctx.read() as tx:
        return records.list_projects(tx)


@operation("tracking.update_experiment", permission="tracking:write", emits=("experiment.renamed",))
def update_experiment(ctx: Context, request: UpdateExperiment) -> Experiment:
    """Rename an experiment.

    Raises:
        NotFound: There is none of this number.
        Conflict: It is deleted, or another one has the name.
    """
    check_experiment_name(request.name)
    with ctx.begin() as tx:
        found = active_experiment(tx, request.project, request.id)
        if found.name == request.name:
            return found
        if records.find_experiment(tx, project=request.project, name=request.name) is not None:
            raise Conflict(f"Experiment(name={request.name}) already exists.", next_step="Choose another name.")
        records.change_experiment(tx, found.id, name=request.name, updated_at=ctx.now())
        ctx.emit(
            "experiment.renamed",
            f"experiments/{found.id}",
            project=found.project,
            name=request.name,
            previous=found.name,
        )
        return _find(tx, request.project, request.id)


@operation("tracking.tag_experiment", permission="tracking:write", emits=("experiment.tagged",))
def tag_experiment(ctx: Context, request: TagExperiment) -> Experiment:
    """Set and remove tags of an experiment.

    Raises:
        NotFound: There is no such experiment, or no such tag to remove.
        Conflict: It is deleted.
    """
    check_tags(request.tags, most=_MAX_TAG)
    with ctx.begin() as tx:
        found = active_experiment(tx, request.project, request.id)
        missing = sorted(set(request.removed) - set(found.tags))
        if missing:
            raise NotFound(f"No tag with name: {missing[0]} in experiment with id {found.id}", tag=missing[0])
        records.add_experiment_tags(tx, found.id, request.tags)
        records.remove_experiment_tags(tx, found.id, request.removed)
        records.change_experiment(tx, found.id, updated_at=ctx.now())
        ctx.emit(
            "experiment.tagged",
            f"experiments/{found.id}",
            project=found.project,
            tags=request.tags,
            removed=request.removed,
        )
        return _find(tx, request.project, request.id)


@operation("tracking.delete_experiment", permission="tracking:write", emits=("experiment.deleted",))
def delete_experiment(ctx: Context, request: DeleteExperiment) -> Experiment:
    """Delete an experiment and its runs: they are hidden, and kept until storage is freed.

    Raises:
        NotFound: There is no active one of this number.
    """
    return _set_state(ctx, request.project, request.id, "deleted")


@operation("tracking.restore_experiment", permission="tracking:write", emits=("experiment.restored",))
def restore_experiment(ctx: Context, request: RestoreExperiment) -> Experiment:
    """Bring a deleted experiment back, with all its runs.

    Raises:
        NotFound: There is no deleted one of this number.
    """
    return _set_state(ctx, request.project, request.id, "active")


def _set_state(ctx: Context, project: str, id_: int, state: Literal["active", "deleted"]) -> Experiment:
    with ctx.begin() as tx:
        found = _find(tx, project, id_)
        if found.state == state:
            other = "deleted" if state == "active" else "active"
            raise NotFound(f"No {other} Experiment with id={id_} exists", next_step=f"It is {state} already.")
        now = ctx.now()
        records.change_experiment(tx, id_, state=state, updated_at=now)
        runs = records.set_state_of_runs(tx, id_, state, now if state == "deleted" else None)
        ctx.emit(
            "experiment.deleted" if state == "deleted" else "experiment.restored",
            f"experiments/{id_}",
            project=project,
            name=found.name,
            runs=runs,
        )
        return _find(tx, project, id_)
