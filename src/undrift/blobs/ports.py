"""What a place that keeps bytes must do; the folder, the bucket and the memory of `undrift.blobs.stores` do it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

__all__ = ["ByteStore"]


class ByteStore(Protocol):
    """Keeps bytes under keys.

    * A key shows whole bytes or none: whoever reads while another writes gets the bytes from before or from after.
    * Once `write`, `swap` or `delete` has returned, the change outlives a crash of the process and of the host, as far
      as the place keeps anything at all (memory does not); a `write` that need not be `flushed`, of the process alone.
    * When one of them raises `Unavailable`, the change was made whole or not at all, and it may not be known which (an
      answer was lost, a disk failed at the last step). Read before you do it again. When one of them raises anything
      else, the key is as it was.
    * `swap` is atomic with respect to every other `write`, `swap` and `delete`, of other threads and other processes.
    * All methods may be called from many threads. A store is not carried over a fork; open it anew in the child.
    * Bytes come back as the place gives them. Whether they are still those that were written is for the reader to
      check, as `undrift.blobs.Objects` does.
    * Keys are parsed by `undrift.blobs.names.parse_key`. A key should not lie below another key (``a`` and ``a/b``):
      some stores can hold both, others say `Conflict`.

    Every method raises `Invalid` for a key that is not safe, and `Unavailable` when the place is away, full, or refuses
    undrift access; the sentence names the place and the key, and no secret.
    """

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Return the bytes under a key, or a stretch of them, in pieces, so that memory does not follow the size.

        The store is asked before this returns: what is missing is known at once, not at the first piece.

        Args:
            key: Where.
            start: The first byte, from 0.
            length: How many bytes at most; None goes on to the end. What lies beyond the end is left out.

        Raises:
            NotFound: There is nothing under this key.
        """

    def write(self, key: str | Callable[[], str], source: bytes | Iterable[bytes], *, flushed: bool = True) -> None:
        """Put bytes, or all pieces of a source, under a key, in place of what may be there.

        A key that is known only when the last piece has come (the hash of them all) is a function: it is called after
        that piece, once.

        The pieces become visible together after the last one. When the source raises, its exception comes through
        and the key is as it was. (Not an `OSError`: a store could take it for its own. A source turns it into an
        error of undrift.)

        Args:
            key: Where.
            source: What.
            flushed: Whether it has to outlive a crash of the host. Without, what is found after one may be damaged:
                for what is looked at again before anybody relies on it.

        Raises:
            Conflict: The key lies below or above another one, and the store cannot hold both.
        """

    def size(self, key: str) -> int | None:
        """Return how many bytes are under a key; None when there is nothing."""

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Give every key below a prefix with its size in bytes, in no particular order.

        A prefix is a whole folder: ``a/b`` covers ``a/b/c``, but neither ``a/b`` itself nor ``a/bc``. Nothing there is
        no error. What is written or deleted meanwhile may be left out or given.
        """

    def delete(self, key: str) -> None:
        """Remove what is under a key. Nothing there is no error."""

    def swap(self, key: str, expected: bytes | None, new: bytes) -> bool:
        """Put `new` under a key if exactly `expected` is there now (None: nothing), and say whether it was.

        False means that nothing was changed. For small values: both are held in memory.

        Raises:
            Conflict: The key lies below or above another one, and the store cannot hold both.
        """
