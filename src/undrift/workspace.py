"""A workspace: one folder (or a database and a bucket) that holds everything undrift knows, and how to open it.

This is where the parts are put together: database, store, log and policy make the contexts that operations take.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from undrift import __version__
from undrift.blobs import Repository, open_store
from undrift.core.clock import Clock, SystemClock
from undrift.core.context import Actor, Context
from undrift.core.errors import Conflict, Corrupt, NotFound, Unavailable
from undrift.events import EventLog, Head, Reach, head, read_after
from undrift.governance import WorkspaceOwner
from undrift.metastore import SqlDatabase, migrate, open_database

__all__ = ["FOLDER", "Settings", "Workspace"]

FOLDER = ".undrift"
_SETTINGS = "workspace.json"
_FORMAT = 1


class Settings(msgspec.Struct, frozen=True):
    """What a workspace is made of; kept in ``workspace.json``, which people may edit.

    Attributes:
        format: Of this file and the folder.
        database: Address of the database; a SQLite file in the folder when empty.
        store: Address of the byte store; a folder in the folder when empty.
        made_by: The undrift that made it.
        project: A Python file, relative to the folder that holds the workspace, with the project's declarations.
        webhooks_allow: Hosts and networks that webhooks may reach although they are not public.
    """

    format: int = _FORMAT
    database: str = ""
    store: str = ""
    made_by: str = __version__
    project: str = ""
    webhooks_allow: tuple[str, ...] = ()


class Workspace:
    """An open workspace; made by `Workspace.open`.

    Attributes:
        folder: Its folder.
        settings: What it is made of.
        database: Where records live.
        repository: Where bytes live.
    """

    def __init__(self, folder: Path, settings: Settings, database: SqlDatabase, repository: Repository) -> None:
        self.folder = folder
        self.settings = settings
        self.database = database
        self.repository = repository
        self._published_at = 0.0

    @classmethod
    def open(cls, folder: Path | str, *, create: bool = False, settings: Settings | None = None) -> Workspace:
        """Open a workspace folder.

        Args:
            folder: The folder, usually ``.undrift``.
            create: Make it when it is not there.
            settings: What to make it of.

        Raises:
            NotFound: There is no workspace there.
            Unavailable: It is of a newer undrift, cannot be written, or its database is away.
        """
        folder = Path(folder).absolute()
        file = folder / _SETTINGS
        if not file.exists():
            if not create:
                raise NotFound(
                    f"There is no workspace at {folder}.",
                    next_step="Make one with `undrift init`, or name another with --workspace.",
                )
            _make(folder, settings or Settings())
        found = _read_settings(file)
        database = open_database(found.database or f"sqlite:///{folder / 'undrift.db'}")
        try:
            migrate(database)
            repository = Repository(open_store(found.store or str(folder / "store")))
        except BaseException:
            database.close()
            raise
        return cls(folder, found, database, repository)

    def context(self, actor: Actor | None = None, *, clock: Clock | None = None) -> Context:
        """Make the context of one call."""
        return Context(
            actor=actor or Actor(_user()),
            clock=clock or SystemClock(),
            database=self.database,
            repository=self.repository,
            policy=WorkspaceOwner(),
            events=EventLog(Reach(self.settings.webhooks_allow).check()),
        )

    @property
    def predictions_folder(self) -> Path:
        """Where model servers write ahead the predictions they answer."""
        return self._subfolder("predictions")

    @property
    def serving_folder(self) -> Path:
        """Where model servers keep what they need when everything else is down."""
        return self._subfolder("serving")

    @property
    def loop_url(self) -> str:
        """The database of the loop's durable steps."""
        if self.settings.database.startswith("postgresql"):
            return self.settings.database
        return f"sqlite:///{self.folder / 'loop.db'}"

    def _subfolder(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    @contextmanager
    def hold(self, role: str) -> Iterator[None]:
        """Hold a role of which a workspace has one at a time, such as ``up``.

        Raises:
            Conflict: Another process holds it; the sentence says which.
        """
        path = self.folder / f"{role}.lock"
        with path.open("a+") as file:
            _lock(file, role, self.folder)
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid()}))
            file.flush()
            yield

    def publish_head(self, *, force: bool = False) -> Head | None:
        """Write the newest place of the log outside the database, at most once a second; returns that place.

        Whoever cuts off the end of the log would have to change this file, too, and every copy of it. So nothing is
        written any more once the head written last is not in the log: it would hide what `undrift audit verify` finds.
        """
        if not force and time.monotonic() - self._published_at < 1:
            return None
        self._published_at = time.monotonic()
        published = self.published_head()
        with self.database.read() as tx:
            newest = head(tx)
            there = None if published is None else read_after(tx, published.position - 1, limit=1)
        if published is not None and (
            not there or (there[0].position, there[0].hash) != (published.position, published.hash)
        ):
            return newest
        if newest.position and newest != published:
            with (self.folder / "heads.jsonl").open("a+b") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
                # A line cut short by a crash must not swallow this one.
                torn = file.read(1) not in {b"", b"\n"}
                file.write(b"\n" * torn + msgspec.json.encode(newest) + b"\n")
        return newest

    def published_head(self) -> Head | None:
        """Return the last head that was written outside the database."""
        path = self.folder / "heads.jsonl"
        if not path.exists():
            return None
        for line in reversed(path.read_bytes().split(b"\n")):
            # A line cut short by a crash is passed over; the one before it still holds.
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                return msgspec.json.decode(line, type=Head)
        return None

    def free_bytes(self) -> int:
        """Return how many bytes are free on the disk of the workspace."""
        return shutil.disk_usage(self.folder).free

    def close(self) -> None:
        """Publish the head and close the database."""
        self.publish_head(force=True)
        self.database.close()


def _make(folder: Path, settings: Settings) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = folder / f"{_SETTINGS}.{secrets.token_hex(8)}"
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(settings)) + b"\n")
        try:
            # Not in place of what is there: who makes it at the same moment may have gone on with theirs.
            os.link(temporary, folder / _SETTINGS)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            temporary.replace(folder / _SETTINGS)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(
            f"A workspace cannot be made at {folder}: {error.strerror}.",
            next_step="Give this user write permission there, or choose another place with --workspace.",
        ) from None


def _read_settings(file: Path) -> Settings:
    try:
        text = file.read_bytes()
    except OSError as error:
        raise Unavailable(f"{file} cannot be read: {error.strerror}.", next_step="Check its permissions.") from None
    try:
        found = json.loads(text)
        newer = int(found.get("format", 0)) > _FORMAT
        settings = None if newer else msgspec.convert(found, Settings)
    except (ValueError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise Corrupt(f"{file} is not the settings of a workspace: {error}.", next_step="Restore or mend it.") from None
    if settings is None:
        raise Unavailable(
            f"The workspace {file.parent} was made by a newer undrift ({found.get('made_by', 'unknown')}).",
            next_step=f"This is {__version__}; run `pip install --upgrade undrift`. Nothing was changed.",
        )
    return settings


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return f"uid-{os.getuid()}"


def _lock(file: IO[str], role: str, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        pid = "unknown"
        # The holder may be writing it right now.
        with suppress(ValueError, AttributeError):
            pid = json.loads(file.read()).get("pid", pid)
        raise Conflict(
            f"`undrift {role}` runs already on the workspace {folder} (process {pid}).",
            next_step="Use that one, or stop it first.",
        ) from None
