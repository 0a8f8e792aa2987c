"""Files on their way to the hub: the one place that knows how they travel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from undrift.recorder.place import importing

if TYPE_CHECKING:
    from undrift.client import Client

__all__ = ["put_file", "put_folder"]

# Whoever sends tries again anyway, and knows when that has no sense any more.
_PATIENCE_S = 0.0


def put_file(client: Client, run_id: str, path: str, source: Path) -> None:
    """Make a file an artifact of a run; doing it again changes nothing.

    Args:
        client: Where to.
        run_id: The run.
        path: The artifact's path.
        source: The file.

    Raises:
        UndriftError: See `undrift.transfer.upload_file`.
    """
    with importing():
        from undrift.transfer import upload_file  # noqa: PLC0415 - for the thread that sends

    upload_file(client, run_id, source, path, patience_s=_PATIENCE_S)


def put_folder(client: Client, run_id: str, path: str, source: Path) -> str:
    """Make the files of a folder artifacts of a run, below a path, and return the digest of the tree of them."""
    with importing():
        from undrift.tracking.artifacts import ArtifactTreeOf, artifact_tree  # noqa: PLC0415 - for the thread that sends
        from undrift.transfer import upload_folder  # noqa: PLC0415 - the same

    upload_folder(client, run_id, source, path, patience_s=_PATIENCE_S)
    return client.call(artifact_tree, ArtifactTreeOf(run_id, path)).digest
