"""Where requests that were read become answers: alone, together, or aside in a thread; logged first, then answered.

A request that is alone in the server is answered at once. Where several are in flight, those that are ready when the
event loop comes round are asked of the model as one question and logged by one write; nobody waits for others to come.
A request with many rows goes through a thread, so that the others do not wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from undrift.core.clock import Clock, SystemClock
from undrift.core.errors import Unavailable
from undrift.serving.admission import Admission
from undrift.serving.answering import Draft, LoadedRoute, score_together
from undrift.serving.asks import Ask, microseconds
from undrift.serving.log import PredictionLog
from undrift.serving.metrics import Latency, Metrics

__all__ = ["IN_LINE_ROWS", "Desk", "Target"]

IN_LINE_ROWS = 2_000

_TOGETHER_ROWS = 64
_QUESTION_ROWS = 512
_THREADS = 2

T = TypeVar("T")


class Target(NamedTuple):
    """Where a path leads.

    Attributes:
        loaded: The route that answers.
        arm: The arm that does, as a place on the route; None when the keys decide.
        read: Reads a body.
        write: Writes the answer.
        counters: Where the rows of each arm are counted.
        latency: Where the endpoint's seconds are counted.
    """

    loaded: LoadedRoute
    arm: int | None
    read: Callable[[bytes], Ask]
    write: Callable[[Draft], bytes]
    counters: Sequence[list[int]]
    latency: Latency


class Desk:
    """Answers; for the event loop's thread.

    Args:
        log: Takes what is answered, before it is.
        metrics: Counts it.
        admission: Knows what is in flight.
        clock: Where the time of answers comes from.
    """

    def __init__(self, log: PredictionLog, metrics: Metrics, admission: Admission, clock: Clock) -> None:
        self._log = log
        self._metrics = metrics
        self._admission = admission
        self._clock = clock
        self._real_time = isinstance(clock, SystemClock)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="undrift-rows")
        self._pending: list[tuple[Target, Draft, asyncio.Future[bytes]]] = []

    def close(self) -> None:
        """End the threads, once they have done what they are at."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def aside(self, function: Callable[..., T], *given: Any) -> T:
        """Run a function in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *given)

    async def answer(self, target: Target, ask: Ask) -> bytes:
        """Answer a request.

        Raises:
            Unavailable: Too many rows wait for a thread.
        """
        rows = ask.batch.rows
        draft = Draft(target.loaded, ask, target.arm)
        if rows > IN_LINE_ROWS:
            await self._score_aside(draft, rows)
        elif rows > _TOGETHER_ROWS or self._admission.requests == 1:
            started = time.perf_counter()
            draft.score()
            self._admission.took(time.perf_counter() - started, 1)
        else:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[bytes] = loop.create_future()
            if not self._pending:
                loop.call_soon(self._answer_pending)
            self._pending.append((target, draft, future))
            return await future
        self._log_all([(target, draft)])
        return target.write(draft)

    async def _score_aside(self, draft: Draft, rows: int) -> None:
        try:
            self._admission.take_rows(rows)
        except Unavailable:
            self._metrics.shed += 1
            raise
        try:
            await self.aside(draft.score)
        finally:
            self._admission.give_rows(rows)

    def _answer_pending(self) -> None:
        pending, self._pending = self._pending, []
        at = 0
        while at < len(pending):
            start, rows = at, 0
            while at < len(pending) and rows < _QUESTION_ROWS:
                rows += pending[at][1].ask.batch.rows
                at += 1
            self._answer_together(pending[start:at])

    def _answer_together(self, pending: list[tuple[Target, Draft, asyncio.Future[bytes]]]) -> None:
        started = time.perf_counter()
        try:
            score_together([draft for _, draft, _ in pending])
            self._admission.took(time.perf_counter() - started, len(pending))
        except Exception:  # noqa: BLE001 - one of them spoilt it: each for itself, to find out which
            pending = [one for one in pending if _scores_alone(one[1], one[2])]
        try:
            self._log_all([(target, draft) for target, draft, _ in pending])
            for target, draft, future in pending:
                if not future.done():
                    future.set_result(target.write(draft))
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            for _, _, future in pending:
                if not future.done():
                    future.set_exception(error)

    def _log_all(self, answered: list[tuple[Target, Draft]]) -> None:
        if not answered:
            return
        now = time.time_ns() // 1000 if self._real_time else microseconds(self._clock.now())
        entries = []
        for target, draft in answered:
            route, rows = draft.loaded.route, len(draft.ids)
            entries.append((route.endpoint, route.project, rows, draft.frame(now)))
            if draft.arms is None:
                target.counters[draft.arm][0] += rows
            else:
                for place, counter in enumerate(target.counters):
                    counter[0] += draft.arms.count(place)
            if draft.failed:
                self._metrics.challenger_failures[route.endpoint] += draft.failed
        self._log.append(*entries)


def _scores_alone(draft: Draft, future: asyncio.Future[bytes]) -> bool:
    try:
        draft.score()
    except Exception as error:  # noqa: BLE001 - handed to whoever asked
        if not future.done():
            future.set_exception(error)
        return False
    return True
