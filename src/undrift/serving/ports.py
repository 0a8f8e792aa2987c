"""Where a model server learns who answers, and where it gets the models."""

from __future__ import annotations

from typing import Protocol

from undrift.blobs import Repository
from undrift.serving.model import RoutingTable

__all__ = ["RouteSource"]


class RouteSource(Protocol):
    """What a model server needs of the world; it keeps answering when all of it is away.

    `table` is called from a thread of its own, about once a second and whenever a request asks for a newer revision
    than the server has. It may take its time: nobody's prediction waits for it.
    """

    @property
    def repository(self) -> Repository:
        """Where the artifacts are."""

    def table(self) -> RoutingTable:
        """Return the newest route of every endpoint.

        Raises:
            UndriftError: It cannot be had now; the server goes on with the last one.
        """
