"""What can be asked of windows and incidents, and what people say about incidents."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, NotFound
from undrift.core.operation import operation
from undrift.monitoring import records
from undrift.monitoring.model import Incident, Window

__all__ = [
    "AcknowledgeIncident",
    "DescribeIncident",
    "FindIncident",
    "ListIncidents",
    "ListWindows",
    "acknowledge_incident",
    "describe_incident",
    "find_incident",
    "list_incidents",
    "list_windows",
]


class ListWindows(msgspec.Struct, frozen=True):
    """Of which endpoint; from when, before when; at most so many (1 to 5,000), newest first."""

    endpoint: str
    start: datetime | None = None
    before: datetime | None = None
    limit: int = 500


class ListIncidents(msgspec.Struct, frozen=True):
    """Of which endpoint or project; only open ones when asked; at most so many (1 to 1,000), newest first."""

    endpoint: str | None = None
    project: str | None = None
    open_only: bool = False
    limit: int = 100


class FindIncident(msgspec.Struct, frozen=True):
    """Which incident: by number, as people say it."""

    number: int


class AcknowledgeIncident(msgspec.Struct, frozen=True):
    """Which incident somebody has seen, and whether it was worth the interruption."""

    number: int
    useful: bool | None = None


class DescribeIncident(msgspec.Struct, frozen=True):
    """Why an incident is, and what was done about it."""

    number: int
    diagnosis: str
    action: str
    evidence: dict[str, Any] = {}


def _incident(tx: Any, number: int) -> Incident:
    incident = records.find_incident(tx, number=number)
    if incident is None:
        raise NotFound(f"There is no incident {number}.", next_step="List them with `undrift incidents`.")
    return incident


@operation("monitoring.list_windows", permission="monitoring:read")
def list_windows(ctx: Context, request: ListWindows) -> list[Window]:
    """List closed windows with quality, drift and performance, newest first."""
    with ctx.read() as tx:
        return records.list_windows(
            tx,
            request.endpoint,
            start=request.start,
            before=request.before,
            limit=max(1, min(request.limit, 5000)),
        )


@operation("monitoring.list_incidents", permission="monitoring:read")
def list_incidents(ctx: Context, request: ListIncidents) -> list[Incident]:
    """List incidents, newest first."""
    with ctx.read() as tx:
        return records.list_incidents(
            tx,
            endpoint=request.endpoint,
            project=request.project,
            open_only=request.open_only,
            limit=max(1, min(request.limit, 1000)),
        )


@operation("monitoring.find_incident", permission="monitoring:read")
def find_incident(ctx: Context, request: FindIncident) -> Incident:
    """Return an incident with its findings, diagnosis and action."""
    with ctx.read() as tx:
        return _incident(tx, request.number)


@operation("monitoring.acknowledge_incident", permission="monitoring:write", emits=("incident.acknowledged",))
def acknowledge_incident(ctx: Context, request: AcknowledgeIncident) -> Incident:
    """Say that somebody has seen an incident, and whether it was worth the interruption.

    Raises:
        Conflict: It is over already, and nothing new is said about its use.
    """
    with ctx.begin() as tx:
        incident = _incident(tx, request.number)
        if incident.state == "resolved" and request.useful is None:
            raise Conflict(
                f"Incident {incident.number} was resolved already.",
                next_step="You can still say whether it was useful.",
            )
        changed = msgspec.structs.replace(
            incident,
            state="resolved" if incident.state == "resolved" else "acknowledged",
            acknowledged_by=ctx.actor.name,
            useful=incident.useful if request.useful is None else request.useful,
        )
        records.save_incident(tx, changed)
        ctx.emit(
            "incident.acknowledged",
            f"incidents/{incident.number}",
            project=incident.project,
            useful=changed.useful,
        )
        return changed


@operation("monitoring.describe_incident", permission="monitoring:write", emits=("incident.diagnosed",))
def describe_incident(ctx: Context, request: DescribeIncident) -> Incident:
    """Write why an incident is, and what was done about it; saying the same again changes nothing."""
    with ctx.begin() as tx:
        incident = _incident(tx, request.number)
        if (incident.diagnosis, incident.action) == (request.diagnosis, request.action):
            return incident
        changed = msgspec.structs.replace(incident, diagnosis=request.diagnosis, action=request.action)
        records.save_incident(tx, changed)
        ctx.emit(
            "incident.diagnosed",
            f"incidents/{incident.number}",
            project=incident.project,
            diagnosis=changed.diagnosis,
            action=changed.action,
            evidence=request.evidence,
        )
        return changed
