"""`undrift status`: is anything wrong, since when, whose is it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from undrift.cli.options import ANYWHERE, Anywhere, connected, workspace_folder
from undrift.cli.output import duration, moment, number, say, show_json, show_table

if TYPE_CHECKING:
    from undrift.client import Client
    from undrift.loop import Cycle
    from undrift.monitoring import Incident, Window
    from undrift.serving import Arm, Route

__all__ = ["status"]

_ENDED = ("promoted", "rolled back", "refused")


def status(*, where: Anywhere = ANYWHERE) -> None:
    """Say whether anything is wrong, since when, and whose it is."""
    with connected(where) as client:
        endpoints = [_look(client, route) for route in client.serving.list_endpoints()]
        incidents = client.monitoring.list_incidents(open_only=True, limit=1000)
        # An endpoint that waits for its first version has a cycle, but no route yet.
        named = {one.endpoint for one in endpoints}
        cycles = [one for one in client.loop.list_cycles(limit=1000) if one.endpoint not in named]
    first = list({one.endpoint: one for one in reversed(cycles)}.values())
    worker_runs = None if where.hub is not None else _worker_runs(where)
    if where.as_json:
        facts = {"ok": not incidents, "incidents": incidents, "endpoints": endpoints, "without_version": first}
        show_json(facts if worker_runs is None else facts | {"worker_runs": worker_runs})
        return
    _show_incidents(incidents)
    _show_endpoints(endpoints, incidents)
    for cycle in first:
        say(f"{cycle.endpoint} has no version yet: {_cycle(cycle) or cycle.outcome}")
    if not endpoints and not first:
        say("Nothing is deployed yet.")
    for cycle in [*(one.cycle for one in endpoints if one.cycle is not None), *first]:
        if cycle.stage == "awaiting approval":
            say(f"Version {cycle.challenger} of {cycle.model} awaits approval: undrift approve {cycle.id} --reason ...")
            if cycle.evidence.get("waits_for"):
                say(f"  {cycle.evidence['waits_for']}")
    if worker_runs is False:
        say("No worker runs: nothing is observed meanwhile. Start it with `undrift up`.")


class _Endpoint(msgspec.Struct, frozen=True):
    """What is said of an endpoint."""

    endpoint: str
    project: str
    model: str
    champion: Arm
    challenger: Arm | None
    last_window: Window | None
    measured_window: Window | None
    cycle: Cycle | None


def _look(client: Client, route: Route) -> _Endpoint:
    windows = client.monitoring.list_windows(endpoint=route.endpoint, limit=30)
    cycles = client.loop.list_cycles(endpoint=route.endpoint, limit=1)
    return _Endpoint(
        endpoint=route.endpoint,
        project=route.project,
        model=route.model,
        champion=route.champion,
        challenger=route.challenger,
        last_window=windows[0] if windows else None,
        measured_window=next((window for window in windows if window.served is not None), None),
        cycle=cycles[0] if cycles and cycles[0].stage not in _ENDED else None,
    )


def _worker_runs(where: Anywhere) -> bool:
    from undrift.processes import role_holder

    return role_holder(workspace_folder(where), "worker") is not None


def _show_incidents(incidents: list[Incident]) -> None:
    if not incidents:
        say("Nothing is wrong.")
        return
    oldest = min(incident.started_at for incident in incidents)
    count = f"{len(incidents)} incidents are" if len(incidents) > 1 else "1 incident is"
    say(f"{count} open, since {moment(oldest)} UTC ({duration(datetime.now(UTC) - oldest)} ago).")
    show_table(
        ["#", "State", "Endpoint", "What", "Since (UTC)", "Owner", "Why"],
        [
            (one.number, one.state, one.endpoint, one.title, moment(one.started_at), one.owner, one.diagnosis)
            for one in incidents
        ],
    )
    say("")


def _show_endpoints(endpoints: list[_Endpoint], incidents: list[Incident]) -> None:
    if not endpoints:
        return
    show_table(
        [
            "Endpoint",
            "Champion",
            "Challenger",
            "Last window (UTC)",
            "Predictions",
            "Loss",
            "Labelled",
            "Incidents",
            "Cycle",
        ],
        [
            (
                one.endpoint,
                f"{one.model} {one.champion.number}",
                "" if one.challenger is None else _challenger(one.challenger),
                "" if one.last_window is None else moment(one.last_window.start),
                "" if one.last_window is None else one.last_window.predictions,
                "" if one.measured_window is None else _loss(one.measured_window),
                "" if one.measured_window is None else f"{one.measured_window.maturity:.0%}",
                sum(incident.endpoint == one.endpoint for incident in incidents) or "",
                "" if one.cycle is None else _cycle(one.cycle),
            )
            for one in endpoints
        ],
    )


def _challenger(arm: Arm) -> str:
    return f"{arm.number} ({arm.name}{f', {arm.share:.0%}' if arm.share else ''})"


def _loss(window: Window) -> str:
    return "" if window.served is None else number(window.served.loss)


def _cycle(cycle: Cycle) -> str:
    return "" if cycle.stage in _ENDED else f"{cycle.stage} since {moment(cycle.stage_since)}"
