"""What the log is made of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from undrift.core.hashing import hash_value

__all__ = ["FIRST_HASH", "Event", "Head", "Verification", "chain_hash"]

FIRST_HASH = "0" * 64


class Event(msgspec.Struct, frozen=True):
    """Something that happened, with its place in the log.

    Attributes:
        position: Its place: 1, 2, 3 … without gaps.
        id: Its own id.
        type: What happened, such as ``model.promoted``.
        subject: What it happened to, such as ``models/late/3``.
        project: Whose it is.
        time: When it happened, in event time.
        actor: Who did it.
        trace_id: The call it belongs to.
        data: The evidence.
        hash: BLAKE3 of the event before it and of all of the above.
    """

    position: int
    id: str
    type: str
    subject: str
    project: str
    time: datetime
    actor: str
    trace_id: str
    data: dict[str, Any]
    hash: str


class Head(msgspec.Struct, frozen=True):
    """The newest place of the log: what must still be true of it later."""

    position: int
    hash: str


class Verification(msgspec.Struct, frozen=True):
    """What a check of the whole chain found.

    Attributes:
        ok: Whether every event is what it was when it was written.
        events: How many were checked.
        head: The newest place.
        broken_at: The first position that does not fit, when there is one.
        problem: What is wrong there, in a sentence.
    """

    ok: bool
    events: int
    head: Head
    broken_at: int | None = None
    problem: str = ""


def chain_hash(previous: str, event: Event) -> str:
    """Return the hash that binds an event to the one before it; its own ``hash`` field is left out."""
    return hash_value(
        [
            previous,
            event.position,
            event.id,
            event.type,
            event.subject,
            event.project,
            event.time,
            event.actor,
            event.trace_id,
            event.data,
        ]
    )
