"""What was, and what is known of it: who stood where at a moment, and the card of a version."""

from __future__ import annotations

from datetime import datetime

import msgspec

from undrift.core.clock import in_utc
from undrift.core.context import Context
from undrift.core.errors import Invalid, NotFound
from undrift.core.operation import operation
from undrift.registry import records
from undrift.registry.cards import Card, RunFacts, Standing, gaps_of, render, sentence_of
from undrift.registry.model import ApprovalRequest, Decision, Model, ModelVersion
from undrift.registry.operations.approvals import approvals_that_count
from undrift.registry.operations.words import find_model_named, find_version_numbered
from undrift.tracking import FindRun, find_run

__all__ = ["AsOf", "FindCard", "as_of", "card"]


class AsOf(msgspec.Struct, frozen=True):
    """Where which alias of which model pointed, at which moment."""

    project: str
    model: str
    moment: datetime
    alias: str = "champion"


class FindCard(msgspec.Struct, frozen=True):
    """Of which version."""

    project: str
    model: str
    number: int


@operation("registry.as_of", permission="registry:read")
def as_of(ctx: Context, request: AsOf) -> Standing:
    """Say what stood where an alias points at a moment: who put it there, on what evidence, made from what.

    When nothing stood there, the answer says so, and since and until when. A version that was deleted since is told
    of as it was.

    Raises:
        NotFound: There is no such model.
        Invalid: The moment has no time zone.
    """
    moment = in_utc(request.moment)
    with ctx.read() as tx:
        model = find_model_named(tx, request.project, request.model)
        move, next_ = records.standing_at(tx, model.id, request.alias, moment)
        version = None
        approvals: tuple[Decision, ...] = ()
        if move is not None and move.number is not None:
            version = records.find_version(tx, model.id, number=move.number, deleted=True)
            approvals = _approvals_before(ctx, model, move.number, request.alias, move.at, version)
    run = None if version is None else _run(ctx, version)
    standing = Standing(
        project=model.project,
        model=model.name,
        alias=request.alias,
        moment=moment,
        version=version,
        move=move,
        since=None if move is None else move.at,
        until=None if next_ is None else next_.at,
        approvals=approvals,
        run=run,
        gaps=() if version is None else tuple(gaps_of(version, run)),
        sentence="",
    )
    return msgspec.structs.replace(standing, sentence=sentence_of(standing))


def _approvals_before(
    ctx: Context, model: Model, number: int, alias: str, moment: datetime, version: ModelVersion | None
) -> tuple[Decision, ...]:
    """Return the approvals that counted when an alias was moved."""
    if version is None:
        return ()
    with ctx.read() as tx:
        asked = records.list_requests(tx, model_id=model.id, number=number, alias=alias)
    for one in asked:
        if one.at <= moment:
            known = tuple(said for said in one.decisions if said.at <= moment)
            refused = any(not said.approve for said in known)
            as_it_was: ApprovalRequest = msgspec.structs.replace(
                one, decisions=known, state="refused" if refused else "open"
            )
            return approvals_that_count(as_it_was, version)
    return ()


def _run(ctx: Context, version: ModelVersion) -> RunFacts | None:
    """Return what the run of a version recorded; None when there is none, or it is gone."""
    if version.run_id is None:
        return None
    try:
        run = find_run(ctx, FindRun(version.run_id))
    except (NotFound, Invalid):
        return None
    inputs = [link for link in run.links if link.role == "input"]
    return RunFacts(
        id=run.id,
        experiment=run.experiment,
        name=run.name,
        status=run.status,
        actor=run.actor,
        started_at=run.started_at,
        ended_at=run.ended_at,
        parameters=run.parameters,
        metrics=run.metrics,
        code=tuple(link for link in inputs if link.kind == "code"),
        environment=tuple(link for link in inputs if link.kind == "environment"),
        data=tuple(link for link in inputs if link.kind not in {"code", "environment"}),
    )


@operation("registry.card", permission="registry:read")
def card(ctx: Context, request: FindCard) -> Card:
    """Return the card of a version, filled from records, with every gap named.

    Raises:
        NotFound: There is no such model or version.
    """
    with ctx.read() as tx:
        model = find_model_named(tx, request.project, request.model)
        version = find_version_numbered(tx, model, request.number)
        approvals = tuple(records.list_requests(tx, model_id=model.id, number=version.number))
        moves = tuple(records.list_moves(tx, model.id, number=version.number))
        stages = tuple(records.list_stage_moves(tx, model.id, number=version.number))
    run = _run(ctx, version)
    made = Card(
        model=model,
        version=version,
        intended_use=version.tags.get("intended_use") or model.tags.get("intended_use") or model.description,
        run=run,
        approvals=approvals,
        moves=moves,
        stages=stages,
        gaps=tuple(gaps_of(version, run, model=model, approvals=approvals)),
        markdown="",
    )
    return msgspec.structs.replace(made, markdown=render(made))
