# ruff: noqa: T201 - a script that is read
"""A model server in a process of its own: serve_for_test.py FOLDER PORT; the routing table is a file in the folder."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from undrift.blobs import Repository, open_store
from undrift.core import SystemClock
from undrift.core.errors import Unavailable, UndriftError
from undrift.serving import RoutingTable
from undrift.serving.server import build_app, run


class FileRoutes:
    """A database that is a file: away when the file is."""

    def __init__(self, folder: Path) -> None:
        self.repository = Repository(open_store(str(folder / "blobs")))
        self._file = folder / "table.json"

    def table(self) -> RoutingTable:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=RoutingTable)
        except FileNotFoundError:
            raise Unavailable("The database is away.") from None


def main() -> None:
    folder = Path(sys.argv[1])
    routes = FileRoutes(folder)
    try:
        run(
            lambda: build_app(routes, folder / "log", folder / "cache", SystemClock()),
            port=int(sys.argv[2]),
            on_ready=lambda host, port: print(host, port, flush=True),
        )
    except UndriftError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(error.exit_code)
    print("clean end", flush=True)


if __name__ == "__main__":
    main()
