"""`undrift models`: versions, and who put which one into production when and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from undrift.cli.options import ANYWHERE, Anywhere, connected
from undrift.cli.output import moment, number, say, show_json, show_table
from undrift.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    from undrift.registry import AliasMove, ModelVersion

__all__ = ["models", "pick_project"]


def models(
    model: Annotated[
        str | None, Parameter(help="Show the versions of this model; all are listed when left out.")
    ] = None,
    /,
    *,
    project: Annotated[str | None, Parameter(help="Of this project.")] = None,
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
        show_table(
            ["Alias", "Version", "Before", "Since (UTC)", "By", "Why"],
            [(one.alias, one.number, one.previous, moment(one.at), one.actor, one.reason) for one in moves],
        )
