"""Runs turns so that a crash at any point resumes without doing anything twice.

DBOS keeps, in a database of its own, which steps of a turn are done and what they answered; on start it goes on with
turns that were cut off. A step that was cut off itself is done again, which the steps in ``turn.py`` allow.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from undrift.core.clock import parse_time
from undrift.core.context import Context
from undrift.core.errors import Conflict, NotFound
from undrift.loop import turn
from undrift.loop.deployment import Deployment
from undrift.monitoring import Observation, Observer
from undrift.serving import collect

__all__ = ["DurableLoop"]

_STEPS_VERSION = "1"
"""Raised when the steps of a turn change: turns cut off under another version are not resumed half-way."""


class DurableLoop:
    """The loop of some deployments in this process; one a process, because DBOS is.

    Args:
        url: Where DBOS keeps its steps: SQLite or PostgreSQL.
        deployments: By endpoint.
        context: Makes the context of a turn at a moment of event time.
        predictions: Folder of the prediction logs to collect.
    """

    _running: DurableLoop | None = None

    def __init__(
        self,
        url: str,
        deployments: Mapping[str, Deployment],
        context: Callable[[datetime], Context],
        predictions: Path,
    ) -> None:
        self._url = url
        self._deployments = deployments
        self._context = context
        self._predictions = predictions
        self._observers = {name: Observer(one.monitor) for name, one in deployments.items()}
        self._turn_lock = threading.Lock()
        self._workflow: Any = None

    def __enter__(self) -> Self:
        """Start, and go on with turns that were cut off before.

        Raises:
            Conflict: A loop runs already in this process.
        """
        if DurableLoop._running is not None:
            raise Conflict("A loop runs already in this process.", next_step="Give it all deployments at once.")
        from dbos import DBOS  # noqa: PLC0415 - 1.5 s to import; workers only

        _prepare_sqlite(self._url)
        DurableLoop._running = self
        try:
            self._start(DBOS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, dbos: Any) -> None:
        self._workflow = _declare(dbos)
        dbos(
            config={
                "name": "undrift",
                "system_database_url": self._url,
                "application_version": _STEPS_VERSION,
                "log_level": "ERROR",
                "notification_listener_polling_interval_sec": 0.2,
            }
        )
        dbos.launch()
        self._finish_pending(dbos)

    def __exit__(self, *_: object) -> None:
        """Stop."""
        from dbos import DBOS  # noqa: PLC0415 - as above

        DBOS.destroy(workflow_completion_timeout_sec=5)
        DurableLoop._running = None

    def advance(self, endpoint: str, now: datetime) -> Observation:
        """Bring an endpoint up to a moment of event time: collect, observe, and take a turn when one is needed.

        Collecting and observing may be done again by themselves; only turns, which decide, are durable workflows, named
        by endpoint and moment.

        Raises:
            NotFound: Nothing is deployed there.
        """
        deployment = self._deployment(endpoint)
        ctx = self._context(now)
        collect(ctx, self._predictions)
        seen = self._observers[endpoint].observe(ctx, now)
        if turn.is_needed(ctx, deployment, now):
            self.take_turn(endpoint, now)
        return seen

    def take_turn(self, endpoint: str, now: datetime) -> None:
        """Take the turn of an endpoint at a moment; taking the same turn again returns at once."""
        from dbos import DBOS, SetWorkflowID  # noqa: PLC0415 - as above

        self._deployment(endpoint)
        name = f"{endpoint}@{now.isoformat()}"
        attempt = 1
        with self._turn_lock:
            # A turn that ended in an error (a full disk, say) keeps its name; its next attempt gets another.
            while (status := DBOS.get_workflow_status(name)) is not None and status.status == "ERROR":
                attempt += 1
                name = f"{endpoint}@{now.isoformat()}#{attempt}"
            with SetWorkflowID(name):
                self._workflow(endpoint, now.isoformat())

    def _deployment(self, endpoint: str) -> Deployment:
        if endpoint not in self._deployments:
            raise NotFound(
                f"Nothing is deployed at {endpoint!r} in this worker.",
                next_step=f"Deployed are: {', '.join(self._deployments) or 'none'}.",
            )
        return self._deployments[endpoint]

    def _finish_pending(self, dbos: Any) -> None:
        # Turns that were cut off wait in a queue until a thread of DBOS takes them up.
        for status in dbos.list_workflows(status=["PENDING", "ENQUEUED"]):
            with contextlib.suppress(Exception):  # it is in the turn's record, and the next attempt is a new one
                dbos.retrieve_workflow(status.workflow_id).get_result()


def _prepare_sqlite(url: str) -> None:
    # DBOS leaves the journal as it is; a write-ahead log makes each of its commits one flush instead of three.
    if url.startswith("sqlite:///"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()


def _declare(dbos: Any) -> Any:
    """Declare the workflow to DBOS; its functions find the running loop by themselves, as a resumed one must."""

    def at(endpoint: str, moment: str) -> tuple[Context, Deployment, datetime]:
        loop = DurableLoop._running  # noqa: SLF001 - its own class
        if loop is None:
            raise Conflict("No loop runs in this process.")
        now = parse_time(moment)
        return loop._context(now), loop._deployment(endpoint), now  # noqa: SLF001

    @dbos.step(name="settle_incidents")  # type: ignore[untyped-decorator]
    def settle_incidents(endpoint: str, moment: str) -> list[int]:
        return turn.settle_incidents(*at(endpoint, moment))

    @dbos.step(name="rule_on_rollout")  # type: ignore[untyped-decorator]
    def rule_on_rollout(endpoint: str, moment: str) -> str:
        return turn.rule_on_rollout(*at(endpoint, moment))

    @dbos.step(name="decide_retraining")  # type: ignore[untyped-decorator]
    def decide_retraining(endpoint: str, moment: str) -> str | None:
        return turn.decide_retraining(*at(endpoint, moment))

    @dbos.step(name="train_challenger")  # type: ignore[untyped-decorator]
    def train_challenger(endpoint: str, moment: str, cycle_id: str) -> int | None:
        ctx, deployment, now = at(endpoint, moment)
        return turn.train_challenger(ctx, deployment, cycle_id, now)

    @dbos.step(name="begin_rollout")  # type: ignore[untyped-decorator]
    def begin_rollout(endpoint: str, moment: str, cycle_id: str) -> str:
        ctx, deployment, now = at(endpoint, moment)
        return turn.begin_rollout(ctx, deployment, cycle_id, now)

    @dbos.workflow(name="turn")  # type: ignore[untyped-decorator]
    def take_turn(endpoint: str, moment: str) -> None:
        settle_incidents(endpoint, moment)
        rule_on_rollout(endpoint, moment)
        cycle_id = decide_retraining(endpoint, moment)
        if cycle_id is not None and train_challenger(endpoint, moment, cycle_id) is not None:
            begin_rollout(endpoint, moment, cycle_id)

    return take_turn
