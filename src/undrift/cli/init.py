"""`undrift init`: makes a workspace, and a first project to begin with."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from undrift.cli.options import HERE, Local, settings_of, workspace_folder
from undrift.cli.output import say, show_json
from undrift.core.errors import Conflict, Invalid, Unavailable, UndriftError

if TYPE_CHECKING:
    from undrift.workspace import Settings

__all__ = ["init"]

_PROJECT = "project.py"


def init(
    folder: Annotated[Path | None, Parameter(help="Where to; this folder when left out.")] = None,
    /,
    *,
    database: Annotated[
        str, Parameter(help="Address of the database, postgresql://...; a SQLite file when left out.")
    ] = "",
    store: Annotated[str, Parameter(help="Address of the byte store, s3://...; a folder when left out.")] = "",
    where: Local = HERE,
) -> None:
    """Make a workspace here, with a first project to begin with.

    What is there already stays as it is.
    """
    if folder is not None and where.workspace is not None:
        raise Invalid("FOLDER and --workspace exclude each other.", next_step="Name one of them.")
    from undrift.workspace import FOLDER

    place = workspace_folder(where) if folder is None else (folder / FOLDER).absolute()
    there = (place / "workspace.json").exists()
    settings = _check(place, database, store) if there else _make(place, database, store)
    file = place.parent / (settings.project or _PROJECT)
    made = not settings.project and not file.exists()
    if made:
        _write(file, Path(__file__).with_name("example.py").read_text(encoding="utf-8"))
    if not settings.project:
        _name_project(place, settings)
    if where.as_json:
        show_json({"workspace": str(place), "made": not there, "project": str(file), "project_made": made})
        return
    say(f"There is a workspace at {place} already." if there else f"Made a workspace at {place}.")
    say(f"Made {file}: a first project that runs as it is." if made else f"Its project is {file}.")
    for line in _next_steps(place):
        say(line)


def _next_steps(place: Path) -> list[str]:
    here = "" if place == workspace_folder(HERE) else f" --workspace {os.path.relpath(place)}"
    return [
        "Next:",
        f"  undrift up{here}        runs hub, worker and model server, and trains the first version",
        f"  undrift status{here}    says whether anything is wrong",
    ]


def _check(place: Path, database: str, store: str) -> Settings:
    settings = settings_of(place)
    for what, wanted, found in (("database", database, settings.database), ("store", store, settings.store)):
        if wanted and wanted != found:
            raise Conflict(
                f"The workspace at {place} has another {what} already.",
                next_step=f"Leave --{what} out, or make a workspace elsewhere: what is in it does not move by itself.",
            )
    return settings


def _make(place: Path, database: str, store: str) -> Settings:
    from undrift.workspace import Settings, Workspace

    folder_there = place.exists()
    settings = Settings(database=database, store=store)
    try:
        Workspace.open(place, create=True, settings=settings).close()
    except UndriftError:
        # A database that cannot be reached leaves nothing behind, so that the next try is a first one, too.
        with suppress(OSError):
            (place / "workspace.json").unlink()
            if not folder_there:
                place.rmdir()
        raise
    return settings


def _name_project(place: Path, settings: Settings) -> None:
    import msgspec

    named = msgspec.structs.replace(settings, project=_PROJECT)
    _write(place / "workspace.json", msgspec.json.format(msgspec.json.encode(named)).decode() + "\n")


def _write(file: Path, text: str) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        raise Unavailable(f"{file} cannot be written: {error.strerror}.", next_step="Check permissions.") from None
