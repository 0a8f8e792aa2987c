"""Which names a server answers to, and which requests of browsers it takes."""

from __future__ import annotations

import pytest

from undrift.core.errors import Forbidden, Invalid
from undrift.core.hosts import Hosts, check_origin

OTHER_NAMES = (
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhost:7470@evil.example",
    "localhost:port",
    "localhost:",
    "localhost:٣",
    "[::1",
    "[::1]x",
    "0.0.0.0:7470",
    "192.168.1.7",
    "2130706433",
    "127.0.0.1, evil.example",
    " ",
)
OWN_NAMES = (
    "localhost",
    "LOCALHOST:7470",
    "127.0.0.1",
    "127.8.9.1:80",
    "[::1]",
    "[::1]:7470",
    "hub.example:443",
    "10.0.0.5",
)


@pytest.mark.parametrize("host", OTHER_NAMES)
def test_a_name_is_compared_whole(host):
    with pytest.raises((Forbidden, Invalid)):
        Hosts(["hub.example"]).check([host])


@pytest.mark.parametrize("host", OWN_NAMES)
def test_own_names_are_answered_to(host):
    assert Hosts(["hub.example", "10.0.0.5"]).check([host]) == host.lower()


@pytest.mark.parametrize("hosts", [[], [""], ["localhost", "evil.example"], ["localhost", "localhost"]])
def test_a_request_has_one_host(hosts):
    with pytest.raises(Invalid):
        Hosts().check(hosts)


def test_two_origins_are_both_looked_at():
    with pytest.raises(Forbidden):
        check_origin("localhost", ["http://localhost", "http://evil.example"], [])
