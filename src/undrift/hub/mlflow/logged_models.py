"""Logged models, as MLflow's clients ask for them; their files are in ``artifacts.py``."""

from __future__ import annotations

from typing import Any

from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid
from undrift.core.hashing import hash_value
from undrift.hub.mlflow.errors import renamed
from undrift.hub.mlflow.messages import KeyValue, Message, missing
from undrift.hub.mlflow.routes import Route, threaded
from undrift.hub.mlflow.words import (
    MODEL_STATUS,
    ModelStatus,
    experiment_number,
    experiment_numbers,
    from_pairs,
    model_as_json,
)
from undrift.tracking import (
    ChangeModel,
    CreateLoggedModel,
    DeleteLoggedModel,
    FindLoggedModel,
    ModelDataset,
    ModelOrder,
    SearchLoggedModels,
    change_model,
    create_model,
    delete_model,
    find_model,
    search_models,
)

__all__ = ["ROUTES"]

_READ = "tracking:read"
_WRITE = "tracking:write"
_MOST_WITHOUT_WORD = 100


class Create(Message):
    """A model that a run begins to make."""

    experiment_id: str
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: tuple[KeyValue, ...] = ()
    tags: tuple[KeyValue, ...] = ()


class Get(Message):
    """Which model, and whether a deleted one is wanted."""

    model_id: str
    allow_deleted: bool = False


class Finalize(Message):
    """How the upload of its files ended."""

    model_id: str
    status: ModelStatus


class ById(Message):
    """Which model."""

    model_id: str


class SetTags(Message):
    """Tags to set."""

    model_id: str
    tags: tuple[KeyValue, ...] = ()


class DeleteTag(Message):
    """A tag to remove."""

    model_id: str
    tag_key: str


class LogParams(Message):
    """Parameters to add."""

    model_id: str
    params: tuple[KeyValue, ...] = ()


class Dataset(Message):
    """On which dataset."""

    dataset_name: str
    dataset_digest: str = ""


class Order(Message):
    """By what."""

    field_name: str
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


class Search(Message):
    """Which models."""

    experiment_ids: tuple[str, ...]
    filter: str = ""
    datasets: tuple[Dataset, ...] = ()
    order_by: tuple[Order, ...] = ()
    max_results: int = 50
    page_token: str = ""


def _create(ctx: Context, project: str, asked: Create) -> Any:
    with renamed(Conflict, "INVALID_PARAMETER_VALUE"):
        made = create_model(
            ctx,
            CreateLoggedModel(
                project,
                experiment_number(ctx, project, asked.experiment_id),
                asked.name,
                asked.model_type,
                asked.source_run_id,
                from_pairs(asked.params),
                from_pairs(asked.tags),
            ),
        )
    return {"model": model_as_json(made)}


def _get(ctx: Context, project: str, asked: Get) -> Any:
    found = find_model(ctx, FindLoggedModel(project, asked.model_id, deleted=asked.allow_deleted))
    return {"model": model_as_json(found)}


def _finalize(ctx: Context, project: str, asked: Finalize) -> Any:
    if asked.status not in MODEL_STATUS:
        raise missing("status")
    changed = change_model(ctx, ChangeModel(project, asked.model_id, status=MODEL_STATUS[asked.status]))
    return {"model": model_as_json(changed)}


def _delete(ctx: Context, project: str, asked: ById) -> None:
    delete_model(ctx, DeleteLoggedModel(project, asked.model_id))


def _set_tags(ctx: Context, project: str, asked: SetTags) -> Any:
    changed = change_model(ctx, ChangeModel(project, asked.model_id, tags=from_pairs(asked.tags)))
    return {"model": model_as_json(changed)}


def _delete_tag(ctx: Context, project: str, asked: DeleteTag) -> None:
    change_model(ctx, ChangeModel(project, asked.model_id, removed_tags=(asked.tag_key,)))


def _log_params(ctx: Context, project: str, asked: LogParams) -> None:
    parameters = from_pairs(asked.params)
    # Doing it again changes nothing, and one key cannot name two operations.
    ctx.idempotency_key = None
    with ctx.begin():
        known = find_model(ctx, FindLoggedModel(project, asked.model_id)).parameters
        for key, value in parameters.items():
            if known.get(key, value) != value:
                raise Invalid(
                    f"Changing param values is not allowed. Param with key='{key}' was already logged with "
                    f"value='{known[key][:200]}' for model ID='{asked.model_id}'. Attempted logging new value "
                    f"'{value[:200]}'.",
                    next_step="A parameter is written once: use a tag for what changes.",
                )
        change_model(ctx, ChangeModel(project, asked.model_id, parameters=parameters))


def _search(ctx: Context, project: str, asked: Search) -> Any:
    if asked.max_results < 0:
        raise Invalid(
            f"Invalid value {asked.max_results} for parameter 'max_results' supplied: It must be a positive integer."
        )
    experiments = experiment_numbers(ctx, project, asked.experiment_ids)
    # A token leaves out so many results of the search that it was given for: of another one it would lose some.
    search = hash_value([experiments, asked.filter, asked.datasets, asked.order_by])[:16]
    token, _, given_for = asked.page_token.partition(".")
    if asked.page_token and given_for != search:
        raise Invalid(
            f"Invalid page token: {asked.page_token[:80]!r} was not given for these experiments, filter and order.",
            next_step="Ask for each page as for the first one, or begin anew without a token.",
        )
    page = search_models(
        ctx,
        SearchLoggedModels(
            project,
            experiments,
            filter=asked.filter,
            datasets=tuple(ModelDataset(one.dataset_name, one.dataset_digest) for one in asked.datasets),
            order_by=tuple(
                ModelOrder(
                    one.field_name,
                    one.ascending,
                    ModelDataset(one.dataset_name, one.dataset_digest) if one.dataset_name else None,
                )
                for one in asked.order_by
            ),
            limit=asked.max_results or _MOST_WITHOUT_WORD,
            page_token=token,
        ),
    )
    said: dict[str, Any] = {}
    if page.models:
        said["models"] = [model_as_json(one) for one in page.models]
    if page.next_page_token:
        said["next_page_token"] = f"{page.next_page_token}.{search}"
    return said


_AT = "2.0/mlflow/logged-models"
ROUTES = (
    Route(("POST",), _AT, _WRITE, threaded(Create, _create)),
    Route(("POST",), f"{_AT}/search", _READ, threaded(Search, _search)),
    Route(("GET",), f"{_AT}/{{model_id}}", _READ, threaded(Get, _get)),
    Route(("PATCH",), f"{_AT}/{{model_id}}", _WRITE, threaded(Finalize, _finalize)),
    Route(("DELETE",), f"{_AT}/{{model_id}}", _WRITE, threaded(ById, _delete)),
    Route(("PATCH",), f"{_AT}/{{model_id}}/tags", _WRITE, threaded(SetTags, _set_tags)),
    Route(("DELETE",), f"{_AT}/{{model_id}}/tags/{{tag_key:path}}", _WRITE, threaded(DeleteTag, _delete_tag)),
    Route(("POST",), f"{_AT}/{{model_id}}/params", _WRITE, threaded(LogParams, _log_params)),
)
