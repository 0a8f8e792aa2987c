"""Bytes in a folder: one file a key, so that every tool for files can copy, back up and look at them.

A write goes to a new file in ``.tmp``, is flushed, and is renamed to its place; then the folder is flushed. A process
that dies leaves at most a file in ``.tmp``, which no reader looks at and a later start sweeps away. Renames and
deletes hold an advisory lock on ``.lock`` for as long as they take, microseconds; the data is on disk before.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from undrift.blobs.files import PIECE_BYTES, explained, sync_folder, written
from undrift.blobs.names import is_key_part, parse_key
from undrift.core.errors import Conflict, NotFound

__all__ = ["LocalStore"]

_LEFTOVER_AFTER_S = 24 * 3600
_NOTHING_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalStore:
    """A `ByteStore` in a folder, which is made on the first write and is private to the user.

    The folder has to be on one file system, one where a rename is atomic and ``flock`` works (any local one; NFS from
    version 4).
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._temporary = self._root / ".tmp"
        self._settled: set[Path] = set()
        self._sweep()

    def __repr__(self) -> str:
        return f"LocalStore({str(self._root)!r})"

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Return the bytes under a key, or a stretch of them, in pieces."""
        path = self._path(key)
        with explained(self._root):
            try:
                file = FileIO(path)
            except _NOTHING_THERE:
                raise NotFound(f"There is nothing under {key!r} in {self!r}.", key=key) from None
            left = max(os.fstat(file.fileno()).st_size - start, 0)
            if length is not None:
                left = min(left, length)
            if left > PIECE_BYTES:
                return self._pieces(file, start, left)
            with file:
                return iter((os.pread(file.fileno(), left, start),))

    def write(self, key: str | Callable[[], str], source: bytes | Iterable[bytes], *, flushed: bool = True) -> None:
        """Put bytes, or all pieces of a source, under a key."""
        if isinstance(key, str):
            parse_key(key)
        pieces = (source,) if isinstance(source, bytes) else source
        with explained(self._root), self._new_file(pieces, flushed=flushed) as new_file:
            path = self._path(key if isinstance(key, str) else key())
            self._settle_below(path)
            with self._locked():
                self._rename(new_file, path)
            if flushed:
                sync_folder(path.parent)

    def size(self, key: str) -> int | None:
        """Return how many bytes are under a key; None when there is nothing."""
        with explained(self._root):
            try:
                found = self._path(key).stat()
            except _NOTHING_THERE:
                return None
            return found.st_size if stat.S_ISREG(found.st_mode) else None

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Give every key below a prefix with its size in bytes."""
        return self._walk(self._path(prefix) if prefix else self._root, prefix)

    def delete(self, key: str) -> None:
        """Remove what is under a key."""
        path = self._path(key)
        with explained(self._root):
            try:
                with self._locked():
                    path.unlink()
            except _NOTHING_THERE:
                return
            sync_folder(path.parent)

    def swap(self, key: str, expected: bytes | None, new: bytes) -> bool:
        """Put `new` under a key if exactly `expected` is there now."""
        path = self._path(key)
        with explained(self._root):
            # Looked at twice: those who come too late should not have to write and flush a file to learn it.
            if self._content(path) != expected:
                return False
            with self._new_file((new,)) as new_file:
                self._settle_below(path)
                with self._locked():
                    if self._content(path) != expected:
                        return False
                    self._rename(new_file, path)
                sync_folder(path.parent)
                return True

    def _path(self, key: str) -> Path:
        return self._root / parse_key(key)

    def _pieces(self, file: FileIO, start: int, left: int) -> Iterator[bytes]:
        with file, explained(self._root):
            file.seek(start)
            while left and (piece := file.read(min(PIECE_BYTES, left))):
                left -= len(piece)
                yield piece

    def _content(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except _NOTHING_THERE:
            return None

    def _walk(self, folder: Path, key: str) -> Iterator[tuple[str, int]]:
        with explained(self._root):
            try:
                entries = list(os.scandir(folder))
            except _NOTHING_THERE:
                return
            # Names that can be no part of a key are not ours: .tmp, .lock, the lost+found of a mounted disk.
            for entry in (entry for entry in entries if is_key_part(entry.name)):
                below = f"{key}/{entry.name}" if key else entry.name
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk(folder / entry.name, below)
                    continue
                with suppress(FileNotFoundError):
                    yield below, entry.stat().st_size

    @contextmanager
    def _new_file(self, pieces: Iterable[bytes], *, flushed: bool = True) -> Iterator[Path]:
        self._settle(self._temporary)
        path = self._temporary / secrets.token_hex(16)
        with written(path, pieces, flushed=flushed):
            yield path

    def _rename(self, new_file: Path, path: Path) -> None:
        try:
            new_file.replace(path)
        except IsADirectoryError:
            raise self._clash(path) from None

    def _settle_below(self, path: Path) -> None:
        try:
            self._settle(path.parent)
        except (FileExistsError, NotADirectoryError):
            raise self._clash(path) from None

    def _clash(self, path: Path) -> Conflict:
        return Conflict(
            f"{path.relative_to(self._root).as_posix()!r} lies below or above another key of {self!r}.",
            next_step="Choose a key that is not a folder of another one, nor in a file.",
        )

    def _settle(self, folder: Path) -> None:
        """Make a folder of the store, and its name durable: once for each folder in the life of this object."""
        if folder in self._settled:
            return
        if folder != self._root:
            self._settle(folder.parent)
            folder.mkdir(mode=0o700, exist_ok=True)
            # Also when it was there: its maker may not have come to this line yet.
            sync_folder(folder.parent)
        elif not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(folder.parent)
        self._settled.add(folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # A file description of its own each time: that is what flock tells apart, threads as well as processes.
        descriptor = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            # Closing would not do: a process forked meanwhile holds a copy, and with it the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _sweep(self) -> None:
        # A store that can only be read must open all the same.
        with suppress(OSError):
            for entry in list(os.scandir(self._temporary)):
                if entry.stat().st_mtime < time.time() - _LEFTOVER_AFTER_S:
                    Path(entry).unlink(missing_ok=True)
