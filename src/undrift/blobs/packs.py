"""Packs: many small objects in one key, so that storing a thousand of them costs two writes and not a thousand.

A *pack* is a sequence of frames, each the digest of an object, its size, and its bytes; it lies under the key
``packs/<digest of the pack>``. Its *index*, under ``indexes/<the same>``, says where in the pack each object begins.
The pack is written first: what an index names is there, and a pack whose index is not there was never acknowledged.
An index that is damaged is made anew from its pack. To drop a pack, remove its index first.

Every process keeps the indexes in memory, 44 bytes an object: sorted runs that are merged as they grow, so that there
are few of them, and a look-up costs microseconds. It reads the indexes that others have written when it misses
something, and before it stores something, unless it did so in the last quarter of an hour.
"""

from __future__ import annotations

import struct
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from undrift.blobs.ports import ByteStore
from undrift.core.errors import NotFound
from undrift.core.hashing import hash_bytes

__all__ = ["FRAME_HEAD", "PACKED_BYTES", "PACK_BYTES", "Packs", "Place", "frame"]

PACKED_BYTES = 1 << 20
"""Objects up to this size are packed when many are stored at once."""

PACK_BYTES = 16 << 20
"""How many bytes of objects go into one pack, which is held in memory while it is made."""

FRAME_HEAD = struct.Struct(">32sQ")  # digest, size in bytes
_RECORD = struct.Struct(">32sII")  # on disk: digest, first byte, size
_KNOWN = struct.Struct(">32sIII")  # in memory: digest, number of the pack, first byte, size
_HEAD = b"undrift index 1\n"
_DIGEST_BYTES = 32
_FRESH_S = 900.0

Place = tuple[str, int, int]
"""Where an object is: the pack's key, the first byte, the size."""


def frame(digest: str, data: bytes) -> bytes:
    """Return an object as it stands in a pack, and as it travels with others."""
    return FRAME_HEAD.pack(bytes.fromhex(digest), len(data)) + data


class _Digests:
    """The digests of a run, in order."""

    def __init__(self, run: bytes) -> None:
        self._run = run

    def __len__(self) -> int:
        return len(self._run) // _KNOWN.size

    def __getitem__(self, at: int) -> bytes:
        return self._run[at * _KNOWN.size : at * _KNOWN.size + _DIGEST_BYTES]


class _Known:
    """What one process knows of the packs; replaced as a whole, never changed, so that readers need no lock."""

    def __init__(self, names: tuple[str, ...] = (), runs: tuple[bytes, ...] = ()) -> None:
        self.names = names
        self.runs = runs

    def find(self, digest: bytes) -> Place | None:
        for run in self.runs:
            at = bisect_left(_Digests(run), digest) * _KNOWN.size
            if run[at : at + _DIGEST_BYTES] == digest:
                _, number, start, length = _KNOWN.unpack_from(run, at)
                return f"packs/{self.names[number]}", start, length
        return None

    def with_pack(self, name: str, records: Iterable[tuple[bytes, int, int]]) -> _Known:
        number = len(self.names)
        new = b"".join(sorted(_KNOWN.pack(digest, number, start, length) for digest, start, length in records))
        runs = list(self.runs)
        # As in a counter: equal sizes merge, so that n objects stand in log n runs and each was moved log n times.
        while runs and len(runs[-1]) < 2 * len(new):
            new = b"".join(sorted(chain(_cut(runs.pop(), _KNOWN.size), _cut(new, _KNOWN.size))))
        return _Known((*self.names, name), (*runs, new))


class Packs:
    """The packs in a byte store. Every method can also raise what the byte store raises: `Unavailable`."""

    def __init__(self, store: ByteStore) -> None:
        self._store = store
        self._known = _Known()
        self._lock = threading.Lock()
        self._refreshed_at = -_FRESH_S

    def write(self, objects: Sequence[tuple[str, bytes]]) -> None:
        """Store objects, each with its digest, in one pack; when this returns they outlive a crash."""
        body = b"".join(frame(digest, data) for digest, data in objects)
        name = hash_bytes(body)
        records: list[tuple[bytes, int, int]] = []
        at = 0
        for digest, data in objects:
            at += FRAME_HEAD.size
            records.append((bytes.fromhex(digest), at, len(data)))
            at += len(data)
        self._store.write(f"packs/{name}", body)
        self._store.write(f"indexes/{name}", _index(records))
        with self._lock:
            if name not in self._known.names:
                self._known = self._known.with_pack(name, records)

    def find(self, digest: str) -> Place | None:
        """Return where an object is, as far as this process knows."""
        return self._known.find(bytes.fromhex(digest))

    def keep_fresh(self) -> None:
        """Learn of the packs that others have written, unless that was done a short while ago.

        Whoever stores something has to know whether it is there already: then it is claimed, for it may not have been
        needed for long, and is about to be removed (`undrift.blobs.claims`). That takes a day, so that what others
        have packed in the last minutes does not matter.
        """
        if time.monotonic() - self._refreshed_at >= _FRESH_S:
            self.refresh()

    def refresh(self) -> bool:
        """Learn of the packs that others have written or removed, and say whether there were any."""
        with self._lock:
            self._refreshed_at = time.monotonic()
            there = {key.removeprefix("indexes/") for key, _ in self._store.list("indexes")}
            known = self._known if there.issuperset(self._known.names) else _Known()
            for name in sorted(there.difference(known.names)):
                if (records := self._records(name)) is not None:
                    known = known.with_pack(name, records)
            changed = known is not self._known
            self._known = known
            return changed

    def records(self, name: str) -> list[tuple[bytes, int, int]]:
        """Return digest, first byte and size of every object in a pack; nothing when the pack is not there."""
        return self._records(name) or []

    def drop(self, name: str) -> None:
        """Remove a pack, its index first: what no index names is nowhere."""
        self._store.delete(f"indexes/{name}")
        self._store.delete(f"packs/{name}")

    def _records(self, name: str) -> list[tuple[bytes, int, int]] | None:
        try:
            raw = b"".join(self._store.read(f"indexes/{name}"))
            if (records := _read_index(raw)) is None:
                records = _read_pack(b"".join(self._store.read(f"packs/{name}")))
                self._store.write(f"indexes/{name}", _index(records))
        except NotFound:  # removed meanwhile
            return None
        return records


def _index(records: Iterable[tuple[bytes, int, int]]) -> bytes:
    body = _HEAD + b"".join(sorted(_RECORD.pack(*record) for record in records))
    return body + bytes.fromhex(hash_bytes(body))


def _read_index(raw: bytes) -> list[tuple[bytes, int, int]] | None:
    body, check = raw[:-_DIGEST_BYTES], raw[-_DIGEST_BYTES:]
    if not body.startswith(_HEAD) or bytes.fromhex(hash_bytes(body)) != check:
        return None
    return list(_RECORD.iter_unpack(body[len(_HEAD) :]))


def _read_pack(raw: bytes) -> list[tuple[bytes, int, int]]:
    """Return what is whole in a pack."""
    records = []
    at = 0
    while at + FRAME_HEAD.size <= len(raw):
        digest, length = FRAME_HEAD.unpack_from(raw, at)
        at += FRAME_HEAD.size
        if bytes.fromhex(hash_bytes(raw[at : at + length])) == digest:
            records.append((digest, at, length))
        at += length
    return records


def _cut(run: bytes, size: int) -> Iterator[bytes]:
    return (run[at : at + size] for at in range(0, len(run), size))
