"""Which names a server answers to, and which requests of browsers it takes; hub and model servers have the same rules.

A server on this machine answers to this machine's own names only, so that no name somebody else controls leads a page
here (DNS rebinding). A request that may change or cost something is refused when a browser says that it comes from
another site's page. Programs that are no browsers send neither Origin nor Sec-Fetch-Site, and are not concerned.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence

from undrift.core.errors import Forbidden, Invalid

__all__ = ["Hosts", "check_origin", "is_loopback"]

_KNOWN_HOSTS = 1000


class Hosts:
    """The names a server answers to: ``localhost``, loopback addresses, and those it is told.

    Args:
        allowed: Names and addresses, without ports.
    """

    def __init__(self, allowed: Collection[str] = ()) -> None:
        self._allowed = {name.lower().strip("[]") for name in allowed} | {"localhost"}
        self._known: set[str] = set()

    def check(self, hosts: Sequence[str]) -> str:
        """Return the Host header of a request when it is one of the names.

        Raises:
            Invalid: There is none, or more than one.
            Forbidden: It is another name.
        """
        if len(hosts) != 1 or not hosts[0]:
            raise Invalid("A request has one Host header.")
        host = hosts[0].lower()
        if host in self._known:
            return host
        name, port = _split(host)
        if (port is not None and not (port.isascii() and port.isdigit())) or not self._knows(name):
            raise Forbidden(
                f"This server does not answer to the name {host[:100]!r}.",
                next_step="Ask it as localhost, or start it with that name among its allowed hosts.",
            )
        if len(self._known) < _KNOWN_HOSTS:
            self._known.add(host)
        return host

    def _knows(self, name: str) -> bool:
        return name in self._allowed or is_loopback(name)


def is_loopback(address: str) -> bool:
    """Say whether this is an address of this machine only, such as ``127.0.0.1`` or ``::1``."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _split(host: str) -> tuple[str, str | None]:
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return host, None
        return name, rest[1:] if rest else None
    name, colon, port = host.partition(":")
    return name, port if colon else None


def check_origin(host: str, origins: Sequence[str], sites: Sequence[str]) -> None:
    """Return when a request that may change or cost something comes from no browser, or from a page of this server.

    Args:
        host: The request's Host.
        origins: Its Origin headers.
        sites: Its Sec-Fetch-Site headers, which pages cannot set.

    Raises:
        Forbidden: It comes from another site's page.
    """
    if sites:
        good = all(site in ("same-origin", "none") for site in sites)
    else:
        good = all(origin.lower() in (f"http://{host}", f"https://{host}") for origin in origins)
    if not good:
        raise Forbidden(
            "A page of another site may not ask this of the server.",
            next_step="Send the request from a program, or from a page of the server itself.",
        )
