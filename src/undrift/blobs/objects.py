"""Objects: bytes under the hash of their bytes. Equal bytes are kept once, and a read notices any change.

An object of hash ``abcdef...`` lies under the key ``objects/ab/cdef...``. A file is hashed before it is copied, so
that one that is there already costs no write; while it is copied it is hashed again, so that a file that changes in
between is not stored under a hash that is not its own.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from blake3 import blake3

from undrift.blobs.files import PIECE_BYTES, explained, sync_folder, written
from undrift.blobs.ports import ByteStore
from undrift.core.errors import Conflict, Corrupt, Invalid, NotFound
from undrift.core.hashing import hash_bytes, hash_file

__all__ = ["DIGEST", "Objects", "check_digest"]

DIGEST = r"^[0-9a-f]{64}\Z"
_DIGEST = re.compile(DIGEST)
_WHOLE_BYTES = 8 << 20  # files up to here are read at once, in one pass
_AT_ONCE = 8  # a put waits for the disk or the network, not for a core
_BATCH = 1024


def check_digest(digest: str) -> str:
    """Return the digest when it is well formed.

    Raises:
        Invalid: It is not 64 lower-case hexadecimal characters.
    """
    if _DIGEST.match(digest) is None:
        raise Invalid(
            f"{digest[:80]!r} is not the digest of an object.",
            next_step="A digest is 64 lower-case hexadecimal characters.",
        )
    return digest


class Objects:
    """The objects in a byte store. Every method can also raise what the byte store raises: `Unavailable`."""

    def __init__(self, store: ByteStore) -> None:
        self._store = store

    def put(self, source: bytes | Path) -> str:
        """Store bytes, or the content of a file, and return the digest. What is there already is not written again.

        Raises:
            NotFound: There is no such file.
            Conflict: The file changed while it was being stored.
        """
        return self._put(source)[0]

    def put_many(self, sources: Iterable[bytes | Path]) -> list[tuple[str, int]]:
        """Store many sources, several at a time, and return the digest and the size in bytes of each, in order.

        Raises:
            NotFound: One of the files does not exist.
            Conflict: One of the files changed while it was being stored.
        """
        stored: list[tuple[str, int]] = []
        remaining = iter(sources)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while batch := list(islice(remaining, _BATCH)):
                stored.extend(pool.map(self._put, batch))
        return stored

    def get(self, digest: str, *, needed_by: str = "") -> bytes:
        """Return the bytes of an object, held in memory; for a large one, use `fetch`.

        Args:
            digest: The object.
            needed_by: What refers to the object, in words. With it, an object that is not there is a damage.

        Raises:
            NotFound: There is no such object.
            Corrupt: The stored bytes are not what was stored, or are gone although something refers to them.
        """
        try:
            pieces = self._store.read(_key(digest))
        except NotFound:
            raise self._missing(digest, needed_by) from None
        return b"".join(self._verified(pieces, digest))

    def fetch(self, digest: str, path: Path) -> None:
        """Copy an object into a file, in place of what may be there. The file appears whole and verified, or not.

        The file is private to the user, folders that are not there are made, and memory does not follow the size.

        Raises:
            NotFound: There is no such object.
            Corrupt: The stored bytes are not what was stored; the file is as it was.
        """
        try:
            pieces = self._store.read(_key(digest))
        except NotFound:
            raise self._missing(digest, "") from None
        temporary = path.with_name(f".{secrets.token_hex(16)}.part")
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with written(temporary, self._verified(pieces, digest)):
                temporary.replace(path)
                sync_folder(path.parent)

    def size(self, digest: str) -> int | None:
        """Return the size of an object in bytes; None when it is not there."""
        return self._store.size(_key(digest))

    def _put(self, source: bytes | Path) -> tuple[str, int]:
        if isinstance(source, Path):
            with explained(source):
                try:
                    size = source.stat().st_size
                    if size > _WHOLE_BYTES:
                        digest = hash_file(source)
                        if self.size(digest) != size:
                            self._store.write(_key(digest), _copied(source, digest))
                        return digest, size
                    source = source.read_bytes()
                except FileNotFoundError:
                    raise NotFound(f"There is no file {str(source)!r}.") from None
        digest = hash_bytes(source)
        # One of another length is a damaged copy: writing it again heals it.
        if self.size(digest) != len(source):
            self._store.write(_key(digest), source)
        return digest, len(source)

    def _verified(self, pieces: Iterable[bytes], digest: str) -> Iterator[bytes]:
        hasher = blake3()
        size = 0
        for piece in pieces:
            hasher.update(piece)
            size += len(piece)
            yield piece
        if hasher.hexdigest() != digest:
            raise Corrupt(
                f"Object {digest} in {self._store!r} was altered: the {size} bytes there are not those that were "
                "stored.",
                next_step=f"Restore {_key(digest)!r} from a backup, or delete it and store the same content again.",
                object=digest,
            )

    def _missing(self, digest: str, needed_by: str) -> Corrupt | NotFound:
        if not needed_by:
            return NotFound(f"There is no object {digest} in {self._store!r}.", object=digest)
        return Corrupt(
            f"Object {digest} is missing from {self._store!r}, although {needed_by} refers to it.",
            next_step=f"Restore {_key(digest)!r} from a backup, or store the same content again.",
            object=digest,
        )


def _key(digest: str) -> str:
    check_digest(digest)
    return f"objects/{digest[:2]}/{digest[2:]}"


def _copied(path: Path, digest: str) -> Iterator[bytes]:
    hasher = blake3()
    with explained(path), path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE_BYTES):
            hasher.update(piece)
            yield piece
    if hasher.hexdigest() != digest:
        raise Conflict(
            f"The file {str(path)!r} changed while it was being stored.",
            next_step="Store it again when nothing writes to it.",
        )
