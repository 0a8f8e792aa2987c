"""What ``LIKE`` means, character by character: the model that both engines are held against."""

from __future__ import annotations

from functools import lru_cache

import msgspec

__all__ = ["matches"]


def matches(value: str, pattern: str, *, case_sensitive: bool) -> bool:
    """Tell whether a text is LIKE a pattern: ``%`` stands for any characters or none, ``_`` for exactly one.

    There is no escape. Without regard to case, characters are compared one by one in lower case. The time depends on
    the lengths alone, not on what the pattern says.

    >>> matches("delays-late", "delays%", case_sensitive=True), matches("Late", "l_TE", case_sensitive=False)
    (True, True)
    """
    # Long patterns are rare, and their plans large.
    plan = (_remembered if len(pattern) <= 200 else _compile)(pattern, case_sensitive)
    # Bit i is set while the first i characters of the pattern can stand for what was read.
    states = 1
    for character in value if case_sensitive else map(str.lower, value):
        states = (states & plan.taken.get(character, plan.wild)) << 1 | states & plan.loops
        if not states:
            return False
    return bool(states >> plan.length)


class _Pattern(msgspec.Struct, frozen=True):
    taken: dict[str, int]  # by character, the states that it moves on
    wild: int  # the states that any character moves on
    loops: int  # the states where a % stands
    length: int  # the state behind all


def _compile(pattern: str, case_sensitive: bool) -> _Pattern:
    places: dict[str, list[int]] = {}
    wild: list[int] = []
    loops: list[int] = []
    length = 0
    for character in pattern if case_sensitive else map(str.lower, pattern):
        if character == "%":
            loops.append(length)
            continue
        (wild if character == "_" else places.setdefault(character, [])).append(length)
        length += 1
    any_one = _bits(wild)
    return _Pattern(
        taken={character: _bits(states) | any_one for character, states in places.items()},
        wild=any_one,
        loops=_bits(loops),
        length=length,
    )


_remembered = lru_cache(maxsize=64)(_compile)


def _bits(places: list[int]) -> int:
    # Through bytes, for one number made larger bit by bit is copied for every bit.
    row = bytearray(max(places, default=0) // 8 + 1)
    for place in places:
        row[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(row, "little")
