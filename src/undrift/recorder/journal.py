"""The local write-ahead file of a run: lines appended before they are sent, and taken away once they were.

A line is ``crc32 as 8 hexadecimal characters, space, JSON, newline``: a person can read it, and a line cut short by a
crash shows. Lines lie in segments of some megabytes, so that what was sent gives its space back at once. A cursor file
says how far was sent; when it could not be written, or is older than the truth, lines are sent again, which the other
side keeps once.

What is promised: an append is one write to the operating system, so a process that is killed loses nothing appended.
Files are flushed to disk when `Journal.sync` is called, so a host that loses power loses what came after.
When the disk takes no more, lines wait in memory, in order, within a limit; each append tries the disk again.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections import deque
from contextlib import suppress
from pathlib import Path

import msgspec

from undrift.core.hashing import hash_bytes

__all__ = ["LIMIT_BYTES", "Batch", "Journal"]

LIMIT_BYTES = 512 << 20
_SEGMENT_BYTES = 8 << 20
_MEMORY_BYTES = 16 << 20
# What has to be said however full all is: how the run ended, and what was dropped.
_RESERVE_BYTES = 1 << 20
_MARK = 9


class Batch(msgspec.Struct, frozen=True):
    """Lines to send, and where they end.

    Attributes:
        payloads: The JSON of each line.
        segment: The segment the next batch begins in; 0 when the lines lie in memory only.
        offset: The byte in it; of lines in memory, the number of the last one.
        name: Names these lines; the same lines have the same name.
        damaged: How many lines were passed over because they are not what was written.
    """

    payloads: list[bytes]
    segment: int
    offset: int
    name: str = ""
    damaged: int = 0


class Journal:
    """A queue of lines on disk; one thread appends, another one takes.

    Args:
        folder: Where its files lie; while it is not there, lines wait in memory.
        name: What they are called.
        limit_bytes: So much may wait on disk.
        memory_bytes: So much may wait in memory while the disk takes nothing.

    Attributes:
        error: What the last failed write said; empty when the last one succeeded.
        damaged: How many lines of what is done were passed over because they are not what was written.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        limit_bytes: int = LIMIT_BYTES,
        segment_bytes: int = _SEGMENT_BYTES,
        memory_bytes: int = _MEMORY_BYTES,
    ) -> None:
        self.error = ""
        self.damaged = 0
        self._folder = folder
        self._name = name
        self._limit_bytes = limit_bytes
        self._segment_bytes = segment_bytes
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._descriptor = -1
        self._sizes = self._found()
        self._writing = max(self._sizes, default=0)
        self._reading, self._offset = self._cursor()
        self._unsynced = False
        self._memory: deque[tuple[int, bytes]] = deque()
        self._memory_size = 0
        self._numbered = 0

    @property
    def waiting_bytes(self) -> int:
        """How many bytes were appended and not yet taken, on disk and in memory."""
        with self._lock:
            return self._on_disk() + self._memory_size

    def append(self, payload: bytes, *, must: bool = False) -> bool:
        """Append a line, and say whether it is kept; it never raises for what the disk does.

        Args:
            payload: JSON on one line.
            must: It may use the space held back for what has to be said.
        """
        line = b"%08x %b\n" % (zlib.crc32(payload), payload)
        reserve = _RESERVE_BYTES if must else 0
        with self._lock:
            if self._memory:
                self._to_disk()
            if not self._memory:
                if self._on_disk() + len(line) > self._limit_bytes + reserve:
                    return False
                if self._written(line):
                    return True
            if self._memory_size + len(line) > self._memory_bytes + reserve:
                return False
            self._numbered += 1
            self._memory.append((self._numbered, line))
            self._memory_size += len(line)
            return True

    def take(self, limit_bytes: int) -> Batch:
        """Return the oldest lines that wait, at most so many bytes of them but at least one; none when none waits."""
        with self._lock:
            if self._on_disk():
                segment, offset, end = self._reading, self._offset, self._sizes[self._reading]
            else:
                lines = [line for _, line in self._memory]
                payloads, taken = _whole(lines, limit_bytes)
                return Batch(payloads, 0, self._memory[taken - 1][0] if taken else 0, "")
        return self._read(segment, offset, end, limit_bytes)

    def done(self, batch: Batch) -> None:
        """Forget the lines of a batch; a segment all of which was taken is removed."""
        self.damaged += batch.damaged
        with self._lock:
            if batch.segment == 0:
                while self._memory and self._memory[0][0] <= batch.offset:
                    self._memory_size -= len(self._memory.popleft()[1])
                return
            for segment in [one for one in self._sizes if one < batch.segment]:
                del self._sizes[segment]
                with suppress(OSError):
                    self._path(segment).unlink()
            self._reading, self._offset = batch.segment, batch.offset
        cursor = self._folder / f"{self._name}.cursor"
        with suppress(OSError):
            temporary = cursor.with_suffix(".new")
            temporary.write_bytes(msgspec.json.encode([batch.segment, batch.offset]))
            temporary.replace(cursor)

    def sync(self) -> None:
        """Flush to disk what was appended; for the thread that appends."""
        if self._unsynced and self._descriptor >= 0:
            self._unsynced = False
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                self.error = f"{self._folder}: {error.strerror or error}"

    def close(self) -> None:
        """Flush, and close the file; appending opens another one."""
        self.sync()
        self.leave()

    def leave(self) -> None:
        """Close the file without flushing."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1

    def _path(self, segment: int) -> Path:
        return self._folder / f"{self._name}-{segment:08d}.jsonl"

    def _found(self) -> dict[int, int]:
        sizes = {}
        with suppress(OSError):
            for path in sorted(self._folder.glob(f"{self._name}-*.jsonl")):
                number = path.stem.rpartition("-")[2]
                if number.isdigit():
                    sizes[int(number)] = path.stat().st_size
        return sizes

    def _cursor(self) -> tuple[int, int]:
        first = min(self._sizes, default=1)
        with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            segment, offset = msgspec.json.decode(
                (self._folder / f"{self._name}.cursor").read_bytes(), type=tuple[int, int]
            )
            if segment >= first:
                return segment, offset
        return first, 0

    def _on_disk(self) -> int:
        return max(0, sum(size for number, size in self._sizes.items() if number >= self._reading) - self._offset)

    def _written(self, line: bytes) -> bool:
        try:
            if self._descriptor < 0 or self._sizes[self._writing] >= self._segment_bytes:
                self._begin_segment()
            written = os.write(self._descriptor, line)
            if written != len(line):
                # The half of a line that a full disk took is taken back: what follows must not be read as its end.
                self.error = f"{self._folder}: the disk is full"
                self._take_back()
                return False
        except OSError as error:
            self.error = f"{self._folder}: {error.strerror or error}"
            return False
        self._sizes[self._writing] += len(line)
        self._unsynced = True
        self.error = ""
        return True

    def _take_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._sizes[self._writing])
        except OSError:
            # Another segment, so that the half stands at the end of one: there it is seen as what it is.
            self.leave()

    def _begin_segment(self) -> None:
        number = max(self._writing, self._reading - 1 if not self._sizes else 0) + 1
        descriptor = os.open(
            self._path(number), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        self.close()
        self._descriptor, self._writing = descriptor, number
        self._sizes[number] = 0
        if number == min(self._sizes):
            self._reading, self._offset = number, 0

    def _to_disk(self) -> None:
        while self._memory:
            if not self._written(self._memory[0][1]):
                return
            self._memory_size -= len(self._memory.popleft()[1])

    def _read(self, segment: int, offset: int, end: int, limit_bytes: int) -> Batch:
        damaged = 0
        while True:
            with self._path(segment).open("rb") as file:
                file.seek(offset)
                data = file.read(min(limit_bytes, end - offset))
                if data and not data.endswith(b"\n") and offset + len(data) < end:
                    # Part of a line: as many whole ones as there are, or all of the first.
                    data = data[: data.rfind(b"\n") + 1] or data + file.readline()
            payloads, _ = _whole(data.splitlines(keepends=True), len(data))
            damaged += data.count(b"\n") + (not data.endswith(b"\n") and bool(data)) - len(payloads)
            name = hash_bytes(b"%d %d " % (segment, offset) + data)[:32]
            # A file that is shorter than what was written to it has no more to give.
            offset = offset + len(data) if data else max(offset, end)
            with self._lock:
                later = [number for number in self._sizes if number > segment]
            if offset >= end and later:
                segment, offset = min(later), 0
                with self._lock:
                    end = self._sizes[segment]
            if payloads or (offset >= end and not later):
                return Batch(payloads, segment, offset, name, damaged)


def _whole(lines: list[bytes], limit_bytes: int) -> tuple[list[bytes], int]:
    """Return the payloads of lines that are what was written, up to a size but at least one, and how many were read."""
    payloads: list[bytes] = []
    size = read = 0
    for line in lines:
        size += len(line)
        if size > limit_bytes and read:
            break
        read += 1
        payload = line[_MARK:-1]
        if line.endswith(b"\n") and line[: _MARK - 1] == b"%08x" % zlib.crc32(payload):
            payloads.append(payload)
    return payloads, read
