"""`undrift models`: versions, what stood where when and why, and what people decide about them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from undrift.cli.options import ANYWHERE, Anywhere, connected
from undrift.cli.output import moment, number, say, show_fields, show_json, show_table
from undrift.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    from undrift.client import Client
    from undrift.registry import AliasMove, ApprovalRequest, Card, ModelVersion, StageMove, Standing

__all__ = ["models", "pick_project"]

models = App(name="models", group_commands="Commands")

_Model = Annotated[str, Parameter(name="MODEL", help="Name of the model.")]
_Number = Annotated[int, Parameter(name="VERSION", help="Number of the version.")]
_Project = Annotated[str | None, Parameter(help="Of this project.")]
_Alias = Annotated[str, Parameter(help="For this alias.")]
_Reason = Annotated[str, Parameter(help="Why; kept for good.")]


@models.default
def look(
    model: Annotated[
        str | None, Parameter(help="Show the versions of this model; all are listed when left out.")
    ] = None,
    /,
    *,
    project: _Project = None,
    limit: Annotated[int, Parameter(help="At most so many versions and moves, newest first.")] = 20,
    where: Anywhere = ANYWHERE,
) -> None:
    """List models, or show the versions of one and the history of its aliases."""
    with connected(where) as client:
        found = client.registry.list_models(project=project)
        if model is not None:
            known = [(one.model.project, one.model.name) for one in found]
            project = pick_project(known, "model", model, project)
            versions = client.registry.list_versions(project=project, model=model, limit=limit)
            moves = client.registry.alias_history(project=project, model=model, limit=limit)
            aliases = next(one.aliases for one in found if (one.model.project, one.model.name) == (project, model))
            if where.as_json:
                show_json(
                    {"model": model, "project": project, "aliases": aliases, "versions": versions, "moves": moves}
                )
            else:
                _show(versions, aliases, moves)
            return
    if where.as_json:
        show_json(found)
    elif not found:
        say("There are no models yet.")
    else:
        show_table(
            ["Model", "Project", "Versions", "Aliases", "Owner"],
            [
                (
                    one.model.name,
                    one.model.project,
                    one.newest or 0,
                    ", ".join(f"{name} {version}" for name, version in sorted(one.aliases.items())),
                    one.model.owner,
                )
                for one in found
            ],
        )


@models.command
def show(
    model: _Model,
    version: Annotated[
        str | None,
        Parameter(name="VERSION", help="Number of the version, or an alias; the newest one when left out."),
    ] = None,
    /,
    *,
    project: _Project = None,
    markdown: Annotated[bool, Parameter(help="Print the whole card as Markdown.")] = False,
    where: Anywhere = ANYWHERE,
) -> None:
    """Show the card of a version: what is known of it, and what is missing."""
    with connected(where) as client:
        project = _project(client, model, project)
        asked = version or "latest"
        chosen = (
            int(asked)
            if asked.isascii() and asked.isdigit()
            else client.registry.find_version(project=project, model=model, alias=asked).number
        )
        card = client.registry.card(project=project, model=model, number=chosen)
    if where.as_json:
        show_json(card)
    elif markdown:
        say(card.markdown.rstrip())
    else:
        _show_card(card)


@models.command
def history(
    model: _Model,
    /,
    *,
    project: _Project = None,
    limit: Annotated[int, Parameter(help="At most so many moves, newest first.")] = 100,
    where: Anywhere = ANYWHERE,
) -> None:
    """Show every move of the aliases and stages of a model, and what was asked and decided about it."""
    with connected(where) as client:
        project = _project(client, model, project)
        moves = client.registry.alias_history(project=project, model=model, limit=limit)
        stages = client.registry.stage_history(project=project, model=model, limit=limit)
        approvals = client.registry.list_approvals(project=project, model=model, limit=limit)
    if where.as_json:
        show_json({"moves": moves, "stages": stages, "approvals": approvals})
        return
    if not (moves or stages or approvals):
        say(f"No alias of {model} was ever set.")
    _show_history(moves, stages, approvals)


@models.command(name="as-of")
def as_of(
    model: _Model,
    at: Annotated[str, Parameter(name="MOMENT", help="When, in UTC: 2013-03-03, or 2013-03-03T14:30.")],
    /,
    *,
    alias: _Alias = "champion",
    project: _Project = None,
    where: Anywhere = ANYWHERE,
) -> None:
    """Say what stood where an alias points at a moment, who put it there, and on what evidence."""
    asked = _parse_moment(at)
    with connected(where) as client:
        project = _project(client, model, project)
        standing = client.registry.as_of(project=project, model=model, moment=asked, alias=alias)
    if where.as_json:
        show_json(standing)
    else:
        _show_standing(standing)


@models.command
def ask(
    model: _Model,
    version: _Number,
    /,
    *,
    reason: _Reason,
    alias: _Alias = "champion",
    project: _Project = None,
    where: Anywhere = ANYWHERE,
) -> None:
    """Ask that others approve of a version before an alias moves to it."""
    with connected(where) as client:
        project = _project(client, model, project)
        asked = client.registry.request_approval(
            project=project, model=model, number=version, reason=reason, alias=alias
        )
        status = client.registry.approval_status(project=project, model=model, number=version, alias=alias)
    if where.as_json:
        show_json(asked)
    else:
        say(f"{asked.asked_by} asked that version {version} of {model} be {alias}. {status.sentence}")


@models.command
def approve(
    model: _Model,
    version: _Number,
    /,
    *,
    reason: _Reason,
    alias: _Alias = "champion",
    project: _Project = None,
    where: Anywhere = ANYWHERE,
) -> None:
    """Approve, as a second person, of a version for an alias."""
    _decide(model, version, reason, alias, project, where, approve=True)


@models.command
def refuse(
    model: _Model,
    version: _Number,
    /,
    *,
    reason: _Reason,
    alias: _Alias = "champion",
    project: _Project = None,
    where: Anywhere = ANYWHERE,
) -> None:
    """Refuse, as a second person, a version for an alias."""
    _decide(model, version, reason, alias, project, where, approve=False)


def _decide(
    model: str, version: int, reason: str, alias: str, project: str | None, where: Anywhere, *, approve: bool
) -> None:
    with connected(where) as client:
        project = _project(client, model, project)
        decided = client.registry.decide_approval(
            project=project, model=model, number=version, approve=approve, reason=reason, alias=alias
        )
        status = client.registry.approval_status(project=project, model=model, number=version, alias=alias)
    if where.as_json:
        show_json(decided)
    else:
        say(f"Version {version} of {model} is {decided.state} for {alias}. {status.sentence}")


@models.command
def trust(
    model: _Model, version: _Number, /, *, reason: _Reason, project: _Project = None, where: Anywhere = ANYWHERE
) -> None:
    """Answer for a version whose bytes could run any code when they are loaded, such as a pickle."""
    with connected(where) as client:
        project = _project(client, model, project)
        trusted = client.registry.trust_version(project=project, model=model, number=version, reason=reason)
    if where.as_json:
        show_json(trusted)
    elif trusted.trust is not None:
        say(f"{trusted.trust.by} answers for version {version} of {model}: it may be loaded.")


@models.command
def retire(
    model: _Model, version: _Number, /, *, reason: _Reason, project: _Project = None, where: Anywhere = ANYWHERE
) -> None:
    """Say that a version is not to be used any more; it stays for the record, and never comes back."""
    with connected(where) as client:
        project = _project(client, model, project)
        retired = client.registry.retire_version(project=project, model=model, number=version, reason=reason)
    if where.as_json:
        show_json(retired)
    else:
        say(f"Version {version} of {model} is retired: {retired.state_reason}")


def pick_project(known: Iterable[tuple[str, str]], what: str, name: str, project: str | None) -> str:
    """Return the project that has a thing of this name.

    Args:
        known: Projects and names of all things there are.
        what: What kind of thing it is.
        name: Its name.
        project: The project that was asked for, if one was.

    Raises:
        NotFound: None has one.
        Invalid: Several have one.
    """
    pairs = list(known)
    found = [one for one, called in pairs if called == name and project in (None, one)]
    if not found:
        others = ", ".join(sorted({called for _, called in pairs}))
        raise NotFound(
            f"There is no {what} {name!r}{f' in project {project!r}' if project else ''}.",
            next_step=f"Known are: {others}." if others else f"There is no {what} at all yet.",
        )
    if len(found) > 1:
        raise Invalid(
            f"Several projects have a {what} {name!r}: {', '.join(found)}.", next_step="Say which with --project."
        )
    return found[0]


def _project(client: Client, model: str, project: str | None) -> str:
    found = client.registry.list_models(project=project)
    return pick_project([(one.model.project, one.model.name) for one in found], "model", model, project)


def _parse_moment(text: str) -> datetime:
    from undrift.core import parse_time

    try:
        return parse_time(text)
    except Invalid:
        raise Invalid(
            f"{text[:80]!r} is no moment.", next_step="Write a day or a time in UTC: 2013-03-03, 2013-03-03T14:30."
        ) from None


def _show(versions: list[ModelVersion], aliases: dict[str, int], moves: list[AliasMove]) -> None:
    if not versions:
        say("No version was registered yet.")
        return
    show_table(
        ["Version", "Aliases", "State", "Registered (UTC)", "Rows", "Window", "Metrics", "Run"],
        [
            (
                one.number,
                ", ".join(name for name, version in sorted(aliases.items()) if version == one.number),
                f"{one.state}: {one.state_reason}" if one.state_reason else one.state,
                moment(one.created_at),
                one.training.get("rows", ""),
                one.training.get("window", ""),
                ", ".join(f"{name} {number(value)}" for name, value in sorted(one.metrics.items())),
                one.run_id,
            )
            for one in versions
        ],
    )
    if moves:
        say("")
        _show_moves(moves)


def _show_moves(moves: Iterable[AliasMove]) -> None:
    show_table(
        ["Alias", "Version", "Before", "Since (UTC)", "By", "Why"],
        [
            (
                one.alias,
                "taken away" if one.number is None else one.number,
                one.previous,
                moment(one.at),
                one.actor,
                one.reason,
            )
            for one in moves
        ],
    )


def _show_history(
    moves: Iterable[AliasMove], stages: Iterable[StageMove], approvals: Iterable[ApprovalRequest]
) -> None:
    if moves:
        _show_moves(moves)
    if stages:
        say("\nStages")
        show_table(
            ["Version", "Stage", "Before", "Since (UTC)", "By", "Why"],
            [(one.number, one.stage, one.previous, moment(one.at), one.actor, one.reason) for one in stages],
        )
    if approvals:
        say("\nApprovals")
        rows: list[tuple[object, ...]] = []
        for one in approvals:
            rows.append((one.number, one.alias, one.state, moment(one.at), f"{one.asked_by} asked", one.reason))
            rows += [
                ("", "", "", moment(said.at), f"{said.actor} {'approved' if said.approve else 'refused'}", said.reason)
                for said in one.decisions
            ]
        show_table(["Version", "Alias", "State", "When (UTC)", "Who", "Why"], rows)


def _show_card(card: Card) -> None:
    version, run = card.version, card.run
    say(f"{version.model}, version {version.number}")
    show_fields(
        [
            ("For", card.intended_use),
            ("What", version.description),
            ("State", f"{version.state}: {version.state_reason}" if version.state_reason else version.state),
            ("Aliases", ", ".join(version.aliases)),
            ("Stage", "" if version.stage == "None" else version.stage),
            ("Owner", card.model.owner),
            ("Registered", f"{moment(version.created_at)} UTC by {version.created_by}"),
            ("Format", version.format),
            ("Files", version.artifact),
            ("Source", version.source),
            ("Run", version.run_id),
            ("Code", "" if run is None else ", ".join(link.ref for link in run.code)),
            ("Environment", "" if run is None else ", ".join(link.ref for link in run.environment)),
            ("Data", "" if run is None else ", ".join(f"{link.name} {link.ref}" for link in run.data)),
            ("Rows", version.training.get("rows")),
            ("Metrics", ", ".join(f"{name} {number(value)}" for name, value in sorted(version.metrics.items()))),
            ("Trust", "" if version.trust is None else f"{version.trust.by}: {version.trust.reason}"),
            ("Tags", ", ".join(f"{key}={value}" for key, value in version.tags.items())),
        ]
    )
    if version.signature is not None:
        say("")
        show_table(
            ["Input", "Type", "May be missing"],
            [(one.name, one.type, "yes" if one.nullable else "no") for one in version.signature.inputs],
        )
    if card.gaps:
        say("\nMissing")
        for gap in card.gaps:
            say(f"- {gap}")
    if card.moves or card.stages or card.approvals:
        say("")
        _show_history(card.moves, card.stages, card.approvals)


def _show_standing(standing: Standing) -> None:
    say(standing.sentence)
    version, run, move = standing.version, standing.run, standing.move
    if version is None:
        return
    say("")
    show_fields(
        [
            ("Registered", f"{moment(version.created_at)} UTC by {version.created_by}"),
            ("Files", version.artifact),
            ("Run", version.run_id),
            ("Code", "" if run is None else ", ".join(link.ref for link in run.code)),
            ("Environment", "" if run is None else ", ".join(link.ref for link in run.environment)),
            ("Data", "" if run is None else ", ".join(f"{link.name} {link.ref}" for link in run.data)),
            ("Approved by", ", ".join(f"{one.actor} ({one.reason})" for one in standing.approvals)),
            ("Evidence", "" if move is None or not move.evidence else _as_text(move.evidence)),
            ("Missing", "; ".join(standing.gaps)),
        ]
    )


def _as_text(value: object) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()
