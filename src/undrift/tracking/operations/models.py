"""What can be done with logged models: models that a run has made and that nobody has registered yet."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Literal

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid, NotFound, TooLarge
from undrift.core.filters import LOGGED_MODELS, MAX_CLAUSES, order_by_field, parse_filter
from undrift.core.ids import new_id
from undrift.core.operation import operation
from undrift.tracking import records
from undrift.tracking.model import LoggedModel
from undrift.tracking.operations.experiments import active_experiment
from undrift.tracking.operations.words import check_keys, check_tags, check_text, find_id, page_offset, page_token

__all__ = [
    "ChangeModel",
    "CreateLoggedModel",
    "DeleteLoggedModel",
    "FindLoggedModel",
    "LoggedModelPage",
    "ModelDataset",
    "ModelOrder",
    "SearchLoggedModels",
    "change_model",
    "create_model",
    "delete_model",
    "find_model",
    "search_models",
]

_ID = re.compile(r"m-[0-9a-f]{32}")
_MAX_VALUE = 6_000
_MAX_MESSAGE = 65_535


class CreateLoggedModel(msgspec.Struct, frozen=True):
    """A model that a run begins to make; an import brings its id and its time along."""

    project: str
    experiment_id: int
    name: str = ""
    type: str = ""
    source_run_id: str = ""
    parameters: dict[str, str] = {}
    tags: dict[str, str] = {}
    id: str | None = None
    created_at: datetime | None = None


class FindLoggedModel(msgspec.Struct, frozen=True):
    """Which logged model, and whether one that is deleted is wanted, too."""

    project: str
    id: str
    deleted: bool = False


class ChangeModel(msgspec.Struct, frozen=True):
    """What changes about a logged model: its status, parameters and tags to set, names of tags to remove."""

    project: str
    id: str
    status: Literal["pending", "ready", "upload_failed"] | None = None
    status_message: str = ""
    parameters: dict[str, str] = {}
    tags: dict[str, str] = {}
    removed_tags: tuple[str, ...] = ()


class DeleteLoggedModel(msgspec.Struct, frozen=True):
    """Which logged model to delete."""

    project: str
    id: str


class ModelDataset(msgspec.Struct, frozen=True):
    """A dataset by name, and by digest where one is said."""

    name: str
    digest: str = ""


class ModelOrder(msgspec.Struct, frozen=True):
    """What to order by: an attribute, or ``metrics.name`` on one dataset or on any."""

    field: str
    ascending: bool = True
    dataset: ModelDataset | None = None


class SearchLoggedModels(msgspec.Struct, frozen=True):
    """Which logged models, in which order, at most so many (1 to 10,000)."""

    project: str
    experiment_ids: tuple[int, ...]
    filter: str = ""
    datasets: tuple[ModelDataset, ...] = ()
    order_by: tuple[ModelOrder, ...] = ()
    limit: int = 100
    page_token: str = ""


class LoggedModelPage(msgspec.Struct, frozen=True):
    """Some of the logged models that were asked for, and the way to the next ones."""

    models: tuple[LoggedModel, ...]
    next_page_token: str = ""


def _find(tx: Any, project: str, id_: str, *, deleted: bool = False) -> LoggedModel:
    found = records.find_models(tx, [id_]) if _ID.fullmatch(id_) else []
    if not found or found[0].project != project or (found[0].state == "deleted" and not deleted):
        raise NotFound(f"Logged model with ID '{id_[:80]}' not found.", id=id_[:80])
    return found[0]


def _check_values(parameters: dict[str, str]) -> None:
    check_keys(parameters, "parameter")
    for name, value in parameters.items():
        if len(value) > _MAX_VALUE:
            raise TooLarge(f"The value of parameter {name!r} exceeds the maximum length of {_MAX_VALUE} characters.")
        check_text(value, f"The value of parameter {name!r}", _MAX_VALUE)


@operation("tracking.create_model", permission="tracking:write", emits=("logged_model.created",))
def create_model(ctx: Context, request: CreateLoggedModel) -> LoggedModel:
    """Begin a logged model; it is pending until its bytes are there.

    Raises:
        NotFound: There is no such experiment or run.
        Conflict: The experiment is deleted, or the id is taken.
        Invalid: The name is empty or has one of ``/ : . % " '``, or the id is none.
        TooLarge: A text is too long.
    """
    name = request.name or "model-" + new_id()[-8:]
    if not name.strip() or set(name) & set("/:.%\"'") or len(name) > 500:
        raise Invalid(
            f"Invalid model name: {name[:80]!r}. It must be a non-empty string without any of / : . % \" '.",
            next_step="Choose another one of at most 500 characters.",
        )
    check_text(name, "The name of a model", 500)
    check_text(request.type, "The type of a model", 500)
    id_ = request.id or f"m-{new_id()}"
    if _ID.fullmatch(id_) is None:
        raise Invalid(f"{id_[:80]!r} is not the id of a logged model: that is m- and 32 hexadecimal characters.")
    _check_values(request.parameters)
    check_tags(request.tags)
    with ctx.begin() as tx:
        active_experiment(tx, request.project, request.experiment_id)
        if request.source_run_id:
            source = records.heads(tx, [find_id(request.source_run_id)]).get(request.source_run_id)
            if source is None or source.project != request.project:
                raise NotFound(f"Run with id={request.source_run_id} not found.")
        if records.find_models(tx, [id_]):
            raise Conflict(f"There is a logged model {id_} already.")
        at = request.created_at or ctx.now()
        model = LoggedModel(
            id=id_,
            project=request.project,
            experiment_id=request.experiment_id,
            name=name,
            type=request.type,
            source_run_id=request.source_run_id,
            status="pending",
            state="active",
            created_at=at,
            updated_at=at,
            parameters=request.parameters,
            tags=request.tags,
        )
        records.add_model(tx, model)
        ctx.emit(
            "logged_model.created", f"logged_models/{id_}", project=model.project, name=name, run=model.source_run_id
        )
        return model


@operation("tracking.find_model", permission="tracking:read")
def find_model(ctx: Context, request: FindLoggedModel) -> LoggedModel:
    """Return a logged model.

    Raises:
        NotFound: There is none, or it is deleted.
    """
    with ctx.read() as tx:
        return _find(tx, request.project, request.id, deleted=request.deleted)


@operation("tracking.change_model", permission="tracking:write", emits=("logged_model.changed",))
def change_model(ctx: Context, request: ChangeModel) -> LoggedModel:
    """Set the status, parameters and tags of a logged model, and remove tags.

    Raises:
        NotFound: There is no such model, or no such tag to remove.
    """
    _check_values(request.parameters)
    check_tags(request.tags)
    check_text(request.status_message, "The message of a status", _MAX_MESSAGE)
    with ctx.begin() as tx:
        model = _find(tx, request.project, request.id)
        missing = sorted(set(request.removed_tags) - set(model.tags))
        if missing:
            raise NotFound(f"Tag with key '{missing[0]}' not found for model with ID '{model.id}'.", tag=missing[0])
        changes: dict[str, Any] = {"updated_at": ctx.now()}
        if request.status is not None:
            changes |= {"status": request.status, "status_message": request.status_message}
        records.change_model(tx, model.id, **changes)
        records.set_model_parameters(tx, model.id, request.parameters)
        records.set_model_tags(tx, model.id, request.tags)
        for name in request.removed_tags:
            records.remove_model_tag(tx, model.id, name)
        ctx.emit(
            "logged_model.changed",
            f"logged_models/{model.id}",
            project=model.project,
            status=request.status,
            tags=request.tags,
            removed_tags=request.removed_tags,
        )
        return _find(tx, request.project, request.id)


@operation("tracking.delete_model", permission="tracking:write", emits=("logged_model.deleted",))
def delete_model(ctx: Context, request: DeleteLoggedModel) -> None:
    """Delete a logged model: it is hidden, and kept until storage is freed. One that is deleted stays so.

    Raises:
        NotFound: There is no such model.
    """
    with ctx.begin() as tx:
        model = _find(tx, request.project, request.id, deleted=True)
        if model.state == "deleted":
            return
        now = ctx.now()
        records.change_model(tx, model.id, state="deleted", updated_at=now, deleted_at=now)
        ctx.emit("logged_model.deleted", f"logged_models/{model.id}", project=model.project, name=model.name)


@operation("tracking.search_models", permission="tracking:read")
def search_models(ctx: Context, request: SearchLoggedModels) -> LoggedModelPage:
    """Search logged models.

    Raises:
        Invalid: The filter, an order or the page token cannot be read.
        TooLarge: More than 100 orders or datasets.
    """
    if len(request.order_by) > MAX_CLAUSES or len(request.datasets) > MAX_CLAUSES:
        raise TooLarge(
            f"{len(request.order_by)} orders and {len(request.datasets)} datasets.",
            next_step=f"Name at most {MAX_CLAUSES} of each.",
        )
    limit = max(1, min(request.limit, 10_000))
    offset = page_offset(request.page_token)
    clauses = parse_filter(request.filter, LOGGED_MODELS)
    orders = []
    for one in request.order_by:
        dataset = one.dataset or ModelDataset("")
        orders.append((order_by_field(one.field, one.ascending, LOGGED_MODELS), dataset.name, dataset.digest))
    with ctx.read() as tx:
        ids = records.search_models(
            tx,
            experiment_ids=records.experiments_of(tx, request.project, request.experiment_ids),
            clauses=clauses,
            orders=orders,
            datasets=[(dataset.name, dataset.digest) for dataset in request.datasets],
            offset=offset,
            limit=limit,
        )
        more = page_token(offset + limit) if len(ids) > limit else ""
        return LoggedModelPage(tuple(records.find_models(tx, ids[:limit])), more)
