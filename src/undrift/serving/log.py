"""The prediction log of one server: what it answered, written ahead of the answer, and what it could not write."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from undrift.serving.frames import encode_loss
from undrift.serving.wal import ROTATE_BYTES, Wal

__all__ = ["PredictionLog"]

_TROUBLE_SHOWN_S = 300


class PredictionLog:
    """Appends frames to a `Wal`, and counts what the disk did not take.

    A prediction is answered whether or not it can be logged. What could not be logged is counted by endpoint; once the
    disk takes frames again, the count itself is logged, so that the account of the collected log shows it too.

    Args:
        folder: Where the files lie.
        rotate_bytes: Size after which a new file begins.

    Attributes:
        dropped: Rows answered but not logged since the start, by endpoint.
        frames: How many were logged.
        bytes: How many, before framing.
    """

    def __init__(self, folder: Path, *, rotate_bytes: int = ROTATE_BYTES) -> None:
        self._wal = Wal(folder, rotate_bytes=rotate_bytes)
        self._owed: Counter[tuple[str, str]] = Counter()
        self._last_drop: float | None = None
        self.dropped: Counter[str] = Counter()
        self.frames = 0
        self.bytes = 0

    @property
    def path(self) -> Path | None:
        """The file that is written to."""
        return self._wal.path

    def append(self, *entries: tuple[str, str, int, bytes]) -> None:
        """Log answers in one write; it never raises for what the disk does.

        Args:
            *entries: Endpoint, project, rows and frame of each.
        """
        if self._wal.append(*[frame for _, _, _, frame in entries]):
            self.frames += len(entries)
            self.bytes += sum([len(frame) for _, _, _, frame in entries])
            if self._owed:
                self._pay()
            return
        for endpoint, project, rows, _ in entries:
            self.dropped[endpoint] += rows
            self._owed[endpoint, project] += rows
        self._last_drop = time.monotonic()

    def _pay(self) -> None:
        for (endpoint, project), rows in list(self._owed.items()):
            if self._wal.append(encode_loss(endpoint, project, rows)):
                del self._owed[endpoint, project]

    def sync(self) -> None:
        """Flush to disk; may be called from another thread, and never raises."""
        self._wal.sync()

    def close(self) -> None:
        """Flush, and let a collector have the file."""
        if self._owed:
            self._pay()
        self._wal.close()

    def problems(self) -> list[str]:
        """Say what is wrong now, or was within the last five minutes."""
        said = []
        if self._last_drop is not None and time.monotonic() - self._last_drop < _TROUBLE_SHOWN_S:
            now = f"it fails now: {self._wal.error}" if self._wal.error else "it takes them again now"
            said.append(
                f"{sum(self.dropped.values())} predictions were answered but not logged ({now}). "
                "Free some space on the disk that holds the log; nothing needs a restart."
            )
        if self._wal.sync_error:
            said.append(f"The log could not be flushed to disk: {self._wal.sync_error}.")
        return said
