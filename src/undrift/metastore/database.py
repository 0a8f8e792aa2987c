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
from undrift.core.errors import Conflict, Corrupt, Invalid, Unavailable, UndriftError
from undrift.metastore.schema import answers

__all__ = ["SqlDatabase", "open_database"]

_TURNS_PER_COMMIT = 256
_LOCK_TIMEOUT_S = 15
_HAND_OVER_S = 1.0


class _Batch:
    """One open transaction and the turns that wait for its commit."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.transaction = connection.begin()
        self.turns = 0
        self.done = threading.Event()
        self.error: BaseException | None = None
        self.committing = False


class SqlDatabase:
    """A database, opened by `open_database`; safe to use from any thread.

    A turn must not wait for another thread that needs a turn of its own, and does no slow work: others wait meanwhile.
    """

    def __init__(self, url: sa.URL, writer: sa.Engine, reader: sa.Engine) -> None:
        self.url = url
        self._writer = writer
        self._reader = reader
        self._turn = threading.Lock()
        self._holder: int | None = None
        self._waiting = 0
        self._waiting_lock = threading.Lock()
        self._batch: _Batch | None = None

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a transaction that can write; when the block has ended, the change is on disk.

        Raises:
            Unavailable: The database is locked, full, read-only or away; nothing of the block was kept, except that
                nobody knows when the connection broke during the commit itself (the error says so).
            Conflict: Somebody else has written a row with the same key meanwhile.
            Invalid: A value does not fit its column.
        """
        if self._holder == threading.get_ident():
            raise UndriftError(
                "This thread has a transaction open already and would wait for itself for ever.",
                next_step="Hand the open context on instead of making another one.",
            )
        self._take_turn()
        try:
            batch = self._batch
            if batch is None:
                batch = self._batch = self._open()
            # The first turn needs no savepoint: nobody else's work would be lost with it.
            shared = batch.turns > 0
            try:
                if shared:
                    batch.connection.exec_driver_sql("SAVEPOINT undrift_turn")
                yield batch.connection
                _insist_on_transaction(batch)
                if shared:
                    batch.connection.exec_driver_sql("RELEASE SAVEPOINT undrift_turn")
                batch.turns += 1
            except BaseException as error:
                if shared:
                    _undo_turn(batch, error)
                translated = self._translate(error)
                if translated is error:
                    raise
                raise translated from error
            finally:
                if batch.turns == 0 or batch.error is not None:
                    self._close(batch, commit=False)
                elif self._waiting == 0 or batch.turns >= _TURNS_PER_COMMIT:
                    self._close(batch, commit=True)
        finally:
            self._holder = None
            self._turn.release()
        self._await_commit(batch)

    def _take_turn(self) -> None:
        with self._waiting_lock:
            self._waiting += 1
        try:
            self._turn.acquire()
        finally:
            with self._waiting_lock:
                self._waiting -= 1
        self._holder = threading.get_ident()

    def _await_commit(self, batch: _Batch) -> None:
        while not batch.done.wait(_HAND_OVER_S):
            # Whoever was to take the next turn and to commit may have been interrupted (Ctrl-C) before it did.
            with self._turn:
                if self._batch is batch and self._waiting == 0:
                    self._close(batch, commit=True)
        if batch.error is not None:
            raise self._commit_error(batch) from batch.error

    def _open(self) -> _Batch:
        connection = None
        try:
            connection = self._writer.connect()
            return _Batch(connection)
        except sa.exc.SQLAlchemyError as error:
            if connection is not None:
                connection.close()
            translated = self._translate(error)
            if translated is error:
                raise
            raise translated from error

    def _close(self, batch: _Batch, *, commit: bool) -> None:
        self._batch = None
        batch.committing = commit
        try:
            if commit:
                batch.connection.commit()
            else:
                batch.connection.rollback()
        except BaseException as error:
            # Handed to every turn that waits for this commit.
            batch.error = batch.error or error
            batch.connection.invalidate()
            if not isinstance(error, Exception):
                raise
        finally:
            try:
                batch.connection.close()
            finally:
                batch.done.set()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a snapshot that can only be read; its first statement fixes the moment it shows.

        Raises:
            Unavailable: The database is away, or all connections stay in use.
        """
        try:
            with self._reader.connect() as connection, connection.begin():
                yield connection
        except sa.exc.SQLAlchemyError as error:
            translated = self._translate(error)
            if translated is error:
                raise
            raise translated from error

    def recall(self, tx: sa.Connection, key: str) -> Answer | None:
        """Return what was answered under this idempotency key."""
        if tx.dialect.name == "postgresql":
            # Two hubs may be asked the same at once: the second waits here until the first has answered.
            tx.execute(_LOCK_KEY, {"key": key})
        row = tx.execute(
            sa.select(answers.c.operation, answers.c.request, answers.c.body).where(answers.c.key == key)
        ).one_or_none()
        return None if row is None else Answer(row.operation, row.body, row.request)

    def remember(self, tx: sa.Connection, key: str, answer: Answer, at: datetime) -> None:
        """Keep an answer under its idempotency key, in the transaction of the change."""
        values = {"key": key, "operation": answer.operation, "request": answer.request, "body": answer.body, "at": at}
        tx.execute(sa.insert(answers).values(values))

    def close(self) -> None:
        """Close all connections."""
        self._writer.dispose()
        self._reader.dispose()

    def _commit_error(self, batch: _Batch) -> UndriftError:
        where = self.url.render_as_string(hide_password=True)
        error = batch.error
        translated = self._translate(error) if error is not None else None
        if not isinstance(translated, UndriftError):
            translated = Unavailable(f"{where} did not commit: {type(error).__name__}.")
        sure = isinstance(error, sa.exc.DBAPIError) and _code(error).startswith("SQLITE_FULL")
        if batch.committing and not sure:
            translated.next_step = "Whether it was kept is not known: try again with the same idempotency key."
        return translated

    def _translate(self, error: BaseException) -> BaseException:
        """Return the error of undrift's tree that says the same; the error itself when it is not the database's."""
        where = self.url.render_as_string(hide_password=True)
        if isinstance(error, sa.exc.TimeoutError):
            return Unavailable(f"All connections to {where} stay in use.", next_step="Try again in a moment.")
        if isinstance(error, sa.exc.PendingRollbackError):
            return Unavailable(f"{where} undid this change.", next_step="Try again; it may be busy or restarting.")
        if isinstance(error, sa.exc.StatementError) and isinstance(error.orig, UndriftError):
            return error.orig
        if not isinstance(error, sa.exc.DBAPIError):
            return error
        text = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
        code = _code(error)
        if code.startswith(_DISK):
            return Unavailable(f"The disk that holds {where} is full or failing: {text}.", next_step=_DISK_HELP)
        if code.startswith(_DAMAGED):
            return Corrupt(f"{where} is damaged: {text}.", next_step="Restore it from a backup.")
        if code.startswith(_NOT_ALLOWED):
            return Unavailable(f"{where} cannot be written: {text}.", next_step=_PERMISSION_HELP)
        if code.startswith(_TAKEN):
            return Conflict(
                f"Somebody else has written the same to {where} meanwhile: {text}.", next_step="Read it again first."
            )
        if isinstance(error, sa.exc.DataError):
            return Invalid(f"{where} cannot keep this value: {text}.")
        if error.connection_invalidated or (
            isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) and code != _WRONG_STATEMENT
        ):
            return Unavailable(f"{where} did not answer: {text}.", next_step="Try again; it may be busy or restarting.")
        return UndriftError(f"{where} refused a statement: {text}.")


def _insist_on_transaction(batch: _Batch) -> None:
    # A block that passes over a failed statement would be told that all is kept: PostgreSQL turns the commit of such a
    # transaction into a rollback, and SQLite undoes everything by itself when the disk is full; neither says so.
    connection = batch.connection
    if connection.invalidated:
        raise Unavailable(
            "The database undid this change when a statement of it failed.",
            next_step="Try again; its disk may be full, or it is restarting.",
        )
    if not batch.transaction.is_active:
        raise UndriftError("The block ended the transaction that it was given; nothing after that was kept.")
    if connection.dialect.name == "postgresql":
        driver: Any = connection.connection.driver_connection
        if driver.info.transaction_status.name == "INERROR":
            raise UndriftError("A statement of this change failed and was passed over; nothing of the change was kept.")


def _undo_turn(batch: _Batch, cause: BaseException) -> None:
    try:
        batch.connection.exec_driver_sql("ROLLBACK TO SAVEPOINT undrift_turn")
        batch.connection.exec_driver_sql("RELEASE SAVEPOINT undrift_turn")
    except sa.exc.SQLAlchemyError as error:
        # The whole transaction is gone, with the turns before this one: they must not be told that it went well.
        batch.error = cause if isinstance(cause, sa.exc.DBAPIError) else error


def _code(error: sa.exc.DBAPIError) -> str:
    """Return the name of SQLite's code, or PostgreSQL's five characters; empty when the driver itself failed."""
    return getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None) or ""


def open_database(url: str) -> SqlDatabase:
    """Open a database; it is not migrated here (see `migrate`).

    Args:
        url: ``sqlite:///path`` or ``postgresql://user@host/name``.

    Raises:
        Invalid: The address is of another kind.
        Unavailable: The folder for it cannot be made, or its driver is not installed.
    """
    try:
        address = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        # What stands before the @ may be a password.
        raise Invalid(f"{url.rpartition('@')[2]!r} is not the address of a database.", next_step=_URL_HELP) from None
    if address.get_backend_name() == "sqlite":
        return _open_sqlite(address)
    if address.get_backend_name() == "postgresql":
        return _open_postgresql(address)
    raise Invalid(
        f"undrift keeps records in SQLite or PostgreSQL, not {address.get_backend_name()}.", next_step=_URL_HELP
    )


# What codes begin with: https://sqlite.org/rescode.html, https://www.postgresql.org/docs/current/errcodes-appendix.html
_DISK = ("SQLITE_FULL", "SQLITE_IOERR", "53100", "58030")
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "XX001", "XX002")
_NOT_ALLOWED = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "25006", "42501")
_TAKEN = ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_ROWID", "23505")
# A missing table or a mistake in the SQL; SQLite's driver calls them "operational", like an outage.
_WRONG_STATEMENT = "SQLITE_ERROR"
_DISK_HELP = "Free some space and try again; nothing of this change was kept, and reading goes on."
_PERMISSION_HELP = "Give this user write permission on the workspace folder (or database), or choose another one."
_URL_HELP = "Write sqlite:////path/to/file.db or postgresql://user@host:5432/name."
# Any number will do, as long as every hub on a database takes the same.
_LOCK_WRITES = "SELECT pg_advisory_xact_lock(7470100)"
_LOCK_KEY = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")


def _open_sqlite(url: sa.URL) -> SqlDatabase:
    if not url.database or url.database == ":memory:":
        raise Invalid("SQLite needs a file: in memory nothing would be kept.", next_step=_URL_HELP)
    try:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{url} cannot be written: {error.strerror}.", next_step=_PERMISSION_HELP) from error

    def engine(begin: str, pool_size: int, *pragmas: str) -> sa.Engine:
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
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-16000", *pragmas):
                connection.execute(f"PRAGMA {pragma}")

        @sa.event.listens_for(made, "begin")
        def _begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql(begin)

        @sa.event.listens_for(made, "handle_error")
        def _lose(context: sa.ExceptionContext) -> None:
            # On some errors (a full disk) SQLite undoes the whole transaction by itself, and what the block does next
            # would be kept statement by statement: a connection that is given up refuses it.
            driver: Any = context.connection and context.connection.connection.driver_connection
            if driver is not None and not driver.in_transaction:
                context.is_disconnect = True

        return made

    return SqlDatabase(url, engine("BEGIN IMMEDIATE", 1), engine("BEGIN", 4, "query_only=ON"))


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
        execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
    )

    @sa.event.listens_for(writer, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # As on SQLite, nobody waits for ever for a hub that stopped in the middle of a change.
        connection.autocommit = True
        connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT_S}s'")
        connection.autocommit = False

    @sa.event.listens_for(reader, "connect")
    def _alone(connection: Any, _record: Any) -> None:
        # A walk along an index ends after a page; starting workers for it takes longer than the walk.
        connection.autocommit = True
        connection.execute("SET max_parallel_workers_per_gather = 0")
        connection.autocommit = False

    @sa.event.listens_for(writer, "begin")
    def _begin(connection: sa.Connection) -> None:
        # One writer at a time, as SQLite has: a transaction carries the turns of many, so two processes would take rows
        # in other orders and lock each other out, and what one has checked the other could change before the commit.
        connection.exec_driver_sql(_LOCK_WRITES)

    return SqlDatabase(url, writer, reader)
