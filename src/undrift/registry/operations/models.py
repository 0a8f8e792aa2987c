"""What can be done with models."""

from __future__ import annotations

from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid
from undrift.core.ids import check_name, new_id
from undrift.core.operation import operation
from undrift.registry import records
from undrift.registry.model import Model, ModelVersion, check_model_name, check_tag, check_text
from undrift.registry.operations.words import find_model_named

__all__ = [
    "DeleteModel",
    "DescribeModel",
    "FindModel",
    "ListModels",
    "ModelSummary",
    "RegisterModel",
    "RenameModel",
    "TagModel",
    "UntagModel",
    "delete_model",
    "describe_model",
    "find_model",
    "list_models",
    "register_model",
    "rename_model",
    "summaries",
    "tag_model",
    "untag_model",
]


class RegisterModel(msgspec.Struct, frozen=True):
    """A model to make known, with the owner who hears when something is wrong.

    Attributes:
        project: Whose it is.
        name: Its name.
        owner: Who hears; may be left out by clients that know of no owners.
        description: What it is for.
        tags: Words about it.
        only_new: Refuse a name that is known instead of returning its model.
    """

    project: str
    name: str
    owner: str = ""
    description: str = ""
    tags: dict[str, str] = {}
    only_new: bool = False


class FindModel(msgspec.Struct, frozen=True):
    """Which model."""

    project: str
    name: str


class ListModels(msgspec.Struct, frozen=True):
    """Of which project; of all when left out."""

    project: str | None = None


class ModelSummary(msgspec.Struct, frozen=True):
    """A model, its newest version, and where its aliases point.

    Attributes:
        model: The model.
        newest: Number of its newest version.
        aliases: Where its aliases point.
        latest: The newest version in each stage; left out of `list_models`.
    """

    model: Model
    newest: int | None
    aliases: dict[str, int]
    latest: tuple[ModelVersion, ...] = ()


class RenameModel(msgspec.Struct, frozen=True):
    """Which model shall have which name."""

    project: str
    name: str
    new_name: str


class DescribeModel(msgspec.Struct, frozen=True):
    """What a model is for, and who hears when something is wrong; what is left out stays."""

    project: str
    name: str
    description: str | None = None
    owner: str | None = None


class DeleteModel(msgspec.Struct, frozen=True):
    """Which model shall go, and why."""

    project: str
    name: str
    reason: str = ""


class TagModel(msgspec.Struct, frozen=True):
    """Words about a model; those of the same key are overwritten."""

    project: str
    name: str
    tags: dict[str, str]


class UntagModel(msgspec.Struct, frozen=True):
    """Which word about a model shall go."""

    project: str
    name: str
    key: str


@operation("registry.register_model", permission="registry:write", emits=("model.created",))
def register_model(ctx: Context, request: RegisterModel) -> Model:
    """Make a model known; returns the one that is there when it is.

    Raises:
        Invalid: The name, a tag or a text cannot be kept.
        Conflict: There is one of that name, and only a new one was wanted.
    """
    check_name(request.project, "project")
    name = check_model_name(request.name)
    check_text(request.owner, "The owner", 200)
    check_text(request.description, "The description")
    for key, value in request.tags.items():
        check_tag(key, value)
    with ctx.begin() as tx:
        now = ctx.now()
        made = Model(new_id(), request.project, name, request.owner, now, request.description, request.tags, now)
        known = records.find_model(tx, request.project, name)
        if known is None and records.add_model(tx, made):
            records.set_model_tags(tx, made.id, made.tags)
            ctx.emit(
                "model.created",
                f"models/{made.name}",
                project=made.project,
                model=made.name,
                owner=made.owner,
                description=made.description,
                tags=made.tags,
            )
            return made
        known = known or records.find_model(tx, request.project, name)
        if known is None or request.only_new:
            raise Conflict(
                f"There is a model {name!r} in project {request.project!r} already.",
                next_step="Use that one, or choose another name.",
                model=name,
            )
        return known


def summaries(tx: Any, models: list[Model], *, latest: bool) -> list[ModelSummary]:
    """Gather what summaries of models hold, for all of them at once.

    Args:
        tx: The transaction.
        models: The models.
        latest: Whether to read the newest version in each stage, too.
    """
    ids = [model.id for model in models]
    newest = records.newest_numbers(tx, ids)
    aliases = records.list_aliases(tx, ids)
    staged = records.latest_by_stage(tx, ids) if latest else {}
    return [
        ModelSummary(model, newest.get(model.id), aliases.get(model.id, {}), tuple(staged.get(model.id, ())))
        for model in models
    ]


@operation("registry.find_model", permission="registry:read")
def find_model(ctx: Context, request: FindModel) -> ModelSummary:
    """Return a model with its aliases and its newest version in each stage.

    Raises:
        NotFound: There is no such model.
    """
    with ctx.read() as tx:
        return summaries(tx, [find_model_named(tx, request.project, request.name)], latest=True)[0]


@operation("registry.list_models", permission="registry:read")
def list_models(ctx: Context, request: ListModels) -> list[ModelSummary]:
    """List models with their newest version and aliases."""
    with ctx.read() as tx:
        return summaries(tx, records.list_models(tx, request.project), latest=False)


@operation("registry.rename_model", permission="registry:write", emits=("model.renamed",))
def rename_model(ctx: Context, request: RenameModel) -> Model:
    """Give a model another name; its versions, aliases, tags and their history go with it.

    Raises:
        NotFound: There is no such model.
        Invalid: The new name cannot name a model.
        Conflict: Another model has the new name.
    """
    new_name = check_model_name(request.new_name)
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.name, lock=True)
        if model.name == new_name:
            return model
        if records.find_model(tx, request.project, new_name) is not None:
            raise Conflict(
                f"There is a model {new_name!r} in project {request.project!r} already.",
                next_step="Choose another name.",
                model=new_name,
            )
        now = ctx.now()
        records.change_model(tx, model.id, name=new_name, updated_at=now)
        ctx.emit("model.renamed", f"models/{new_name}", project=model.project, model=new_name, previous=model.name)
        return msgspec.structs.replace(model, name=new_name, updated_at=now)


@operation("registry.describe_model", permission="registry:write", emits=("model.described",))
def describe_model(ctx: Context, request: DescribeModel) -> Model:
    """Say what a model is for, or who hears when something is wrong.

    Raises:
        NotFound: There is no such model.
        Invalid: A text cannot be kept.
    """
    given = {"description": request.description, "owner": request.owner}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    check_text(changes.get("description", ""), "The description")
    check_text(changes.get("owner", ""), "The owner", 200)
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.name, lock=True)
        now = ctx.now()
        records.change_model(tx, model.id, **changes, updated_at=now)
        ctx.emit("model.described", f"models/{model.name}", project=model.project, model=model.name, **changes)
        return msgspec.structs.replace(model, **changes, updated_at=now)


@operation("registry.delete_model", permission="registry:delete", emits=("model.deleted",))
def delete_model(ctx: Context, request: DeleteModel) -> None:
    """Remove a model with its versions, aliases and tags; only the log keeps what it was.

    The name and the numbers may be used again. Files stay in the store until storage is freed.

    Raises:
        NotFound: There is no such model.
    """
    check_text(request.reason, "The reason")
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.name, lock=True)
        aliases = records.list_aliases(tx, [model.id]).get(model.id, {})
        versions = records.next_number(tx, model.id) - 1
        records.delete_model(tx, model.id)
        ctx.emit(
            "model.deleted",
            f"models/{model.name}",
            project=model.project,
            model=model.name,
            id=model.id,
            versions=versions,
            aliases=aliases,
            reason=request.reason,
        )


@operation("registry.tag_model", permission="registry:write", emits=("model.tagged",))
def tag_model(ctx: Context, request: TagModel) -> None:
    """Set tags of a model.

    Raises:
        NotFound: There is no such model.
        Invalid: A tag cannot be kept.
    """
    if not request.tags:
        raise Invalid("There is no tag to set.")
    for key, value in request.tags.items():
        check_tag(key, value)
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.name, lock=True)
        records.set_model_tags(tx, model.id, request.tags)
        ctx.emit("model.tagged", f"models/{model.name}", project=model.project, model=model.name, tags=request.tags)


@operation("registry.untag_model", permission="registry:write", emits=("model.untagged",))
def untag_model(ctx: Context, request: UntagModel) -> None:
    """Remove a tag of a model; one that is not there is gone already.

    Raises:
        NotFound: There is no such model.
    """
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.name, lock=True)
        if records.remove_model_tag(tx, model.id, request.key):
            ctx.emit("model.untagged", f"models/{model.name}", project=model.project, model=model.name, key=request.key)
