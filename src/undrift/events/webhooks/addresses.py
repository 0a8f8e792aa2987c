"""Where webhooks may lead: an address is taken apart once, looked up once, judged, and then connected to as judged."""

from __future__ import annotations

import ipaddress
import re
import threading
from collections.abc import Callable, Sequence

import msgspec

from undrift.core.errors import Forbidden, Invalid, TooLarge, Unavailable
from undrift.events.reach import Reach

__all__ = ["Resolve", "Target", "is_public", "judge", "parse_url", "resolve"]

Resolve = Callable[[str, float], Sequence[str]]
"""Looks up a host name within so many seconds and returns its IP addresses; raises `OSError` when it cannot."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LONGEST_URL = 2000
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[^/?#:@\[\]]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<path>[/?].*)?"
)
_SHOWN_ASCII = re.compile(r"[!-~]+")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A last label like this makes some resolvers read the whole as an IPv4 address, in one of its many spellings.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = (443, 8443)
_HOW = "Write it as https://hooks.example.com/path."
_ALLOW = "Somebody who runs this workspace can allow the host or its network for webhooks."

_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_TEREDO = ipaddress.ip_network("2001::/32")
# Not all of these are known as special to every Python that undrift runs on.
_NEVER_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "2001::/23", "2001:db8::/32", "3fff::/20")
)
_LOOKUPS = threading.BoundedSemaphore(32)


class Target(msgspec.Struct, frozen=True):
    """An address taken apart.

    Attributes:
        scheme: ``https`` or ``http``.
        host: A name in lower case, or an IP address without brackets.
        port: Of the receiver.
        path: With the query; begins with a slash.
        authority: As it stands in the ``Host`` header.
    """

    scheme: str
    host: str
    port: int
    path: str
    authority: str


def parse_url(url: str) -> Target:
    """Take an address apart; there is one way to read what is accepted.

    Raises:
        Invalid: It is no http address, has a user, a fragment, characters that do not belong there, or a host in a
            spelling that programs read in different ways.
        TooLarge: It is longer than 2,000 characters.

    >>> parse_url("https://Hooks.example.com/a?b=c")
    Target(scheme='https', host='hooks.example.com', port=443, path='/a?b=c', authority='hooks.example.com')
    """
    if len(url) > _LONGEST_URL:
        raise TooLarge(
            f"The address of a webhook has {len(url)} characters.", next_step=f"Use at most {_LONGEST_URL} characters."
        )
    found = _URL.fullmatch(url) if _SHOWN_ASCII.fullmatch(url) and "\\" not in url and "#" not in url else None
    if found is None:
        # Not repeated in full: the path of such an address is often as good as a password.
        raise Invalid(f"{url[:24]!r}… is no address for a webhook.", next_step=_HOW)
    scheme = found["scheme"]
    host = _host(found["host"].lower())
    usual = 443 if scheme == "https" else 80
    port = int(found["port"] or usual)
    if not 0 < port < 65536:
        raise Invalid(f"{port} is no port.", next_step=_HOW)
    path = found["path"] or "/"
    shown = f"[{host}]" if ":" in host else host
    return Target(
        scheme=scheme,
        host=host,
        port=port,
        path=path if path.startswith("/") else f"/{path}",
        authority=shown if port == usual else f"{shown}:{port}",
    )


def _host(host: str) -> str:
    try:
        if host.startswith("["):
            return str(ipaddress.IPv6Address(host[1:-1]))
        labels = host.split(".")
        if _NUMBER.fullmatch(labels[-1]):
            # Only the usual spelling: 127.1, 0177.0.0.1 and 2130706433 mean one thing here and another elsewhere.
            return str(ipaddress.IPv4Address(host))
    except ipaddress.AddressValueError:
        raise Invalid(f"{host[:80]!r} is no host.", next_step="Write an IP address in its usual spelling.") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Invalid(f"{host[:80]!r} is no host.", next_step="Write a name outside ASCII in its xn-- spelling.")
    return host


def is_public(address: _Address) -> bool:
    """Return whether an address is one of the public internet, also when it wraps another one.

    >>> [is_public(ipaddress.ip_address(one)) for one in ("8.8.8.8", "10.0.0.1", "100.64.0.1", "::ffff:127.0.0.1")]
    [True, False, False, False]
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        if address not in _GLOBAL_UNICAST or address in _TEREDO:
            return False
        if address.sixtofour is not None:
            return is_public(address.sixtofour)
    return (
        address.is_global
        and not (address.is_multicast or address.is_reserved or address.is_unspecified)
        and not any(address in network for network in _NEVER_PUBLIC)
    )


def resolve(host: str, timeout_s: float) -> list[str]:
    """Look a host name up.

    Raises:
        OSError: There is no such name, or no answer came in time.
    """
    import socket  # noqa: PLC0415 - needed by who sends only

    lookups = _LOOKUPS
    if not lookups.acquire(timeout=timeout_s):
        raise TimeoutError("too many look-ups are under way")
    found: list[str] = []
    failed: list[OSError] = []

    def look() -> None:
        try:
            for answer in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
                address = str(answer[4][0])
                if address not in found:
                    found.append(address)
        except OSError as error:
            failed.append(error)
        except UnicodeError as error:
            failed.append(OSError(str(error)))
        finally:
            lookups.release()

    # The system's look-up knows no time limit of its own.
    thread = threading.Thread(target=look, name="undrift-lookup", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        lookups.release()
        raise OSError(str(error)) from None
    thread.join(timeout_s)
    if thread.is_alive():
        raise TimeoutError("the look-up took too long")
    if failed:
        raise failed[0]
    return found


def judge(target: Target, reach: Reach, *, look_up: Resolve, timeout_s: float) -> list[str]:
    """Return the IP addresses that may be connected to: every address of the host was judged, and all may be reached.

    Raises:
        Forbidden: One of them is not public and not allowed, or the scheme or port is not.
        Unavailable: The name cannot be looked up.
    """
    addresses = [_address(one) for one in _look_up(target.host, look_up, timeout_s)]
    plain = [getattr(address, "ipv4_mapped", None) or address for address in addresses]
    allowed = reach.names(target.host) or all(reach.holds(address) for address in plain)
    for address in plain:
        odd = address.is_link_local or address.is_multicast or address.is_unspecified
        if not (reach.holds(address) or (allowed and not odd) or is_public(address)):
            raise Forbidden(f"{target.host} does not lead to a public address.", next_step=_ALLOW)
    if not allowed and target.scheme != "https":
        raise Forbidden("Webhooks are sent over https only.", next_step=_HOW)
    if not allowed and target.port not in _PORTS:
        raise Forbidden(
            f"Webhooks are sent to the ports {' and '.join(map(str, _PORTS))} only, not {target.port}.",
            next_step=_ALLOW,
        )
    return [str(address) for address in addresses]


def _look_up(host: str, look_up: Resolve, timeout_s: float) -> Sequence[str]:
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    try:
        found = look_up(host, timeout_s)
    except OSError:
        found = ()
    if not found:
        raise Unavailable(f"The name {host} cannot be looked up.", next_step="Check its spelling, or try again later.")
    return found


def _address(text: str) -> _Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise Unavailable("A name was looked up, and the answer is no address.", next_step="Check the DNS.") from None
