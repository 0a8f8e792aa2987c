"""Who is on the canary depends on the key alone, and a larger share only adds to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.serving import assign, place_of

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True)
KEYS = st.lists(st.text(max_size=20), max_size=20)
SHARES = st.floats(0, 1)


@given(NAMES, st.text())
def test_a_place_lies_in_zero_to_one_and_never_changes(endpoint, key):
    assert 0 <= place_of(endpoint, key) < 1
    assert place_of(endpoint, key) == place_of(endpoint, key)


@given(NAMES, KEYS, SHARES, SHARES)
def test_reweighting_is_monotone(endpoint, keys, one, other):
    low, high = sorted((one, other))
    before, after = assign(endpoint, keys, low), assign(endpoint, keys, high)
    assert all(then for now, then in zip(before, after, strict=True) if now)


@given(NAMES, KEYS)
def test_nobody_is_on_a_canary_of_nothing_and_everybody_on_one_of_all(endpoint, keys):
    assert not any(assign(endpoint, keys, 0.0))
    assert all(assign(endpoint, keys, 1.0))


@given(NAMES, KEYS, SHARES)
def test_a_key_is_assigned_alike_alone_and_among_others(endpoint, keys, share):
    assert assign(endpoint, keys, share) == [assign(endpoint, [key], share)[0] for key in keys]


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25, 0.5])
def test_the_share_that_was_asked_for_is_the_share_that_is_served(share):
    keys = [f"passenger-{number}" for number in range(40_000)]
    served = sum(assign("late", keys, share)) / len(keys)
    # Four standard deviations of a fair draw.
    assert served == pytest.approx(share, abs=4 * (share * (1 - share) / len(keys)) ** 0.5)


def test_endpoints_place_the_same_keys_independently():
    keys = [f"passenger-{number}" for number in range(20_000)]
    both = sum(one and other for one, other in zip(assign("late", keys, 0.1), assign("fare", keys, 0.1), strict=True))
    assert both / len(keys) == pytest.approx(0.01, abs=0.003)


def test_the_places_of_a_release_stay_for_ever():
    # A server of the next release must not move anybody to another arm.
    assert place_of("late", "EWR") == pytest.approx(0.24605327762856732, abs=1e-12)
