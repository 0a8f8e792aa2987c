"""Everything that stands on a byte store, in one hand."""

from __future__ import annotations

from undrift.blobs.commits import Commits
from undrift.blobs.objects import Objects
from undrift.blobs.ports import ByteStore
from undrift.blobs.refs import Refs
from undrift.blobs.trees import Trees
from undrift.blobs.uploads import Uploads

__all__ = ["Repository"]


class Repository:
    """A versioned store over any byte store.

    It keeps nothing of its own: any number of them, in any number of processes, may stand on the same bytes.

    Attributes:
        objects: Bytes by the hash of their bytes.
        trees: Folders of objects.
        commits: Versions of trees.
        refs: Names that move from commit to commit.
        uploads: Large objects that arrive in parts.
        store: The bytes below them all.

    >>> from undrift.blobs import Commit, open_store
    >>> from undrift.core.clock import parse_time
    >>> repository = Repository(open_store("memory://"))
    >>> tree = repository.trees.edit(None, {"notes/first.txt": b"clear skies"})
    >>> version = repository.commits.write(
    ...     Commit(tree=tree, author="ada", message="Begin", time=parse_time("2013-01-01"))
    ... )
    >>> repository.refs.move("datasets/notes/main", None, version)
    >>> repository.trees.get(repository.commits.read(version).tree, "notes/first.txt")
    b'clear skies'
    """

    def __init__(self, store: ByteStore) -> None:
        self.store = store
        self.objects = Objects(store)
        self.trees = Trees(self.objects)
        self.commits = Commits(self.objects)
        self.refs = Refs(store, self.objects)
        self.uploads = Uploads(store, self.objects)
