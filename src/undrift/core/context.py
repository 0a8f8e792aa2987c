"""What a call carries: who asks, when it is, where state lives, and a way to change it together with its events."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from undrift.core.clock import Clock
from undrift.core.errors import UndriftError
from undrift.core.ids import new_id

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from undrift.blobs import Repository

__all__ = ["Actor", "Answer", "Context", "Database", "EventDraft", "Events", "Policy"]


class Actor(msgspec.Struct, frozen=True):
    """Who asks: a person, or a service such as a worker or a model server."""

    name: str
    kind: Literal["person", "service"] = "person"


class EventDraft(msgspec.Struct, frozen=True):
    """An event that is about to be written with the change it tells of."""

    id: str
    type: str
    subject: str
    project: str
    time: datetime
    actor: str
    trace_id: str
    data: Mapping[str, Any]


class Answer(msgspec.Struct, frozen=True):
    """What an operation answered under an idempotency key.

    Attributes:
        operation: Its name.
        body: The answer as JSON.
        request: The hash of what was asked; None where it is not known.
    """

    operation: str
    body: bytes
    request: str | None = None


class Policy(Protocol):
    """Decides whether an actor may do something."""

    def check(self, actor: Actor, permission: str) -> None:
        """Return when allowed.

        Raises:
            Forbidden: The actor may not.
        """


class Events(Protocol):
    """Where events go: into the log, in the transaction of the change."""

    def append(self, tx: Connection, drafts: Sequence[EventDraft]) -> None:
        """Append the drafts to the log inside ``tx``, in order."""


class Database(Protocol):
    """Where records live; see `undrift.metastore` for the promises."""

    def begin(self) -> AbstractContextManager[Connection]:
        """Open a transaction that can write; when the block has ended the change is on disk."""

    def read(self) -> AbstractContextManager[Connection]:
        """Open a snapshot that can only be read."""

    def recall(self, tx: Connection, key: str) -> Answer | None:
        """Return what was answered under this idempotency key."""

    def remember(self, tx: Connection, key: str, answer: Answer, at: datetime) -> None:
        """Keep an answer under its idempotency key, in the transaction of the change."""


class Context:
    """Made at the edge for one caller and passed first to every operation; belongs to one thread at a time.

    Args:
        actor: Who asks.
        clock: Where the time comes from.
        database: Where records live.
        repository: Where bytes live.
        policy: Decides what the actor may do.
        events: Takes the events of a change.
        idempotency_key: Names this call, so that doing it again returns the first answer and changes nothing.
        trace_id: Binds together what happens in one call.
    """

    def __init__(
        self,
        *,
        actor: Actor,
        clock: Clock,
        database: Database,
        repository: Repository,
        policy: Policy,
        events: Events,
        idempotency_key: str | None = None,
        trace_id: str | None = None,
    ) -> None:
        self.actor = actor
        self.clock = clock
        self.database = database
        self.repository = repository
        self.policy = policy
        self.events = events
        self.idempotency_key = idempotency_key
        self.trace_id = trace_id or secrets.token_hex(16)
        self._tx: Connection | None = None
        self._drafts: list[EventDraft] = []

    def once(self, idempotency_key: str) -> Context:
        """Return this context for one call that must happen once, however often it is tried."""
        return Context(
            actor=self.actor,
            clock=self.clock,
            database=self.database,
            repository=self.repository,
            policy=self.policy,
            events=self.events,
            idempotency_key=idempotency_key,
            trace_id=self.trace_id,
        )

    def now(self) -> datetime:
        """Return the current moment in UTC, by this context's clock."""
        return self.clock.now()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction that can write, or join the one that is open in this context.

        Events emitted inside are written last, in the same transaction. When the outermost block has ended, the change
        and its events are on disk; when it raises, neither ever was.
        """
        if self._tx is not None:
            yield self._tx
            return
        try:
            with self.database.begin() as tx:
                self._tx = tx
                yield tx
                if self._drafts:
                    self.events.append(tx, self._drafts)
        finally:
            self._tx = None
            self._drafts = []

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a snapshot to read from, or join the transaction that is open in this context."""
        if self._tx is not None:
            yield self._tx
            return
        with self.database.read() as tx:
            yield tx

    def emit(self, type_: str, subject: str, *, project: str, time: datetime | None = None, **data: Any) -> None:
        """Say that something happened, as part of the open transaction.

        Args:
            type_: What happened, such as ``model.promoted``.
            subject: What it happened to, such as ``models/late/3``.
            project: Whose it is.
            time: When it happened in event time; now, when left out.
            **data: The evidence, JSON-able.
        """
        if self._tx is None:
            raise UndriftError("An event is emitted inside `with ctx.begin()`, with the change it tells of.")
        self._drafts.append(
            EventDraft(
                id=new_id(),
                type=type_,
                subject=subject,
                project=project,
                time=time or self.now(),
                actor=self.actor.name,
                trace_id=self.trace_id,
                data=data,
            )
        )
