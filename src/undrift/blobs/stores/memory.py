"""Bytes in the memory of this process: for tests and for trying things out. They are gone when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from undrift.blobs.names import parse_key
from undrift.core.errors import NotFound

__all__ = ["MemoryStore"]


class MemoryStore:
    """A `ByteStore` in a dictionary."""

    def __init__(self) -> None:
        self._content: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "MemoryStore()"

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Return the bytes under a key, or a stretch of them, as one piece."""
        data = self._content.get(parse_key(key))
        if data is None:
            raise NotFound(f"There is nothing under {key!r} in {self!r}.", key=key)
        return iter((data[start : None if length is None else start + length],))

    def write(
        self,
        key: str | Callable[[], str],
        source: bytes | Iterable[bytes],
        *,
        flushed: bool = True,  # noqa: ARG002 - memory keeps nothing
    ) -> None:
        """Put bytes, or all pieces of a source, under a key."""
        if isinstance(key, str):
            parse_key(key)
        data = source if isinstance(source, bytes) else b"".join(source)
        key = parse_key(key if isinstance(key, str) else key())
        with self._lock:
            self._content[key] = data

    def size(self, key: str) -> int | None:
        """Return how many bytes are under a key; None when there is nothing."""
        data = self._content.get(parse_key(key))
        return None if data is None else len(data)

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Give every key below a prefix with its size in bytes."""
        below = parse_key(prefix) + "/" if prefix else ""
        with self._lock:
            return iter([(key, len(data)) for key, data in self._content.items() if key.startswith(below)])

    def delete(self, key: str) -> None:
        """Remove what is under a key."""
        with self._lock:
            self._content.pop(parse_key(key), None)

    def swap(self, key: str, expected: bytes | None, new: bytes) -> bool:
        """Put `new` under a key if exactly `expected` is there now."""
        with self._lock:
            if self._content.get(parse_key(key)) != expected:
                return False
            self._content[key] = new
            return True
