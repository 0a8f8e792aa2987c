"""Commits: a tree with where it came from, who made it, when and why, and what is worth knowing without reading it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from undrift.blobs.objects import DIGEST, Objects
from undrift.core.errors import Invalid, NotFound

__all__ = ["Commit", "Commits"]

_Digest = Annotated[str, msgspec.Meta(pattern=DIGEST)]


class Commit(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="commit", forbid_unknown_fields=True):
    """One version of something.

    Attributes:
        tree: The digest of the tree.
        parents: The digests of the commits it came from: none for a first one, two or more for a merge.
        author: Who made it.
        message: Why, in words for people.
        time: When; an aware moment.
        schema: The digest of the object that describes the columns, where there are any.
        profile: The digest of the object that summarises the content, where there is one.
        facts: More facts, as JSON: the number of rows, say. Not-a-number and infinity are no JSON.
    """

    tree: _Digest
    author: str
    message: str
    time: datetime
    parents: tuple[_Digest, ...] = ()
    schema: _Digest | None = None
    profile: _Digest | None = None
    facts: dict[str, Any] = {}


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Commit).decode


class Commits:
    """The commits in a store. Every method can also raise what the byte store raises: `Unavailable`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def write(self, commit: Commit) -> str:
        """Store a commit and return its digest. Equal commits have equal digests; the time is kept in UTC.

        Raises:
            Invalid: A digest is not well formed, the time is not aware, or the facts are not JSON.
            NotFound: An object that the commit names is not in the store.
        """
        encoded = _encoded(commit)
        for named in (commit.tree, *commit.parents, commit.schema, commit.profile):
            if named is not None and self._objects.size(named) is None:
                raise NotFound(
                    f"The commit names object {named}, which is not in the store.",
                    next_step="Store the tree, the parents and what else it names first.",
                    object=named,
                )
        return self._objects.put(encoded)

    def read(self, digest: str, *, needed_by: str = "") -> Commit:
        """Return a commit.

        Args:
            digest: The commit.
            needed_by: What refers to the commit, in words. With it, a commit that is not there is a damage.

        Raises:
            NotFound: There is no such object.
            Invalid: The object is not a commit.
            Corrupt: The stored bytes are not what was stored, or are gone although something refers to them.
        """
        try:
            return _decode(self._objects.get(digest, needed_by=needed_by))
        except msgspec.DecodeError:
            raise Invalid(f"Object {digest} is not a commit.", object=digest) from None

    def log(self, start: str) -> Iterator[tuple[str, Commit]]:
        """Give a commit and all it came from with their digests, each once, the newest known first.

        Commits are read as the walk comes to them: the first ten cost ten reads, however long the history is.

        Raises:
            NotFound: There is no such commit.
            Invalid: The object is not a commit.
            Corrupt: A commit is damaged or missing.
        """
        first = self.read(start)
        waiting = [(-first.time.timestamp(), start, first)]
        seen = {start}
        while waiting:
            _, digest, commit = heapq.heappop(waiting)
            yield digest, commit
            for parent in commit.parents:
                if parent not in seen:
                    seen.add(parent)
                    before = self.read(parent, needed_by=f"commit {digest}")
                    heapq.heappush(waiting, (-before.time.timestamp(), parent, before))


def _encoded(commit: Commit) -> bytes:
    if commit.time.tzinfo is None:
        raise Invalid("The time of a commit needs a zone.", next_step="Pass an aware moment, best in UTC.")
    commit = msgspec.structs.replace(commit, time=commit.time.astimezone(UTC))
    try:
        encoded = _encode(commit)
        # What is read back has to be what was said: JSON would turn a NaN into null and a key 1 into "1".
        if _decode(encoded) != commit:
            raise Invalid("The facts of a commit have to be JSON.", next_step="Use numbers, text, lists and objects.")
    except (TypeError, UnicodeEncodeError, msgspec.ValidationError) as error:
        raise Invalid(f"This cannot be a commit: {error}.") from None
    return encoded
