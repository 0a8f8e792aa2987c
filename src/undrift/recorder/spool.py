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
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from undrift.core.errors import Invalid
from undrift.recorder.journal import LIMIT_BYTES, Journal

__all__ = ["About", "Spool", "find_spools", "is_gone_on_with", "runs_folder"]

_ABOUT = "run.json"
_LOCK = "lock"
_FORMAT = 1
_KEEP_BYTES = 1 << 30
_COPIED_BYTES = 8 << 20


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
    return Path(_temporary(), "runs").absolute()


_made: list[str] = []


def _temporary() -> str:
    """Return a folder among the temporary files that nobody else made: what lies there is sent where it says."""
    folder = os.path.join(tempfile.gettempdir(), f"undrift-{os.getuid()}")  # noqa: PTH118 - never raises
    with suppress(OSError):
        os.mkdir(folder, 0o700)  # noqa: PTH102 - the same
    with suppress(OSError):
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            _made[:] = _made or [tempfile.mkdtemp(prefix="undrift-")]
            return _made[0]
    return folder


class Spool:
    """The folder of a run; made by `Spool.begin` or `Spool.open`.

    Attributes:
        folder: The folder; there may be none when nothing can be written.
        about: What it holds.
        records: The journal of what the run says.
        files: The journal of the files to send.
        kept_bytes: How many bytes of files were copied into it and wait there.
    """

    def __init__(self, folder: Path, about: About, lock: int, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder
        self.about = about
        self.records = Journal(folder, "records", limit_bytes=limit_bytes)
        self.files = Journal(folder, "files", limit_bytes=limit_bytes)
        self.kept_bytes = 0
        self._kept: dict[str, int] = {}
        self._keeping = threading.Lock()
        self._copies = 0
        self._flushed = False
        self._lock = lock
        self._left = False
        self._closing = threading.Lock()

    @classmethod
    def begin(cls, root: Path, about: About, *, limit_bytes: int = LIMIT_BYTES) -> Spool:
        """Make a folder for a run and hold it; when nothing can be written there, all stays in memory."""
        folder = root / f"{about.run_id}.{10_000 + os.getpid()}"
        for number in range(1, 10_000):
            named = root / (about.run_id if number == 1 else f"{about.run_id}.{number}")
            try:
                # Whoever makes it has it: children that are forked together begin at the same moment.
                named.mkdir(parents=True, mode=0o700)
            except FileExistsError:
                continue
            except OSError:
                folder = named if number == 1 else folder
            else:
                folder = named
            break
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
        """Hold a folder that a process left; None when one still holds it, or it holds no run.

        Raises:
            Invalid: What it holds cannot be read here.
        """
        try:
            # Whoever begins it holds it before this file is there.
            if not (folder / _ABOUT).exists():
                return None
            lock = _locked(folder)
        except (BlockingIOError, FileNotFoundError):
            return None
        except OSError as error:
            raise Invalid(f"{folder} cannot be used: {error.strerror or error}.") from None
        try:
            about = msgspec.json.decode((folder / _ABOUT).read_bytes(), type=About)
        except FileNotFoundError:  # whoever held it has just sent all and removed it
            os.close(lock)
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            os.close(lock)
            raise Invalid(f"{folder / _ABOUT} cannot be read: {error}.") from None
        if about.format > _FORMAT:
            os.close(lock)
            raise Invalid(
                f"{folder} was written by a newer undrift.", next_step="Run `pip install --upgrade undrift`, and again."
            )
        return cls(folder, about, lock)

    def keep(self, source: Path, size_bytes: int, *, move: bool = False) -> str | None:
        """Keep the bytes of a file in the folder, and return where; None when more would wait there than may.

        A small file is copied. A big one gets a second name where the file system can: that costs nothing, and outlives
        the first name. What then writes into the file in place still changes it.

        Args:
            source: The file.
            size_bytes: Its size.
            move: Take it away from where it is.
        """
        counts = move or size_bytes <= _COPIED_BYTES
        with self._keeping:
            if self.kept_bytes + size_bytes > _KEEP_BYTES:
                return None
            self._copies += 1
            kept = f"copies/{self._copies:06d}-{os.urandom(4).hex()}"
            if counts:
                self.kept_bytes += size_bytes
                self._kept[kept] = size_bytes
        target = self.folder / kept
        try:
            target.parent.mkdir(exist_ok=True)
            if move:
                source.replace(target)
            elif counts:
                shutil.copyfile(source, target)
            else:
                os.link(source, target)
        except OSError:
            self.let_go(kept)
            return None
        return kept

    def let_go(self, kept: str) -> None:
        """Remove what was kept: it was sent, and others may take its room."""
        with suppress(OSError):
            (self.folder / kept).unlink()
        with self._keeping:
            self.kept_bytes -= self._kept.pop(kept, 0)

    def sync(self) -> None:
        """Flush to disk what was written; for the thread that appends to `records`."""
        if not self._flushed and self._lock >= 0:
            self._flushed = True
            # Without what says whose the lines are, nobody could send them after the host went down.
            for path in (self.folder / _ABOUT, self.folder, self.folder.parent):
                with suppress(OSError):
                    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    try:
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
        self.records.sync()
        self.files.sync()

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


def is_gone_on_with(folder: Path) -> bool:
    """Say whether another process began later to record the same run: how that ends is for it to say."""
    mine = _place(folder)
    for path in folder.parent.glob(f"{mine[0]}.*"):
        with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            if _place(path) > mine and msgspec.json.decode((path / _ABOUT).read_bytes(), type=About).owner:
                return True
    return False


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
