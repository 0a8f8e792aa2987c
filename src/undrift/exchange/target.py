"""The workspace that an import goes to, and an export comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from undrift.blobs import Entry
from undrift.core.context import Context
from undrift.core.errors import Invalid
from undrift.core.ids import derive_id
from undrift.core.operation import Operation
from undrift.events import Event, read_after
from undrift.exchange.model import batches
from undrift.tracking import FindOwners, find_owners

__all__ = ["Here"]

I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
# Of ids that are derived, the time says nothing: it only has to be the same each time.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Here:
    """A project of the workspace of this process.

    Args:
        context: Makes the context of one call.
        project: Which project.
    """

    def __init__(self, context: Callable[[], Context], project: str) -> None:
        self._context = context
        self._repository = context().repository
        self._ids: dict[str, str] = {}
        self.project = project

    def call(self, operation: Operation[I, O], request: I) -> O:
        """Call an operation."""
        return operation(self._context(), request)

    # --- Ids ---

    def resolve(self, ids: Iterable[str]) -> None:
        """Decide what ids of runs and logged models become, many at once.

        They stay when they can be kept and no other project has them; others are derived, the same each time.
        """
        for some in batches({id_ for id_ in ids if id_ and id_ not in self._ids}, 400):
            fitting = tuple(id_ for id_ in some if _RUN_ID.fullmatch(id_) or _MODEL_ID.fullmatch(id_))
            owners = self.call(find_owners, FindOwners(fitting)) if fitting else {}
            for id_ in some:
                kept = id_ in fitting and owners.get(id_, self.project) == self.project
                derived = derive_id(_EPOCH, "import", self.project, id_)
                self._ids[id_] = id_ if kept else f"m-{derived}" if id_.startswith("m-") else derived

    def run_id(self, id_: str) -> str:
        """Return what the id of a run has become."""
        self.resolve([id_])
        return self._ids[id_].removeprefix("m-")

    def model_id(self, id_: str) -> str:
        """Return what the id of a logged model has become."""
        self.resolve([id_])
        found = self._ids[id_]
        return found if found.startswith("m-") else f"m-{found}"

    # --- Bytes ---

    def keep(self, sources: Sequence[bytes]) -> list[tuple[str, int]]:
        """Store small files and return the digest and the size of each."""
        return self._repository.objects.put_many(sources)

    def keep_stream(self, pieces: Iterable[bytes], digest: str | None = None) -> tuple[str, int]:
        """Store a large file and return its digest and its size; another digest than the one said is refused."""
        return self._repository.objects.put_stream(pieces, digest=digest)

    def keep_tree(self, entries: Mapping[str, tuple[str, int]]) -> str:
        """Store a tree of objects that are there, by path with digest and size, and return its digest."""
        made = {path: Entry(path.rpartition("/")[2], "blob", digest, size) for path, (digest, size) in entries.items()}
        return self._repository.trees.edit(None, made)

    def read(self, digest: str) -> Iterator[bytes]:
        """Return the bytes of an object in pieces, verified."""
        return self._repository.objects.read(digest)

    def sizes(self, digests: Sequence[str]) -> list[int | None]:
        """Return the size of each object; None for one that is not in the store."""
        return self._repository.objects.sizes(digests)

    def objects_of_tree(self, digest: str, path: str = "") -> Iterator[tuple[str, str]]:
        """Give the digests of a tree and of all below it, each with the path of its file; folders have none."""
        yield digest, ""
        for entry in self._repository.trees.read(digest).entries:
            inner = f"{path}{entry.name}"
            if entry.kind == "tree":
                yield from self.objects_of_tree(entry.digest, f"{inner}/")
            else:
                yield entry.digest, inner

    def objects_of_commit(self, digest: str) -> Iterator[str]:
        """Give the digests of a commit and of what it names, without the commits it came from."""
        yield digest
        try:
            commit = self._repository.commits.read(digest)
        except Invalid:  # an object like any other
            return
        yield from (found for found, _ in self.objects_of_tree(commit.tree))
        yield from (one for one in (commit.schema, commit.profile) if one is not None)

    # --- The log ---

    def events(self) -> Iterator[Event]:
        """Give the events of the project, oldest first."""
        position = 0
        while True:
            with self._context().read() as tx:
                page = read_after(tx, position, limit=1_000)
            if not page:
                return
            yield from (event for event in page if event.project == self.project)
            position = page[-1].position
