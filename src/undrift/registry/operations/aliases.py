"""What can be done with aliases."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Forbidden
from undrift.core.ids import new_id
from undrift.core.operation import operation
from undrift.registry import records
from undrift.registry.model import AliasMove, Model, check_alias, check_text
from undrift.registry.operations.approvals import status_of
from undrift.registry.operations.words import ListVersions, find_model_named, find_version_numbered, retired

__all__ = [
    "FindAlias",
    "MoveAlias",
    "RemoveAlias",
    "alias_history",
    "alias_move_at",
    "find_alias",
    "move_alias",
    "remove_alias",
    "remove_alias_of",
]


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


class RemoveAlias(msgspec.Struct, frozen=True):
    """Which alias shall point to nothing, why, and on what evidence."""

    project: str
    model: str
    alias: str
    reason: str = ""
    evidence: dict[str, Any] = {}


class FindAlias(msgspec.Struct, frozen=True):
    """Which alias, as it stood at a moment (now when left out)."""

    project: str
    model: str
    alias: str
    as_of: datetime | None = None


@operation("registry.move_alias", permission="registry:promote", emits=("model.alias_moved",))
def move_alias(ctx: Context, request: MoveAlias) -> AliasMove:
    """Point an alias such as ``champion`` to a version; the history keeps who, when, why and on what evidence.

    Raises:
        NotFound: There is no such model or version.
        Invalid: The alias cannot be one.
        Conflict: The version is retired, or the alias does not point where the mover believes.
        Forbidden: The project asks for approvals that are missing.
    """
    check_alias(request.alias)
    check_text(request.reason, "The reason")
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.model, lock=True)
        version = find_version_numbered(tx, model, request.number)
        if version.state == "retired":
            raise retired(version)
        current = records.last_alias_move(tx, model.id, request.alias)
        previous = None if current is None else current.number
        if request.expected not in (-1, previous):
            raise Conflict(
                f"{request.alias!r} of {model.name!r} points to {previous}, not to {request.expected}.",
                next_step="Somebody moved it meanwhile: look at its history, then decide again.",
                actual=previous,
            )
        if current is not None and previous == request.number:
            return current
        status = status_of(tx, model, version, request.alias)
        if not status.allowed:
            raise Forbidden(
                status.sentence,
                next_step="Let somebody else look at it: `undrift models approve "
                f"{model.name} {version.number} --alias {request.alias} --reason ...`.",
                needed=status.needed,
                given=[one.actor for one in status.given],
            )
        move = AliasMove(
            id=new_id(),
            project=model.project,
            model=model.name,
            alias=request.alias,
            number=request.number,
            previous=previous,
            # Clocks of two hubs may differ; a history goes forward only.
            at=ctx.now() if current is None else max(ctx.now(), current.at),
            actor=ctx.actor.name,
            reason=request.reason,
            evidence=request.evidence,
        )
        records.add_alias_move(tx, model.id, move)
        ctx.emit(
            "model.alias_moved",
            f"models/{move.model}/{move.number}",
            project=move.project,
            model=move.model,
            alias=move.alias,
            number=move.number,
            previous=move.previous,
            reason=move.reason,
            evidence=move.evidence,
            approvals=status.given,
        )
        return move


@operation("registry.remove_alias", permission="registry:promote", emits=("model.alias_removed",))
def remove_alias(ctx: Context, request: RemoveAlias) -> AliasMove | None:
    """Take an alias away; the history keeps that it was there. Returns None when it is not there.

    Raises:
        NotFound: There is no such model.
    """
    check_text(request.reason, "The reason")
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.model, lock=True)
        return remove_alias_of(ctx, tx, model, request.alias, request.reason, request.evidence)


@operation("registry.find_alias", permission="registry:read")
def find_alias(ctx: Context, request: FindAlias) -> AliasMove | None:
    """Return what an alias pointed to at a moment: who put it there, when, why, on what evidence."""
    with ctx.read() as tx:
        model = find_model_named(tx, request.project, request.model)
        move = alias_move_at(tx, model, request.alias, request.as_of)
        return None if move is None or move.number is None else move


@operation("registry.alias_history", permission="registry:read")
def alias_history(ctx: Context, request: ListVersions) -> list[AliasMove]:
    """List every move and removal of the aliases of a model, newest first."""
    with ctx.read() as tx:
        model = find_model_named(tx, request.project, request.model)
        return records.list_moves(tx, model.id, limit=max(1, min(request.limit, 1000)))


def alias_move_at(tx: Any, model: Model, alias: str, moment: datetime | None) -> AliasMove | None:
    """Return the move that put an alias where it stood at a moment, or took it away; now when no moment is given."""
    if moment is None:
        return records.last_alias_move(tx, model.id, alias)
    return records.standing_at(tx, model.id, alias, moment)[0]


def remove_alias_of(
    ctx: Context, tx: Any, model: Model, alias: str, reason: str, evidence: dict[str, Any]
) -> AliasMove | None:
    """Take an alias away in the open transaction, and say so; returns None when it is not there."""
    current = records.last_alias_move(tx, model.id, alias)
    if current is None or current.number is None:
        return None
    move = AliasMove(
        id=new_id(),
        project=model.project,
        model=model.name,
        alias=alias,
        number=None,
        previous=current.number,
        at=max(ctx.now(), current.at),
        actor=ctx.actor.name,
        reason=reason,
        evidence=evidence,
    )
    records.add_alias_move(tx, model.id, move)
    ctx.emit(
        "model.alias_removed",
        f"models/{model.name}/{current.number}",
        project=model.project,
        model=model.name,
        alias=alias,
        previous=current.number,
        reason=reason,
        evidence=evidence,
    )
    return move
