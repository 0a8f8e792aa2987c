"""How much may be in flight at a model server."""

from __future__ import annotations

from undrift.core.errors import Unavailable

__all__ = ["Admission"]

_FEW = 64
_LEARN = 0.02
_OVERHEAD_S = 60e-6  # of what is around the model: reading, writing, the way through the server


class Admission:
    """Keeps what is in flight within what can be answered soon; what is over is told so at once.

    How many requests that is follows from how long they were seen to take, so that a quick model is not refused to
    clients a slow one could not serve. A request counts from its headers to its answer, unless its body has been on the
    way for long: those who wait for a slow client keep nobody else out. The bytes of large bodies count as they arrive;
    rows count while they wait for a thread. Queueing more would help nobody: all would wait longer, and time out later.

    Args:
        wait_s: A request that would have to wait longer for its turn is refused, unless few are in flight.
        rows: At most so many rows in threads, waiting or being scored.
        body_bytes: At most so many bytes of large bodies at a time.

    Attributes:
        service_s: What a request is expected to take.
        requests: In flight now.
        stalled: Those of them whose client is slow.
        rows: In threads now.
        body_bytes: Of large bodies now.
    """

    def __init__(self, *, wait_s: float = 0.5, rows: int = 20_000, body_bytes: int = 64 << 20) -> None:
        self._wait_s = wait_s
        self._most_rows = rows
        self._most_bytes = body_bytes
        self.service_s = _OVERHEAD_S
        self.requests = 0
        self.stalled = 0
        self.rows = 0
        self.body_bytes = 0

    def enter(self) -> None:
        """Let a request in.

        Raises:
            Unavailable: Too much is in flight.
        """
        waiting = self.requests - self.stalled
        if waiting >= _FEW and waiting * self.service_s > self._wait_s:
            raise _too_much()
        self.requests += 1

    def took(self, seconds: float, requests: int) -> None:
        """Learn how long requests take, once their bodies are there."""
        self.service_s += _LEARN * (_OVERHEAD_S + seconds / requests - self.service_s)

    def leave(self) -> None:
        """Say that a request was answered."""
        self.requests -= 1

    def take_bytes(self, count: int) -> None:
        """Let more of a large body in.

        Raises:
            Unavailable: Too much is there.
        """
        if self.body_bytes + count > self._most_bytes:
            raise _too_much()
        self.body_bytes += count

    def give_bytes(self, count: int) -> None:
        """Say that a large body is not needed any more."""
        self.body_bytes -= count

    def take_rows(self, rows: int) -> None:
        """Let rows wait for a thread.

        Raises:
            Unavailable: Too many do.
        """
        if self.rows and self.rows + rows > self._most_rows:
            raise _too_much()
        self.rows += rows

    def give_rows(self, rows: int) -> None:
        """Say that the rows were scored."""
        self.rows -= rows


def _too_much() -> Unavailable:
    return Unavailable("More is in flight than can be answered soon.", next_step="Try again in a second.", retry_s=1)
