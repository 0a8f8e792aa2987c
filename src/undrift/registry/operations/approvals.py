"""What can be done about approvals: how many a project asks for, and who gave them.

An approval is of one version for one alias, by a person who neither registered the version nor asked. Nothing that a
mover says about approvals counts: only what is recorded here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Forbidden, Invalid, NotFound
from undrift.core.ids import check_name, new_id
from undrift.core.operation import operation
from undrift.registry import records
from undrift.registry.model import (
    ApprovalPolicy,
    ApprovalRequest,
    ApprovalStatus,
    Decision,
    Model,
    ModelVersion,
    check_alias,
    check_text,
)
from undrift.registry.operations.words import find_model_named, find_version_numbered, retired

__all__ = [
    "DecideApproval",
    "FindApproval",
    "ListApprovals",
    "ListPolicies",
    "RequestApproval",
    "SetApprovalPolicy",
    "approval_status",
    "approvals_that_count",
    "decide_approval",
    "decide_in_passing",
    "list_approval_policies",
    "list_approvals",
    "request_approval",
    "set_approval_policy",
    "status_of",
]

_MOST_APPROVALS = 20


class SetApprovalPolicy(msgspec.Struct, frozen=True):
    """How many persons shall have to agree before an alias moves.

    Attributes:
        project: Where.
        needed: How many second persons, 0 to 20; 0 asks nobody.
        reason: Why.
        model: Of which model; all that have no policy of their own when left out.
        alias: Before which alias moves.
    """

    project: str
    needed: int
    reason: str
    model: str | None = None
    alias: str = "champion"


class ListPolicies(msgspec.Struct, frozen=True):
    """Of which project, at most so many (1 to 1,000), newest first."""

    project: str
    limit: int = 100


class RequestApproval(msgspec.Struct, frozen=True):
    """Which version shall get which alias, why, and what speaks for it."""

    project: str
    model: str
    number: int
    reason: str
    alias: str = "champion"
    evidence: dict[str, Any] = {}


class DecideApproval(msgspec.Struct, frozen=True):
    """What a person decided about a version that shall get an alias, and why."""

    project: str
    model: str
    number: int
    approve: bool
    reason: str
    alias: str = "champion"
    evidence: dict[str, Any] = {}


class FindApproval(msgspec.Struct, frozen=True):
    """Of which version, for which alias."""

    project: str
    model: str
    number: int
    alias: str = "champion"


class ListApprovals(msgspec.Struct, frozen=True):
    """Which requests, at most so many (1 to 1,000), newest first.

    Attributes:
        project: Of this project.
        model: Of this model.
        number: For this version.
        open_only: Only those that nobody has decided yet.
        limit: At most so many.
    """

    project: str | None = None
    model: str | None = None
    number: int | None = None
    open_only: bool = False
    limit: int = 100


@operation("registry.set_approval_policy", permission="registry:administer", emits=("model.approval_policy_set",))
def set_approval_policy(ctx: Context, request: SetApprovalPolicy) -> ApprovalPolicy:
    """Say how many second persons have to agree before an alias moves, in a project or for one model.

    Raises:
        NotFound: There is no such model.
        Invalid: The number is not 0 to 20, or the alias cannot be one.
        Conflict: Somebody else set it at the same moment.
    """
    check_name(request.project, "project")
    check_alias(request.alias)
    check_text(request.reason, "The reason")
    if not 0 <= request.needed <= _MOST_APPROVALS:
        raise Invalid(f"{request.needed} approvals cannot be asked for.", next_step=f"Ask for 0 to {_MOST_APPROVALS}.")
    with ctx.begin() as tx:
        model = None if request.model is None else find_model_named(tx, request.project, request.model, lock=True)
        model_id = "" if model is None else model.id
        current = records.last_policy(tx, request.project, model_id, request.alias)
        if current is not None and current.needed == request.needed:
            return current
        policy = ApprovalPolicy(
            id=new_id(),
            project=request.project,
            model=None if model is None else model.name,
            alias=request.alias,
            needed=request.needed,
            at=ctx.now() if current is None else max(ctx.now(), current.at),
            actor=ctx.actor.name,
            reason=request.reason,
        )
        records.add_policy(tx, model_id, policy)
        ctx.emit(
            "model.approval_policy_set",
            f"models/{policy.model}" if policy.model else "models",
            project=policy.project,
            model=policy.model,
            alias=policy.alias,
            needed=policy.needed,
            previous=None if current is None else current.needed,
            reason=policy.reason,
        )
        return policy


@operation("registry.list_approval_policies", permission="registry:read")
def list_approval_policies(ctx: Context, request: ListPolicies) -> list[ApprovalPolicy]:
    """List the policies of a project and its models, newest first, with those that hold no more."""
    with ctx.read() as tx:
        return records.list_policies(tx, request.project, limit=max(1, min(request.limit, 1000)))


@operation("registry.request_approval", permission="registry:write", emits=("model.approval_requested",))
def request_approval(ctx: Context, request: RequestApproval) -> ApprovalRequest:
    """Ask that others approve of a version for an alias; asking again while it is open changes nothing.

    Raises:
        NotFound: There is no such model or version.
        Invalid: The alias cannot be one.
        Conflict: The version is retired.
    """
    with ctx.begin() as tx:
        model, version = _approvable(tx, request)
        return _ask(ctx, tx, model, version, request, ctx.actor.name)


@operation(
    "registry.decide_approval",
    permission="registry:approve",
    emits=("model.approval_given", "model.approval_refused"),
)
def decide_approval(ctx: Context, request: DecideApproval) -> ApprovalRequest:
    """Approve or refuse a version for an alias that somebody asked for; deciding the same again changes nothing.

    Raises:
        NotFound: There is no such model or version, or nobody asked.
        Forbidden: A service decides, or the person who registered the version or asked.
        Conflict: It was refused already, or the version is retired.
        Invalid: There is no reason.
    """
    with ctx.begin() as tx:
        model, version = _approvable(tx, request)
        found = records.list_requests(tx, model_id=model.id, number=version.number, alias=request.alias, limit=1)
        if not found:
            raise NotFound(
                f"Nobody asked that version {version.number} of {model.name!r} be {request.alias!r}.",
                next_step=f"Ask first: `undrift models ask {model.name} {version.number} --reason ...`.",
            )
        return _decide(ctx, tx, model, version, found[0], request)


def decide_in_passing(ctx: Context, request: DecideApproval, *, asked_by: str) -> ApprovalRequest | None:
    """Record what a person decided elsewhere in undrift, such as in a cycle of the loop, as their decision here.

    The caller has checked that the person may decide. Who asked is named by the caller, so this is no operation:
    nobody can say it from outside.

    Args:
        ctx: Whose actor is the person.
        request: What they decided.
        asked_by: Who asked them, such as the worker.

    Returns:
        The request with the decision; None when no policy asks for approvals and the person could not give one, for
        they registered the version themselves.

    Raises:
        NotFound: There is no such model or version.
        Forbidden: The policy asks for a second person, and this is none.
        Conflict: The version is retired.
    """
    with ctx.begin() as tx:
        model, version = _approvable(tx, request)
        if status_of(tx, model, version, request.alias).needed == 0 and _why_not(ctx, version, asked_by):
            return None
        asked = _ask(ctx, tx, model, version, request, asked_by)
        return _decide(ctx, tx, model, version, asked, request)


@operation("registry.list_approvals", permission="registry:read")
def list_approvals(ctx: Context, request: ListApprovals) -> list[ApprovalRequest]:
    """List requests for approval with what was decided about them, newest first."""
    with ctx.read() as tx:
        model = None
        if request.model is not None:
            if request.project is None:
                raise Invalid("A model is named without its project.", next_step="Say of which project it is.")
            model = find_model_named(tx, request.project, request.model)
        return records.list_requests(
            tx,
            project=request.project,
            model_id=None if model is None else model.id,
            number=request.number,
            state="open" if request.open_only else None,
            limit=max(1, min(request.limit, 1000)),
        )


@operation("registry.approval_status", permission="registry:read")
def approval_status(ctx: Context, request: FindApproval) -> ApprovalStatus:
    """Say whether an alias may move to a version, and what is missing if not.

    Raises:
        NotFound: There is no such model or version.
    """
    with ctx.read() as tx:
        model = find_model_named(tx, request.project, request.model)
        return status_of(tx, model, find_version_numbered(tx, model, request.number), request.alias)


def status_of(tx: Any, model: Model, version: ModelVersion, alias: str) -> ApprovalStatus:
    """Say whether an alias may move to a version by the policy that holds now."""
    policy = records.find_policy(tx, model.project, model.id, alias)
    needed = 0 if policy is None else policy.needed
    found = records.list_requests(tx, model_id=model.id, number=version.number, alias=alias, limit=1)
    request = found[0] if found else None
    given = () if request is None else approvals_that_count(request, version)
    names = ", ".join(one.actor for one in given)
    if needed == 0:
        sentence = f"Nobody has to approve before {alias!r} of {model.name!r} moves."
        return ApprovalStatus(0, given, True, sentence, request)
    if len(given) >= needed:
        return ApprovalStatus(needed, given, True, f"Approved by {names}.", request)
    sentence = (
        f"Version {version.number} of {model.name!r} needs {_approvals(needed)} before it can be {alias!r}, "
        f"and has {len(given)}{f' (by {names})' if names else ''}."
    )
    if request is None:
        sentence += " Nobody asked for any yet."
    elif request.state == "refused":
        last = next(one for one in reversed(request.decisions) if not one.approve)
        sentence += f" {last.actor} refused: {last.reason}"
    return ApprovalStatus(needed, given, False, sentence, request)


def approvals_that_count(request: ApprovalRequest, version: ModelVersion) -> tuple[Decision, ...]:
    """Return the approvals of second persons, one a person; none when somebody refused."""
    if request.state == "refused":
        return ()
    last = {one.actor: one for one in request.decisions}
    first_persons = {version.created_by, request.asked_by}
    return tuple(one for one in last.values() if one.approve and one.actor not in first_persons)


def _approvals(count: int) -> str:
    return "1 approval" if count == 1 else f"{count} approvals"


def _approvable(tx: Any, request: RequestApproval | DecideApproval) -> tuple[Model, ModelVersion]:
    check_alias(request.alias)
    if not request.reason.strip():
        raise Invalid("Neither a request nor a decision goes without a reason.", next_step="Say why, in a sentence.")
    check_text(request.reason, "The reason")
    model = find_model_named(tx, request.project, request.model, lock=True)
    version = find_version_numbered(tx, model, request.number)
    if version.state == "retired":
        raise retired(version)
    return model, version


def _ask(
    ctx: Context,
    tx: Any,
    model: Model,
    version: ModelVersion,
    request: RequestApproval | DecideApproval,
    asked_by: str,
) -> ApprovalRequest:
    found = records.list_requests(tx, model_id=model.id, number=version.number, alias=request.alias, limit=1)
    if found and found[0].state != "refused":
        return found[0]
    asked = ApprovalRequest(
        id=new_id(),
        project=model.project,
        model=model.name,
        number=version.number,
        alias=request.alias,
        asked_by=asked_by,
        at=ctx.now() if not found else max(ctx.now(), found[0].at),
        reason=request.reason,
        evidence=request.evidence,
        state="open",
    )
    records.add_request(tx, model.id, asked)
    ctx.emit(
        "model.approval_requested",
        f"models/{model.name}/{version.number}",
        project=model.project,
        model=model.name,
        number=version.number,
        alias=asked.alias,
        asked_by=asked_by,
        reason=asked.reason,
        evidence=asked.evidence,
    )
    return asked


def _why_not(ctx: Context, version: ModelVersion, asked_by: str) -> str:
    if ctx.actor.kind != "person":
        return "Only a person can approve."
    if ctx.actor.name == version.created_by:
        return f"{ctx.actor.name} registered version {version.number} of {version.model!r}: a second person decides."
    if ctx.actor.name == asked_by:
        return f"{ctx.actor.name} asked for this approval: a second person decides."
    return ""


def _decide(
    ctx: Context, tx: Any, model: Model, version: ModelVersion, asked: ApprovalRequest, request: DecideApproval
) -> ApprovalRequest:
    if refused := _why_not(ctx, version, asked.asked_by):
        raise Forbidden(refused, next_step="Ask a colleague to look at the evidence.")
    if asked.state == "refused":
        raise Conflict(
            f"Version {version.number} of {model.name!r} was refused for {asked.alias!r} already.",
            next_step="Say what changed, and ask anew.",
        )
    decision = Decision(ctx.actor.name, request.approve, request.reason, ctx.now(), request.evidence)
    mine = [one for one in asked.decisions if one.actor == decision.actor]
    if mine and mine[-1].approve == decision.approve:
        return asked
    decided = msgspec.structs.replace(asked, decisions=(*asked.decisions, decision))
    policy = records.find_policy(tx, model.project, model.id, asked.alias)
    enough = len(approvals_that_count(decided, version)) >= max(1, 0 if policy is None else policy.needed)
    decided = msgspec.structs.replace(
        decided, state="refused" if not decision.approve else "approved" if enough else "open"
    )
    records.add_decision(tx, new_id(), asked.id, decision)
    if decided.state != asked.state:
        records.set_request_state(tx, asked.id, decided.state)
    said: dict[str, Any] = {
        "model": model.name,
        "number": version.number,
        "alias": asked.alias,
        "reason": decision.reason,
        "evidence": decision.evidence,
        "state": decided.state,
    }
    subject = f"models/{model.name}/{version.number}"
    if decision.approve:
        ctx.emit("model.approval_given", subject, project=model.project, **said)
    else:
        ctx.emit("model.approval_refused", subject, project=model.project, **said)
    return decided
