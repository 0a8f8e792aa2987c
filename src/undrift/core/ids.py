"""Identifiers: UUIDv7 as 32 lower-case hexadecimal characters (RFC 9562, section 5.7).

They sort by the time they were made, and a client may make them: a run that was recorded offline keeps its id when it
is merged in. Ids within a process are strictly increasing, also within one millisecond.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from datetime import UTC, datetime, timedelta

from undrift.core.clock import in_utc
from undrift.core.errors import Invalid

__all__ = ["check_id", "check_name", "derive_id", "new_id", "time_of"]

_ID = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RANDOM_BITS = 74
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_lock = threading.Lock()
_last = 0


def _forget() -> None:
    # A forked child that counted on from its parent's last id would give the same ids as its parent.
    global _last, _lock
    _last, _lock = 0, threading.Lock()


os.register_at_fork(after_in_child=_forget)


def _assemble(unix_ms: int, random_bits: int) -> int:
    head = random_bits >> 62
    tail = random_bits & ((1 << 62) - 1)
    return (unix_ms << 80) | (0x7 << 76) | (head << 64) | (0b10 << 62) | tail


def _unix_ms(at: datetime) -> int:
    # Whole numbers, for a float loses a millisecond now and then; before 1970 there is no UUIDv7, so those come first.
    return max(0, (in_utc(at) - _EPOCH) // _MILLISECOND)


def new_id(at: datetime | None = None) -> str:
    """Make a new id, for now or for the moment ``at`` (an event that is replayed keeps its place in time).

    >>> first, second = new_id(), new_id()
    >>> len(first), first < second
    (32, True)
    """
    global _last  # noqa: PLW0603 - one counter a process is what makes ids strictly increasing
    random_bits = int.from_bytes(os.urandom(10), "big") >> (80 - _RANDOM_BITS)
    if at is not None:
        return f"{_assemble(_unix_ms(at), random_bits):032x}"
    made = _assemble(time.time_ns() // 1_000_000, random_bits)
    with _lock:
        # Within one millisecond, or when the wall clock stepped back, count on from the last id given.
        if made <= _last:
            made = _last + 1
        _last = made
    return f"{made:032x}"


def derive_id(at: datetime, *parts: str) -> str:
    """Make the id that these words at this time always give: doing a step again names the same thing again.

    >>> moment = datetime(2013, 4, 1, tzinfo=UTC)
    >>> derive_id(moment, "cycle", "late") == derive_id(moment, "cycle", "late")
    True
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return f"{_assemble(_unix_ms(at), int.from_bytes(digest[:10], 'big') >> (80 - _RANDOM_BITS)):032x}"


def time_of(id_: str) -> datetime:
    """Return when an id was made, to the millisecond.

    Raises:
        Invalid: It is not an id, or names a moment after the year 9999.

    >>> time_of(new_id(datetime(2013, 1, 1, tzinfo=UTC))).isoformat()
    '2013-01-01T00:00:00+00:00'
    """
    try:
        return _EPOCH + (int(check_id(id_), 16) >> 80) * _MILLISECOND
    except OverflowError:
        raise Invalid(f"{id_!r} is not an id: it names a moment after the year 9999.") from None


def check_id(id_: str) -> str:
    """Return the id when it is well formed.

    Raises:
        Invalid: It is not 32 lower-case hexadecimal characters.
    """
    if _ID.fullmatch(id_) is None:
        raise Invalid(f"{id_[:80]!r} is not an id.", next_step="An id is 32 lower-case hexadecimal characters.")
    return id_


def check_name(name: str, what: str) -> str:
    """Return a name that people chose when it is safe to show, to put in an address and to keep.

    Raises:
        Invalid: It is empty, longer than 100 characters, or has characters outside ``A-Z a-z 0-9 . _ -``.

    >>> check_name("flights", "project")
    'flights'
    """
    if _NAME.fullmatch(name) is None:
        raise Invalid(
            f"{name[:80]!r} cannot name a {what}.",
            next_step="Use 1 to 100 letters, digits, '.', '_' or '-', and begin with a letter or digit.",
        )
    return name
