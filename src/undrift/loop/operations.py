"""What can be asked of the loop, and what people decide in it."""

from __future__ import annotations

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Forbidden, NotFound
from undrift.core.ids import check_id
from undrift.core.operation import operation
from undrift.loop import records
from undrift.loop.model import Cycle, without_wait
from undrift.registry import DecideApproval, FindApproval, approval_status, decide_in_passing

__all__ = ["DecideCycle", "ListCycles", "decide_cycle", "list_cycles"]


class ListCycles(msgspec.Struct, frozen=True):
    """Of which endpoint; at most so many (1 to 1,000), newest first."""

    endpoint: str | None = None
    limit: int = 100


class DecideCycle(msgspec.Struct, frozen=True):
    """What a person decided about a challenger that awaits approval, and why."""

    cycle_id: str
    approve: bool
    reason: str


@operation("loop.list_cycles", permission="loop:read")
def list_cycles(ctx: Context, request: ListCycles) -> list[Cycle]:
    """List the turns of the loop with what started them, what they went by, and how they ended."""
    with ctx.read() as tx:
        return records.list_cycles(tx, endpoint=request.endpoint, limit=max(1, min(request.limit, 1000)))


@operation("loop.decide_cycle", permission="loop:approve", emits=("loop.decided", "loop.transition"))
def decide_cycle(ctx: Context, request: DecideCycle) -> Cycle:
    """Approve or refuse a challenger that awaits approval; the worker goes on with it.

    The decision counts in the registry, too: it is one of the approvals that a policy may ask for. A challenger that is
    on the route already is taken off it by the worker, which then ends the cycle.

    Raises:
        NotFound: There is no such cycle.
        Conflict: It does not await approval, was refused already, or its challenger was retired.
        Forbidden: A service asks, or a policy asks for a second person and this is none.
        Invalid: There is no reason.
    """
    with ctx.begin() as tx:
        cycle = records.find_cycle(tx, check_id(request.cycle_id), lock=True)
        if cycle is None:
            raise NotFound(f"There is no cycle {request.cycle_id}.", next_step="List them with `undrift status`.")
        if cycle.stage != "awaiting approval":
            raise Conflict(f"Cycle {cycle.id} does not await approval: it is {cycle.stage}.")
        if ctx.actor.kind != "person":
            raise Forbidden("Only a person can approve.", next_step="Ask a colleague to look at the evidence.")
        missing = _decide_in_registry(ctx, cycle, request)
        evidence = cycle.evidence | {
            "decided_by": ctx.actor.name,
            "approved": request.approve,
            "decision_reason": request.reason,
        }
        changed = msgspec.structs.replace(cycle, evidence=evidence)
        if request.approve:
            if missing:
                changed = msgspec.structs.replace(cycle, evidence=evidence | {"waits_for": missing})
        elif not cycle.is_compared:
            outcome = f"{ctx.actor.name} refused: {request.reason}"
            changed = msgspec.structs.replace(
                cycle,
                stage="refused",
                stage_since=ctx.now(),
                closed_at=ctx.now(),
                outcome=outcome,
                evidence=without_wait(evidence),
            )
            ctx.emit(
                "loop.transition",
                f"cycles/{cycle.id}",
                project=cycle.project,
                endpoint=cycle.endpoint,
                before=cycle.stage,
                after="refused",
                sentence=outcome,
                evidence={},
            )
        records.save_cycle(tx, changed)
        ctx.emit(
            "loop.decided",
            f"cycles/{cycle.id}",
            project=cycle.project,
            approved=request.approve,
            reason=request.reason,
        )
        return changed


def _decide_in_registry(ctx: Context, cycle: Cycle, request: DecideCycle) -> str:
    """Record the decision as one about the challenger; returns which approvals are still missing, or nothing."""
    if cycle.challenger is None:
        return ""
    asked = FindApproval(cycle.project, cycle.model, cycle.challenger)
    before = approval_status(ctx, asked).request
    if cycle.evidence.get("approved") is False or (before is not None and before.state == "refused"):
        raise Conflict(
            f"Version {cycle.challenger} of {cycle.model!r} was refused already.",
            next_step="The worker ends its cycle; the next retraining makes another version.",
        )
    decide_in_passing(
        ctx,
        DecideApproval(cycle.project, cycle.model, cycle.challenger, request.approve, request.reason),
        asked_by="worker",
    )
    status = approval_status(ctx, asked)
    return "" if status.allowed else status.sentence
