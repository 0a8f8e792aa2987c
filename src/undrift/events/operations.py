"""What can be done with the log: read it, and prove that it is whole."""

from __future__ import annotations

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Corrupt, Invalid
from undrift.core.operation import operation
from undrift.events import records
from undrift.events.model import FIRST_HASH, Event, Head, Verification, chain_hash

__all__ = ["ListEvents", "VerifyLog", "list_events", "verify_log"]

_LAST = 2**63 - 1


class ListEvents(msgspec.Struct, frozen=True):
    """Which events.

    Attributes:
        subject: Only those of this thing and of what lies below it, such as ``models/late``.
        type: Only those of this type.
        project: Only those of this project.
        before: Only those before this position: the way to the next page.
        limit: At most so many, 1 to 1,000.
    """

    subject: str | None = None
    type: str | None = None
    project: str | None = None
    before: int | None = None
    limit: int = 100


class VerifyLog(msgspec.Struct, frozen=True):
    """Which head the log must still contain.

    Attributes:
        position: A position that was published earlier, outside the database.
        hash: The hash that was published with it.
    """

    position: int | None = None
    hash: str | None = None


@operation("events.list", permission="events:read")
def list_events(ctx: Context, request: ListEvents) -> list[Event]:
    """List events, newest first."""
    with ctx.read() as tx:
        return records.search(
            tx,
            subject=request.subject,
            type_=request.type,
            project=request.project,
            before=None if request.before is None else max(0, min(request.before, _LAST)),
            limit=max(1, min(request.limit, 1000)),
        )


@operation("events.verify", permission="events:read")
def verify_log(ctx: Context, request: VerifyLog) -> Verification:
    """Check every event of the log against the chain, and the log against a head published earlier.

    The cost follows the length of the log: about 100,000 events a second.

    Raises:
        Invalid: A hash was given without its position.
    """
    if request.hash is not None and request.position is None:
        raise Invalid("A hash says nothing without its position.", next_step="Give both, as they were published.")
    previous = FIRST_HASH
    position = 0
    # From below 1: an event slipped in before the first shows, too.
    after, limit = -_LAST, 1000
    with ctx.read() as tx:
        while True:
            try:
                batch = records.read_after(tx, after, limit=limit)
            except Corrupt as error:
                if limit == 1:
                    return Verification(False, position, Head(position, previous), position + 1, error.message)
                limit = 1
                continue
            if not batch:
                break
            for event in batch:
                broken = _problem(event, position, previous)
                if not broken and event.position == request.position and request.hash not in {None, event.hash}:
                    broken = "The log was rewritten: this event is not the one whose hash was published."
                if broken:
                    return Verification(False, position, Head(position, previous), position + 1, broken)
                after = position = event.position
                previous = event.hash
    if request.position is not None and position < request.position:
        missing = f"The end was cut off: position {request.position} was published, the log ends at {position}."
        return Verification(False, position, Head(position, previous), position + 1, missing)
    return Verification(True, position, Head(position, previous))


def _problem(event: Event, position: int, previous: str) -> str:
    if event.position != position + 1:
        return f"Position {position + 1} is missing: the next one there is {event.position}."
    if chain_hash(previous, event) != event.hash:
        return f"Event {event.id} ({event.type}) is not what was written, or the one before it was replaced."
    return ""
