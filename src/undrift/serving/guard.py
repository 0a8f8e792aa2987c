"""Who may reach a model server from a browser: nobody's page. And how much may be in flight.

A server on this machine answers to this machine's own names only, so that no name somebody else controls leads a page
here (DNS rebinding). Requests that change something or cost something are refused when a browser says they come from
another site's page. Programs that are not browsers send none of these headers, and are not concerned.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address

from undrift.core.errors import Forbidden, Invalid, Unavailable

__all__ = ["Admission", "Hosts", "check_origin"]

_REMEMBERED = 1000
_FEW = 64
_LEARN = 0.02
_OVERHEAD_S = 60e-6  # of what is around the model: reading, writing, the way through the server


class Hosts:
    """The names this server answers to.

    Args:
        allowed: Names and addresses besides ``localhost`` and the loopback addresses, without ports.
    """

    def __init__(self, allowed: Collection[str] = ()) -> None:
        self._allowed = {name.lower().strip("[]") for name in allowed} | {"localhost"}
        self._good: set[str] = set()

    def check(self, host: str | None) -> None:
        """Return when a request was sent to one of the names.

        Raises:
            Invalid: There is no host in the request.
            Forbidden: It was sent to another name.
        """
        if host in self._good:
            return
        if not host:
            raise Invalid("The request has no Host header.")
        name, port = _split(host.lower())
        if (port and not (port.isascii() and port.isdigit())) or not (name in self._allowed or _is_loopback(name)):
            raise Forbidden(
                f"This server does not answer to the name {host[:100]!r}.",
                next_step="Ask it as localhost, or start it with that name among its allowed hosts.",
            )
        if len(self._good) < _REMEMBERED:
            self._good.add(host)


def _split(host: str) -> tuple[str, str]:
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name, port.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def check_origin(host: str, origin: str | None, fetch_site: str | None) -> None:
    """Return when a request that is not merely reading comes from no browser, or from a page of this server.

    Args:
        host: The request's Host header.
        origin: Its Origin header.
        fetch_site: Its Sec-Fetch-Site header, which pages cannot set.

    Raises:
        Forbidden: It comes from another site's page.
    """
    if fetch_site is not None:
        good = fetch_site in ("same-origin", "none")
    else:
        good = origin is None or origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
    if not good:
        raise Forbidden(
            "A page of another site may not ask this server.",
            next_step="Send the request from a program, or from a page of the same origin.",
        )


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
