"""Collection: removes the objects that nothing needs, whoever writes meanwhile, and however often it is cut off.

It goes in two steps. `mark` finds what is needed: all that can be reached from what others name. `Sweep` goes through
the store and removes the rest, as far as its judge agrees: an object that was just written is not needed by anything
yet, so the judge lets nothing go that has not been unneeded for a while. Objects that lie in a pack go when the pack
goes; a pack most of which is not needed is made anew from the rest.

Memory: 32 bytes for every object that is needed, and as much for every one that is there; lists are read as a stream.
Nothing is kept between two collections but what the judge keeps. One that was killed is done again.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Literal, NamedTuple, Protocol, TypeVar

import msgspec

from undrift.blobs.claims import CLAIM_HOLDS_S, CLAIMS, ROUND, Round, claimed_at, current_round, over
from undrift.blobs.objects import Objects
from undrift.blobs.packs import FRAME_HEAD, Packs
from undrift.blobs.ports import ByteStore
from undrift.blobs.repository import Repository
from undrift.core.errors import Conflict, Corrupt, Invalid, NotFound, UndriftError

__all__ = ["Digests", "Judge", "Needed", "Root", "Rounds", "Swept", "collecting", "mark", "sweep"]

T = TypeVar("T")

_BYTES = 32
_BATCH = 1000
_AT_ONCE = 8
_LOCK = "collection/lock"
_LOCK_S = 600.0
_ROUND_S = 180.0
_MARGIN_S = 90.0  # a removal that was asked for may take as long as the store's client goes on trying
_HEAD_BYTES = 32
_REPACK_BELOW = 0.5
_TREE = b'{"type":"tree"'
_COMMIT = b'{"type":"commit"'


class Digests:
    """A set of digests that takes little more memory than their bytes.

    By their first byte they stand in 256 sorted runs; new ones wait beside a run until they are worth merging.
    """

    def __init__(self) -> None:
        self._runs = [b""] * 256
        self._new: list[set[bytes]] = [set() for _ in range(256)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, digest: str) -> bool:
        return self._has(bytes.fromhex(digest))

    def __iter__(self) -> Iterator[str]:
        for run, new in zip(self._runs, self._new, strict=True):
            yield from (one.hex() for one in sorted([*_cut(run), *new]))

    def add(self, digest: str) -> bool:
        """Add a digest, and say whether it was not there."""
        raw = bytes.fromhex(digest)
        if self._has(raw):
            return False
        place = raw[0]
        new = self._new[place]
        new.add(raw)
        self._count += 1
        if len(new) >= max(64, len(self._runs[place]) // _BYTES // 8):
            self._runs[place] = b"".join(sorted([*_cut(self._runs[place]), *new]))
            self._new[place] = set()
        return True

    def _has(self, raw: bytes) -> bool:
        place = raw[0]
        if raw in self._new[place]:
            return True
        run = self._runs[place]
        at = bisect_left(_Run(run), raw) * _BYTES
        return run[at : at + _BYTES] == raw


class Needed(Digests):
    """What is needed.

    Attributes:
        opened: Of this, all that can be reached is needed, too. Bytes that somebody stored as a file may be those of a
            tree: that the file is needed does not say so of what the tree names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.opened = Digests()


class _Run:
    def __init__(self, run: bytes) -> None:
        self._run = run

    def __len__(self) -> int:
        return len(self._run) // _BYTES

    def __getitem__(self, at: int) -> bytes:
        return self._run[at * _BYTES : at * _BYTES + _BYTES]


class Root(NamedTuple):
    """Something that is needed, with all that can be reached from it.

    Attributes:
        digest: The object.
        kind: What it is; ``any`` when nobody knows, and then it may also not be an object at all.
        holder: Who needs it, in words.
    """

    digest: str
    kind: Literal["object", "tree", "commit", "any"]
    holder: str


class Judge(Protocol):
    """Decides what may go, and remembers since when it is not needed."""

    def ripe(self, found: Sequence[tuple[str, int]]) -> set[str]:
        """Return those that were found unneeded long enough ago; since when is noted of the others.

        Args:
            found: Digests and sizes in bytes of objects that nothing needs now.
        """

    def forget(self, digests: Sequence[str]) -> None:
        """Forget since when these are not needed: should one come back, it is not the old one."""

    def confirm(self, digests: Sequence[str]) -> set[str]:
        """Look once more whether anything needs these, and return those that may go.

        This must wait for no writer: it is asked within a round, and writers wait for its end.
        """

    def spared(self, digests: Sequence[str]) -> None:
        """Take those back that were to go and did not."""


class Swept(msgspec.Struct):
    """What a sweep came to; it is filled as the sweep goes.

    Attributes:
        objects: How many objects are there.
        stored_bytes: How many bytes they are, packs counted as they lie.
        needed: How many of them are needed.
        removed: How many went, or would go.
        freed_bytes: How many bytes the store is smaller by, or would be.
        later: How many are not needed, but not for long enough yet, or in a pack that mostly is.
        later_bytes: How many bytes those are.
        packs_removed: How many packs went, or would go.
        packs_rewritten: How many were made anew without what is not needed.
        missing: What is needed and not there, at most a thousand.
        missing_count: How many those are.
        errors: What went wrong, at most a hundred sentences.
    """

    objects: int = 0
    stored_bytes: int = 0
    needed: int = 0
    removed: int = 0
    freed_bytes: int = 0
    later: int = 0
    later_bytes: int = 0
    packs_removed: int = 0
    packs_rewritten: int = 0
    missing: list[str] = msgspec.field(default_factory=list)
    missing_count: int = 0
    errors: list[str] = msgspec.field(default_factory=list)


def mark(repository: Repository, roots: Iterable[Root], needed: Needed, lost: Callable[[str, str, str], None]) -> None:
    """Add everything that can be reached from the roots to what is needed.

    Args:
        repository: The store.
        roots: Where to begin.
        needed: What is known to be needed; grows.
        lost: Told the digest, the holder and the reason of a tree or a commit that cannot be read.
    """
    for root in roots:
        waiting = [root]
        while waiting:
            one = waiting.pop()
            needed.add(one.digest)
            if one.kind == "object" or not needed.opened.add(one.digest):
                continue
            try:
                waiting.extend(_below(repository, one))
            except (NotFound, Corrupt, Invalid) as error:
                lost(one.digest, one.holder, error.message)


def _below(repository: Repository, one: Root) -> list[Root]:
    kind = _sniffed(repository.objects, one.digest) if one.kind == "any" else one.kind
    if kind == "tree":
        tree = repository.trees.read(one.digest)
        return [Root(entry.digest, "object" if entry.kind == "blob" else "tree", one.holder) for entry in tree.entries]
    if kind == "commit":
        commit = repository.commits.read(one.digest)
        facts = [digest for digest in (commit.schema, commit.profile) if digest is not None]
        return [
            Root(commit.tree, "tree", one.holder),
            *(Root(digest, "object", one.holder) for digest in facts),
            *(Root(digest, "commit", one.holder) for digest in commit.parents),
        ]
    return []


def _sniffed(objects: Objects, digest: str) -> str:
    try:
        head = b"".join(objects.read(digest, 0, _HEAD_BYTES))
    except (NotFound, Corrupt):
        return "object"
    return "tree" if head.startswith(_TREE) else "commit" if head.startswith(_COMMIT) else "object"


class Rounds:
    """The rounds of one collector (`undrift.blobs.claims`), of which a store has one at a time."""

    def __init__(self, store: ByteStore) -> None:
        self._store = store
        self._name = secrets.token_hex(16)
        self._number = 0
        self._lock = b""
        self._locked_until = 0.0
        self._read: set[str] = set()
        self.until = 0.0

    def lock(self) -> None:
        """Become the one who collects, or stay it.

        Raises:
            Conflict: Another process collects.
        """
        if self._lock and time.time() < self._locked_until - _LOCK_S / 2:
            return
        before: bytes | None = self._lock or None
        if before is None and (running := current_round(self._store, _LOCK)) is not None:
            if not over(running):
                raise Conflict(
                    f"Another process ({running.pid} on {running.host}) is freeing storage.",
                    next_step="Let it end; one that was killed on another host is passed over after ten minutes.",
                )
            before = msgspec.json.encode(running)
        self._locked_until = time.time() + _LOCK_S
        new = msgspec.json.encode(self._round(self._locked_until))
        if not self._store.swap(_LOCK, before, new):
            raise Conflict("Another process has begun to free storage.", next_step="Let it end.")
        self._lock = new

    def unlock(self) -> None:
        """Let others collect."""
        self._store.swap(_LOCK, self._lock, msgspec.json.encode(self._round(0.0)))

    @contextmanager
    def round(self) -> Iterator[list[str]]:
        """Announce a round, and give the digests of the claims that are new since the last one."""
        self.lock()
        self._number += 1
        self.until = time.time() + _ROUND_S
        self._store.write(ROUND, msgspec.json.encode(self._round(self.until)))
        try:
            yield list(self._new_claims())
        finally:
            self._store.delete(ROUND)

    def _round(self, until: float) -> Round:
        return Round(self._name, self._number, until, socket.gethostname(), os.getpid())

    def _new_claims(self) -> Iterator[str]:
        oldest = time.time() - CLAIM_HOLDS_S
        for key, _ in list(self._store.list(CLAIMS)):
            if key in self._read:
                continue
            if claimed_at(key) < oldest:
                self._store.delete(key)
                continue
            self._read.add(key)
            with suppress(NotFound):
                yield from (one.hex() for one in _cut(b"".join(self._store.read(key))))


@contextmanager
def collecting(store: ByteStore) -> Iterator[Rounds]:
    """Be the one who collects in this store.

    Raises:
        Conflict: Another process collects.
    """
    rounds = Rounds(store)
    rounds.lock()
    try:
        yield rounds
    finally:
        rounds.unlock()


def sweep(
    repository: Repository,
    needed: Needed,
    judge: Judge,
    rounds: Rounds | None,
    *,
    progress: Callable[[Swept], None] = lambda _: None,
) -> Swept:
    """Go through the store, and remove what is not needed and ripe.

    Args:
        repository: The store.
        needed: What is needed, as `mark` found it; it grows by what is claimed meanwhile.
        judge: Decides what may go.
        rounds: Of `collecting`; None only counts what would go.
        progress: Told after each batch.
    """
    swept = Swept()
    present = Digests()
    run = _Sweep(repository, needed, judge, rounds, swept, present)
    for loose in _batches(_loose(repository.store), _BATCH):
        run.loose(loose)
        progress(swept)
    packs = Packs(repository.store)
    sizes = dict(repository.store.list("packs"))
    for key in [key for key, _ in repository.store.list("indexes")]:
        name = key.partition("/")[2]
        run.pack(packs, name, sizes.pop(f"packs/{name}", 0))
        progress(swept)
    # A pack without an index was never acknowledged: its writer was killed, or is about to write the index.
    for key, size in sizes.items():
        run.unfinished(key.partition("/")[2], size)
    for digest in needed:
        if digest not in present:
            swept.missing_count += 1
            if len(swept.missing) < 1000:
                swept.missing.append(digest)
    return swept


class _Sweep:
    def __init__(
        self,
        repository: Repository,
        needed: Needed,
        judge: Judge,
        rounds: Rounds | None,
        swept: Swept,
        present: Digests,
    ) -> None:
        self._repository = repository
        self._needed = needed
        self._judge = judge
        self._rounds = rounds
        self._swept = swept
        self._present = present

    def loose(self, found: Sequence[tuple[str, int]]) -> None:
        """Judge objects that lie each under its own key."""
        self._count(found)
        self._swept.stored_bytes += sum(size for _, size in found)
        sizes = {digest: size for digest, size in found if digest not in self._needed}
        ripe = self._ripe(sizes)
        if not ripe:
            return
        if self._rounds is None:
            self._gone(ripe, sizes)
            return
        self._judge.forget(ripe)
        with self._rounds.round() as claims:
            going = self._confirmed(ripe, claims)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                gone = dict(zip(going, pool.map(self._remove, going), strict=True))
        self._judge.spared([digest for digest in going if not gone[digest]])
        self._gone([digest for digest in going if gone[digest]], sizes)

    def pack(self, packs: Packs, name: str, size: int) -> None:
        """Judge a pack: it stays, goes, or is made anew from what is needed."""
        records = {digest.hex(): (start, length) for digest, start, length in packs.records(name)}
        found = [(digest, length) for digest, (_, length) in records.items()]
        self._count(found)
        self._swept.stored_bytes += size
        sizes = {digest: length for digest, length in found if digest not in self._needed}
        ripe = self._ripe(sizes)
        dead = sum(sizes[digest] for digest in ripe)
        if not records or not ripe:
            return
        whole = len(ripe) == len(records)
        if not whole and dead < _REPACK_BELOW * sum(length for _, length in found):
            self._swept.later += len(ripe)
            self._swept.later_bytes += dead
            return
        if self._rounds is not None:
            self._judge.forget(ripe)
            with self._rounds.round() as claims:
                going = self._confirmed(ripe, claims)
                # Where some are claimed it is looked at again next time, by what is claimed then.
                done = len(going) == len(ripe) and self._rewritten(packs, name, records, set(going))
            if not done:
                self._judge.spared(going)
                return
        self._swept.packs_removed += 1
        self._swept.packs_rewritten += not whole
        heads = FRAME_HEAD.size * len(ripe)
        self._gone(ripe, sizes, extra=size - sum(length for _, length in found) if whole else heads)

    def unfinished(self, name: str, size: int) -> None:
        """Judge a pack that has no index."""
        self._swept.stored_bytes += size
        if not (ripe := self._ripe({name: size})):
            return
        if self._rounds is not None:
            self._judge.forget(ripe)
            with self._rounds.round() as claims:
                if not self._confirmed(ripe, claims) or self._repository.store.size(f"indexes/{name}") is not None:
                    return
                if self._late():
                    return
                self._repository.store.delete(f"packs/{name}")
        self._swept.packs_removed += 1
        self._swept.freed_bytes += size

    def _rewritten(self, packs: Packs, name: str, records: dict[str, tuple[int, int]], going: set[str]) -> bool:
        """Make a pack anew without what goes; returns whether the old one is gone."""
        try:
            if len(going) < len(records):
                body = b"".join(self._repository.store.read(f"packs/{name}"))
                rest = [
                    (digest, body[start : start + length])
                    for digest, (start, length) in records.items()
                    if digest not in going
                ]
                packs.write(rest)
            if self._late():
                return False
            packs.drop(name)
        except UndriftError as error:
            self._failed(error)
            return False
        return True

    def _count(self, found: Sequence[tuple[str, int]]) -> None:
        for digest, _ in found:
            self._present.add(digest)
            self._swept.objects += 1
            self._swept.needed += digest in self._needed

    def _ripe(self, sizes: dict[str, int]) -> list[str]:
        ripe = self._judge.ripe(list(sizes.items())) if sizes else set()
        self._swept.later += len(sizes) - len(ripe)
        self._swept.later_bytes += sum(size for digest, size in sizes.items() if digest not in ripe)
        return sorted(ripe)

    def _confirmed(self, ripe: Sequence[str], claims: Iterable[str]) -> list[str]:
        claimed = [digest for digest in claims if digest not in self._needed]
        # What is claimed may be a folder: then all in it is needed, too.
        mark(
            self._repository,
            (Root(digest, "any", "a writer") for digest in claimed),
            self._needed,
            lambda *_: None,
        )
        free = [digest for digest in ripe if digest not in self._needed]
        return sorted(self._judge.confirm(free)) if free else []

    def _remove(self, digest: str) -> bool:
        if self._late():
            return False
        try:
            self._repository.store.delete(f"objects/{digest[:2]}/{digest[2:]}")
        except UndriftError as error:
            self._failed(error)
            return False
        return True

    def _late(self) -> bool:
        """Say whether the round is nearly over: whoever claims then waits for it no longer."""
        assert self._rounds is not None  # noqa: S101 - only asked when something is to be removed
        return time.time() > self._rounds.until - _MARGIN_S

    def _gone(self, digests: Sequence[str], sizes: dict[str, int], extra: int = 0) -> None:
        self._swept.removed += len(digests)
        self._swept.freed_bytes += sum(sizes[digest] for digest in digests) + extra

    def _failed(self, error: UndriftError) -> None:
        if len(self._swept.errors) < 100:
            self._swept.errors.append(str(error))


def _loose(store: ByteStore) -> Iterator[tuple[str, int]]:
    for key, size in store.list("objects"):
        digest = key.removeprefix("objects/").replace("/", "")
        if len(digest) == 2 * _BYTES:
            yield digest, size


def _batches(items: Iterator[T], count: int) -> Iterator[list[T]]:
    while batch := list(islice(items, count)):
        yield batch


def _cut(run: bytes) -> Iterator[bytes]:
    return (run[at : at + _BYTES] for at in range(0, len(run), _BYTES))
