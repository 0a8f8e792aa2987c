from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from undrift.core.errors import Conflict, Corrupt, Invalid, Unavailable, UndriftError
from undrift.metastore import database as module
from undrift.metastore import metadata, open_database
from undrift.testing.metastore import DatabaseContract

table = sa.Table(
    "turns",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("bytes", sa.LargeBinary, nullable=False),
)


class TestSqlite(DatabaseContract):
    @pytest.fixture
    def database(self, sqlite_database):
        return sqlite_database


class TestPostgresql(DatabaseContract):
    @pytest.fixture
    def database(self, postgres_database):
        return postgres_database


class Stop(Exception):
    pass


@pytest.fixture
def rows(database):
    with contract_table(database):
        yield database


@contextlib.contextmanager
def contract_table(database):
    with database.begin() as tx:
        table.create(tx, checkfirst=True)
        tx.execute(sa.delete(table))
    yield
    with database.begin() as tx:
        table.drop(tx)


def put(tx, id_, size=1):
    tx.execute(sa.insert(table).values(id=id_, bytes=b"x" * size))


def write(database, id_, size=1):
    with database.begin() as tx:
        put(tx, id_, size)


def ids(database):
    with database.read() as tx:
        return list(tx.scalars(sa.select(table.c.id).order_by(table.c.id)))


def wait_until(condition, what, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for: {what}"
        time.sleep(0.001)


class InOrder:
    """A lock that is given in the order in which it was asked for; the usual one promises no order."""

    def __init__(self):
        self.changed = threading.Condition()
        self.queue = []

    def acquire(self):
        ticket = object()
        with self.changed:
            self.queue.append(ticket)
            self.changed.wait_for(lambda: self.queue[0] is ticket)
        return True

    def release(self):
        with self.changed:
            self.queue.pop(0)
            self.changed.notify_all()

    def __enter__(self):
        self.acquire()

    def __exit__(self, *_):
        self.release()


def share_a_commit(database, first, *others):
    """Run blocks as turns of one transaction: the others queue up while the first one is inside its block.

    Each block takes the transaction. Returns what each was told: None for an acknowledgement, or its exception.
    """
    database._turn = InOrder()
    queued = threading.Event()

    def run(block, wait):
        try:
            with database.begin() as tx:
                if wait:
                    assert queued.wait(10)
                block(tx)
        except BaseException as error:  # noqa: BLE001 - what the turn was told
            return error
        return None

    with ThreadPoolExecutor(len(others) + 1) as threads:
        told = [threads.submit(run, first, True)]
        wait_until(lambda: database._batch is not None, "the first turn")
        for count, other in enumerate(others, 1):
            told.append(threads.submit(run, other, False))
            wait_until(lambda count=count: len(database._turn.queue) == count + 1, "the next turn")
        queued.set()
        return [each.result(30) for each in told]


def acknowledged(told):
    return [id_ for id_, answer in enumerate(told, 1) if answer is None]


@pytest.fixture
def commits(database):
    """Counts the commits of the writer."""
    seen = []
    sa.event.listen(database._writer, "commit", seen.append)
    return seen


def putting(id_):
    return lambda tx: put(tx, id_)


def failing(id_):
    def block(tx):
        put(tx, id_)
        raise Stop

    return block


def test_turns_that_queue_up_share_one_commit(rows, commits):
    commits.clear()
    assert share_a_commit(rows, *map(putting, range(1, 9))) == [None] * 8
    assert ids(rows) == list(range(1, 9))
    assert len(commits) == 1


@pytest.mark.parametrize("bad", [1, 2, 4], ids=["the first", "one between", "the last"])
def test_a_failing_turn_in_a_shared_commit_undoes_only_itself(rows, bad):
    told = share_a_commit(rows, *(failing(id_) if id_ == bad else putting(id_) for id_ in range(1, 5)))
    assert isinstance(told[bad - 1], Stop)
    assert ids(rows) == acknowledged(told) == [id_ for id_ in range(1, 5) if id_ != bad]


def test_a_refused_statement_in_a_shared_commit_undoes_only_its_turn(rows):
    def twice(tx):
        put(tx, 2)
        put(tx, 1)

    told = share_a_commit(rows, putting(1), twice, putting(3))
    assert [type(each).__name__ for each in told] == ["NoneType", "Conflict", "NoneType"]
    assert ids(rows) == [1, 3]


def test_nobody_is_told_before_the_commit_has_returned(rows):
    told_early = []

    @sa.event.listens_for(rows._writer, "commit")
    def look(_connection):
        told_early.append(rows._batch is None and batch.done.is_set())

    def first(tx):
        nonlocal batch
        batch = rows._batch
        put(tx, 1)

    batch = None
    assert share_a_commit(rows, first, putting(2), putting(3)) == [None] * 3
    assert told_early == [False]


def test_a_failing_commit_fails_every_turn_that_waited_for_it(rows):
    @sa.event.listens_for(rows._writer, "commit", once=True)
    def fail(_connection):
        raise sa.exc.OperationalError("COMMIT", None, Exception("injected"))

    told = share_a_commit(rows, putting(1), putting(2), putting(3))
    assert [type(each) for each in told] == [Unavailable] * 3
    assert len({id(each) for each in told}) == 3, "each thread has an exception of its own"
    assert "injected" in told[0].message
    assert "idempotency key" in told[0].next_step
    assert ids(rows) == []
    write(rows, 4)
    assert ids(rows) == [4]


def test_a_commit_that_is_interrupted_stops_its_thread_and_fails_the_others(rows):
    @sa.event.listens_for(rows._writer, "commit", once=True)
    def interrupt(_connection):
        raise KeyboardInterrupt

    told = share_a_commit(rows, putting(1), putting(2), putting(3))
    assert [type(each) for each in told] == [Unavailable, Unavailable, KeyboardInterrupt]
    assert ids(rows) == []
    write(rows, 4)
    assert ids(rows) == [4]


def test_turns_are_committed_now_and_then_however_many_follow(rows, commits, monkeypatch):
    monkeypatch.setattr(module, "_TURNS_PER_COMMIT", 3)
    commits.clear()
    assert share_a_commit(rows, *map(putting, range(1, 8))) == [None] * 7
    assert len(commits) == 3


def test_a_turn_is_committed_when_the_one_it_was_handed_to_is_interrupted(rows, monkeypatch):
    """Ctrl-C while waiting for a turn must not leave those before it waiting for ever."""
    monkeypatch.setattr(module, "_HAND_OVER_S", 0.02)
    entered, leave, interrupt = threading.Event(), threading.Event(), threading.Event()
    lock = rows._turn

    class Interrupted:
        def acquire(self):
            if threading.current_thread().name == "victim":
                assert interrupt.wait(10)
                raise KeyboardInterrupt
            return lock.acquire()

        release = staticmethod(lock.release)

        def __enter__(self):
            lock.acquire()

        def __exit__(self, *_):
            lock.release()

    rows._turn = Interrupted()
    outcome = {}

    def first():
        with rows.begin() as tx:
            put(tx, 1)
            entered.set()
            assert leave.wait(10)
        outcome["first"] = "acknowledged"

    def second():
        try:
            write(rows, 2)
        except KeyboardInterrupt:
            outcome["second"] = "interrupted"

    threads = [threading.Thread(target=first), threading.Thread(target=second, name="victim")]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    wait_until(lambda: rows._waiting == 1, "the second turn")
    leave.set()
    wait_until(lambda: not lock.locked(), "the hand-over")
    interrupt.set()
    for thread in threads:
        thread.join(10)
    assert outcome == {"first": "acknowledged", "second": "interrupted"}
    assert ids(rows) == [1]
    write(rows, 3)
    assert ids(rows) == [1, 3]


def test_a_block_that_ends_the_transaction_itself_takes_no_other_down_in_silence(rows):
    def meddle(tx):
        put(tx, 2)
        tx.rollback()
        put(tx, 2)

    told = share_a_commit(rows, putting(1), meddle, putting(3))
    assert isinstance(told[1], UndriftError)
    assert ids(rows) == acknowledged(told) == [3]


def test_a_passed_over_failure_takes_no_other_turn_with_it(rows):
    def careless(tx):
        put(tx, 2)
        with contextlib.suppress(sa.exc.IntegrityError):
            put(tx, 1)

    told = share_a_commit(rows, putting(1), careless, putting(3))
    assert ids(rows) == acknowledged(told)
    assert {1, 3} <= set(ids(rows))


def test_who_finds_the_database_locked_is_told_after_a_while(rows, monkeypatch):
    write(rows, 1)
    monkeypatch.setattr(module, "_LOCK_TIMEOUT_S", 0.05)
    other = open_database(rows.url.render_as_string(hide_password=False))
    grow = sa.update(table).where(table.c.id == 1).values(bytes=b"xx")
    with rows.begin() as tx:
        tx.execute(grow)
        with pytest.raises(Unavailable, match=r"did not answer: .*lock"), other.begin() as waiting:
            waiting.execute(grow)
    with other.begin() as tx:
        tx.execute(grow)
    other.close()


def test_when_all_readers_are_busy_the_next_is_told_so(sqlite_database, monkeypatch):
    monkeypatch.setattr(sqlite_database._reader.pool, "_timeout", 0.01)
    monkeypatch.setattr(sqlite_database._reader.pool, "_max_overflow", 0)
    with contextlib.ExitStack() as busy:
        for _ in range(4):
            busy.enter_context(sqlite_database.read())
        with pytest.raises(Unavailable, match="stay in use"), sqlite_database.read():
            pass
    with sqlite_database.read():
        pass


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "postgresql://ada:secret@host:port/db",
        "mysql://ada:secret@host/db",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(url):
    with pytest.raises(Invalid) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)
    assert "sqlite:////path" in caught.value.next_step


@pytest.mark.parametrize(
    ("sqlstate", "driver_says", "kind", "sentence"),
    [
        ("53100", sa.exc.OperationalError, Unavailable, "is full or failing"),
        ("25006", sa.exc.InternalError, Unavailable, "cannot be written"),
        ("42501", sa.exc.ProgrammingError, Unavailable, "cannot be written"),
        ("40P01", sa.exc.OperationalError, Unavailable, "did not answer"),
        ("53300", sa.exc.OperationalError, Unavailable, "did not answer"),
        (None, sa.exc.InterfaceError, Unavailable, "did not answer"),
        ("XX001", sa.exc.InternalError, Corrupt, "is damaged"),
        ("23505", sa.exc.IntegrityError, Conflict, "meanwhile"),
        ("23502", sa.exc.IntegrityError, UndriftError, "refused a statement"),
        ("22001", sa.exc.DataError, Invalid, "cannot keep this value"),
        ("42P01", sa.exc.ProgrammingError, UndriftError, "refused a statement"),
    ],
)
def test_what_postgresql_reports_becomes_an_error_that_says_what_to_do(
    sqlite_database, sqlstate, driver_says, kind, sentence
):
    original = Exception("the server's words\nand its second line")
    original.sqlstate = sqlstate
    with pytest.raises(kind, match=f"{sentence}.*: the server's words") as caught, sqlite_database.read():
        raise driver_says("SELECT 1", None, original)
    assert type(caught.value) is kind


def test_a_damaged_file_is_called_damaged(tmp_path):
    (tmp_path / "undrift.db").write_bytes(b"not a database, " * 1000)
    database = open_database(f"sqlite:///{tmp_path}/undrift.db")
    with pytest.raises(Corrupt, match="damaged"), database.read():
        pass
    with pytest.raises(Corrupt, match="damaged"), database.begin():
        pass
    database.close()


# ---- SQLite and its disk ---------------------------------------------------------------------------------------------


def mounted(folder, options):
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a file system of one's own needs root: {done.stderr.strip()}")


class SmallDisk:
    """A file system of two megabytes."""

    def __init__(self, folder):
        self.folder = folder
        self.database = open_database(f"sqlite:///{folder}/undrift.db")

    def fill(self):
        free = os.statvfs(self.folder)
        (self.folder / "ballast").write_bytes(b"x" * (free.f_bavail * free.f_bsize - 16_384))

    def free(self):
        (self.folder / "ballast").unlink()


class FewPages:
    """A file that SQLite lets grow to 40 pages: the same error, met inside a statement instead of the commit."""

    def __init__(self, folder):
        self.database = open_database(f"sqlite:///{folder}/undrift.db")
        self.pages = 1_000_000
        sa.event.listen(self.database._writer, "begin", self.limit)

    def limit(self, connection):
        connection.exec_driver_sql(f"PRAGMA max_page_count={self.pages}")

    def fill(self):
        self.pages = 40

    def free(self):
        self.pages = 1_000_000


@pytest.fixture(params=[SmallDisk, FewPages], ids=["small disk", "few pages"])
def disk(request, tmp_path):
    folder = tmp_path / "disk"
    if request.param is SmallDisk:
        mounted(folder, "size=2m")
    else:
        folder.mkdir()
    made = request.param(folder)
    with made.database.begin() as tx:
        metadata.create_all(tx)
        table.create(tx)
    yield made
    made.database.close()
    if request.param is SmallDisk:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_reading_goes_on_and_it_heals_by_itself(disk):
    write(disk.database, 1)
    disk.fill()
    for _ in range(3):
        with pytest.raises(Unavailable, match="is full or failing: database or disk is full") as caught:
            write(disk.database, 2, size=300_000)
        assert "Free some space" in caught.value.next_step
        assert ids(disk.database) == [1]
    disk.free()
    write(disk.database, 2, size=300_000)
    assert ids(disk.database) == [1, 2]


def test_on_a_full_disk_no_turn_of_a_shared_commit_is_told_what_is_not_so(disk):
    disk.fill()
    told = share_a_commit(disk.database, putting(1), lambda tx: put(tx, 2, size=300_000), putting(3))
    assert isinstance(told[1], Unavailable)
    assert ids(disk.database) == acknowledged(told)
    assert all(answer is None or "disk is full" in answer.message for answer in told)
    disk.free()
    write(disk.database, 4)
    assert ids(disk.database) == [*acknowledged(told), 4]


def test_what_follows_in_a_block_after_sqlite_undid_it_is_not_kept_either(sqlite_database):
    """SQLite rolls back by itself on some errors; without a transaction each later statement would be kept alone."""

    def undone(tx):
        put(tx, 2)
        tx.connection.driver_connection.execute("ROLLBACK")
        with contextlib.suppress(sa.exc.OperationalError):
            tx.exec_driver_sql("SELECT * FROM nowhere")
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            put(tx, 3)

    with contract_table(sqlite_database):
        told = share_a_commit(sqlite_database, putting(1), undone, putting(3))
        assert [type(each) for each in told] == [Unavailable, Unavailable, type(None)]
        assert ids(sqlite_database) == [3]


def test_a_place_that_cannot_be_written_is_said_so(tmp_path):
    folder = tmp_path / "disk"
    mounted(folder, "size=1m")
    try:
        database = open_database(f"sqlite:///{folder}/undrift.db")
        with database.begin() as tx:
            table.create(tx)
        database.close()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(Unavailable, match="cannot be written") as caught:
            write(database, 1)
        assert "write permission on the workspace folder" in caught.value.next_step
        database.close()
        with pytest.raises(Unavailable, match="cannot be written"):
            open_database(f"sqlite:///{folder}/deeper/undrift.db")
        missing = open_database(f"sqlite:///{folder}/new.db")
        with pytest.raises(Unavailable, match="cannot be written"), missing.read():
            pass
        missing.close()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# ---- PostgreSQL and its server ---------------------------------------------------------------------------------------


@pytest.fixture
def server(postgres_database):
    """The database, and a way to cut its connections."""
    with contract_table(postgres_database):
        yield postgres_database


@pytest.fixture
def cut(postgres_url):
    """Ends connections from the server's side, as a restart does."""
    admin = sa.create_engine(
        sa.make_url(postgres_url).set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
        poolclass=sa.NullPool,
    )

    def end(pid=None):
        alive = sa.text(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend' AND pid = coalesce(:pid, pid)"
        )
        with admin.connect() as connection:
            for each in connection.scalars(alive, {"pid": pid}).all():
                connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": each})
            wait_until(lambda: not connection.scalars(alive, {"pid": pid}).all(), "the connections to end")

    return end


def pid_of(tx):
    return tx.scalar(sa.text("SELECT pg_backend_pid()"))


def test_connections_that_were_cut_while_idle_are_not_noticed(server, cut):
    write(server, 1)
    assert ids(server) == [1]
    cut()
    write(server, 2)
    assert ids(server) == [1, 2]


def test_a_change_that_loses_its_connection_is_undone_and_the_next_one_works(server, cut):
    def lose():
        with server.begin() as tx:
            put(tx, 1)
            cut(pid_of(tx))
            put(tx, 2)

    with pytest.raises(Unavailable, match="did not answer"):
        lose()
    assert ids(server) == []
    write(server, 3)
    assert ids(server) == [3]


def test_a_shared_commit_that_loses_its_connection_acknowledges_nobody(server, cut):
    def lose(tx):
        cut(pid_of(tx))
        put(tx, 2)

    told = share_a_commit(server, putting(1), lose, putting(3))
    assert [type(each) for each in told] == [Unavailable, Unavailable, type(None)]
    assert ids(server) == [3]


def test_a_connection_that_is_lost_between_turns_acknowledges_nobody(server, cut):
    """The second turn does nothing itself, and finds the connection gone when it takes it over."""
    told = share_a_commit(server, lambda tx: (put(tx, 1), cut(pid_of(tx))), lambda _tx: None, putting(3))
    assert [type(each) for each in told[:2]] == [Unavailable, Unavailable]
    assert ids(server) == [3]


def test_a_connection_that_breaks_in_the_commit_says_that_nobody_knows(server, cut):
    @sa.event.listens_for(server._writer, "commit", once=True)
    def break_it(connection):
        cut(connection.connection.driver_connection.info.backend_pid)

    told = share_a_commit(server, putting(1), putting(2))
    assert [type(each) for each in told] == [Unavailable, Unavailable]
    assert all("Whether it was kept is not known" in each.next_step for each in told)
    write(server, 3)
    assert ids(server) == [3]


def test_a_reader_that_loses_its_connection_is_told_and_may_try_again(server, cut):
    def lose():
        with server.read() as tx:
            cut(pid_of(tx))
            pid_of(tx)

    with pytest.raises(Unavailable, match="did not answer"):
        lose()
    assert ids(server) == []


def test_a_server_that_is_away_is_named(unused_port):
    database = open_database(f"postgresql://ada:secret@127.0.0.1:{unused_port}/db")
    for use in (database.read, database.begin):
        with pytest.raises(Unavailable, match=f"127.0.0.1:{unused_port}/db did not answer") as caught, use():
            pass
        assert "secret" not in str(caught.value)
    database.close()
