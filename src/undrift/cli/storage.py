"""`undrift storage`: what takes storage, whose it is, and how to get it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from undrift.cli.options import ANYWHERE, Anywhere, connected
from undrift.cli.output import moment, say, show_fields, show_json, show_table

if TYPE_CHECKING:
    from undrift.governance import Freed, Storage

__all__ = ["storage"]

storage = App(name="storage", group_commands="Commands")

_KIB = 1024


@storage.default
def look(
    *,
    project: Annotated[str | None, Parameter(help="Only this project.")] = None,
    limit: Annotated[int, Parameter(help="How many rows of each table.")] = 15,
    measure: Annotated[
        bool, Parameter(help="Also count what really lies in the store; slow when that is much.")
    ] = False,
    where: Anywhere = ANYWHERE,
) -> None:
    """Say what takes storage, the largest first."""
    with connected(where) as client:
        found = client.governance.explain_storage(project=project, limit=limit, measure=measure)
    if where.as_json:
        show_json(found)
    elif not found.shares:
        say("Nothing is stored yet." if project is None else f"Nothing is stored for project {project}.")
    else:
        _show(found)


@storage.command
def free(
    *,
    really: Annotated[
        bool, Parameter(name="--yes", help="Remove it; without this, it only says what would go.")
    ] = False,
    older_than: Annotated[float, Parameter(help="Only what was deleted so many days ago.")] = 7.0,
    project: Annotated[str, Parameter(help="Only what was deleted in this project.")] = "",
    with_models: Annotated[
        bool, Parameter(help="Logged models that are not deleted go with the run that made them.")
    ] = False,
    where: Anywhere = ANYWHERE,
) -> int:
    """Remove for good what was deleted long enough ago, and the bytes nothing needs."""
    with connected(where) as client:
        freed = client.governance.free_storage(
            dry_run=not really, older_than_hours=older_than * 24, project=project, with_models=with_models
        )
    if where.as_json:
        show_json(freed)
    else:
        _tell(freed)
    return 1 if freed.errors else 0


@storage.command
def hold(
    subject: Annotated[
        str,
        Parameter(
            help="runs/<id>, experiments/<number>, logged_models/<id>, models/<name>/<number> or objects/<digest>."
        ),
    ],
    /,
    *,
    project: Annotated[str, Parameter(help="Whose it is.")],
    reason: Annotated[str, Parameter(help="Why it has to stay.")],
    where: Anywhere = ANYWHERE,
) -> None:
    """Keep something, whoever deletes it, until the hold is released."""
    with connected(where) as client:
        made = client.governance.hold(project=project, subject=subject, reason=reason)
    show_json(made) if where.as_json else say(f"{made.subject} is held by {made.actor}: {made.id}")


@storage.command
def release(
    id_: Annotated[str, Parameter(name="ID", help="The hold, as `undrift storage holds` lists it.")],
    /,
    *,
    reason: Annotated[str, Parameter(help="Why it may go.")] = "",
    where: Anywhere = ANYWHERE,
) -> None:
    """End a hold."""
    with connected(where) as client:
        ended = client.governance.release(id=id_, reason=reason)
    show_json(ended) if where.as_json else say(f"{ended.subject} is not held by {ended.actor} any more.")


@storage.command
def holds(
    *,
    project: Annotated[str, Parameter(help="Only those of this project.")] = "",
    where: Anywhere = ANYWHERE,
) -> None:
    """List what is held, by whom and why."""
    with connected(where) as client:
        found = client.governance.list_holds(project=project)
    if where.as_json:
        show_json(found)
    elif not found:
        say("Nothing is held.")
    else:
        show_table(
            ["Hold", "Project", "Subject", "By", "Since (UTC)", "Why"],
            [(one.id, one.project, one.subject, one.actor, moment(one.at), one.reason) for one in found],
        )


def size(count: int | None) -> str:
    """Return a number of bytes in the unit in which it is short.

    >>> size(0), size(1023), size(1536), size(5 * 1024**3)
    ('0 B', '1023 B', '1.5 KiB', '5.0 GiB')
    """
    if count is None:
        return ""
    if count < _KIB:
        return f"{count} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= _KIB
        if amount < _KIB:
            return f"{amount:.1f} {unit}"
    return f"{amount / _KIB:.1f} PiB"


def _show(found: Storage) -> None:
    show_table(
        ["Kind", "Project", "Owner", "Things", "Size", "Stored", "Freed by"],
        [
            (
                share.kind,
                share.project,
                share.owner,
                share.things,
                size(share.logical_bytes),
                size(share.physical_bytes),
                share.freed_by,
            )
            for share in found.shares
        ],
    )
    if found.largest:
        say("\nLargest")
        show_table(
            ["Kind", "Project", "Name", "Size"],
            [(one.kind, one.project, one.name, size(one.logical_bytes)) for one in found.largest],
        )
    say("")
    unneeded = f"{size(found.unneeded_bytes)} in {found.unneeded_objects} objects, as far as was noticed"
    show_fields(
        [
            ("Size, as if nothing were shared", size(found.logical_bytes)),
            ("Stored, equal bytes once", size(found.physical_bytes)),
            ("In the store, measured", size(found.stored_bytes)),
            ("Needed by nothing", unneeded if found.unneeded_objects else ""),
        ]
    )


def _tell(freed: Freed) -> None:
    done = "would be" if freed.dry_run else "were"
    counts = [
        (freed.runs, "runs"),
        (freed.experiments, "experiments"),
        (freed.logged_models, "logged models"),
        (freed.versions, "model versions"),
    ]
    gone = ", ".join(f"{count} {what}" for count, what in counts if count) or "no runs, experiments and models"
    say(f"{size(freed.freed_bytes)} in {freed.objects} objects {done} freed; {gone} {done} removed.")
    if freed.later_objects:
        say(
            f"{size(freed.later_bytes)} in {freed.later_objects} objects are not needed, and go later: not for long "
            "enough yet, or packed with others of which most are needed."
        )
    if freed.kept_objects:
        say(f"{freed.kept_objects} objects of what goes are kept, for others need them.")
    for heading, rows in (("Kept", freed.kept), ("Missing already", freed.missing)):
        if rows:
            say(f"\n{heading}")
            show_table(["What", "Why" if heading == "Kept" else "Named by"], [(one.what, one.by) for one in rows])
    for error in freed.errors:
        say(f"Not done: {error}")
    if freed.dry_run:
        say("\nNothing was removed. `undrift storage free --yes` does it.")
