"""Findings become incidents: one per cause and source, extended while it lasts, resolved when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from undrift.core.context import Context
from undrift.core.ids import new_id
from undrift.monitoring import records
from undrift.monitoring.model import Finding, Incident, Monitor, Window

__all__ = ["extend_or_open", "resolve_cleared"]

_KEPT_FINDINGS = 12


def extend_or_open(
    ctx: Context,
    tx: sa.Connection,
    monitor: Monitor,
    findings: Sequence[Finding],
    *,
    judged: bool = False,
    champion_since: datetime | None = None,
) -> list[int]:
    """Put findings into incidents and return the numbers of those that changed.

    Args:
        ctx: Who observes.
        tx: The open transaction.
        monitor: What is watched.
        findings: What was noticed.
        judged: The performance was judged: an incident about it with no finding now is over.
        champion_since: Since when the champion answers: it ends incidents about the one before.
    """
    open_ones = records.list_incidents(tx, endpoint=monitor.endpoint, open_only=True)
    groups: dict[tuple[str, str | None], list[Finding]] = {}
    for finding in findings:
        source = monitor.sources.get(finding.column)
        groups.setdefault((finding.cause, None if source is None else source.dataset), []).append(finding)
    touched = []
    for (cause, dataset), group in groups.items():
        current = next((one for one in open_ones if one.cause == cause and one.dataset == dataset), None)
        touched.append(_open(ctx, tx, monitor, dataset, group) if current is None else _extend(ctx, tx, current, group))
    if judged:
        for one in open_ones:
            if one.cause != "performance drop":
                continue
            if champion_since is not None and champion_since > one.opened_at:
                touched.append(_resolve(ctx, tx, one, champion_since, "another version took over"))
            elif not any(cause == "performance drop" for cause, _ in groups):
                touched.append(_resolve(ctx, tx, one, ctx.now(), "the loss is back to what is expected"))
    return touched


def resolve_cleared(ctx: Context, tx: sa.Connection, monitor: Monitor, window: Window) -> list[int]:
    """Resolve data faults whose columns are all right again in a window; returns the numbers."""
    return [
        _resolve(ctx, tx, one, window.start, "the values are as they used to be")
        for one in records.list_incidents(tx, endpoint=monitor.endpoint, open_only=True)
        if one.cause == "data fault" and one.last_seen_at <= window.start and not set(one.columns) & set(window.suspect)
    ]


def _open(ctx: Context, tx: sa.Connection, monitor: Monitor, dataset: str | None, group: list[Finding]) -> int:
    source = monitor.sources.get(group[0].column)
    columns = tuple(sorted({finding.column for finding in group if finding.column}))
    first = group[0]
    what = f"{first.detector} in {', '.join(columns)}" if columns else first.detector
    incident = Incident(
        id=new_id(),
        number=records.next_incident_number(tx),
        project=monitor.project,
        endpoint=monitor.endpoint,
        cause=first.cause,
        title=f"{first.cause.capitalize()}: {what}"[:300],
        columns=columns,
        dataset=dataset,
        owner=monitor.owner if source is None else source.owner,
        opened_at=ctx.now(),
        started_at=min(finding.start for finding in group),
        last_seen_at=max(finding.end for finding in group),
        resolved_at=None,
        state="open",
        findings=tuple(group[:_KEPT_FINDINGS]),
    )
    records.add_incident(tx, incident)
    ctx.emit(
        "incident.opened",
        f"incidents/{incident.number}",
        project=incident.project,
        endpoint=incident.endpoint,
        cause=incident.cause,
        title=incident.title,
        owner=incident.owner,
        started_at=incident.started_at,
        findings=incident.findings,
    )
    return incident.number


def _extend(ctx: Context, tx: sa.Connection, incident: Incident, group: list[Finding]) -> int:
    columns = tuple(sorted({*incident.columns, *(finding.column for finding in group if finding.column)}))
    findings = (*incident.findings, *group)
    if len(findings) > _KEPT_FINDINGS:
        half = _KEPT_FINDINGS // 2
        findings = (*findings[:half], *findings[-half:])
    changed = msgspec.structs.replace(
        incident,
        columns=columns,
        last_seen_at=max(incident.last_seen_at, *(finding.end for finding in group)),
        findings=findings,
    )
    records.save_incident(tx, changed)
    if columns != incident.columns:
        ctx.emit(
            "incident.extended",
            f"incidents/{incident.number}",
            project=incident.project,
            columns=columns,
            findings=tuple(group[:_KEPT_FINDINGS]),
        )
    return incident.number


def _resolve(ctx: Context, tx: sa.Connection, incident: Incident, at: datetime, why: str) -> int:
    records.save_incident(tx, msgspec.structs.replace(incident, state="resolved", resolved_at=at))
    ctx.emit("incident.resolved", f"incidents/{incident.number}", project=incident.project, at=at, why=why)
    return incident.number
