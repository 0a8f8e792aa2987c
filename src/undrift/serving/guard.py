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

    A request counts from its headers to its answer, unless its body has been on the way for long: those who wait for a
    slow client keep nobody else out. The bytes of large bodies count as they arrive; rows count while they wait for a
    thread. Queueing more would help nobody: all would wait longer, and time out later.

    Args:
        requests: At most so many at a time.
        rows: At most so many rows in threads, waiting or being scored.
        body_bytes: At most so many bytes of large bodies at a time.

    Attributes:
        requests: In flight now.
        stalled: Those of them whose client is slow.
        rows: In threads now.
        body_bytes: Of large bodies now.
    """

    def __init__(self, *, requests: int = 1000, rows: int = 20_000, body_bytes: int = 64 << 20) -> None:
        self._most = (requests, rows, body_bytes)
        self.requests = 0
        self.stalled = 0
        self.rows = 0
        self.body_bytes = 0

    def enter(self) -> None:
        """Let a request in.

        Raises:
            Unavailable: Too much is in flight.
        """
        if self.requests - self.stalled >= self._most[0]:
            raise _too_much()
        self.requests += 1

    def leave(self) -> None:
        """Say that a request was answered."""
        self.requests -= 1

    def take_bytes(self, count: int) -> None:
        """Let more of a large body in.

        Raises:
            Unavailable: Too much is there.
        """
        if self.body_bytes + count > self._most[2]:
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
        if self.rows and self.rows + rows > self._most[1]:
            raise _too_much()
        self.rows += rows

    def give_rows(self, rows: int) -> None:
        """Say that the rows were scored."""
        self.rows -= rows


def _too_much() -> Unavailable:
    return Unavailable("More is in flight than can be answered soon.", next_step="Try again in a second.", retry_s=1)
