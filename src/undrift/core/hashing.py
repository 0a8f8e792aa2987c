"""Content addresses: BLAKE3-256 as 64 hexadecimal characters, of bytes, of files, of JSON-able values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3

__all__ = ["hash_bytes", "hash_file", "hash_value"]

_READ_BYTES = 1 << 20
_encoder = msgspec.json.Encoder(order="sorted")


def hash_bytes(data: bytes | bytearray | memoryview) -> str:
    """Return the content address of some bytes.

    >>> hash_bytes(b"")[:16]
    'af1349b9f5f9a1a6'
    """
    return blake3(data).hexdigest()


def hash_file(path: Path) -> str:
    """Return the content address of a file, read in pieces: memory does not follow the file's size."""
    digest = blake3()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def hash_value(value: Any) -> str:
    """Return the address of a JSON-able value or msgspec Struct; the order of keys and fields does not matter.

    >>> hash_value({"a": 1, "b": 2}) == hash_value({"b": 2, "a": 1})
    True
    """
    return hash_bytes(_encoder.encode(value))
