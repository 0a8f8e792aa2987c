"""Time comes from here: the system's clock, or a replayed one. All times are aware and in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from undrift.core.errors import Invalid

__all__ = ["Clock", "ReplayClock", "SystemClock", "in_utc", "parse_time"]


class Clock(Protocol):
    """Says what time it is.

    The time never goes backwards by more than the host's clock does, and is always aware and in UTC.
    """

    def now(self) -> datetime:
        """Return the current moment in UTC."""


class SystemClock:
    """The host's clock."""

    def now(self) -> datetime:
        """Return the current moment in UTC."""
        return datetime.now(UTC)


class ReplayClock:
    """A clock that is moved by hand, so that a year of events passes through the code of production in a minute.

    >>> clock = ReplayClock(datetime(2013, 1, 1, tzinfo=UTC))
    >>> clock.advance_to(datetime(2013, 1, 2, tzinfo=UTC))
    >>> clock.now().isoformat()
    '2013-01-02T00:00:00+00:00'
    """

    def __init__(self, start: datetime) -> None:
        self._now = in_utc(start)

    def now(self) -> datetime:
        """Return the moment the clock stands at."""
        return self._now

    def advance_to(self, moment: datetime) -> None:
        """Move the clock forward.

        Raises:
            Invalid: The moment lies before the one the clock stands at.
        """
        moment = in_utc(moment)
        if moment < self._now:
            raise Invalid(f"A replay goes forward: it stands at {self._now.isoformat()}, asked {moment.isoformat()}.")
        self._now = moment


def in_utc(moment: datetime) -> datetime:
    """Return the same moment in UTC.

    Raises:
        Invalid: It has no zone, so that nobody knows which moment it is; or it lies outside the years 1 to 9999.
    """
    if moment.tzinfo is UTC:
        return moment
    if moment.utcoffset() is None:
        raise Invalid(f"{moment.isoformat()} has no time zone.", next_step="Write it as 2013-04-01T12:00:00Z.")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise Invalid(f"{moment.isoformat()} lies outside the years 1 to 9999.") from None


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 moment; without a zone it is taken as UTC.

    Raises:
        Invalid: The text is not a moment in time.

    >>> parse_time("2013-04-01").isoformat()
    '2013-04-01T00:00:00+00:00'
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            f"{text[:80]!r} is not a time.", next_step="Write it as 2013-04-01 or 2013-04-01T12:00:00Z."
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else in_utc(moment)
