"""Objects: bytes under the hash of their bytes. Equal bytes are kept once, and a read notices any change.

An object of hash ``abcdef...`` lies under the key ``objects/ab/cdef...``; small ones that are stored together lie in
packs (`undrift.blobs.packs`), and nobody has to know. A file is hashed before it is copied, so that one that is there
already costs no write; while it is copied it is hashed again, so that a file that changes in between is not stored
under a hash that is not its own. What comes as a stream is hashed while it is written, in one pass.

Who relies on an object that was there already claims it (`undrift.blobs.claims`), so that nobody collects it meanwhile.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from undrift.blobs.claims import Claims
from undrift.blobs.files import PIECE_BYTES, explained, sync_folder, written
from undrift.blobs.packs import PACK_BYTES, PACKED_BYTES, Packs
from undrift.blobs.ports import ByteStore
from undrift.core.errors import Conflict, Corrupt, Invalid, NotFound
from undrift.core.hashing import hash_bytes, hash_file

__all__ = ["DIGEST", "Objects", "check_digest"]

DIGEST = r"^[0-9a-f]{64}\Z"
_DIGEST = re.compile(DIGEST)
_WHOLE_BYTES = 8 << 20  # files up to here are read at once, in one pass
_AT_ONCE = 8  # a put waits for the disk or the network, not for a core
_BATCH = 1024
_PACKED_FROM = 16  # fewer new ones than this in a batch become files of their own


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


class _KeptError(Exception):
    """What was about to be written is there already."""


class Objects:
    """The objects in a byte store. Every method can also raise what the byte store raises: `Unavailable`."""

    def __init__(self, store: ByteStore) -> None:
        self._store = store
        self._packs = Packs(store)
        self._claims = Claims(store)
        self._damaged: set[str] = set()  # seen to be altered in its pack: not there, for whoever stores it again

    def put(self, source: bytes | Path) -> str:
        """Store bytes, or the content of a file, and return the digest. What is there already is not written again.

        Raises:
            NotFound: There is no such file.
            Conflict: The file changed while it was being stored.
        """
        return self._put(source)[0]

    def put_many(self, sources: Iterable[bytes | Path]) -> list[tuple[str, int]]:
        """Store many sources, several at a time, and return the digest and the size in bytes of each, in order.

        Small ones that are new go into packs. Sources are taken as they are needed: at most 16 MiB of them, and one
        more, are in memory at once.

        Raises:
            NotFound: One of the files does not exist.
            Conflict: One of the files changed while it was being stored.
        """
        stored: list[tuple[str, int]] = []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for batch in _batches(sources):
                stored.extend(self._put_batch(batch, pool))
        return stored

    def put_stream(self, pieces: Iterable[bytes], *, digest: str | None = None) -> tuple[str, int]:
        """Store what comes in pieces, hashed while it is written, and return the digest and the size in bytes.

        Args:
            pieces: The bytes; memory does not follow their number.
            digest: What the hash has to be, where that is known.

        Raises:
            Invalid: The bytes do not have the digest; nothing was stored.
        """
        hasher = blake3()
        size = 0

        def hashed() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces:
                hasher.update(piece)
                size += len(piece)
                yield piece
            if digest is not None and hasher.hexdigest() != digest:
                raise Invalid(
                    f"The bytes that came are not object {digest}: theirs is {hasher.hexdigest()}.",
                    next_step="Send them again when nothing writes to the file.",
                    object=digest,
                )

        def key() -> str:
            if self._kept_size(hasher.hexdigest()) == size:
                raise _KeptError
            return _key(hasher.hexdigest())

        if digest is None:
            with suppress(_KeptError):
                self._store.write(key, hashed())
                self._claims.remember((hasher.hexdigest(),))
        elif self._kept_size(digest) is None:
            self._store.write(_key(digest), hashed())
            self._claims.remember((digest,))
        else:
            for _ in hashed():
                pass
        return hasher.hexdigest(), size

    def get(self, digest: str, *, needed_by: str = "") -> bytes:
        """Return the bytes of an object, held in memory; for a large one, use `read` or `fetch`.

        Args:
            digest: The object.
            needed_by: What refers to the object, in words. With it, an object that is not there is a damage.

        Raises:
            NotFound: There is no such object.
            Corrupt: The stored bytes are not what was stored, or are gone although something refers to them.
        """
        return b"".join(self.read(digest, needed_by=needed_by))

    def read(self, digest: str, start: int = 0, length: int | None = None, *, needed_by: str = "") -> Iterator[bytes]:
        """Return the bytes of an object, or a stretch of them, in pieces.

        A whole object is verified: of one that was altered, the last piece never comes. A stretch of a large object is
        given as the store has it, for its hash covers the whole; whoever puts stretches together verifies.

        Args:
            digest: The object.
            start: The first byte, from 0.
            length: How many bytes at most; None goes on to the end.
            needed_by: What refers to the object, in words. With it, an object that is not there is a damage.

        Raises:
            NotFound: There is no such object.
            Corrupt: The stored bytes are not what was stored, or are gone although something refers to them.
        """
        key = _key(digest)
        if (packed := self._packed(digest)) is not None:
            return iter((packed[start : None if length is None else start + length],))
        try:
            pieces = self._store.read(key, start, length)
        except NotFound:
            packed = self._packed(digest) if self._packs.refresh() else None
            if packed is None:
                raise self._missing(digest, needed_by) from None
            return iter((packed[start : None if length is None else start + length],))
        return pieces if start or length is not None else self._verified(pieces, digest)

    def fetch(self, digest: str, path: Path) -> None:
        """Copy an object into a file, in place of what may be there. The file appears whole and verified, or not.

        The file is private to the user, folders that are not there are made, and memory does not follow the size.

        Raises:
            NotFound: There is no such object.
            Corrupt: The stored bytes are not what was stored; the file is as it was.
        """
        pieces = self.read(digest)
        temporary = path.with_name(f".{secrets.token_hex(16)}.part")
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with written(temporary, pieces):
                temporary.replace(path)
                sync_folder(path.parent)

    def size(self, digest: str) -> int | None:
        """Return the size of an object in bytes; None when it is not there."""
        return self.sizes([digest])[0]

    def sizes(self, digests: Sequence[str]) -> list[int | None]:
        """Return the size in bytes of each object, in order; None for one that is not there.

        Those that are there stay so for a day at least: whoever asks is about to rely on them.
        """
        return self._still_there(digests, self._look(digests))

    def measure(self, digests: Sequence[str]) -> list[int | None]:
        """Return the size in bytes of each object as `sizes` does, for one who only wants to know."""
        return self._look(digests)

    def _look(self, digests: Sequence[str]) -> list[int | None]:
        found = self._known_sizes(digests)
        if None in found and self._packs.refresh():
            for place, digest in enumerate(digests):
                packed = None if digest in self._damaged else self._packs.find(digest)
                if found[place] is None and packed is not None:
                    found[place] = packed[2]
        return found

    def _still_there(self, digests: Sequence[str], sizes: Sequence[int | None]) -> list[int | None]:
        """Claim the objects that have a size, and look again at those that might have been removed before."""
        there = [digest for digest, size in zip(digests, sizes, strict=True) if size is not None]
        if not there or not self._claims.claim(there):
            return list(sizes)
        if any(self._packs.find(digest) is not None for digest in there):
            self._packs.refresh()
        again = dict(zip(there, self._known_sizes(there), strict=True))
        return [None if size is None else again[digest] for digest, size in zip(digests, sizes, strict=True)]

    def _kept_size(self, digest: str) -> int | None:
        self._packs.keep_fresh()
        return self._still_there([digest], [self._known_size(digest)])[0]

    def _known_sizes(self, digests: Sequence[str]) -> list[int | None]:
        if len(digests) < _PACKED_FROM:
            return [self._known_size(digest) for digest in digests]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return self._sizes_in(pool, digests)

    def _sizes_in(self, pool: ThreadPoolExecutor, digests: Sequence[str]) -> list[int | None]:
        # By slices: for a folder, handing one digest to a thread costs more than asking for it.
        step = -(-len(digests) // _AT_ONCE) or 1
        slices = [digests[at : at + step] for at in range(0, len(digests), step)]
        return [size for sizes in pool.map(lambda some: list(map(self._known_size, some)), slices) for size in sizes]

    def _known_size(self, digest: str) -> int | None:
        key = _key(digest)
        packed = None if digest in self._damaged else self._packs.find(digest)
        return packed[2] if packed is not None else self._store.size(key)

    def _put_batch(self, batch: Sequence[bytes | Path], pool: ThreadPoolExecutor) -> list[tuple[str, int]]:
        small = [one for one in batch if isinstance(one, bytes) and len(one) <= PACKED_BYTES]
        digests = list(map(hash_bytes, small))
        self._packs.keep_fresh()
        # One of another length is a damaged copy: writing it again heals it.
        new = {
            digest: data
            for digest, data, size in zip(
                digests, small, self._still_there(digests, self._sizes_in(pool, digests)), strict=True
            )
            if size != len(data)
        }
        if len(new) >= _PACKED_FROM:
            self._packs.write(list(new.items()))
        else:
            list(pool.map(lambda digest: self._store.write(_key(digest), new[digest]), new))
        self._claims.remember(new)
        large = pool.map(self._put, [one for one in batch if isinstance(one, Path) or len(one) > PACKED_BYTES])
        stored = zip(digests, map(len, small), strict=True)
        return [next(stored if isinstance(one, bytes) and len(one) <= PACKED_BYTES else large) for one in batch]

    def _packed(self, digest: str) -> bytes | None:
        """Return the verified bytes of an object in a pack; None when it is in none."""
        for _ in range(2):
            place = self._packs.find(digest)
            if place is None:
                return None
            key, start, length = place
            try:
                data = b"".join(self._store.read(key, start, length))
            except NotFound:  # the pack was made anew, by whoever collects what is not needed
                self._packs.refresh()
                continue
            if hash_bytes(data) == digest:
                return data
            self._damaged.add(digest)
            if self._store.size(_key(digest)) is not None:
                return None
            raise Corrupt(
                f"Object {digest} in {self._store!r} was altered: the {len(data)} bytes at {start} of {key!r} are not "
                "those that were stored.",
                next_step=f"Restore {key!r} from a backup, or store the same content again.",
                object=digest,
            )
        return None

    def _put(self, source: bytes | Path) -> tuple[str, int]:
        data = source if isinstance(source, bytes) else b""
        if isinstance(source, Path):
            with explained(source):
                try:
                    size = source.stat().st_size
                    if size > _WHOLE_BYTES:
                        digest = hash_file(source)
                        if self._kept_size(digest) != size:
                            self._store.write(_key(digest), _copied(source, digest))
                            self._claims.remember((digest,))
                        return digest, size
                    data = source.read_bytes()
                except FileNotFoundError:
                    raise _no_file(source) from None
        digest = hash_bytes(data)
        # One of another length is a damaged copy: writing it again heals it.
        if self._kept_size(digest) != len(data):
            self._store.write(_key(digest), data)
            self._claims.remember((digest,))
        return digest, len(data)

    def _verified(self, pieces: Iterable[bytes], digest: str) -> Iterator[bytes]:
        hasher = blake3()
        size = 0
        held = b""
        for piece in pieces:
            hasher.update(piece)
            size += len(piece)
            if held:
                yield held
            held = piece
        if hasher.hexdigest() != digest:
            raise Corrupt(
                f"Object {digest} in {self._store!r} was altered: the {size} bytes there are not those that were "
                "stored.",
                next_step=f"Restore {_key(digest)!r} from a backup, or delete it and store the same content again.",
                object=digest,
            )
        yield held

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


def _batches(sources: Iterable[bytes | Path]) -> Iterator[list[bytes | Path]]:
    batch: list[bytes | Path] = []
    held = 0
    for source in sources:
        if isinstance(source, Path):
            with explained(source):
                try:
                    one: bytes | Path = source if source.stat().st_size > PACKED_BYTES else source.read_bytes()
                except FileNotFoundError:
                    raise _no_file(source) from None
        else:
            one = source
        batch.append(one)
        held += len(one) if isinstance(one, bytes) else 0
        if len(batch) >= _BATCH or held >= PACK_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _no_file(path: Path) -> NotFound:
    return NotFound(f"There is no file {str(path)!r}.")


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
