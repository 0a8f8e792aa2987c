"""What can be done with models, versions and aliases."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.core.ids import check_id, check_name, new_id
from undrift.core.operation import operation
from undrift.registry import records
from undrift.registry.model import AliasMove, Model, ModelVersion, Signature

__all__ = [
    "FindAlias",
    "FindVersion",
    "ListModels",
    "ListVersions",
    "ModelSummary",
    "MoveAlias",
    "RegisterModel",
    "RegisterVersion",
    "RetireVersion",
    "alias_history",
    "find_alias",
    "find_version",
    "list_models",
    "list_versions",
    "move_alias",
    "register_model",
    "register_version",
    "retire_version",
]


class RegisterModel(msgspec.Struct, frozen=True):
    """A model to make known, with the owner who hears when something is wrong."""

    project: str
    name: str
    owner: str


class RegisterVersion(msgspec.Struct, frozen=True):
    """A version to register; see `undrift.registry.ModelVersion` for the fields.

    Metrics that are no finite number are left out.
    """

    project: str
    model: str
    run_id: str
    artifact: str
    signature: Signature
    training: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    reference_profile: str | None = None


class FindVersion(msgspec.Struct, frozen=True):
    """Which version: by number, or where an alias points, now or at an earlier moment."""

    project: str
    model: str
    number: int | None = None
    alias: str | None = None
    as_of: datetime | None = None


class ListModels(msgspec.Struct, frozen=True):
    """Of which project; of all when left out."""

    project: str | None = None


class ListVersions(msgspec.Struct, frozen=True):
    """Of which model, at most so many (1 to 1,000), newest first."""

    project: str
    model: str
    limit: int = 100


class ModelSummary(msgspec.Struct, frozen=True):
    """A model, its newest version, and where its aliases point."""

    model: Model
    newest: int | None
    aliases: dict[str, int]


class MoveAlias(msgspec.Struct, frozen=True):
    """Where an alias shall point, why, and on what evidence.

    Attributes:
        expected: The version the mover believes it points to now; -1 when it does not matter.
    """

    project: str
    model: str
    alias: str
    number: int
    reason: str
    evidence: dict[str, Any] = {}
    expected: int | None = -1


class FindAlias(msgspec.Struct, frozen=True):
    """Which alias, as it stood at a moment (now when left out)."""

    project: str
    model: str
    alias: str
    as_of: datetime | None = None


class RetireVersion(msgspec.Struct, frozen=True):
    """Which version is not to be used any more, and why."""

    project: str
    model: str
    number: int
    reason: str


def _model(tx: Any, project: str, name: str) -> Model:
    model = records.find_model(tx, project, name)
    if model is None:
        known = [one.name for one in records.list_models(tx, project)]
        raise NotFound(
            f"There is no model {name!r} in project {project!r}.",
            next_step=f"Known are: {', '.join(known)}." if known else "Declare one in project.py and run `undrift up`.",
            model=name,
            project=project,
        )
    return model


def _version(tx: Any, project: str, model: str, number: int) -> ModelVersion:
    _model(tx, project, model)
    version = records.find_version(tx, project, model, number=number)
    if version is None:
        newest = records.newest_number(tx, project, model)
        raise NotFound(
            f"Model {model!r} has no version {number}.",
            next_step=f"It has versions 1 to {newest}." if newest else "No version was registered yet.",
            model=model,
            version=number,
        )
    return version


@operation("registry.register_model", permission="registry:write", emits=("model.created",))
def register_model(ctx: Context, request: RegisterModel) -> Model:
    """Make a model known; returns the one that is there when it is."""
    check_name(request.project, "project")
    check_name(request.name, "model")
    with ctx.begin() as tx:
        known = records.find_model(tx, request.project, request.name)
        if known is not None:
            return known
        model = Model(new_id(), request.project, request.name, request.owner, ctx.now())
        records.add_model(tx, model)
        ctx.emit("model.created", f"models/{model.name}", project=model.project, owner=model.owner)
        return model


@operation("registry.register_version", permission="registry:write", emits=("model.version_registered",))
def register_version(ctx: Context, request: RegisterVersion) -> ModelVersion:
    """Register what a run has trained as the next version; the same run registers the same version once.

    Raises:
        NotFound: There is no such model, or the artifact is not in the store.
        Invalid: The signature has no inputs: without a contract nothing could be checked in production.
    """
    check_id(request.run_id)
    if not request.signature.inputs:
        raise Invalid(
            "A model version needs a signature with at least one input.",
            next_step="Without it, serving could check nothing: describe the columns it takes.",
        )
    ctx.repository.trees.read(request.artifact)
    with ctx.begin() as tx:
        _model(tx, request.project, request.model)
        known = records.find_version(tx, request.project, request.model, run_id=request.run_id)
        if known is not None:
            return known
        version = ModelVersion(
            id=new_id(),
            project=request.project,
            model=request.model,
            number=records.next_number(tx, request.project, request.model),
            run_id=request.run_id,
            artifact=request.artifact,
            format="onnx",
            signature=request.signature,
            training=request.training,
            # JSON has no such numbers: what was not measured is not there.
            metrics={name: value for name, value in request.metrics.items() if math.isfinite(value)},
            reference_profile=request.reference_profile,
            created_at=ctx.now(),
            created_by=ctx.actor.name,
        )
        records.add_version(tx, version)
        ctx.emit(
            "model.version_registered",
            f"models/{version.model}/{version.number}",
            project=version.project,
            run_id=version.run_id,
            artifact=version.artifact,
            metrics=version.metrics,
        )
        return version


@operation("registry.find_version", permission="registry:read")
def find_version(ctx: Context, request: FindVersion) -> ModelVersion:
    """Return a version by its number, or the one an alias points to, now or at an earlier moment.

    Raises:
        NotFound: There is no such model, version or alias.
    """
    if (request.number is None) == (request.alias is None):
        raise Invalid("Ask for a version by its number or by an alias, one of the two.")
    with ctx.read() as tx:
        if request.alias is None:
            assert request.number is not None  # noqa: S101 - said by the check above, in words mypy understands
            return _version(tx, request.project, request.model, request.number)
        _model(tx, request.project, request.model)
        move = records.find_alias(tx, request.project, request.model, request.alias, as_of=request.as_of)
        if move is None:
            raise NotFound(f"Model {request.model!r} had no alias {request.alias!r} at that time.")
        return _version(tx, request.project, request.model, move.number)


@operation("registry.list_versions", permission="registry:read")
def list_versions(ctx: Context, request: ListVersions) -> list[ModelVersion]:
    """List the versions of a model, newest first."""
    with ctx.read() as tx:
        _model(tx, request.project, request.model)
        return records.list_versions(tx, request.project, request.model, limit=max(1, min(request.limit, 1000)))


@operation("registry.list_models", permission="registry:read")
def list_models(ctx: Context, request: ListModels) -> list[ModelSummary]:
    """List models with their newest version and aliases."""
    with ctx.read() as tx:
        return [
            ModelSummary(
                model,
                records.newest_number(tx, model.project, model.name) or None,
                records.list_aliases(tx, model.project, model.name),
            )
            for model in records.list_models(tx, request.project)
        ]


@operation("registry.move_alias", permission="registry:promote", emits=("model.alias_moved",))
def move_alias(ctx: Context, request: MoveAlias) -> AliasMove:
    """Point an alias such as ``champion`` to a version; the history keeps who, when, why and on what evidence.

    Raises:
        NotFound: There is no such model or version.
        Conflict: The version is retired, or the alias does not point where the mover believes.
    """
    check_name(request.alias, "alias")
    with ctx.begin() as tx:
        version = _version(tx, request.project, request.model, request.number)
        if version.state == "retired":
            raise Conflict(
                f"Version {version.number} of {version.model!r} is retired: {version.state_reason}",
                next_step="Choose another version; a retired one is kept for the record only.",
            )
        current = records.find_alias(tx, request.project, request.model, request.alias)
        previous = None if current is None else current.number
        if request.expected not in (-1, previous):
            raise Conflict(
                f"{request.alias!r} of {request.model!r} points to {previous}, not to {request.expected}.",
                next_step="Somebody moved it meanwhile: look at its history, then decide again.",
                actual=previous,
            )
        if current is not None and previous == request.number:
            return current
        move = AliasMove(
            id=new_id(),
            project=request.project,
            model=request.model,
            alias=request.alias,
            number=request.number,
            previous=previous,
            at=ctx.now(),
            actor=ctx.actor.name,
            reason=request.reason,
            evidence=request.evidence,
        )
        records.add_alias_move(tx, move)
        ctx.emit(
            "model.alias_moved",
            f"models/{move.model}/{move.number}",
            project=move.project,
            alias=move.alias,
            number=move.number,
            previous=move.previous,
            reason=move.reason,
            evidence=move.evidence,
        )
        return move


@operation("registry.find_alias", permission="registry:read")
def find_alias(ctx: Context, request: FindAlias) -> AliasMove | None:
    """Return what an alias pointed to at a moment: who put it there, when, why, on what evidence."""
    with ctx.read() as tx:
        _model(tx, request.project, request.model)
        return records.find_alias(tx, request.project, request.model, request.alias, as_of=request.as_of)


@operation("registry.alias_history", permission="registry:read")
def alias_history(ctx: Context, request: ListVersions) -> list[AliasMove]:
    """List every move of every alias of a model, newest first."""
    with ctx.read() as tx:
        _model(tx, request.project, request.model)
        return records.list_moves(tx, request.project, request.model, limit=max(1, min(request.limit, 1000)))


@operation("registry.retire_version", permission="registry:promote", emits=("model.version_retired",))
def retire_version(ctx: Context, request: RetireVersion) -> ModelVersion:
    """Say that a version is not to be used any more; it stays for the record.

    Raises:
        Conflict: An alias still points to it.
    """
    with ctx.begin() as tx:
        version = _version(tx, request.project, request.model, request.number)
        held = [
            name
            for name, number in records.list_aliases(tx, version.project, version.model).items()
            if number == version.number
        ]
        if held:
            raise Conflict(
                f"Version {version.number} of {version.model!r} is still the {', '.join(held)}.",
                next_step="Move the alias to another version first.",
            )
        records.set_state(tx, version.id, "retired", request.reason)
        ctx.emit(
            "model.version_retired",
            f"models/{version.model}/{version.number}",
            project=version.project,
            reason=request.reason,
        )
        return msgspec.structs.replace(version, state="retired", state_reason=request.reason)
