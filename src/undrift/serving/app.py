"""The model server as an RSGI application: finds who is asked, reads, has it answered, and tells what went wrong."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from granian.rsgi import ProtocolClosed, ProtocolError  # type: ignore[attr-defined]  # public, but not said so

from undrift.core.clock import Clock
from undrift.core.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable, UndriftError
from undrift.core.hosts import Hosts, check_origin
from undrift.serving.admission import Admission
from undrift.serving.answering import oip_body, predict_body
from undrift.serving.asks import Ask, wanted_revision
from undrift.serving.desk import Desk, Target
from undrift.serving.log import PredictionLog
from undrift.serving.metrics import Metrics
from undrift.serving.pages import JSON, Pages, SlowBody, WrongMediaType, problem_body
from undrift.serving.ports import RouteSource
from undrift.serving.routing import Loaded, Router

__all__ = ["BODY_LIMIT", "App", "build_app"]

BODY_LIMIT = 8 << 20
_READ_IN_LINE = 1 << 20
_SMALL_BODY = 64 << 10
_STALLED_S = 1.0
_BODY_S = 12.0
_CATCH_UP_S = 5.0
_TICK_S = 1.0

_PLAIN = [("content-type", JSON)]
_log = logging.getLogger("undrift.serving")


class App:
    """One model server; see `build_app`.

    Attributes:
        router: What it serves.
        log: What it answered.
        metrics: What it counted.
        admission: What is in flight.
    """

    def __init__(self, router: Router, log: PredictionLog, clock: Clock, hosts: Hosts) -> None:
        self.router = router
        self.log = log
        self.metrics = Metrics()
        self.admission = Admission()
        self._hosts = hosts
        self._pages = Pages(router, log, self.metrics, self.admission)
        self._targets: dict[str, Target] = {}
        self._desk = Desk(log, self.metrics, self.admission, clock)
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="undrift-log")
        self._arriving: dict[asyncio.Task[Any] | None, float] = {}
        self._late: set[asyncio.Task[Any] | None] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticking: asyncio.Task[None] | None = None

    def routes_changed(self, loaded: Loaded) -> None:
        """Take new routes; called by the router, in its thread."""
        targets: dict[str, Target] = {}
        for endpoint, one in loaded.routes.items():
            counters = [self.metrics.counter(endpoint, arm.name, arm.number) for arm in one.arms]
            latency = self.metrics.latency(endpoint)
            oip = Target(one, None, one.read_oip, oip_body, counters, latency)
            targets[f"/v2/models/{endpoint}/infer"] = oip
            targets[f"/predict/{endpoint}"] = oip._replace(read=one.read_predict, write=predict_body)
            for place, arm in enumerate(one.arms):
                targets[f"/v2/models/{endpoint}/versions/{arm.number}/infer"] = oip._replace(arm=place)
        self._targets = targets

    def start(self) -> None:
        """Begin what goes on beside the answering; called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._ticking = self._loop.create_task(self._tick())

    def close(self) -> None:
        """Flush the log and stop; requests in flight must have ended."""
        if self._ticking is not None:
            self._ticking.cancel()
        self.router.stop()
        self._desk.close()
        self._syncer.shutdown(wait=True, cancel_futures=True)
        self.log.close()

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        """Answer one request."""
        started = time.perf_counter()
        try:
            headers = scope.headers
            host = self._hosts.check(headers.get_all("host"))
            if scope.method == "POST":
                body = await self._post(scope.path, host, headers, proto, started=started)
                proto.response_bytes(200, _PLAIN, body)
            else:
                status, kind, body = self._pages.answer(scope.method, scope.path)
                proto.response_bytes(status, [("content-type", kind), ("cache-control", "no-store")], body)
        except UndriftError as error:
            self._refuse(proto, error)
        except (ProtocolClosed, ProtocolError):
            self.metrics.errors["client_gone"] += 1
        except Exception:  # noqa: BLE001 - logged in full below; the client is answered whatever happens
            _log.exception("A request failed in a way nobody thought of")
            self._refuse(proto, UndriftError("The server failed at this request.", next_step="Its log says why."))

    async def _post(self, path: str, host: str, headers: Any, proto: Any, *, started: float) -> bytes:
        check_origin(host, headers.get_all("origin"), headers.get_all("sec-fetch-site"))
        kind = headers.get("content-type")
        if kind != JSON:
            _check_kind(kind)
        length = headers.get("content-length")
        try:
            size = 0 if length is None else int(length)
        except ValueError:
            raise Invalid("The Content-Length is no number.") from None
        if size > BODY_LIMIT:
            raise _too_large()
        try:
            self.admission.enter()
        except Unavailable:
            self.metrics.shed += 1
            raise
        task = asyncio.current_task(self._loop)
        self._arriving[task] = started
        try:
            body: bytes = await (self._large_body(proto) if length is None or size > _SMALL_BODY else proto())
            del self._arriving[task]
            target = self._targets.get(path)
            ask = None
            if target is not None and size <= _READ_IN_LINE:
                with suppress(Invalid):
                    ask = target.read(body)
            if target is None or ask is None or (ask.routing_revision and self._behind(target, ask.routing_revision)):
                target, ask = await self._resolve(path, body, packed=headers.get("content-encoding"))
            answered = await self._desk.answer(target, ask)
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            raise SlowBody(f"The body did not arrive within {_BODY_S:g} seconds.") from None
        else:
            target.latency.add(time.perf_counter() - started)
            return answered
        finally:
            self._arriving.pop(task, None)
            self._late.discard(task)
            self.admission.leave()

    async def _large_body(self, proto: Any) -> bytes:
        pieces = []
        size = 0
        try:
            async for piece in proto:
                if size + len(piece) > BODY_LIMIT:
                    raise _too_large()
                self.admission.take_bytes(len(piece))
                size += len(piece)
                pieces.append(piece)
        except Unavailable:
            self.metrics.shed += 1
            raise
        else:
            return b"".join(pieces)
        finally:
            self.admission.give_bytes(size)

    async def _resolve(self, path: str, body: bytes, *, packed: str | None) -> tuple[Target, Ask]:
        """Find out who is asked what, by the newest routes if the client says that it has set them."""
        target = self._targets.get(path)
        try:
            if packed is not None:
                raise WrongMediaType("The body is packed.", next_step="Send it without Content-Encoding.")
            if target is None:
                raise self._pages.missing(self.router.loaded, path)
            ask = await self._desk.aside(target.read, body)
            wanted = ask.routing_revision
            if not self._behind(target, wanted):
                return target, ask
        except (Invalid, NotFound):
            # What is wrong by the routes of a second ago may be right by those the client has just set.
            wanted = wanted_revision(body)
            if wanted <= self.router.loaded.revision:
                raise
        await self._catch_up(path, wanted)
        target = self._targets.get(path)
        if target is None:
            raise self._pages.missing(self.router.loaded, path)
        return target, await self._desk.aside(target.read, body)

    def _behind(self, target: Target, wanted: int) -> bool:
        """Say whether a client that has seen a revision could be answered by a route from before it."""
        loaded, route = self.router.loaded, target.loaded.route
        return wanted > loaded.revision or (wanted > route.revision and route.endpoint in loaded.problems)

    async def _catch_up(self, path: str, wanted: int) -> None:
        said = self.router.source_error
        try:
            loaded = await asyncio.wait_for(asyncio.wrap_future(self.router.refresh()), _CATCH_UP_S)
            said = self.router.source_error
        except TimeoutError:
            loaded, said = self.router.loaded, "it does not answer"
        if loaded.revision < wanted and said:
            raise Unavailable(
                f"Routing revision {wanted} was asked for; this server knows up to {loaded.revision}, and the source "
                f"of its routes cannot be reached: {said}",
                next_step="Try again, or leave routing_revision out to be answered by the last known route.",
                retry_s=1,
            )
        if loaded.revision < wanted:
            raise Conflict(
                f"There is no routing revision {wanted}: the newest one is {loaded.revision}.",
                next_step="Send the revision that setting the route gave back.",
                newest=loaded.revision,
            )
        target = self._targets.get(path)
        if target is not None and self._behind(target, wanted):
            endpoint = target.loaded.route.endpoint
            problem = loaded.problems.get(endpoint, f"The newest route of {endpoint!r} could not be loaded.")
            raise Unavailable(problem, next_step="Set a route to another version.", retry_s=10)

    def _refuse(self, proto: Any, error: UndriftError) -> None:
        self.metrics.errors[error.code] += 1
        headers = [("content-type", "application/problem+json"), ("cache-control", "no-store")]
        if "allow" in error.details:
            headers.append(("allow", str(error.details["allow"])))
        if isinstance(error, Unavailable):
            headers.append(("retry-after", str(error.details.get("retry_s", 1))))
        with suppress(ProtocolClosed, ProtocolError):  # whoever asked may be gone
            proto.response_bytes(error.status, headers, problem_body(error))

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        syncing = None
        while True:
            await asyncio.sleep(_TICK_S)
            # A disk that hangs must not keep slow clients in.
            if syncing is None or syncing.done():
                syncing = loop.run_in_executor(self._syncer, self.log.sync)
            now = time.perf_counter()
            self.admission.stalled = sum(since < now - _STALLED_S for since in self._arriving.values())
            for task, since in list(self._arriving.items()):
                if since < now - _BODY_S and task is not None:
                    self._late.add(task)
                    task.cancel()


def _too_large() -> TooLarge:
    return TooLarge(
        f"A body has at most {BODY_LIMIT >> 20} MiB.", next_step="Send several requests.", limit_bytes=BODY_LIMIT
    )


def _check_kind(kind: str | None) -> None:
    if kind is None or kind.partition(";")[0].strip().lower() != JSON:
        raise WrongMediaType(
            f"The body is {'of no stated type' if kind is None else repr(kind[:100])}, not {JSON}.",
            next_step=f"Send JSON, with Content-Type: {JSON}.",
        )


def build_app(
    source: RouteSource,
    log_folder: Path,
    cache_folder: Path,
    clock: Clock,
    *,
    allowed_hosts: Collection[str] = (),
) -> App:
    """Make a model server: load what there is to serve, and open its log.

    Args:
        source: Where routes and artifacts come from; the server starts, and goes on, when it is away.
        log_folder: Where predictions are written ahead, for `undrift.serving.collect` to take.
        cache_folder: Where the last routing table and copies of the artifacts are kept.
        clock: Where the time of answers comes from.
        allowed_hosts: Names it answers to besides those of this machine's loopback.
    """
    router = Router(source, cache_folder)
    app = App(router, PredictionLog(log_folder), clock, Hosts(allowed_hosts))
    router.on_change(app.routes_changed)
    router.start()
    return app
