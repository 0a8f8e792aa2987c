"""One turn of the loop, as steps that may each be done again.

``observe`` has closed the windows and opened incidents before. A turn then settles data faults, rules on a rollout,
decides on retraining, retrains, and starts the rollout. A step writes its outcome in one transaction together with
the stage of the cycle, and begins by looking at that stage: doing it again after a crash finds the work done and
changes nothing.

A champion is made only with the approvals that the registry's policy asks for. Where they are missing the cycle stands
at ``awaiting approval``: before its rollout, or after it, when the policy changed meanwhile. Each turn looks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Forbidden, NotFound, Unavailable, UndriftError
from undrift.core.ids import derive_id
from undrift.data import AddQuarantine, EndQuarantine, ListQuarantines, add_quarantine, end_quarantine, list_quarantines
from undrift.loop import records
from undrift.loop.deployment import Deployment
from undrift.loop.diagnosis import diagnose_fault, diagnose_performance
from undrift.loop.model import Cycle, RolloutStep, Stage, without_wait
from undrift.loop.policy import decide
from undrift.loop.rollout import rule
from undrift.loop.training import retrain
from undrift.monitoring import (
    DescribeIncident,
    DriftWatch,
    Incident,
    ListIncidents,
    ListWindows,
    Measure,
    Window,
    describe_incident,
    list_incidents,
    list_windows,
)
from undrift.registry import (
    ApprovalStatus,
    FindAlias,
    FindApproval,
    FindVersion,
    ModelVersion,
    MoveAlias,
    RegisterModel,
    RequestApproval,
    approval_status,
    find_alias,
    find_version,
    move_alias,
    register_model,
    request_approval,
)
from undrift.serving import SetArm, SetRoute, set_route

__all__ = ["begin_rollout", "decide_retraining", "is_needed", "rule_on_rollout", "settle_incidents", "train_challenger"]

_CHAMPION = "champion"


def is_needed(ctx: Context, deployment: Deployment, now: datetime) -> bool:
    """Whether a turn would do anything: nothing is written on a quiet day."""
    with ctx.read() as tx:
        if records.open_cycle(tx, deployment.endpoint) is not None:
            return True
        cycles = records.list_cycles(tx, endpoint=deployment.endpoint)
    if not cycles:
        return True
    incidents = _open_incidents(ctx, deployment)
    if any(not incident.diagnosis for incident in incidents) or _faults_to_end(ctx, deployment):
        return True
    return decide(deployment.retraining, cycles, incidents, now).action == "retrain"


def settle_incidents(ctx: Context, deployment: Deployment, now: datetime) -> list[int]:
    """Diagnose new incidents; put data faults into quarantine, and end it when they are over.

    Returns:
        Numbers of the incidents that were settled.
    """
    settled = []
    guard = timedelta(seconds=deployment.monitor.window_s)
    for incident in _open_incidents(ctx, deployment):
        if incident.diagnosis:
            continue
        if incident.cause == "data fault":
            _quarantine(ctx, incident, guard)
        else:
            _diagnose(ctx, deployment, incident, now)
        settled.append(incident.number)
    for incident in _faults_to_end(ctx, deployment):
        # A fault need not begin and end with a window: the windows beside it are left out, too.
        end = (incident.resolved_at or incident.last_seen_at) + guard
        end_quarantine(ctx, EndQuarantine(incident.project, incident.id, end))
        settled.append(incident.number)
    return settled


def rule_on_rollout(ctx: Context, deployment: Deployment, now: datetime) -> str:
    """Rule on the challenger that is being rolled out; returns what was done."""
    with ctx.read() as tx:
        cycle = records.open_cycle(tx, deployment.endpoint)
    if cycle is None or not cycle.is_compared or cycle.stage_since >= now:
        return "nothing"
    if _overtaken(ctx, deployment, cycle, now):
        return "overtaken"
    refusal = _refusal(cycle, _approval(ctx, cycle))
    if refusal:
        with ctx.begin() as tx:
            if records.lock_cycle(tx, cycle):
                _champion_alone(ctx, deployment, cycle.champion, refusal, {})
                _go(ctx, tx, cycle, "refused", now, refusal)
        return "refused"
    windows = list_windows(ctx, ListWindows(deployment.endpoint, start=cycle.rollout_since, limit=5000))
    usable = [window for window in windows if window.measured_at is not None and not window.suspect]
    # While it awaits approval its last step goes on.
    since = cycle.rollout_since if cycle.stage == "awaiting approval" else cycle.stage_since
    ruling = rule(deployment.rollout, msgspec.structs.replace(cycle, stage_since=since), usable, now)
    if ruling.action == "wait":
        return "wait"
    evidence = cycle.evidence | {"live": ruling.evidence}
    with ctx.begin() as tx:
        if not records.lock_cycle(tx, cycle):
            return "decided meanwhile"
        if ruling.action == "next step":
            step = deployment.rollout.steps[cycle.step + 1]
            _route(ctx, cycle, step, ruling.sentence, ruling.evidence)
            _go(ctx, tx, cycle, step.kind, now, ruling.sentence, step=cycle.step + 1, evidence=evidence)
        elif ruling.action == "promote":
            return _promote(ctx, tx, deployment, cycle, now, ruling.sentence, ruling.evidence, evidence)
        else:
            _champion_alone(ctx, deployment, cycle.champion, ruling.sentence, ruling.evidence)
            _go(ctx, tx, cycle, "rolled back", now, ruling.sentence, evidence=evidence)
    return ruling.action


def decide_retraining(ctx: Context, deployment: Deployment, now: datetime) -> str | None:
    """Open a cycle when the policy says so; returns the id of the cycle to go on with, or None.

    The id follows from the endpoint and the moment, so trying again opens it once.
    """
    cycle_id = derive_id(now, deployment.monitor.project, deployment.endpoint, "cycle")
    with ctx.read() as tx:
        current = records.open_cycle(tx, deployment.endpoint)
        cycles = records.list_cycles(tx, endpoint=deployment.endpoint)
    if current is not None:
        # A turn that is resumed late leaves a cycle alone that a later turn has opened.
        return None if current.is_compared or current.opened_at > now else current.id
    champion = _champion(ctx, deployment)
    if champion is None:
        trigger, sentence, incident = "first version", "There is no version yet.", None
        if any(cycle.trigger == trigger and cycle.opened_at >= now for cycle in cycles):
            return None
    else:
        decision = decide(deployment.retraining, cycles, _open_incidents(ctx, deployment), now)
        if decision.action != "retrain":
            return None
        trigger, sentence, incident = decision.trigger, decision.sentence, decision.incident
    cycle = Cycle(
        id=cycle_id,
        project=deployment.monitor.project,
        endpoint=deployment.endpoint,
        model=deployment.monitor.model,
        stage="retraining",
        trigger=trigger,
        incident=incident,
        reason=sentence,
        opened_at=now,
        stage_since=now,
        champion=champion,
        run_id=derive_id(now, cycle_id, "run"),
    )
    with ctx.begin() as tx:
        if records.find_cycle(tx, cycle_id) is None:
            records.add_cycle(tx, cycle)
            _transition(ctx, cycle, "observing", cycle.stage, sentence, {"trigger": trigger, "incident": incident})
    return cycle_id


def train_challenger(ctx: Context, deployment: Deployment, cycle_id: str, now: datetime) -> int | None:
    """Take in what is known, train, judge; returns the number of the registered version, or None when refused."""
    with ctx.read() as tx:
        cycle = records.find_cycle(tx, cycle_id)
    if cycle is None or cycle.stage != "retraining" or cycle.run_id is None:
        return None if cycle is None else cycle.challenger
    if cycle.challenger is not None:
        return cycle.challenger
    champion = None
    if cycle.champion is not None:
        champion = find_version(ctx, FindVersion(cycle.project, cycle.model, number=cycle.champion))
    register_model(ctx, RegisterModel(cycle.project, cycle.model, deployment.monitor.owner))
    try:
        deployment.refresh(ctx, cycle.opened_at)
        trained = retrain(
            ctx,
            deployment.recipe,
            run_id=cycle.run_id,
            until=cycle.opened_at,
            windows=deployment.retraining.windows,
            held_out_s=deployment.retraining.held_out_s,
            champion=champion,
        )
    except (Conflict, Unavailable):
        raise  # somebody added rows meanwhile, or something is away: the turn is taken again
    except UndriftError as error:
        _refuse(ctx, cycle, now, f"Retraining failed: {error}", {"error": error.to_problem()})
        return None
    evidence = cycle.evidence | trained.evidence | {"gates": msgspec.to_builtins(trained.gates)}
    if trained.version is None:
        failed = [gate.sentence for gate in trained.gates if gate.verdict == trained.verdict]
        _refuse(ctx, cycle, now, f"Gates said {trained.verdict}: {' '.join(failed)}", evidence)
        return None
    with ctx.begin() as tx:
        records.save_cycle(tx, msgspec.structs.replace(cycle, challenger=trained.version.number, evidence=evidence))
    return trained.version.number


def begin_rollout(ctx: Context, deployment: Deployment, cycle_id: str, now: datetime) -> str:
    """Let the challenger see live rows, or ask people first; a first version answers at once.

    Returns:
        The stage where the cycle stands then; ``nothing`` when there was nothing to begin.
    """
    with ctx.read() as tx:
        cycle = records.find_cycle(tx, cycle_id)
    if cycle is None or cycle.challenger is None or cycle.closed_at is not None or cycle.is_compared:
        return "nothing"
    if _overtaken(ctx, deployment, cycle, now):
        return "overtaken"
    with ctx.begin() as tx:
        if not records.lock_cycle(tx, cycle):
            return "decided meanwhile"
        status = _approval(ctx, cycle)
        if refusal := _refusal(cycle, status):
            _go(ctx, tx, cycle, "refused", now, refusal)
            return "refused"
        if missing := _missing(deployment, cycle, status):
            _wait(ctx, tx, cycle, now, missing, cycle.evidence)
            return "awaiting approval"
        evidence = without_wait(cycle.evidence)
        if cycle.champion is None:
            sentence = "The first version passed its gates."
            return _promote(ctx, tx, deployment, cycle, now, sentence, evidence)
        if not deployment.rollout.steps:
            sentence = "It passed its gates, and the project declares no rollout steps."
            return _promote(ctx, tx, deployment, cycle, now, sentence, evidence)
        step = deployment.rollout.steps[0]
        sentence = f"Version {cycle.challenger} passed its gates against version {cycle.champion}."
        try:
            _route(ctx, cycle, step, sentence, evidence)
        except Conflict as error:
            # It takes other columns than the champion: no traffic could show which is better.
            _go(ctx, tx, cycle, "refused", now, f"It cannot be rolled out: {error}")
            return "refused"
        _go(ctx, tx, cycle, step.kind, now, sentence, rollout_since=now)
        return step.kind


def _approval(ctx: Context, cycle: Cycle) -> ApprovalStatus:
    if cycle.challenger is None:
        raise UndriftError(f"Cycle {cycle.id} has no challenger that could be approved.")
    return approval_status(ctx, FindApproval(cycle.project, cycle.model, cycle.challenger, _CHAMPION))


def _refusal(cycle: Cycle, status: ApprovalStatus) -> str:
    """Say who refused the challenger and why, in the cycle or in the registry; empty when nobody did."""
    if cycle.evidence.get("approved") is False:
        return f"{cycle.evidence.get('decided_by')} refused: {cycle.evidence.get('decision_reason')}"
    if status.request is None or status.request.state != "refused":
        return ""
    last = next(one for one in reversed(status.request.decisions) if not one.approve)
    return f"{last.actor} refused: {last.reason}"


def _missing(deployment: Deployment, cycle: Cycle, status: ApprovalStatus) -> str:
    """Say which agreement is missing before the challenger may see live rows; empty when none is."""
    if not status.allowed:
        return status.sentence
    asked = deployment.rollout.approval and cycle.champion is not None
    if asked and not cycle.evidence.get("approved") and not status.given:
        return "The project asks for a person's agreement."
    return ""


def _wait(ctx: Context, tx: Any, cycle: Cycle, now: datetime, sentence: str, kept: dict[str, Any]) -> None:
    """Let a cycle await approval, and ask for it in the registry; waiting on writes only what is new."""
    asks = cycle.stage != "awaiting approval"
    if asks and cycle.challenger is not None:
        reason = f"Version {cycle.challenger} passed its gates. It was made because: {cycle.reason}"
        request_approval(
            ctx, RequestApproval(cycle.project, cycle.model, cycle.challenger, reason, _CHAMPION, without_wait(kept))
        )
    status = _approval(ctx, cycle)
    sentence = sentence if status.allowed else status.sentence
    evidence = kept | {"waits_for": sentence}
    if asks:
        _go(ctx, tx, cycle, "awaiting approval", now, sentence, evidence=evidence)
    elif evidence != cycle.evidence:
        records.save_cycle(tx, msgspec.structs.replace(cycle, evidence=evidence))


def _open_incidents(ctx: Context, deployment: Deployment) -> list[Incident]:
    return list_incidents(ctx, ListIncidents(endpoint=deployment.endpoint, open_only=True, limit=1000))


def _faults_to_end(ctx: Context, deployment: Deployment) -> list[Incident]:
    held = {
        one.incident_id for one in list_quarantines(ctx, ListQuarantines(deployment.monitor.project)) if not one.end
    }
    held.discard(None)
    if not held:
        return []
    found = list_incidents(ctx, ListIncidents(endpoint=deployment.endpoint, limit=1000))
    return [incident for incident in found if incident.id in held and incident.state == "resolved"]


def _quarantine(ctx: Context, incident: Incident, guard: timedelta) -> None:
    diagnosis = diagnose_fault(incident)
    with ctx.begin():
        action = f"{incident.owner} was told; nothing learns from it."
        if incident.dataset is not None:
            stretch = add_quarantine(
                ctx,
                AddQuarantine(
                    project=incident.project,
                    dataset=incident.dataset,
                    columns=incident.columns,
                    start=incident.started_at - guard,
                    reason=incident.title,
                    incident_id=incident.id,
                    evidence=diagnosis.evidence,
                ),
            )
            action = f"{incident.dataset} is in quarantine from {stretch.start:%Y-%m-%d %H:%M} UTC on; {action}"
        describe_incident(ctx, DescribeIncident(incident.number, diagnosis.sentence, action, diagnosis.evidence))


def _diagnose(ctx: Context, deployment: Deployment, incident: Incident, now: datetime) -> None:
    number = _champion(ctx, deployment)
    if number is None:
        return
    monitor = deployment.monitor
    version = find_version(ctx, FindVersion(monitor.project, monitor.model, number=number))
    found = list_windows(ctx, ListWindows(deployment.endpoint, start=incident.started_at, limit=5000))
    recent: Sequence[Window] = [window for window in found if window.measured_at is not None and not window.suspect]
    metrics = version.metrics
    reference = Measure(
        rows=0,
        loss=metrics.get("log_loss", metrics.get("mean_absolute_error", 0.0)),
        auc_score=metrics.get("roc_auc"),
        label_mean=metrics.get("label_mean", 0.0),
        score_mean=metrics.get("score_mean", 0.0),
    )
    diagnosis = diagnose_performance(reference, recent, number, _moved(ctx, deployment, version, recent))
    action = _intention(ctx, deployment, now) if diagnosis.action == "retrain" else "Nothing is done."
    describe_incident(ctx, DescribeIncident(incident.number, diagnosis.sentence, action, diagnosis.evidence))


def _moved(ctx: Context, deployment: Deployment, version: ModelVersion, windows: Sequence[Window]) -> list[str]:
    """Return the inputs that moved over some windows taken together: a single day always differs from a year."""
    from undrift.profiles import Profile, compare, merge  # noqa: PLC0415 - brings numpy, on the day it is needed

    digests = [window.profile for window in windows if window.profile is not None]
    watch = next((one for one in deployment.monitor.watches if isinstance(one, DriftWatch)), None)
    if watch is None or version.reference_profile is None or not digests:
        return []
    reference = Profile.from_bytes(ctx.repository.objects.get(version.reference_profile))
    current = merge(Profile.from_bytes(ctx.repository.objects.get(digest)) for digest in digests)
    compared = compare(reference, current, columns=list(current.columns)).columns
    return sorted(
        name
        for name, column in compared.items()
        if (column.drift_score or 0.0) - (column.chance_score or 0.0) > watch.score
    )


def _intention(ctx: Context, deployment: Deployment, now: datetime) -> str:
    with ctx.read() as tx:
        current = records.open_cycle(tx, deployment.endpoint)
        cycles = records.list_cycles(tx, endpoint=deployment.endpoint)
    if current is not None and current.challenger is None:
        return "A retraining is under way already."
    if current is not None:
        return f"Version {current.challenger} is being rolled out already."
    decision = decide(deployment.retraining, cycles, _open_incidents(ctx, deployment), now)
    return "It is retrained." if decision.action == "retrain" else f"Not retrained yet: {decision.sentence}"


def _champion(ctx: Context, deployment: Deployment) -> int | None:
    monitor = deployment.monitor
    register_model(ctx, RegisterModel(monitor.project, monitor.model, monitor.owner))
    standing = find_alias(ctx, FindAlias(monitor.project, monitor.model, _CHAMPION))
    return None if standing is None else standing.number


def _overtaken(ctx: Context, deployment: Deployment, cycle: Cycle, now: datetime) -> bool:
    """End a cycle whose champion was replaced or challenger retired by hand meanwhile; returns whether it was so."""
    standing = _champion(ctx, deployment)
    sentence = f"Somebody made version {standing} the champion by hand meanwhile."
    if standing == cycle.champion:
        try:
            challenger = find_version(ctx, FindVersion(cycle.project, cycle.model, number=cycle.challenger))
        except NotFound:
            sentence = f"Somebody deleted version {cycle.challenger} meanwhile."
        else:
            if challenger.state != "retired":
                return False
            sentence = f"Somebody retired version {challenger.number} meanwhile: {challenger.state_reason}"
    with ctx.begin() as tx:
        if not records.lock_cycle(tx, cycle):
            return True
        if standing is not None:
            _champion_alone(ctx, deployment, standing, sentence, {})
        _go(ctx, tx, cycle, "promoted" if standing == cycle.challenger else "rolled back", now, sentence)
    return True


def _route(ctx: Context, cycle: Cycle, step: RolloutStep, reason: str, evidence: dict[str, Any]) -> None:
    if cycle.champion is None or cycle.challenger is None:
        raise UndriftError(f"Cycle {cycle.id} has nothing to compare.")
    set_route(
        ctx,
        SetRoute(
            project=cycle.project,
            endpoint=cycle.endpoint,
            model=cycle.model,
            arms=(
                SetArm("champion", cycle.champion, 1.0 - step.share),
                SetArm(step.kind, cycle.challenger, step.share),
            ),
            compare=True,
            reason=reason,
            evidence=evidence,
        ),
    )


def _champion_alone(
    ctx: Context, deployment: Deployment, number: int | None, reason: str, evidence: dict[str, Any]
) -> None:
    if number is None:
        raise UndriftError(f"{deployment.endpoint} has no champion to go back to.")
    monitor = deployment.monitor
    set_route(
        ctx,
        SetRoute(
            project=monitor.project,
            endpoint=monitor.endpoint,
            model=monitor.model,
            arms=(SetArm("champion", number, 1.0),),
            reason=reason,
            evidence=evidence,
        ),
    )


def _promote(
    ctx: Context,
    tx: Any,
    deployment: Deployment,
    cycle: Cycle,
    now: datetime,
    reason: str,
    evidence: dict[str, Any],
    kept: dict[str, Any] | None = None,
) -> str:
    """Make the challenger the champion, and end its cycle; where the registry forbids it, let the cycle wait.

    Args:
        ctx: Who, where.
        tx: The open transaction, in which the cycle is locked.
        deployment: Whose.
        cycle: The cycle.
        now: The moment, in event time.
        reason: Why.
        evidence: What the alias was moved on.
        kept: What the cycle keeps as its evidence; what it has when left out.
    """
    if cycle.challenger is None:
        raise UndriftError(f"Cycle {cycle.id} has no challenger to promote.")
    kept = cycle.evidence if kept is None else kept
    try:
        move_alias(
            ctx,
            MoveAlias(
                project=cycle.project,
                model=cycle.model,
                alias=_CHAMPION,
                number=cycle.challenger,
                reason=reason,
                evidence=evidence,
                expected=cycle.champion,
            ),
        )
    except Forbidden as error:
        # It refuses before it writes anything, so what was begun here can go on.
        _wait(ctx, tx, cycle, now, str(error), kept)
        return "awaiting approval"
    _champion_alone(ctx, deployment, cycle.challenger, reason, evidence)
    if cycle.incident is not None:
        found = list_incidents(ctx, ListIncidents(endpoint=cycle.endpoint, limit=1000))
        incident = next((one for one in found if one.number == cycle.incident), None)
        if incident is not None:
            action = f"Retrained as version {cycle.challenger} and promoted. {reason}"
            describe_incident(ctx, DescribeIncident(incident.number, incident.diagnosis, action))
    _go(ctx, tx, cycle, "promoted", now, reason, evidence=kept)
    return "promoted"


def _refuse(ctx: Context, cycle: Cycle, now: datetime, sentence: str, evidence: dict[str, Any]) -> None:
    with ctx.begin() as tx:
        _go(ctx, tx, cycle, "refused", now, sentence, evidence=evidence)


def _go(ctx: Context, tx: Any, cycle: Cycle, stage: Stage, now: datetime, sentence: str, **changes: Any) -> None:
    ended = stage in ("promoted", "rolled back", "refused")
    if ended:
        changes |= {"closed_at": now, "outcome": sentence}
    evidence = changes.get("evidence", cycle.evidence)
    if stage != "awaiting approval" and "waits_for" in evidence:
        changes["evidence"] = without_wait(evidence)
    records.save_cycle(tx, msgspec.structs.replace(cycle, stage=stage, stage_since=now, **changes))
    _transition(ctx, cycle, cycle.stage, stage, sentence, changes.get("evidence", {}))


def _transition(ctx: Context, cycle: Cycle, before: str, after: str, sentence: str, evidence: dict[str, Any]) -> None:
    ctx.emit(
        "loop.transition",
        f"cycles/{cycle.id}",
        project=cycle.project,
        endpoint=cycle.endpoint,
        before=before,
        after=after,
        sentence=sentence,
        evidence=evidence,
    )
