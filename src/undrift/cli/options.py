"""Options that commands share: where the workspace or the hub is, and ``--json``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from undrift.core.errors import Invalid

if TYPE_CHECKING:
    from undrift.client import Client
    from undrift.workspace import Settings, Workspace

__all__ = ["ANYWHERE", "HERE", "Anywhere", "Local", "Port", "connected", "opened", "settings_of", "workspace_folder"]

_Folder = Annotated[
    Path | None,
    Parameter(name="--workspace", help="Folder of the workspace; $UNDRIFT_WORKSPACE or ./.undrift when left out."),
]
_Json = Annotated[bool, Parameter(name="--json", help="Print JSON and nothing else; errors as problem details.")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Local:
    """Options of commands that need the workspace here."""

    workspace: _Folder = None
    as_json: _Json = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Anywhere:
    """Options of commands that can also ask a hub."""

    workspace: _Folder = None
    hub: Annotated[
        str | None, Parameter(name="--hub", help="Address of a hub to ask instead, such as http://127.0.0.1:7470.")
    ] = None
    as_json: _Json = False


# Beside it stands what the port is for.
Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65_535))]

HERE = Local()
ANYWHERE = Anywhere()


def workspace_folder(where: Local | Anywhere) -> Path:
    """Return the folder of the workspace that is meant."""
    return (where.workspace or Path(os.environ.get("UNDRIFT_WORKSPACE") or ".undrift")).absolute()


def settings_of(folder: Path) -> Settings:
    """Return what a workspace is made of, without asking its database.

    Raises:
        NotFound: There is no workspace.
        Unavailable: It is of a newer undrift, or cannot be read.
        Corrupt: Its settings are none.
    """
    import msgspec

    from undrift.workspace import Settings, Workspace

    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        found = msgspec.json.decode((folder / "workspace.json").read_bytes(), type=Settings)
        if found.format <= Settings().format:
            return found
    # Opening it says in words what is wrong.
    workspace = Workspace.open(folder)
    workspace.close()
    return workspace.settings


@contextmanager
def connected(where: Anywhere) -> Iterator[Client]:
    """Connect to the workspace or the hub that is meant.

    Raises:
        Invalid: Both are named, or the hub's address is none.
    """
    from undrift.client import connect

    if where.hub is not None:
        if where.workspace is not None:
            raise Invalid("--workspace and --hub exclude each other.", next_step="Name one of them.")
        if not where.hub.startswith(("http://", "https://")):
            raise Invalid(
                f"{where.hub[:200]!r} is not the address of a hub.", next_step="Write it as http://127.0.0.1:7470."
            )
    with connect(where.hub or workspace_folder(where)) as client:
        yield client


@contextmanager
def opened(where: Local | Anywhere) -> Iterator[Workspace]:
    """Open the workspace that is meant."""
    from undrift.workspace import Workspace

    workspace = Workspace.open(workspace_folder(where))
    try:
        yield workspace
    finally:
        workspace.close()
