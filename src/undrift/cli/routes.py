"""A workspace as a model server sees it: the routing table, the artifacts, and no need of a database to start."""

from __future__ import annotations

from pathlib import Path

from undrift.blobs import Repository, open_store
from undrift.cli.options import settings_of
from undrift.core.context import Actor
from undrift.metastore import open_database
from undrift.serving import ReadRoutingTable, RoutingTable, routing_table
from undrift.workspace import Workspace

__all__ = ["WorkspaceRoutes"]

_SERVER = Actor("model-server", "service")


class WorkspaceRoutes:
    """The routes of a workspace; see `undrift.serving.ports.RouteSource`.

    Neither database nor store is asked before it is needed, and a model server never migrates: it starts, and answers
    by the routes it has kept, while the database is away.

    Args:
        folder: The workspace.

    Raises:
        NotFound: There is no workspace.
        Unavailable: It is of a newer undrift, or its settings cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        settings = settings_of(folder)
        database = open_database(settings.database or f"sqlite:///{folder / 'undrift.db'}")
        repository = Repository(open_store(settings.store or str(folder / "store")))
        self.workspace = Workspace(folder, settings, database, repository)

    @property
    def repository(self) -> Repository:
        """Where the artifacts are."""
        return self.workspace.repository

    def table(self) -> RoutingTable:
        """Return the newest route of every endpoint."""
        return routing_table(self.workspace.context(_SERVER), ReadRoutingTable())
