"""The artifacts a model server keeps on its own disk, so that it starts when the store is away.

``<folder>/<digest>/`` holds ``tree.json`` (the tree's bytes, whose hash is the digest), ``model.onnx`` and
``signature.json``. A folder appears whole (made beside, then renamed), and is verified whenever it is read: what is
loaded are the bytes that were checked.
"""

from __future__ import annotations

import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec

from undrift.blobs import Repository, Tree
from undrift.core.errors import Invalid, NotFound
from undrift.core.hashing import hash_bytes
from undrift.serving.runtime import MODEL_FILE, SIGNATURE_FILE, Runtime

__all__ = ["Artifacts"]

_TREE_FILE = "tree.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEPT = 12


class Artifacts:
    """Loads artifacts: from the folder when they are there and undamaged, from the store otherwise.

    Args:
        repository: Where they come from.
        folder: Where copies are kept; made when it is not there.
    """

    def __init__(self, repository: Repository, folder: Path) -> None:
        self._repository = repository
        self._folder = folder

    def load(self, digest: str) -> Runtime:
        """Load an artifact.

        Raises:
            Invalid: It is not a digest.
            NotFound: There is no such artifact.
            Unavailable: It is not in the folder, and the store is away.
            Corrupt: It was altered, or it cannot be served.
        """
        kept = self._kept(digest) or self._fetch(digest)
        return Runtime(digest, kept[MODEL_FILE], kept[SIGNATURE_FILE])

    def load_kept(self, digest: str) -> Runtime:
        """Load an artifact from the folder; the store is not asked.

        Raises:
            Invalid: It is not a digest.
            NotFound: There is no undamaged copy.
            Corrupt: It cannot be served.
        """
        kept = self._kept(digest)
        if kept is None:
            raise NotFound(f"There is no undamaged copy of artifact {digest} in {self._folder}.", artifact=digest)
        return Runtime(digest, kept[MODEL_FILE], kept[SIGNATURE_FILE])

    def prune(self, in_use: set[str]) -> None:
        """Remove copies that no route uses, but for the newest few: a roll-back should not wait for the store."""
        with suppress(OSError):
            others = [path for path in self._folder.iterdir() if path.is_dir() and path.name not in in_use]
            others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
            for path in others[_KEPT:]:
                shutil.rmtree(path, ignore_errors=True)

    def _kept(self, digest: str) -> dict[str, bytes] | None:
        if _DIGEST.fullmatch(digest) is None:
            raise Invalid(f"{digest[:80]!r} is not the digest of an artifact.")
        folder = self._folder / digest
        try:
            found = {name: (folder / name).read_bytes() for name in (_TREE_FILE, MODEL_FILE, SIGNATURE_FILE)}
        except OSError:
            return None
        if hash_bytes(found[_TREE_FILE]) == digest:
            tree = msgspec.json.decode(found[_TREE_FILE], type=Tree)
            digests = {entry.name: entry.digest for entry in tree.entries}
            if all(hash_bytes(found[name]) == digests.get(name) for name in (MODEL_FILE, SIGNATURE_FILE)):
                return found
        # Damaged: the store has the original.
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def _fetch(self, digest: str) -> dict[str, bytes]:
        found = {
            _TREE_FILE: self._repository.objects.get(digest),
            MODEL_FILE: self._repository.trees.get(digest, MODEL_FILE),
            SIGNATURE_FILE: self._repository.trees.get(digest, SIGNATURE_FILE),
        }
        # A full disk is no reason not to serve what is in memory now.
        with suppress(OSError):
            self._keep(digest, found)
        return found

    def _keep(self, digest: str, found: dict[str, bytes]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        making = self._folder / f".{secrets.token_hex(16)}.part"
        try:
            making.mkdir(mode=0o700)
            for name, content in found.items():
                (making / name).write_bytes(content)
            making.rename(self._folder / digest)
        finally:
            shutil.rmtree(making, ignore_errors=True)
