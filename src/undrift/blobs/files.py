"""Files that appear whole or not at all, and sentences for what a file system refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from undrift.core.errors import Unavailable

__all__ = ["PIECE_BYTES", "explained", "sync_folder", "written"]

PIECE_BYTES = 1 << 20
_STRETCH_BYTES = 16 << 20
_SYNC_FILE_RANGE_WRITE = 2  # of sync_file_range(2): begin to write, and wait for nothing

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


@contextmanager
def written(path: Path, pieces: Iterable[bytes], *, flushed: bool = True) -> Iterator[None]:
    """Write a new private file, flush it to disk, and hold it for the body, which renames it to its place.

    Whatever happens, nothing stays under `path`.

    Args:
        path: Where.
        pieces: What.
        flushed: Whether it has to outlive a crash of the host, and not only of the process.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            size = begun = 0
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                size += len(piece)
                if flushed and size - begun >= _STRETCH_BYTES:
                    _begin_to_flush(descriptor, begun, size - begun)
                    begun = size
            if flushed:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        yield
    finally:
        path.unlink(missing_ok=True)


def _begin_to_flush(descriptor: int, start: int, length: int) -> None:
    # The disk works while more comes, and not only after the last byte. Where the system cannot, the flush at the end
    # does it all.
    begin = _sync_file_range()
    if begin is not None:
        begin(descriptor, start, length, _SYNC_FILE_RANGE_WRITE)


@cache
def _sync_file_range() -> Any:
    import ctypes  # noqa: PLC0415 - only a large file needs it

    found = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if found is not None:
        found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return found


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a crash of the host: a rename alone does not."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses at `path` into an `Unavailable` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Unavailable(
                f"The disk that holds {path} is full.",
                next_step="Free some space and try again: nothing was stored in part, and what was there is intact.",
            ) from error
        if error.errno in _REFUSED:
            raise Unavailable(
                f"undrift may not use {path}: {error.strerror}.",
                next_step=f"Give the user it runs as (uid {os.geteuid()}) permission there, or choose another place.",
            ) from error
        if error.errno in _IN_THE_WAY:
            raise Unavailable(
                f"{path} cannot be used: {error.filename or path} is in the way ({error.strerror}).",
                next_step="Move it away, or choose another place.",
            ) from error
        raise Unavailable(
            f"The file system failed at {path}: {error.strerror or error}.",
            next_step="Look into the system's log; nothing was stored in part.",
        ) from error
