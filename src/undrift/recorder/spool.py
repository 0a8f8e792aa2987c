"""The folder of a run on this machine: its journals, copies of files, and who holds it.

All runs lie beside each other in one folder (`runs_folder`): ``$UNDRIFT_RUNS``, else ``undrift/runs`` in the cache
(``$XDG_CACHE_HOME``, else ``~/.cache``), else, where that cannot be written, in the folder for temporary files. The
process that records holds a lock in the run's folder for as long as it lives, so that nobody else sends the same lines.
A folder goes when all in it was sent.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from undrift.recorder.journal import LIMIT_BYTES, Journal

__all__ = ["About", "Spool", "find_spools", "runs_folder"]

_ABOUT = "run.json"
_LOCK = "lock"
_FORMAT = 1
_KEEP_BYTES = 1 << 30


class About(msgspec.Struct, frozen=True):
    """What a folder holds; kept in ``run.json``.

    Attributes:
        run_id: The run.
        project: Its project.
        experiment: Its experiment.
        target: Where it is to be sent; empty when that was left open.
        owner: Whether the process that wrote here is the one that began the run, and says how it ended.
        pid: That process.
        began_at: When it began to write.
        format: Of the folder.
    """

    run_id: str
    project: str
    experiment: str
    target: str
    owner: bool
    pid: int
    began_at: datetime
    format: int = _FORMAT


def runs_folder() -> Path:
    """Return the folder in which the folders of runs lie."""
    if named := os.environ.get("UNDRIFT_RUNS"):
        return Path(named).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - never raises
    preferred = Path(cache, "undrift", "runs")
    there = preferred
    while not there.exists() and there != there.parent:
        there = there.parent
    if os.access(there, os.W_OK | os.X_OK):
        return preferred.absolute()
    return Path(tempfile.gettempdir(), f"undrift-{os.getuid()}", "runs").absolute()


class Spool:
    """The folder of a run; made by `Spool.begin` or `Spool.open`.

    Attributes:
        folder: The folder; there may be none when nothing can be written.
        about: What it holds.
        records: The journal of what the run says.
        files: The journal of the files to send.
        kept_bytes: How many bytes of files were copied into it.
    """

    def __init__(self, folder: Path, about: About, lock: int, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder
        self.about = about
        self.records = Journal(folder, "records", limit_bytes=limit_bytes)
        self.files = Journal(folder, "files", limit_bytes=limit_bytes)
        self.kept_bytes = 0
        self._lock = lock
        self._left = False
        self._closing = threading.Lock()

    @classmethod
    def begin(cls, root: Path, about: About, *, limit_bytes: int = LIMIT_BYTES) -> Spool:
        """Make a folder for a run and hold it; when nothing can be written there, all stays in memory."""
        for number in range(1, 10_000):
            folder = root / (about.run_id if number == 1 else f"{about.run_id}.{number}")
            if not folder.exists():
                break
        else:
            raise RuntimeError(f"there are too many folders for run {about.run_id} in {root}")
        spool = cls(folder, about, -1, limit_bytes)
        spool.ensure()
        return spool

    def ensure(self) -> None:
        """Make the folder and hold it when that has not been done: what could not be written once, may be later."""
        if self._lock >= 0 or self._left:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = _locked(self.folder)
        except OSError:
            return
        try:
            # Once it is locked: who sends what was left looks for this file.
            (self.folder / _ABOUT).write_bytes(msgspec.json.encode(self.about) + b"\n")
        except OSError:
            os.close(lock)
        else:
            self._lock = lock

    @classmethod
    def open(cls, folder: Path) -> Spool | None:
        """Hold a folder that a process left; None when one still holds it, or it holds no run."""
        try:
            about = msgspec.json.decode((folder / _ABOUT).read_bytes(), type=About)
            if about.format > _FORMAT:
                return None
            lock = _locked(folder)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        if not (folder / _ABOUT).exists():  # whoever held it has just sent all and removed it
            os.close(lock)
            return None
        return cls(folder, about, lock)

    def keep(self, source: Path, size_bytes: int) -> str | None:
        """Keep the bytes of a file in the folder, and return where; None when that would be too much.

        A small file is copied. A big one gets a second name where the file system can: that costs nothing, and outlives
        the first name. What then writes into the file in place still changes it.
        """
        copies = self.folder / "copies"
        if self.kept_bytes + size_bytes > _KEEP_BYTES:
            return None
        try:
            copies.mkdir(exist_ok=True)
            target = copies / f"{len(os.listdir(copies)):06d}-{os.urandom(4).hex()}"  # noqa: PTH208 - quick
            if size_bytes <= 8 << 20:
                shutil.copyfile(source, target)
                self.kept_bytes += size_bytes
            else:
                os.link(source, target)
        except OSError:
            return None
        return str(target.relative_to(self.folder))

    def lacks(self) -> str:
        """Say why nothing is written, in words; empty when all is well."""
        return self.records.error or self.files.error

    def close(self, *, remove: bool = False) -> None:
        """Close the journals and give up the folder; with `remove` nothing of it stays."""
        with self._closing:
            self.records.close()
            self.files.close()
            if remove:
                with suppress(OSError):
                    # First, so that a removal cut short leaves nothing that looks like a run.
                    (self.folder / _ABOUT).unlink()
                shutil.rmtree(self.folder, ignore_errors=True)
            self.leave()

    def leave(self) -> None:
        """Give up what this process has open; for a forked child, whose parent still holds the folder."""
        self._left = True
        self.records.leave()
        self.files.leave()
        if self._lock >= 0:
            with suppress(OSError):
                os.close(self._lock)
            self._lock = -1


def find_spools(folder: Path) -> Iterator[Path]:
    """Give the folders of runs in a folder, oldest run first; a folder of a run gives itself."""
    if (folder / _ABOUT).exists():
        yield folder
        return
    found: list[Path] = []
    with suppress(OSError):
        found = [path for path in folder.iterdir() if (path / _ABOUT).exists()]
    yield from sorted(found, key=_place)


def _place(path: Path) -> tuple[str, int, str]:
    run_id, _, number = path.name.partition(".")
    return run_id, int(number) if number.isdigit() else 1, path.name


def _locked(folder: Path) -> int:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
