"""The local write-ahead file of the prediction log: frames appended before the answer is sent.

A frame is ``u32 length, u32 crc32, payload`` (little endian). A file is written by one server, which holds a lock on it
for as long as it lives; a new file begins with every start and after `ROTATE_BYTES`.

What is promised: an append is one write to the operating system, so a server that is killed loses nothing that it
answered. Files are flushed to disk at most once a second in the background, so a host that loses power can lose the
last second. When a write fails (a full disk), the half of a frame that may have been written is taken back, the caller
is told, and the next append tries again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from undrift.core.ids import new_id

__all__ = ["ROTATE_BYTES", "SUFFIX", "Wal", "read_frames", "writer_is_gone"]

ROTATE_BYTES = 64 << 20
SUFFIX = ".wal"

_HEADER = struct.Struct("<II")
# No request makes a longer one; a longer length is damage, and must not become an allocation.
_LONGEST = 256 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Wal:
    """Appends frames; for one thread, except `sync`, which another one may call.

    Args:
        folder: Where the files lie; made when it is not there.
        rotate_bytes: Size after which a new file begins.

    Attributes:
        error: What the last failed write said; empty when the last one succeeded.
        sync_error: What the last failed flush said; empty when the last one succeeded.
    """

    def __init__(self, folder: Path, *, rotate_bytes: int = ROTATE_BYTES) -> None:
        self.error = ""
        self.sync_error = ""
        self._folder = folder
        self._rotate_bytes = rotate_bytes
        self._path: Path | None = None
        self._descriptor = -1
        self._size = 0
        self._unsynced = False
        self._new_name = False
        self._renew = True
        self._half_written = False
        self._leaving: deque[int] = deque()

    @property
    def path(self) -> Path | None:
        """The file that is written to; None before the first append and after `close`."""
        return self._path

    def append(self, *payloads: bytes) -> bool:
        """Append frames, all or none, and say whether they are kept; it never raises for what the disk does."""
        try:
            if self._half_written:
                self._take_back()
            if self._renew:
                self._begin_file()
            elif self._size >= self._rotate_bytes:
                # One that is too long is better than none: no new file may be had while the old one still takes more.
                with suppress(OSError):
                    self._begin_file()
            frames = b"".join([_HEADER.pack(len(one), zlib.crc32(one)) + one for one in payloads])
            written = os.write(self._descriptor, frames)
        except OSError as error:
            self._failed(error)
            return False
        if written != len(frames):
            self._half_written = True
            self.error = f"{self._path}: only {written} of {len(frames)} bytes were taken"
            try:
                self._take_back()
            except OSError as error:
                self._failed(error)
            return False
        self._size += written
        self._unsynced = True
        self.error = ""
        return True

    def sync(self) -> None:
        """Flush to disk what has been appended; never raises."""
        while self._leaving:
            descriptor = self._leaving.popleft()
            self._flush(descriptor)
            os.close(descriptor)
        if self._unsynced and self._descriptor >= 0:
            self._unsynced = False
            self._flush(self._descriptor)
        if self._new_name:
            self._new_name = False
            try:
                folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                self.sync_error = f"{self._folder}: {error.strerror}"
                return
            self._flush(folder)
            os.close(folder)

    def close(self) -> None:
        """Flush, and give up the lock: whoever collects may take the rest and remove the file."""
        if self._descriptor >= 0:
            self._leaving.append(self._descriptor)
            self._descriptor = -1
            self._path = None
            self._renew = True
        self.sync()

    def _begin_file(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = new_id() + SUFFIX
        temporary = self._folder / f".{name}.new"
        # The file gets its name once it is locked: a collector takes one that nobody locks for a dead server's.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.rename(self._folder / name)
        except OSError:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
            raise
        if self._descriptor >= 0:
            self._leaving.append(self._descriptor)
        self._path = self._folder / name
        self._descriptor = descriptor
        self._size = 0
        self._half_written = self._renew = False
        self._new_name = True

    def _take_back(self) -> None:
        os.ftruncate(self._descriptor, self._size)
        self._half_written = False

    def _failed(self, error: OSError) -> None:
        self.error = f"{self._path or self._folder}: {error.strerror or error}"
        # On a full disk a new file would not help; after anything else this file is not to be trusted.
        if error.errno not in _FULL or self._half_written:
            self._renew = True
            self._half_written = False

    def _flush(self, descriptor: int) -> None:
        try:
            os.fsync(descriptor)
            self.sync_error = ""
        except OSError as error:
            self.sync_error = f"{self._path or self._folder}: {error.strerror or error}"
            # The system may have dropped what it could not write, and would say of the next flush that all is well.
            self._renew = True


def read_frames(path: Path, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """Give the payload of each frame from an offset on, with the offset of the next one.

    Ends at the first bytes that are not a whole, undamaged frame: a writer may be at it. Whether they will ever be one
    is not known here.

    Raises:
        FileNotFoundError: There is no such file.
    """
    with path.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        file.seek(offset)
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            length, checksum = _HEADER.unpack(header)
            # A frame of nothing is what a file that the host never filled in reads like: zeros.
            if not 0 < length <= min(_LONGEST, end - offset - _HEADER.size):
                return
            payload = file.read(length)
            if len(payload) != length or zlib.crc32(payload) != checksum:
                return
            offset += _HEADER.size + length
            yield payload, offset


def writer_is_gone(path: Path) -> bool:
    """Say whether no server holds the file any more, so that nothing will be added to it.

    Raises:
        FileNotFoundError: There is no such file.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
