"""Uploads: large objects that arrive in parts, so that what was sent before a break need not be sent again.

The parts of an upload lie under ``uploads/<name>/``, each under its number and the hash of its bytes, beside a note of
when it began and what it is for. Nobody sees them until all are there: completing an upload writes the object, and then
removes the parts. What is begun and not completed is swept after a day.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime

import msgspec
from blake3 import blake3

from undrift.blobs.objects import Objects, check_digest
from undrift.blobs.ports import ByteStore
from undrift.core.errors import Invalid, NotFound, Unavailable

__all__ = ["MOST_PARTS", "Part", "Uploads"]

MOST_PARTS = 10_000
_NAME = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")
_PART = re.compile(r"(\d{5})-([0-9a-f]{64})")


class Part(msgspec.Struct, frozen=True):
    """A part that has arrived.

    Attributes:
        number: Its place, from 1.
        digest: The hash of its bytes.
        size_bytes: How many there are.
    """

    number: int
    digest: str
    size_bytes: int


class _Note(msgspec.Struct, frozen=True):
    begun_at: datetime
    purpose: str


class Uploads:
    """The uploads in a store. Every method can also raise what the byte store raises: `Unavailable`."""

    def __init__(self, store: ByteStore, objects: Objects) -> None:
        self._store = store
        self._objects = objects

    def begin(self, name: str, purpose: str, now: datetime) -> None:
        """Begin an upload; one of that name that has begun goes on.

        Args:
            name: A new id, or the digest of what will be uploaded: then whoever uploads the same goes on with it.
            purpose: What it is for; `purpose` gives it back.
            now: This moment.

        Raises:
            Invalid: The name is neither.
        """
        self._store.swap(f"{_folder(name)}/begun", None, msgspec.json.encode(_Note(now, purpose)))

    def purpose(self, name: str) -> str:
        """Return what an upload is for.

        Raises:
            NotFound: It was never begun, or has been completed or swept.
        """
        return self._note(name).purpose

    def put_part(self, name: str, number: int, pieces: Iterable[bytes]) -> Part:
        """Store a part; memory does not follow its size. The same part again changes nothing.

        Raises:
            NotFound: There is no such upload.
            Invalid: The number is not from 1 to 10,000.
        """
        if not 1 <= number <= MOST_PARTS:
            raise Invalid(f"{number} is not the number of a part.", next_step=f"Parts are numbered 1 to {MOST_PARTS}.")
        self._note(name)
        hasher = blake3()
        size = 0

        def hashed() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces:
                hasher.update(piece)
                size += len(piece)
                yield piece

        # Looked at again when the upload is completed, and sent again if a crash of the host has damaged it.
        self._store.write(lambda: f"{_folder(name)}/{number:05d}-{hasher.hexdigest()}", hashed(), flushed=False)
        return Part(number, hasher.hexdigest(), size)

    def parts(self, name: str) -> list[Part]:
        """Return the parts that have arrived, by number; none for an upload that is not there."""
        found = []
        for key, size in self._store.list(_folder(name)):
            if said := _PART.fullmatch(key.rpartition("/")[2]):
                found.append(Part(int(said[1]), said[2], size))
        return sorted(found, key=lambda part: (part.number, part.digest))

    def complete(self, name: str, digests: Sequence[str], digest: str | None = None) -> tuple[str, int]:
        """Make the object of the parts with these digests, in order, and return its digest and size in bytes.

        Args:
            name: The upload.
            digests: The digest of part 1, 2, 3 and so on.
            digest: What the digest of the whole has to be, where that is known.

        Raises:
            NotFound: There is no such upload.
            Invalid: A part is not there, or the whole has another digest.
            Unavailable: A part is not any more what arrived; it was removed, so that it can be sent again.
        """
        self._note(name)
        there = {(part.number, part.digest) for part in self.parts(name)}
        for number, one in enumerate(digests, 1):
            if (number, check_digest(one)) not in there:
                raise Invalid(
                    f"Part {number} of this upload, with digest {one}, has not arrived.",
                    next_step="Send it, then complete the upload again.",
                    part=number,
                )
        try:
            stored = self._objects.put_stream(self._joined(name, digests, checked=digest is None), digest=digest)
        except Invalid:  # not what it has to be: perhaps for the sake of a part
            for _ in self._joined(name, digests, checked=True):
                pass
            raise
        self.abort(name)
        return stored

    def abort(self, name: str) -> None:
        """Remove an upload with all its parts. That there is none is no error."""
        for key, _ in sorted(self._store.list(_folder(name))):  # the parts, and the note last
            self._store.delete(key)

    def sweep(self, before: datetime) -> int:
        """Remove uploads that began before a moment, and return how many there were."""
        swept = 0
        for name in {key.split("/")[1] for key, _ in self._store.list("uploads")}:
            with suppress(Invalid, NotFound):
                if self._note(name).begun_at < before:
                    self.abort(name)
                    swept += 1
        return swept

    def _joined(self, name: str, digests: Sequence[str], *, checked: bool) -> Iterator[bytes]:
        for number, digest in enumerate(digests, 1):
            hasher = blake3()
            key = f"{_folder(name)}/{number:05d}-{digest}"
            for piece in self._store.read(key):
                if checked:
                    hasher.update(piece)
                yield piece
            if checked and hasher.hexdigest() != digest:
                self._store.delete(key)
                raise Unavailable(
                    f"Part {number} of the upload was damaged while it lay here, and is gone.",
                    next_step="Send it again, then complete the upload again.",
                    part=number,
                )

    def _note(self, name: str) -> _Note:
        try:
            return msgspec.json.decode(b"".join(self._store.read(f"{_folder(name)}/begun")), type=_Note)
        except (NotFound, msgspec.DecodeError):
            raise NotFound(
                f"There is no upload {name}: it was never begun, or is completed, or was left for a day.",
                next_step="Begin it anew.",
                upload=name,
            ) from None


def _folder(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise Invalid(f"{name[:80]!r} does not name an upload.", next_step="Begin one; the answer has its name.")
    return f"uploads/{name}"
