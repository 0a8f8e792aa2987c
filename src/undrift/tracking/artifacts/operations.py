"""What can be done with artifacts; their bytes travel beside the operations (`undrift.transfer`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from undrift.blobs import Entry
from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid, NotFound, TooLarge
from undrift.core.operation import operation
from undrift.tracking.artifacts import records
from undrift.tracking.artifacts.model import (
    Artifact,
    ArtifactEntry,
    ArtifactPage,
    ArtifactTree,
    PutArtifact,
    RootOwner,
    check_artifact_path,
    check_root,
)

__all__ = [
    "ArtifactTreeOf",
    "DeleteArtifacts",
    "FindArtifact",
    "ListArtifacts",
    "MissingObjects",
    "PutArtifacts",
    "artifact_tree",
    "delete_artifacts",
    "find_artifact",
    "find_artifacts",
    "list_artifacts",
    "missing_objects",
    "owner_of",
    "put_artifacts",
    "put_stored",
]

_MOST_ENTRIES = 10_000
_MOST_DIGESTS = 400  # they travel in an address
_MOST_LISTED = 1000


class ListArtifacts(msgspec.Struct, frozen=True):
    """What to list.

    Attributes:
        root: The run or the logged model.
        path: The folder; empty for the top.
        recursive: All files at the path and below it, instead of what is directly in the folder.
        after: Where to go on: ``next_after`` of the page before.
        limit: How many entries at most, 1 to 1,000.
    """

    root: str
    path: str = ""
    recursive: bool = False
    after: str = ""
    limit: int = _MOST_LISTED


class FindArtifact(msgspec.Struct, frozen=True):
    """Which file."""

    root: str
    path: str


class PutArtifacts(msgspec.Struct, frozen=True):
    """Files to put, at most 10,000 a call; the objects are in the store already."""

    root: str
    entries: tuple[PutArtifact, ...]


class DeleteArtifacts(msgspec.Struct, frozen=True):
    """What to remove: a file, or a folder with all below it; everything, when the path is empty."""

    root: str
    path: str = ""


class MissingObjects(msgspec.Struct, frozen=True):
    """Digests to ask about, at most 400 a call."""

    digests: tuple[str, ...]


class ArtifactTreeOf(msgspec.Struct, frozen=True):
    """Of what to make a tree: a file or a folder; everything, when the path is empty."""

    root: str
    path: str = ""


def owner_of(tx: Any, root: str, *, writing: bool = False) -> RootOwner:
    """Return whose a root is.

    Args:
        tx: The transaction.
        root: The run or the logged model.
        writing: It is about to be changed, so it must not be deleted.

    Raises:
        Invalid: It is no id of a run or of a logged model.
        NotFound: There is no such run or logged model.
        Conflict: It is deleted, and about to be changed.
    """
    what = "logged model" if check_root(root).startswith("m-") else "run"
    if (owner := records.owner(tx, root)) is None:
        raise NotFound(f"There is no {what} {root}.", next_step="List what there is.", root=root)
    if writing and owner.state != "active":
        raise Conflict(
            f"The {what} {root} must be in the 'active' state. Current state is {owner.state}.",
            next_step="Restore it first.",
            root=root,
        )
    return owner


@operation("tracking.list_artifacts", permission="tracking:read")
def list_artifacts(ctx: Context, request: ListArtifacts) -> ArtifactPage:
    """List artifacts of a run or a logged model, a page at a time; nothing there is an empty page.

    One level costs what it shows, however many files lie in the folders that it names.

    Raises:
        NotFound: There is no such run or logged model.
    """
    path = check_artifact_path(request.path) if request.path else ""
    if request.after:
        check_artifact_path(request.after.removesuffix("/"))
    limit = max(1, min(request.limit, _MOST_LISTED))
    with ctx.read() as tx:
        owner_of(tx, request.root)
        if request.recursive:
            files = records.below(tx, request.root, path, request.after, limit + 1)
            found = [ArtifactEntry(one.path, "file", one.size_bytes, one.digest) for one in files]
        else:
            found = records.level(tx, request.root, path, request.after, limit + 1)
    if len(found) <= limit:
        return ArtifactPage(tuple(found))
    last = found[limit - 1]
    return ArtifactPage(tuple(found[:limit]), last.path + "/" * (last.kind == "folder"))


@operation("tracking.find_artifact", permission="tracking:read")
def find_artifact(ctx: Context, request: FindArtifact) -> Artifact:
    """Return a file of a run or a logged model: its object, its size, when it came.

    Raises:
        NotFound: There is no such file, run or logged model.
    """
    check_artifact_path(request.path)
    with ctx.read() as tx:
        owner_of(tx, request.root)
        found = records.find(tx, request.root, request.path)
    if found is None:
        raise NotFound(f"No such artifact: {request.path!r}.", next_step="List what is there.", path=request.path)
    return found


def find_artifacts(ctx: Context, root: str, paths: Sequence[str]) -> list[Artifact]:
    """Return the files at these paths, in order.

    Raises:
        Forbidden: The actor may not read.
        NotFound: There is no such run or logged model, or no file at one of the paths.
    """
    ctx.policy.check(ctx.actor, "tracking:read")
    for path in paths:
        check_artifact_path(path)
    with ctx.read() as tx:
        owner_of(tx, root)
        found = records.find_many(tx, root, paths)
    for path in paths:
        if path not in found:
            raise NotFound(f"No such artifact: {path!r}.", next_step="List what is there.", path=path)
    return [found[path] for path in paths]


@operation("tracking.missing_objects", permission="tracking:read")
def missing_objects(ctx: Context, request: MissingObjects) -> list[str]:
    """Return those of these objects that are not in the store and have to be uploaded.

    Raises:
        TooLarge: More than 400 digests in one call.
    """
    if len(request.digests) > _MOST_DIGESTS:
        raise TooLarge(f"{len(request.digests)} digests in one call.", next_step=f"Ask about {_MOST_DIGESTS} at most.")
    sizes = ctx.repository.objects.sizes(request.digests)
    return [digest for digest, size in zip(request.digests, sizes, strict=True) if size is None]


@operation("tracking.put_artifacts", permission="tracking:write", emits=("artifacts.added",))
def put_artifacts(ctx: Context, request: PutArtifacts) -> None:
    """Put files into a run or a logged model, all or none, in place of those of the same path.

    Raises:
        NotFound: There is no such run or logged model, or one of the objects is not in the store.
        Conflict: The run or logged model is deleted, or a file would take the place of a folder.
        TooLarge: More than 10,000 files in one call.
    """
    if len(request.entries) > _MOST_ENTRIES:
        raise TooLarge(f"{len(request.entries)} files in one call.", next_step=f"Put {_MOST_ENTRIES} at most.")
    for entry in request.entries:
        check_artifact_path(entry.path)
    digests = [entry.digest for entry in request.entries]
    for entry, size in zip(request.entries, ctx.repository.objects.sizes(digests), strict=True):
        if size is None:
            raise NotFound(
                f"There is no object {entry.digest} for {entry.path!r}.",
                next_step="Upload its bytes first.",
                object=entry.digest,
            )
        if size != entry.size_bytes:
            raise Invalid(f"Object {entry.digest} for {entry.path!r} has {size} bytes, not {entry.size_bytes}.")
    put_stored(ctx, request)


def put_stored(ctx: Context, request: PutArtifacts) -> None:
    """Put files whose objects the caller has stored in this very call, and need not be looked for.

    Raises:
        NotFound: There is no such run or logged model.
        Conflict: It is deleted, or a file would take the place of a folder.
        Forbidden: The actor may not.
    """
    ctx.policy.check(ctx.actor, "tracking:write")
    paths = [check_artifact_path(entry.path) for entry in request.entries]
    _check_apart(paths)
    with ctx.begin() as tx:
        owner = owner_of(tx, request.root, writing=True)
        if (clash := records.clash(tx, request.root, paths)) is not None:
            raise Conflict(
                f"{clash[0]!r} and {clash[1]!r} cannot both be there: one would be a folder of the other.",
                next_step="Choose another name, or delete what is there first.",
            )
        if not request.entries:
            return
        records.add(tx, request.root, request.entries, ctx.now())
        ctx.emit(
            "artifacts.added",
            _subject(request.root),
            project=owner.project,
            files=len(paths),
            size_bytes=sum(entry.size_bytes for entry in request.entries),
            first=paths[0],
        )


@operation("tracking.delete_artifacts", permission="tracking:write", emits=("artifacts.removed",))
def delete_artifacts(ctx: Context, request: DeleteArtifacts) -> int:
    """Remove a file, or a folder with all below it, and return how many files went; none there is no error.

    The bytes stay until nothing needs them: versions of models that were made of them keep them.

    Raises:
        NotFound: There is no such run or logged model.
        Conflict: It is deleted.
    """
    path = check_artifact_path(request.path) if request.path else ""
    with ctx.begin() as tx:
        owner = owner_of(tx, request.root, writing=True)
        removed = records.remove(tx, request.root, path)
        if removed:
            ctx.emit("artifacts.removed", _subject(request.root), project=owner.project, files=removed, path=path)
        return removed


@operation("tracking.artifact_tree", permission="tracking:read")
def artifact_tree(ctx: Context, request: ArtifactTreeOf) -> ArtifactTree:
    """Return an immutable tree of what is at a path and below it now; no bytes are copied.

    Of a file it is a tree with that file alone.

    Raises:
        NotFound: There is no such run or logged model, or nothing at the path.
    """
    path = check_artifact_path(request.path) if request.path else ""
    files: list[Artifact] = []
    with ctx.read() as tx:
        owner_of(tx, request.root)
        while page := records.below(tx, request.root, path, files[-1].path if files else "", _MOST_ENTRIES):
            files.extend(page)
            if len(page) < _MOST_ENTRIES:
                break
    if not files:
        raise NotFound(f"No such artifact: {path!r}.", next_step="List what is there.", path=path)
    # Of a file, its own name; of a folder, the names in it.
    cut = path.rpartition("/")[0] if files[0].path == path else path
    start = len(cut) + 1 if cut else 0
    entries = {
        one.path[start:]: Entry(one.path.rpartition("/")[2], "blob", one.digest, one.size_bytes) for one in files
    }
    return ArtifactTree(ctx.repository.trees.edit(None, entries), len(files), sum(one.size_bytes for one in files))


def _subject(root: str) -> str:
    return f"models/{root}" if root.startswith("m-") else f"runs/{root}"


def _check_apart(paths: list[str]) -> None:
    """Refuse paths of one call that come twice, or of which one lies below another."""
    # With "/" sorted first, what lies below a path comes right after it.
    for before, after in pairwise(sorted(path.replace("/", "\0") for path in paths)):
        if after == before or after.startswith(f"{before}\0"):
            one, other = before.replace("\0", "/"), after.replace("\0", "/")
            raise Invalid(f"{one!r} and {other!r} cannot both be put in one call.", next_step="Put one of them.")
