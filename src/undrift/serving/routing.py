"""The routes a model server serves: kept fresh in the background, and on its disk for when everything else is down.

A new table is loaded beside the old one and put in its place by one assignment. A request goes on with what it began
with. Where a new route cannot be loaded the old one stays, and the reason is told.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from undrift.core.errors import UndriftError
from undrift.serving.answering import LoadedRoute
from undrift.serving.artifacts import Artifacts
from undrift.serving.model import Route, RoutingTable
from undrift.serving.ports import RouteSource
from undrift.serving.runtime import Runtime

__all__ = ["Loaded", "Router"]

_log = logging.getLogger("undrift.serving")

POLL_S = 1.0
_RETRY_S = 10.0
_FIRST_WAIT_S = 3.0


class Loaded(NamedTuple):
    """The routes a server answers by; replaced as a whole.

    Attributes:
        revision: The newest revision of the table they come from.
        routes: By endpoint.
        problems: Why the newest route of an endpoint is not among them, by endpoint.
        known: Whether any table has been seen; until then no endpoint can be said not to exist.
    """

    revision: int
    routes: dict[str, LoadedRoute]
    problems: dict[str, str]
    known: bool


class Router:
    """Keeps the routes of a server.

    Args:
        source: Where routes and artifacts come from.
        folder: Where the last table and copies of the artifacts are kept.

    Attributes:
        loaded: What is served now.
        source_error: Why the source could not be asked the last time; empty when it could.
        seen_at: When it could last be asked, by the monotonic clock; None when it never could.
    """

    def __init__(self, source: RouteSource, folder: Path) -> None:
        self.loaded = Loaded(0, {}, {}, known=False)
        self.source_error = ""
        self.seen_at: float | None = None
        self._source = source
        self._artifacts = Artifacts(source.repository, folder)
        self._kept = folder / "routes.json"
        self._changed: Callable[[Loaded], None] = lambda _loaded: None
        self._retry_at = 0.0
        self._waiting: list[Future[Loaded]] = []
        self._lock = threading.Lock()
        self._table: RoutingTable | None = None
        self._wake = threading.Event()
        self._stopped = False

    def on_change(self, changed: Callable[[Loaded], None]) -> None:
        """Call this with the new routes whenever they change, in the router's thread; before `start`."""
        self._changed = changed

    def start(self) -> None:
        """Load the routes that were kept, ask the source for newer ones, and go on asking; never raises.

        A source that does not answer soon is not waited for: what was kept is served meanwhile.
        """
        self._load_kept()
        first = self._ask()
        # A daemon: a database that hangs must not keep the process from ending.
        threading.Thread(target=self._run, name="undrift-routes", daemon=True).start()
        with suppress(TimeoutError):
            first.result(_FIRST_WAIT_S)

    def stop(self) -> None:
        """Stop asking the source; what is served stays."""
        self._stopped = True
        self._wake.set()

    def refresh(self) -> Future[Loaded]:
        """Ask the source now; the future gives what is served then, whether or not the source could be asked."""
        return self._ask()

    def _ask(self) -> Future[Loaded]:
        future: Future[Loaded] = Future()
        with self._lock:
            self._waiting.append(future)
        self._wake.set()
        return future

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(POLL_S)
            self._wake.clear()
            with self._lock:
                waiting, self._waiting = self._waiting, []
            try:
                self._poll()
            except Exception:  # noqa: BLE001 - logged in full; this thread is the only one that will ever look again
                _log.exception("The routing table could not be taken")
                self.source_error = "the routing table could not be taken; the server's log says why"
            for future in waiting:
                if not future.cancelled():
                    future.set_result(self.loaded)

    def _poll(self) -> None:
        try:
            table = self._source.table()
        except Exception as error:  # noqa: BLE001 - whatever it is, predictions go on
            self.source_error = str(error) or type(error).__name__
            return
        self.source_error = ""
        self.seen_at = time.monotonic()
        again = bool(self.loaded.problems) and time.monotonic() >= self._retry_at
        if table == self._table and not again:
            return
        self._take(table, self._artifacts.load)
        self._table = table
        self._keep()

    def _take(self, table: RoutingTable, load: Callable[[str], Runtime]) -> None:
        before = self.loaded
        runtimes = {arm.runtime.artifact: arm.runtime for one in before.routes.values() for arm in one.arms}
        routes: dict[str, LoadedRoute] = {}
        problems: dict[str, str] = {}
        for endpoint, route in table.routes.items():
            known = before.routes.get(endpoint)
            if known is not None and known.route == route:
                routes[endpoint] = known
                continue
            try:
                for arm in route.arms:
                    if arm.artifact not in runtimes:
                        runtimes[arm.artifact] = load(arm.artifact)
                routes[endpoint] = LoadedRoute(route, [runtimes[arm.artifact] for arm in route.arms])
            except Exception as error:  # noqa: BLE001 - one bad artifact must not take the other endpoints along
                problems[endpoint] = _problem(route, error, known)
                if known is not None:
                    routes[endpoint] = known
        self._retry_at = time.monotonic() + _RETRY_S
        loaded = Loaded(table.revision, routes, problems, known=True)
        # First those who answer, then the revision: it may be late in saying what is served, never early.
        self._changed(loaded)
        self.loaded = loaded
        self._artifacts.prune({arm.artifact for route in table.routes.values() for arm in route.arms} | set(runtimes))

    def _keep(self) -> None:
        served = {endpoint: one.route for endpoint, one in self.loaded.routes.items()}
        table = RoutingTable(self.loaded.revision, served)
        temporary = self._kept.with_name(f"routes.json.{os.getpid()}")
        # A full disk costs the next start its memory, not this one its predictions.
        with suppress(OSError):
            self._kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary.write_bytes(msgspec.json.encode(table))
            temporary.replace(self._kept)

    def _load_kept(self) -> None:
        try:
            table = msgspec.json.decode(self._kept.read_bytes(), type=RoutingTable)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return
        # From this disk alone: a store that hangs must not keep the server from starting.
        self._take(table, self._artifacts.load_kept)


def _problem(route: Route, error: Exception, known: LoadedRoute | None) -> str:
    said = str(error) if isinstance(error, UndriftError) else f"{type(error).__name__}: {error}"
    versions = ", ".join(f"{arm.name} {arm.number}" for arm in route.arms)
    goes_on = "nothing answers there" if known is None else f"revision {known.route.revision} goes on answering"
    return (
        f"Revision {route.revision} of endpoint {route.endpoint!r} ({versions}) could not be loaded: {said} ({goes_on})"
    )
