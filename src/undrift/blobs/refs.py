"""Refs: names such as ``datasets/<id>/main``, each standing at one object, and moved only from where it is known to be.

A ref is a small file with a digest, under the key ``refs/<name>.ref``. The ending lets ``a`` and ``a/b`` both be names.
"""

from __future__ import annotations

from collections.abc import Iterator

from undrift.blobs.names import parse_key
from undrift.blobs.objects import Objects, check_digest
from undrift.blobs.ports import ByteStore
from undrift.core.errors import Conflict, Corrupt, Invalid, NotFound

__all__ = ["Refs"]

_ENDING = ".ref"
_TRIES = 5  # a ref that moved away and back, or a store that says no because two asked at once


class Refs:
    """The refs in a store. Every method can also raise what the byte store raises: `Unavailable`.

    Names are made like keys: parts of letters, digits, ``.``, ``_`` and ``-``, joined by ``/``. No part ends in
    ``.ref``.
    """

    def __init__(self, store: ByteStore, objects: Objects) -> None:
        self._store = store
        self._objects = objects

    def read(self, name: str) -> str:
        """Return the digest a ref stands at.

        Raises:
            Invalid: The name is not well formed.
            NotFound: There is no such ref.
            Corrupt: What is stored under the name is not a digest.
        """
        if (digest := self._standing_at(name)) is None:
            raise NotFound(f"There is no ref {name!r}.", ref=name)
        return digest

    def list(self, prefix: str = "") -> Iterator[str]:
        """Give the names of all refs below a prefix, a whole folder, in no particular order.

        Raises:
            Invalid: The prefix is not well formed.
        """
        below = self._store.list("refs/" + parse_key(prefix) if prefix else "refs")
        return (key.removeprefix("refs/").removesuffix(_ENDING) for key, _ in below if key.endswith(_ENDING))

    def move(self, name: str, expected: str | None, new: str) -> None:
        """Move a ref from where it is known to stand (None: it does not exist) to another object.

        To move it to where it stands already is no error, whatever was expected. So a move whose answer was lost can
        be asked again.

        Raises:
            Invalid: The name or a digest is not well formed.
            NotFound: The new object is not in the store.
            Conflict: The ref stands somewhere else; the detail ``actual`` says where (None: it does not exist).
            Corrupt: What is stored under the name is not a digest.
        """
        key = _key(name)
        if self._objects.size(new) is None:
            raise NotFound(f"There is no object {new} for ref {name!r} to stand at.", object=new)
        before = None if expected is None else check_digest(expected).encode()
        actual = expected
        for _ in range(_TRIES):
            if self._store.swap(key, before, new.encode()):
                return
            actual = self._standing_at(name)
            if actual == new:
                return
            if actual != expected:
                break
        raise Conflict(
            f"Ref {name!r} moved meanwhile: expected at {expected or 'nothing'}, it stands at {actual or 'nothing'}.",
            next_step="Read it again, and decide whether your change still holds.",
            ref=name,
            expected=expected,
            actual=actual,
        )

    def delete(self, name: str) -> None:
        """Remove a ref, wherever it stands. That there is none is no error. The objects stay.

        Raises:
            Invalid: The name is not well formed.
        """
        self._store.delete(_key(name))

    def _standing_at(self, name: str) -> str | None:
        try:
            stored = b"".join(self._store.read(_key(name)))
        except NotFound:
            return None
        try:
            return check_digest(stored.decode("ascii"))
        except (UnicodeDecodeError, Invalid):
            raise Corrupt(
                f"Ref {name!r} in {self._store!r} was altered: it does not hold a digest.",
                next_step=f"Restore {_key(name)!r} from a backup, or delete it and move it to where it belongs.",
                ref=name,
            ) from None


def _key(name: str) -> str:
    if any(part.endswith(_ENDING) for part in name.split("/")):
        raise Invalid(f"{name[:80]!r} cannot name a ref.", next_step=f"No part of the name may end in {_ENDING!r}.")
    return parse_key(f"refs/{name}{_ENDING}")
