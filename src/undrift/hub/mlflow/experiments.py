"""Experiments, as MLflow's clients ask for them."""

from __future__ import annotations

from typing import Any

from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid
from undrift.hub.mlflow.errors import Refused, renamed
from undrift.hub.mlflow.messages import KeyValue, Message
from undrift.hub.mlflow.routes import Route, threaded
from undrift.hub.mlflow.words import (
    ROOT,
    View,
    default_experiment,
    experiment_as_json,
    experiment_number,
    experiment_numbers,
    from_pairs,
    view_of,
)
from undrift.tracking import (
    CreateExperiment,
    DeleteExperiment,
    FindExperiment,
    ListDatasets,
    RestoreExperiment,
    SearchExperiments,
    TagExperiment,
    UpdateExperiment,
    create_experiment,
    delete_experiment,
    find_experiment,
    list_datasets,
    restore_experiment,
    search_experiments,
    tag_experiment,
    update_experiment,
)

__all__ = ["ROUTES", "ById", "SearchDatasets", "find", "search_datasets"]

_READ = "tracking:read"
_WRITE = "tracking:write"
_MOST = 50_000
_MOST_AT_ONCE = 20


class Create(Message):
    """An experiment to make."""

    name: str
    artifact_location: str = ""
    tags: tuple[KeyValue, ...] = ()


class ById(Message):
    """Which experiment."""

    experiment_id: str


class ByName(Message):
    """Which experiment."""

    experiment_name: str


class Search(Message):
    """Which experiments; there is no default for how many."""

    max_results: int = 0
    page_token: str = ""
    filter: str = ""
    order_by: tuple[str, ...] = ()
    view_type: View = View.ACTIVE_ONLY


class Rename(Message):
    """A new name."""

    experiment_id: str
    new_name: str


class SetTag(Message):
    """A tag to set."""

    experiment_id: str
    key: str
    value: str = ""


class DeleteTag(Message):
    """A tag to remove."""

    experiment_id: str
    key: str


class SearchDatasets(Message):
    """Of which experiments."""

    experiment_ids: tuple[str, ...] = ()


def _create(ctx: Context, project: str, asked: Create) -> Any:
    if asked.artifact_location not in ("", ROOT):
        raise Invalid(
            f"Invalid value for parameter 'artifact_location': {asked.artifact_location[:200]!r}. Clients name no "
            f"location here: this hub keeps all artifacts below {ROOT}.",
            next_step="Leave artifact_location out.",
        )
    _ensure_default(ctx, project, asked.name)
    with renamed(Conflict, "RESOURCE_ALREADY_EXISTS"):
        made = create_experiment(ctx, CreateExperiment(project, asked.name, from_pairs(asked.tags)))
    return {"experiment_id": str(made.id)}


def _ensure_default(ctx: Context, project: str, name: str) -> None:
    """Make the experiment that every project has, before its name is looked for or taken."""
    if name == "Default":
        default_experiment(ctx, project)


def find(ctx: Context, project: str, asked: ById) -> dict[str, Any]:
    """Return an experiment, also a deleted one."""
    number = experiment_number(ctx, project, asked.experiment_id)
    return {"experiment": experiment_as_json(find_experiment(ctx, FindExperiment(project, number)))}


def _find_by_name(ctx: Context, project: str, asked: ByName) -> Any:
    _ensure_default(ctx, project, asked.experiment_name)
    return {"experiment": experiment_as_json(find_experiment(ctx, FindExperiment(project, name=asked.experiment_name)))}


def _search(ctx: Context, project: str, asked: Search) -> Any:
    if not 1 <= asked.max_results <= _MOST:
        raise Invalid(
            f"Invalid value {asked.max_results} for parameter 'max_results' supplied: It must be a positive integer "
            f"of at most {_MOST}."
        )
    default_experiment(ctx, project)
    page = search_experiments(
        ctx,
        SearchExperiments(
            project,
            filter=asked.filter,
            order_by=tuple(asked.order_by),
            view=view_of(asked.view_type),
            limit=asked.max_results,
            page_token=asked.page_token,
        ),
    )
    said: dict[str, Any] = {}
    if page.experiments:
        said["experiments"] = [experiment_as_json(one) for one in page.experiments]
    if page.next_page_token:
        said["next_page_token"] = page.next_page_token
    return said


def _delete(ctx: Context, project: str, asked: ById) -> None:
    delete_experiment(ctx, DeleteExperiment(project, experiment_number(ctx, project, asked.experiment_id)))


def _restore(ctx: Context, project: str, asked: ById) -> None:
    restore_experiment(ctx, RestoreExperiment(project, experiment_number(ctx, project, asked.experiment_id)))


def _rename(ctx: Context, project: str, asked: Rename) -> None:
    number = experiment_number(ctx, project, asked.experiment_id)
    if find_experiment(ctx, FindExperiment(project, number)).state != "active":
        # A client would try again for minutes if this were told as a fault of the server.
        raise Refused("Cannot rename a non-active experiment.", "INVALID_STATE", next_step="Restore it first.")
    _ensure_default(ctx, project, asked.new_name)
    with renamed(Conflict, "BAD_REQUEST"):
        update_experiment(ctx, UpdateExperiment(project, number, asked.new_name))


def _set_tag(ctx: Context, project: str, asked: SetTag) -> None:
    number = experiment_number(ctx, project, asked.experiment_id)
    with renamed(Conflict, "INVALID_PARAMETER_VALUE"):
        tag_experiment(ctx, TagExperiment(project, number, {asked.key: asked.value}))


def _delete_tag(ctx: Context, project: str, asked: DeleteTag) -> None:
    number = experiment_number(ctx, project, asked.experiment_id)
    with renamed(Conflict, "INVALID_PARAMETER_VALUE"):
        tag_experiment(ctx, TagExperiment(project, number, removed=(asked.key,)))


def search_datasets(ctx: Context, project: str, asked: SearchDatasets) -> dict[str, Any]:
    """Return the datasets that the runs of experiments read."""
    if not 1 <= len(asked.experiment_ids) <= _MOST_AT_ONCE:
        raise Invalid(
            f"SearchDatasets request must specify at least one experiment_id and at most {_MOST_AT_ONCE}. Received "
            f"{len(asked.experiment_ids)} experiment_ids."
        )
    found = list_datasets(ctx, ListDatasets(project, experiment_numbers(ctx, project, asked.experiment_ids)))
    if not found:
        return {}
    summaries = [
        {"experiment_id": str(one.experiment_id), "name": one.name, "digest": one.digest, "context": one.context}
        for one in found
    ]
    return {"dataset_summaries": summaries}


_AT = "2.0/mlflow/experiments"
ROUTES = (
    Route(("POST",), f"{_AT}/create", _WRITE, threaded(Create, _create)),
    Route(("GET", "POST"), f"{_AT}/search", _READ, threaded(Search, _search)),
    Route(("GET",), f"{_AT}/get", _READ, threaded(ById, find)),
    Route(("GET",), f"{_AT}/get-by-name", _READ, threaded(ByName, _find_by_name)),
    Route(("POST",), f"{_AT}/delete", _WRITE, threaded(ById, _delete)),
    Route(("POST",), f"{_AT}/restore", _WRITE, threaded(ById, _restore)),
    Route(("POST",), f"{_AT}/update", _WRITE, threaded(Rename, _rename)),
    Route(("POST",), f"{_AT}/set-experiment-tag", _WRITE, threaded(SetTag, _set_tag)),
    Route(("POST",), f"{_AT}/delete-experiment-tag", _WRITE, threaded(DeleteTag, _delete_tag)),
    Route(("POST",), f"{_AT}/search-datasets", _READ, threaded(SearchDatasets, search_datasets), page_only=True),
)
