"""`undrift audit`: everything that happened, and the proof that the log says all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter

from undrift.cli.options import ANYWHERE, Anywhere, connected, workspace_folder
from undrift.cli.output import moment, say, show_error, show_json, show_table
from undrift.core.errors import Corrupt

if TYPE_CHECKING:
    from undrift.events import Verification

__all__ = ["audit"]

audit = App(name="audit", group_commands="Commands")


@audit.default
def look(
    *,
    subject: Annotated[
        str | None, Parameter(help="Only of this thing and what lies below it, such as models/late.")
    ] = None,
    kind: Annotated[str | None, Parameter(name="--type", help="Only of this type, such as model.alias_moved.")] = None,
    project: Annotated[str | None, Parameter(help="Only of this project.")] = None,
    before: Annotated[int | None, Parameter(help="Only before this position: the way to the next page.")] = None,
    limit: Annotated[int, Parameter(help="At most so many, newest first.")] = 20,
    where: Anywhere = ANYWHERE,
) -> None:
    """Show the newest events of the log, or verify it."""
    with connected(where) as client:
        found = client.events.list(subject=subject, type=kind, project=project, before=before, limit=limit)
    if where.as_json:
        show_json(found)
    elif not found:
        say("There are no such events.")
    else:
        show_table(
            ["Position", "Time (UTC)", "What", "Subject", "By", "Evidence"],
            [
                (
                    one.position,
                    moment(one.time),
                    one.type,
                    one.subject,
                    one.actor,
                    _short(msgspec.json.encode(one.data)),
                )
                for one in found
            ],
        )


@audit.command
def verify(
    *,
    position: Annotated[
        int | None, Parameter(help="A position that you noted earlier; the last one published here when left out.")
    ] = None,
    noted: Annotated[str | None, Parameter(name="--hash", help="The hash that was noted with it.")] = None,
    where: Anywhere = ANYWHERE,
) -> int:
    """Check that no event of the log was changed, taken out or cut off."""
    found = _verify(where, position, noted)
    if where.as_json:
        show_json(found)
    elif found.ok:
        say(f"The log is whole: {found.events} events, head {found.head.position} {found.head.hash}.")
    else:
        show_error(
            f"The log is broken at position {found.broken_at}: {found.problem}",
            "Nothing was changed. Compare with a backup; what stands before that position is what was written.",
        )
    return 0 if found.ok else Corrupt.exit_code


def _verify(where: Anywhere, position: int | None, noted: str | None) -> Verification:
    if where.hub is not None or position is not None or noted is not None:
        with connected(where) as client:
            return client.events.verify(position=position, hash=noted)
    from undrift.events import VerifyLog, verify_log
    from undrift.workspace import Workspace

    workspace = Workspace.open(workspace_folder(where))
    try:
        head = workspace.published_head()
        known = VerifyLog() if head is None else VerifyLog(position=head.position, hash=head.hash)
        return verify_log(workspace.context(), known)
    finally:
        # Closing the workspace itself would publish the head of a log that was perhaps just found to be cut off.
        workspace.database.close()


def _short(data: bytes, limit: int = 100) -> str:
    text = data.decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"
