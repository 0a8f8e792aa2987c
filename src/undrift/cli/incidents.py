"""`undrift incidents`: what was wrong, since when, why, and what was done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from undrift.cli.options import ANYWHERE, Anywhere, connected
from undrift.cli.output import moment, number, say, show_fields, show_json, show_table

if TYPE_CHECKING:
    from undrift.monitoring import Incident

__all__ = ["incidents"]

incidents = App(name="incidents", group_commands="Commands")


@incidents.default
def look(
    incident: Annotated[
        int | None, Parameter(name="NUMBER", help="Show this one; all are listed when left out.")
    ] = None,
    /,
    *,
    endpoint: Annotated[str | None, Parameter(help="Only those of this endpoint.")] = None,
    open_only: Annotated[bool, Parameter(name="--open", help="Only those that are not over.")] = False,
    limit: Annotated[int, Parameter(help="At most so many, newest first.")] = 20,
    where: Anywhere = ANYWHERE,
) -> None:
    """List incidents, or show one."""
    with connected(where) as client:
        if incident is not None:
            one = client.monitoring.find_incident(number=incident)
            show_json(one) if where.as_json else _show(one)
            return
        found = client.monitoring.list_incidents(endpoint=endpoint, open_only=open_only, limit=limit)
    if where.as_json:
        show_json(found)
    elif not found:
        say("There are no incidents.")
    else:
        show_table(
            ["#", "State", "Endpoint", "What", "Since (UTC)", "Over (UTC)", "Owner", "Done"],
            [
                (
                    one.number,
                    one.state,
                    one.endpoint,
                    one.title,
                    moment(one.started_at),
                    moment(one.resolved_at),
                    one.owner,
                    one.action,
                )
                for one in found
            ],
        )


@incidents.command
def ack(
    incident: Annotated[int, Parameter(name="NUMBER", help="Which incident.")],
    /,
    *,
    useful: Annotated[
        bool | None,
        Parameter(negative="--not-useful", help="Whether it was worth the interruption: alarms are judged by it."),
    ] = None,
    where: Anywhere = ANYWHERE,
) -> None:
    """Say that you have seen an incident, and whether it was worth the interruption."""
    with connected(where) as client:
        one = client.monitoring.acknowledge_incident(number=incident, useful=useful)
    if where.as_json:
        show_json(one)
    else:
        worth = {None: "", True: " and found useful", False: " and found not useful"}[one.useful]
        say(f"Incident {one.number} is {one.state}, seen by {one.acknowledged_by}{worth}.")


def _show(one: Incident) -> None:
    show_fields(
        [
            ("Incident", one.number),
            ("What", one.title),
            ("Endpoint", one.endpoint),
            ("State", one.state),
            ("Owner", one.owner),
            ("Dataset", one.dataset),
            ("Since", f"{moment(one.started_at)} UTC"),
            ("Noticed", f"{moment(one.opened_at)} UTC"),
            ("Last seen", f"{moment(one.last_seen_at)} UTC"),
            ("Over", "" if one.resolved_at is None else f"{moment(one.resolved_at)} UTC"),
            ("Why", one.diagnosis),
            ("Done", one.action),
            ("Seen by", one.acknowledged_by),
            ("Useful", {None: "", True: "yes", False: "no"}[one.useful]),
        ]
    )
    say("\nFindings")
    show_table(
        ["Window (UTC)", "Column", "Noticed by", "Value", "Limit", "Finding"],
        [
            (
                moment(found.start),
                found.column,
                found.detector,
                number(found.value),
                number(found.limit),
                found.sentence,
            )
            for found in one.findings
        ],
    )
