"""Transactions on SQLite and PostgreSQL that share their commits.

Writers of one process take turns on one open transaction. Whoever finishes while others wait hands it over and is told
once it has been committed for all: sixteen writers cost one flush to disk, not sixteen. Nothing is acknowledged before
its commit has returned. When a turn fails, only that turn is undone (a savepoint); when the commit fails, all fail.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from undrift.core.context import Answer
from undrift.core.errors import Invalid, Unavailable, UndriftError
from undrift.metastore.schema import answers

__all__ = ["SqlDatabase", "open_database"]

_TURNS_PER_COMMIT = 256
_LOCK_TIMEOUT_S = 15


class _Batch:
    """One open transaction and the turns that wait for its commit."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.turns = 0
        self.done = threading.Event()
        self.error: BaseException | None = None


class SqlDatabase:
    """A database, opened by `open_database`; safe to use from any thread.

    A turn must not wait for another thread that needs a turn of its own, and does no slow work: others wait meanwhile.
    """

    def __init__(self, url: sa.URL, writer: sa.Engine, reader: sa.Engine) -> None:
        self.url = url
        self._writer = writer
        self._reader = reader
        self._turn = threading.Lock()
        self._waiting = 0
        self._waiting_lock = threading.Lock()
        self._batch: _Batch | None = None

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a transaction that can write; when the block has ended, the change is on disk.

        Raises:
            Unavailable: The database is locked, full, read-only or away; nothing of the block was kept.
        """
        with self._waiting_lock:
            self._waiting += 1
        with self._turn:
            with self._waiting_lock:
                self._waiting -= 1
            batch = self._batch
            if batch is None:
                batch = self._batch = _Batch(self._open())
            try:
                # The first turn needs no savepoint: nobody else's work would be lost with it.
                savepoint = batch.connection.begin_nested() if batch.turns else None
                try:
                    yield batch.connection
                except BaseException:
                    if savepoint is not None:
                        savepoint.rollback()
                    raise
                if savepoint is not None:
                    savepoint.commit()
                batch.turns += 1
            except sa.exc.DBAPIError as error:
                raise self._translate(error) from error
            finally:
                if batch.turns == 0:
                    self._close(batch, commit=False)
                elif self._waiting == 0 or batch.turns >= _TURNS_PER_COMMIT:
                    self._close(batch, commit=True)
        batch.done.wait()
        if batch.error is not None:
            if isinstance(batch.error, sa.exc.DBAPIError):
                raise self._translate(batch.error) from batch.error
            raise batch.error

    def _open(self) -> sa.Connection:
        connection = None
        try:
            connection = self._writer.connect()
            connection.begin()
        except sa.exc.DBAPIError as error:
            if connection is not None:
                connection.close()
            raise self._translate(error) from error
        return connection

    def _close(self, batch: _Batch, *, commit: bool) -> None:
        self._batch = None
        try:
            if commit:
                _insist_on_transaction(batch.connection)
                batch.connection.commit()
            else:
                batch.connection.rollback()
        except BaseException as error:  # noqa: BLE001 - handed to every turn that waits for this commit
            batch.error = error
            batch.connection.invalidate()
        finally:
            batch.connection.close()
            batch.done.set()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a snapshot that can only be read.

        Raises:
            Unavailable: The database is away.
        """
        try:
            with self._reader.connect() as connection, connection.begin():
                yield connection
        except sa.exc.DBAPIError as error:
            raise self._translate(error) from error

    def recall(self, tx: sa.Connection, key: str) -> Answer | None:
        """Return what was answered under this idempotency key."""
        row = tx.execute(sa.select(answers.c.operation, answers.c.body).where(answers.c.key == key)).one_or_none()
        return None if row is None else Answer(row.operation, row.body)

    def remember(self, tx: sa.Connection, key: str, answer: Answer, at: datetime) -> None:
        """Keep an answer under its idempotency key, in the transaction of the change."""
        tx.execute(sa.insert(answers).values(key=key, operation=answer.operation, body=answer.body, at=at))

    def close(self) -> None:
        """Close all connections."""
        self._writer.dispose()
        self._reader.dispose()

    def _translate(self, error: sa.exc.DBAPIError) -> UndriftError:
        where = self.url.render_as_string(hide_password=True)
        text = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
        low = text.lower()
        if "disk is full" in low or "no space left" in low or "disk i/o error" in low:
            return Unavailable(
                f"The disk that holds {where} is full or failing: {text}.",
                next_step=_DISK_HELP,
            )
        if "readonly" in low or "read-only" in low or "unable to open" in low or "permission denied" in low:
            return Unavailable(
                f"{where} cannot be written: {text}.",
                next_step="Give this user write permission on the workspace folder, or choose another one.",
            )
        if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) or error.connection_invalidated:
            return Unavailable(f"{where} did not answer: {text}.", next_step="Try again; it may be busy or restarting.")
        return UndriftError(f"{where} refused a statement: {text}.")


def _insist_on_transaction(connection: sa.Connection) -> None:
    # On some errors (a full disk) SQLite undoes the whole transaction by itself, and a commit of nothing would succeed:
    # the turns before would be told that their writes are kept.
    driver = connection.connection.driver_connection
    if connection.dialect.name == "sqlite" and driver is not None and not driver.in_transaction:
        raise Unavailable("The database undid this change, most likely because the disk is full.", next_step=_DISK_HELP)


def open_database(url: str) -> SqlDatabase:
    """Open a database; it is not migrated here (see `migrate`).

    Args:
        url: ``sqlite:///path`` or ``postgresql://user@host/name``.

    Raises:
        Invalid: The address is of another kind.
    """
    try:
        address = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise Invalid(f"{url!r} is not the address of a database.", next_step=_URL_HELP) from None
    if address.get_backend_name() == "sqlite":
        return _open_sqlite(address)
    if address.get_backend_name() == "postgresql":
        return _open_postgresql(address)
    raise Invalid(
        f"undrift keeps records in SQLite or PostgreSQL, not {address.get_backend_name()}.", next_step=_URL_HELP
    )


_DISK_HELP = "Free some space and try again; nothing of this change was kept, and reading goes on."
_URL_HELP = "Write sqlite:////path/to/file.db or postgresql://user@host:5432/name."


def _open_sqlite(url: sa.URL) -> SqlDatabase:
    if not url.database or url.database == ":memory:":
        raise Invalid("SQLite needs a file: in memory nothing would be kept.", next_step=_URL_HELP)
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)

    def engine(begin: str, pool_size: int) -> sa.Engine:
        made = sa.create_engine(
            url,
            poolclass=sa.QueuePool,
            pool_size=pool_size,
            max_overflow=32,
            connect_args={"check_same_thread": False, "timeout": _LOCK_TIMEOUT_S},
        )

        @sa.event.listens_for(made, "connect")
        def _prepare(connection: Any, _record: Any) -> None:
            # Transactions are begun by hand: the driver's own way begins them late and never for reads.
            connection.isolation_level = None
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-16000"):
                connection.execute(f"PRAGMA {pragma}")

        @sa.event.listens_for(made, "begin")
        def _begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql(begin)

        return made

    return SqlDatabase(url, engine("BEGIN IMMEDIATE", 1), engine("BEGIN", 4))


def _open_postgresql(url: sa.URL) -> SqlDatabase:
    try:
        import psycopg  # noqa: F401, PLC0415 - an extra; asked for here so that the sentence can name it
    except ImportError:
        raise Unavailable(
            "PostgreSQL needs a driver that is not installed.", next_step="Run `pip install 'undrift[postgresql]'`."
        ) from None
    url = url.set(drivername="postgresql+psycopg")
    writer = sa.create_engine(url, pool_size=2, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    reader = sa.create_engine(
        url,
        pool_size=4,
        max_overflow=32,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 10},
        execution_options={"isolation_level": "REPEATABLE READ"},
    )
    return SqlDatabase(url, writer, reader)
