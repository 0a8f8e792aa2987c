"""Distinct values: how many different ones a column holds, from one kilobyte, whatever their number.

HyperLogLog: hash every value; the first 10 bits choose one of 1,024 registers, which remembers the longest run of
leading zeros seen in the rest. Merging takes the larger of two registers, so it is exact, commutative and idempotent.
The standard error is 1.04 / sqrt(1024) = 3.3 %.

The hashes are our own (SplitMix64; for text a sum of random numbers by position and byte) because they are vectorised,
and because neither Python's nor polars' hash is promised to be the same in the next version, while profiles are kept
for years. Apache DataSketches' HLL takes one value per call.

Sources: Flajolet et al. 2007 (the sketch); Ertl 2017, https://arxiv.org/abs/1702.01284, algorithm 6 (the estimate,
unbiased from one value upwards without a table); Steele et al. 2014 (SplitMix64).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from undrift.core.errors import Corrupt

__all__ = ["estimate", "hash_floats", "hash_text", "hash_texts", "mix", "registers", "union"]

Hashes = NDArray[np.uint64]

_INDEX_BITS = 10
_REGISTERS = 1 << _INDEX_BITS
_REST_BITS = 64 - _INDEX_BITS
_CHUNK_BYTES = 1 << 22


def mix(state: Hashes) -> Hashes:
    """Scramble 64-bit numbers so that each input bit changes half of the output bits (SplitMix64's finaliser)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def hash_floats(values: NDArray[np.float64]) -> Hashes:
    """Hash finite floats of shape (n,); negative zeros must have been made positive."""
    return mix(values.view(np.uint64) ^ np.uint64(0x9E3779B97F4A7C15))


def hash_texts(data: NDArray[np.uint8], lengths: NDArray[np.int64]) -> Hashes:
    """Hash texts.

    Args:
        data: The UTF-8 bytes of all texts, one after the other, shape (sum of lengths,).
        lengths: The number of bytes of each text, shape (n,).

    Returns:
        Hashes of shape (n,).
    """
    ends = np.cumsum(lengths)
    hashes = np.zeros(lengths.size, np.uint64)
    first = 0
    while first < lengths.size:
        begin = int(ends[first] - lengths[first])
        last = max(int(np.searchsorted(ends, begin + _CHUNK_BYTES, side="right")), first + 1)
        piece, sizes = data[begin : int(ends[last - 1])], lengths[first:last]
        starts = np.cumsum(sizes) - sizes
        position = np.arange(piece.size) - np.repeat(starts, sizes)
        drawn = mix((position.astype(np.uint64) << np.uint64(8)) + piece + np.uint64(0x9E3779B97F4A7C15))
        sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(drawn)))  # wraps around, and so does the difference
        hashes[first:last] = mix(sums[starts + sizes] - sums[starts] + sizes.astype(np.uint64))
        first = last
    return hashes


def hash_text(texts: Sequence[str]) -> Hashes:
    """Hash a short list of texts; a column of them goes through `hash_texts`.

    >>> hash_text(["JFK"])[0] == hash_text(["EWR", "JFK"])[1]
    np.True_
    """
    encoded = [text.encode() for text in texts]
    data = np.frombuffer(b"".join(encoded), np.uint8)
    return hash_texts(data, np.fromiter(map(len, encoded), np.int64, len(encoded)))


def registers(hashes: Hashes) -> bytes:
    """Return the sketch of hashed values: 1,024 registers of one byte."""
    rest = hashes & np.uint64((1 << _REST_BITS) - 1)
    leading = (rest & ~(rest >> np.uint64(1))).astype(np.float64)  # does not round up to the next power of two
    bits = np.maximum((leading.view(np.int64) >> 52) - 1022, 0)
    cell = ((hashes >> np.uint64(_REST_BITS)).astype(np.int64) << 6) + (_REST_BITS + 1 - bits)
    seen = np.bincount(cell, minlength=_REGISTERS << 6).reshape(_REGISTERS, 64) > 0
    highest: NDArray[np.int64] = 63 - np.argmax(seen[:, ::-1], axis=1)
    return np.where(seen.any(axis=1), highest, 0).astype(np.uint8).tobytes()


def union(sketches: Sequence[bytes]) -> bytes:
    """Return the sketch of all values that any of the sketches has seen."""
    stacked = np.stack([_read(sketch) for sketch in sketches])
    return np.asarray(stacked.max(axis=0), np.uint8).tobytes()


def _read(sketch: bytes) -> NDArray[np.uint8]:
    if len(sketch) != _REGISTERS:
        raise Corrupt(f"A distinct sketch has {len(sketch)} registers; {_REGISTERS} were expected.")
    return np.frombuffer(sketch, np.uint8)


def estimate(sketch: bytes) -> float:
    """Return about how many distinct values the sketch has seen; standard error 3.3 %.

    >>> abs(estimate(registers(mix(np.arange(100_000, dtype=np.uint64)))) / 100_000 - 1) < 0.1
    True
    """
    counts = np.bincount(_read(sketch), minlength=_REST_BITS + 2).tolist()
    z = _REGISTERS * _tau(1 - counts[_REST_BITS + 1] / _REGISTERS)
    for count in reversed(counts[1 : _REST_BITS + 1]):
        z = (z + count) / 2
    z += _REGISTERS * _sigma(counts[0] / _REGISTERS)
    return _REGISTERS * _REGISTERS / (2 * math.log(2) * z)


def _sigma(x: float) -> float:
    if x >= 1:
        return math.inf
    weight, total, before = 1.0, x, -1.0
    while total != before:
        x *= x
        before = total
        total += x * weight
        weight += weight
    return total


def _tau(x: float) -> float:
    if x in {0.0, 1.0}:
        return 0.0
    weight, total, before = 1.0, 1 - x, -1.0
    while total != before:
        x = math.sqrt(x)
        before = total
        weight /= 2
        total -= (1 - x) ** 2 * weight
    return total / 3
