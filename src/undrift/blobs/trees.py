"""Trees: folders of objects, each folder an object of its own, so that a change costs one path and not the whole.

A tree is stored as JSON with its entries in the order of their names. The same files give the same bytes, and so the
same digest, in whatever order they came. There are no links, no permissions, and no empty folders below the top.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from undrift.blobs.files import explained
from undrift.blobs.names import ENTRY_NAME, parse_path
from undrift.blobs.objects import DIGEST, Objects
from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.core.hashing import hash_bytes

__all__ = ["Entry", "Source", "Tree", "Trees"]


class Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One name in a tree.

    Attributes:
        name: The file's or folder's own name.
        kind: ``blob``, a file, or ``tree``, a folder.
        digest: The object that holds the file's bytes or the folder's tree.
        size_bytes: The size of the file, or of all files in the folder and below.
    """

    name: Annotated[str, msgspec.Meta(pattern=ENTRY_NAME)]
    kind: Literal["blob", "tree"]
    digest: Annotated[str, msgspec.Meta(pattern=DIGEST)]
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]


class Tree(msgspec.Struct, frozen=True, tag_field="type", tag="tree", forbid_unknown_fields=True):
    """A folder: its entries, in the order of their names."""

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        if not all(one.name < other.name for one, other in pairwise(self.entries)):
            raise ValueError("the entries are not in the order of their names, or one comes twice")

    @property
    def size_bytes(self) -> int:
        """The size of all files in the folder and below."""
        return sum(entry.size_bytes for entry in self.entries)


Source: TypeAlias = bytes | Path | str | Entry
"""What can be put at a path: bytes, a file to read, the digest of an object in the store, or an entry of a tree."""

_Plan: TypeAlias = "dict[str, str | _Plan]"  # by name: the plan for a folder, or the path that is changed

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Tree).decode
_name_of = attrgetter("name")
_EMPTY = hash_bytes(_encode(Tree(())))


class Trees:
    """The trees in a store. Every method can also raise what the byte store raises: `Unavailable`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def read(self, digest: str, *, needed_by: str = "") -> Tree:
        """Return a tree.

        Args:
            digest: The tree.
            needed_by: What refers to the tree, in words. With it, a tree that is not there is a damage.

        Raises:
            NotFound: There is no such object.
            Invalid: The object is not a tree.
            Corrupt: The stored bytes are not what was stored, or are gone although something refers to them.
        """
        try:
            return _decode(self._objects.get(digest, needed_by=needed_by))
        except msgspec.DecodeError:
            raise Invalid(f"Object {digest} is not a tree.", object=digest) from None

    def edit(self, root: str | None, changes: Mapping[str, Source | None]) -> str:
        """Return the tree that comes of putting sources at paths, and of removing the paths whose source is None.

        Only the trees along the changed paths are read and written. Removing a folder removes all in it; a folder
        that becomes empty goes, too. An entry of kind ``tree`` puts a whole folder at the path, without reading it.

        Args:
            root: The tree to start from; None starts from an empty one.
            changes: A source, or None, for each path. Text is a digest; pass the content of a text file as bytes.

        Raises:
            Invalid: A path is not safe, one of the paths lies below another, or a digest is not well formed.
            NotFound: There is no such root, nothing at a path to remove, no such file, or no object of a digest.
            Conflict: A file would take the place of a folder, or a folder that of a file; or a file that was being
                stored changed.
            Corrupt: A tree on the way is damaged.
        """
        planned = _planned(changes)
        new: list[bytes] = []
        before = None if root is None else self.read(root)
        top = self._changed(before, planned, self._entries(changes), new, f"tree {root}")
        return self._objects.put_many([*new, _encode(top)])[-1][0]

    def add_folder(self, folder: Path) -> str:
        """Store all files in a folder and below, and return the tree.

        Raises:
            NotFound: There is no such folder.
            Invalid: There is something else than files and folders in it, such as a link, or a name that is not safe.
            Conflict: A file changed while it was being stored.
        """
        return self.edit(None, dict(_files_below(folder, "")))

    def find(self, root: str, path: str) -> Entry:
        """Return what is at a path.

        Raises:
            Invalid: The path is not safe, or the root is not a tree.
            NotFound: There is nothing at the path, or no such root.
            Corrupt: A tree on the way is damaged.
        """
        *folders, name = parse_path(path)
        tree = self.read(root)
        for folder in folders:
            entry = _entry(tree, folder)
            if entry is None or entry.kind != "tree":
                raise _nothing_at(path, root)
            tree = self.read(entry.digest, needed_by=f"tree {root}")
        if (entry := _entry(tree, name)) is None:
            raise _nothing_at(path, root)
        return entry

    def get(self, root: str, path: str) -> bytes:
        """Return the bytes of the file at a path.

        Raises:
            Invalid: The path is not safe or leads to a folder, or the root is not a tree.
            NotFound: There is nothing at the path, or no such root.
            Corrupt: The file, or a tree on the way, is damaged.
        """
        entry = self.find(root, path)
        if entry.kind == "tree":
            raise Invalid(f"{path!r} is a folder in tree {root}.", next_step="Name a file in it.")
        return self._objects.get(entry.digest, needed_by=f"{path!r} in tree {root}")

    def walk(self, root: str) -> Iterator[tuple[str, Entry]]:
        """Give the path and the entry of every file, folder by folder, in the order of the names in each.

        Trees are read as the walk comes to them.

        Raises:
            NotFound: There is no such root.
            Invalid: The root is not a tree.
            Corrupt: A tree on the way is damaged.
        """
        yield from self._walk(self.read(root), "", root)

    def _walk(self, tree: Tree, above: str, root: str) -> Iterator[tuple[str, Entry]]:
        for entry in tree.entries:
            path = above + entry.name
            if entry.kind == "blob":
                yield path, entry
            else:
                # A tree made by hand could be deeper than any that `edit` makes.
                parse_path(path)
                needed_by = f"{path!r} in tree {root}"
                yield from self._walk(self.read(entry.digest, needed_by=needed_by), f"{path}/", root)

    def _entries(self, changes: Mapping[str, Source | None]) -> dict[str, Entry | None]:
        fresh = {path: source for path, source in changes.items() if isinstance(source, bytes | Path)}
        stored = dict(zip(fresh, self._objects.put_many(fresh.values()), strict=True))
        named = [
            one if isinstance(one, str) else one.digest for one in changes.values() if isinstance(one, str | Entry)
        ]
        sizes = dict(zip(named, self._objects.sizes(named), strict=True))
        entries: dict[str, Entry | None] = {}
        for path, source in changes.items():
            name = path.rpartition("/")[2]
            if source is None:
                entries[path] = None
            elif isinstance(source, bytes | Path):
                entries[path] = Entry(name, "blob", *stored[path])
            else:
                digest = source if isinstance(source, str) else source.digest
                if (size := sizes[digest]) is None:
                    raise NotFound(f"There is no object {digest} to put at {path!r}.", object=digest)
                if isinstance(source, str) or source.kind == "blob":
                    entries[path] = Entry(name, "blob", digest, size)
                else:
                    entries[path] = _folder(name, source)
        return entries

    def _changed(
        self, tree: Tree | None, planned: _Plan, entries: Mapping[str, Entry | None], new: list[bytes], needed_by: str
    ) -> Tree:
        """Return a changed tree; the changed trees below it are added to `new`, ready to be stored."""
        present = {} if tree is None else {entry.name: entry for entry in tree.entries}
        for name, change in planned.items():
            before = present.get(name)
            if isinstance(change, str):
                after = entries[change]
                if before is None and after is None:
                    raise NotFound(f"There is nothing at {change!r} to remove.")
            else:
                if before is not None and before.kind == "blob":
                    raise _other_kind(before)
                folder = None if before is None else self.read(before.digest, needed_by=needed_by)
                below = self._changed(folder, change, entries, new, needed_by)
                new.append(_encode(below))
                after = Entry(name, "tree", hash_bytes(new[-1]), below.size_bytes) if below.entries else None
            if after is None:
                del present[name]
            elif before is not None and before.kind != after.kind:
                raise _other_kind(before)
            else:
                present[name] = after
        return Tree(tuple(sorted(present.values(), key=_name_of)))


def _planned(changes: Iterable[str]) -> _Plan:
    top: _Plan = {}
    for path in changes:
        *folders, name = parse_path(path)
        place = top
        for folder in folders:
            below = place.setdefault(folder, {})
            if isinstance(below, str):
                raise _one_below_the_other(path, below)
            place = below
        if name in place:
            raise _one_below_the_other(path, f"{path}/...")
        place[name] = path
    return top


def _folder(name: str, entry: Entry) -> Entry:
    if entry.digest == _EMPTY:
        raise Invalid("An empty folder cannot be put in a tree.", next_step="Leave it out.")
    try:
        return msgspec.convert((name, entry.kind, entry.digest, entry.size_bytes), Entry)
    except msgspec.ValidationError as error:
        raise Invalid(f"This is no entry of a tree: {error}.") from None


def _entry(tree: Tree, name: str) -> Entry | None:
    at = bisect_left(tree.entries, name, key=_name_of)
    return tree.entries[at] if at < len(tree.entries) and tree.entries[at].name == name else None


def _files_below(folder: Path, above: str) -> Iterator[tuple[str, Path]]:
    with explained(folder):
        try:
            found = list(os.scandir(folder))
        except FileNotFoundError:
            raise NotFound(f"There is no folder {str(folder)!r}.") from None
        for entry in found:
            path = above + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(folder / entry.name, f"{path}/")
            elif entry.is_file(follow_symlinks=False):
                yield path, folder / entry.name
            else:
                raise Invalid(
                    f"{str(folder / entry.name)!r} is not a file: a tree holds no links, devices or pipes.",
                    next_step="Replace it by what it stands for, or remove it from the folder.",
                )


def _one_below_the_other(path: str, other: str) -> Invalid:
    return Invalid(f"{path!r} and {other!r} cannot both be in a tree.", next_step="Change one at a time.")


def _nothing_at(path: str, root: str) -> NotFound:
    return NotFound(f"There is nothing at {path!r} in tree {root}.")


def _other_kind(before: Entry) -> Conflict:
    return Conflict(
        f"{before.name!r} is a {'file' if before.kind == 'blob' else 'folder'}, and would become something else.",
        next_step="Remove it first, in an edit of its own, or choose another name.",
    )
