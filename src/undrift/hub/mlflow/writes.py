"""Gathers what many clients log at the same time: one call of `tracking.log_runs` carries it, one flush keeps it.

While a call is in its thread the next requests gather on the event loop; when nothing is under way a request waits for
nobody. An error of one entry goes to whoever sent it and to nobody else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from undrift.core.context import Context
from undrift.core.errors import Unavailable, from_problem
from undrift.hub.calls import Calls
from undrift.tracking import LogRun, LogRuns, log_run, log_runs

__all__ = ["Writes"]

_ENTRIES = 256
_POINTS = 20_000
_WAITING = 4_096


class _Waiting(NamedTuple):
    entry: LogRun
    points: int
    trace_id: str
    told: asyncio.Future[None]


class Writes:
    """Takes entries from the event loop and has them written together.

    Args:
        calls: Runs work in threads.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._waiting: deque[_Waiting] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def log(self, entry: LogRun, *, points: int, trace_id: str) -> None:
        """Write an entry; when this returns it is on disk.

        Args:
            entry: What a run has to say.
            points: How many points it has.
            trace_id: The request it came with.

        Raises:
            UndriftError: What is wrong with this entry, or what kept all from being written.
        """
        if len(self._waiting) >= _WAITING:
            raise Unavailable("More is logged than can be written soon.", next_step="Try again in a second.", retry_s=1)
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(entry, points, trace_id, told))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await told

    async def _write(self) -> None:
        try:
            while self._waiting:
                together = self._next()
                errors = await self._together(together)
                for one, error in zip(together, errors, strict=True):
                    if one.told.done():
                        continue
                    if error is None:
                        one.told.set_result(None)
                    else:
                        one.told.set_exception(error)
        finally:
            self._writing = None

    async def _together(self, together: list[_Waiting]) -> Sequence[Exception | None]:
        try:
            return await self._calls.run(lambda ctx: _log(ctx, together), trace_id=together[0].trace_id)
        except Exception as error:  # noqa: BLE001 - handed to those who wait
            return [error] * len(together)

    def _next(self) -> list[_Waiting]:
        together = [self._waiting.popleft()]
        points = together[0].points
        while self._waiting and len(together) < _ENTRIES and points + self._waiting[0].points <= _POINTS:
            together.append(self._waiting.popleft())
            points += together[-1].points
        return together


def _log(ctx: Context, together: list[_Waiting]) -> list[Exception | None]:
    if len(together) > 1:
        try:
            logged = log_runs(ctx, LogRuns(tuple(one.entry for one in together)))
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001, S110 - perhaps for the sake of one of them: each by itself
            pass
        else:
            return [None if one.problem is None else from_problem(one.problem) for one in logged]
    errors: list[Exception | None] = []
    for one in together:
        try:
            log_run(ctx, one.entry)
            errors.append(None)
        except Exception as error:  # noqa: BLE001 - handed to who sent it
            errors.append(error)
    return errors
