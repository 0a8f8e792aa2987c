"""Which arm answers: decided by the key alone, so that a key keeps its arm, on every server and after a restart.

A key's *place* is a number in [0, 1), the hash of endpoint and key. The canary takes the places in [0, share), the
champion the rest. So re-weighting is monotone: who is on the canary at 5 % stays on it at 25 %, and when the share
shrinks only those leave who have to. Another endpoint places the same keys differently, so that nobody is always first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

__all__ = ["assign", "place_of", "placer"]

# 53 bits: as many as a float keeps, so that no place is rounded up to 1.
_BITS = 53


def placer(endpoint: str) -> Callable[[str], float]:
    """Return the function that places the keys of an endpoint in [0, 1)."""
    # The name's length comes first: ("a", "bc") and ("ab", "c") are different keys.
    start = blake2b(f"{len(endpoint)}:{endpoint}:".encode(), digest_size=8)

    def place(key: str) -> float:
        state = start.copy()
        state.update(key.encode())
        return (int.from_bytes(state.digest(), "big") >> (64 - _BITS)) / (1 << _BITS)

    return place


def place_of(endpoint: str, key: str) -> float:
    """Return the place of a key in [0, 1).

    >>> place_of("late", "EWR") == place_of("late", "EWR"), place_of("late", "EWR") == place_of("fare", "EWR")
    (True, False)
    """
    return placer(endpoint)(key)


def assign(endpoint: str, keys: Sequence[str], share: float) -> list[bool]:
    """Say for each key whether the canary answers it, given the canary's share of the keys (0 to 1).

    >>> before, after = assign("late", ["EWR", "JFK", "LGA"], 0.05), assign("late", ["EWR", "JFK", "LGA"], 0.5)
    >>> all(then for now, then in zip(before, after) if now)
    True
    """
    place = placer(endpoint)
    return [place(key) < share for key in keys]
