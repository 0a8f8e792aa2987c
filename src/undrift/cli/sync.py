"""`undrift runs sync`: sends what runs left on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from undrift.cli.output import say, show_json
from undrift.core.errors import Invalid

__all__ = ["sync"]

_LEFT = 7


def sync(
    folder: Annotated[
        Path | None,
        Parameter(help="A run's folder, or one with such folders; where this user's runs lie when left out."),
    ] = None,
    /,
    *,
    workspace: Annotated[
        Path | None, Parameter(help="Folder of a workspace to send to; where each run was to go when left out.")
    ] = None,
    hub: Annotated[str | None, Parameter(help="Address of a hub to send to, such as http://127.0.0.1:7470.")] = None,
    as_json: Annotated[
        bool, Parameter(name="--json", help="Print JSON and nothing else; errors as problem details.")
    ] = False,
) -> int:
    """Send what runs left on this machine: recorded offline, or cut off."""
    from undrift.recorder import runs_folder, sync_runs

    if hub is not None and workspace is not None:
        raise Invalid("--workspace and --hub exclude each other.", next_step="Name one of them.")
    if hub is not None and not hub.startswith(("http://", "https://")):
        raise Invalid(f"{hub[:200]!r} is not the address of a hub.", next_step="Write it as http://127.0.0.1:7470.")
    done = []
    for one in sync_runs(folder, target=hub or workspace):
        done.append(one)
        if as_json:
            continue
        if one.state == "sent":
            refused = f", {one.refused:,} refused" if one.refused else ""
            say(f"{one.run_id}: {one.points:,} points and {one.files:,} files sent to {one.target}{refused}.")
        elif one.state == "recording":
            say(f"{one.run_id}: a process still records it; left alone.")
        else:
            to = f" to {one.target}" if one.target else ""
            say(f"{one.run_id}: not all was sent{to}: {one.trouble} The rest stays in {one.folder}.")
    if as_json:
        show_json(done)
    elif not done:
        say(f"Nothing waits in {folder or runs_folder()}.")
    return _LEFT if any(one.state == "left" for one in done) else 0
