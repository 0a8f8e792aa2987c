"""Which addresses the log may be told to, besides public ones."""

from __future__ import annotations

import ipaddress

import msgspec

from undrift.core.errors import Invalid

__all__ = ["EVERYWHERE", "Reach"]


class Reach(msgspec.Struct, frozen=True):
    """Which addresses that are not public a workspace lets webhooks reach.

    Attributes:
        allow: Host names, networks such as ``10.1.0.0/16``, or ``*``. What is allowed may also be plain ``http`` and on
            any port. Addresses of one link (``169.254.0.0/16``: where clouds hand out credentials) are reached only
            when a network here names them.

    >>> Reach(("10.1.0.0/16", "chat.example")).names("chat.example")
    True
    """

    allow: tuple[str, ...] = ()

    def check(self) -> Reach:
        """Return it when each entry means something.

        Raises:
            Invalid: One looks like a network and is none.
        """
        for one in self.allow:
            if "/" in one:
                try:
                    ipaddress.ip_network(one)
                except ValueError as error:
                    raise Invalid(f"{one[:80]!r} is no network: {error}.", next_step="Write 10.1.0.0/16.") from None
        return self

    def names(self, host: str) -> bool:
        """Return whether a host is allowed by its name."""
        return "*" in self.allow or host in self.allow

    def holds(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        """Return whether an address lies in a network that is allowed."""
        for one in self.allow:
            try:
                if address in ipaddress.ip_network(one):
                    return True
            except ValueError:  # a name
                continue
        return False


EVERYWHERE = Reach(("*",))
"""For tests, and for who trusts everybody who may make webhooks."""
