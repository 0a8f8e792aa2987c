"""Carries calls from the event loop into threads, each with a context of its own, for databases block."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from undrift.core.context import Context
from undrift.core.errors import Unavailable
from undrift.workspace import Workspace

__all__ = ["Calls"]

T = TypeVar("T")

_THREADS = 16
_WAITING = 512


class Calls:
    """Runs work in threads; what would wait too long behind other work is refused at once.

    Args:
        workspace: Where contexts come from.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._limiter = anyio.CapacityLimiter(_THREADS)

    async def run(self, work: Callable[[Context], T], *, trace_id: str, idempotency_key: str | None = None) -> T:
        """Run work with a context.

        Args:
            work: What to do.
            trace_id: The request it belongs to.
            idempotency_key: The caller's name for this call.

        Raises:
            Unavailable: Too much is waiting already.
        """
        if self._limiter.statistics().tasks_waiting >= _WAITING:
            raise Unavailable("More is asked than can be answered soon.", next_step="Try again in a second.", retry_s=1)

        def in_thread() -> T:
            ctx = self._workspace.context()
            ctx.trace_id = trace_id
            return work(ctx.once(idempotency_key) if idempotency_key else ctx)

        return await anyio.to_thread.run_sync(in_thread, limiter=self._limiter)
