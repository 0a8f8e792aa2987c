"""What a database owes (`DatabaseContract`): the promises of `undrift.core.context.Database`.

    class TestMyDatabase(DatabaseContract):
        @pytest.fixture
        def database(self):
            ...  # a SqlDatabase that holds the table `undrift.metastore.schema.answers`

A second database object on the same address stands for another process.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from undrift.core.context import Answer
from undrift.core.errors import Conflict, Invalid, Unavailable, UndriftError
from undrift.metastore import Json, SqlDatabase, UtcTime, insert_or_ignore, open_database

__all__ = ["DatabaseContract", "notes"]

_metadata = sa.MetaData()
notes = sa.Table(
    "contract_notes",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("at", UtcTime),
    sa.Column("data", Json),
)

_NOON = datetime(2013, 4, 1, 12, tzinfo=UTC)

TIMES = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2013, 3, 10, 7, 30, 0, 1, tzinfo=UTC),
    datetime(2013, 4, 1, 12, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    datetime(2262, 4, 12, 1, 2, 3, 4, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]

VALUES: list[Any] = [
    {},
    [],
    "",
    0,
    False,
    {"b": 1, "a": [1, 2.5, -0.0, 1e300, 5e-324, None, True]},
    {"wide": [2**63 - 1, -(2**63), 2**64 - 1]},
    {"text": "naïve Zürich 東京 🛫 \u0000 \u2028 \\ \" '"},
    {"": {"": [[[]]]}},
]


class DatabaseContract:
    """Tests that every database passes; give it the fixture `database`."""

    @pytest.fixture(autouse=True)
    def _tables(self, database: SqlDatabase) -> Iterator[None]:
        with database.begin() as tx:
            _metadata.create_all(tx)
        yield
        with database.begin() as tx:
            _metadata.drop_all(tx)

    @pytest.fixture
    def other(self, database: SqlDatabase) -> Iterator[SqlDatabase]:
        """Another process on the same database."""
        opened = open_database(database.url.render_as_string(hide_password=False))
        yield opened
        opened.close()

    def test_an_acknowledged_change_is_seen_by_other_processes(self, database: SqlDatabase, other: SqlDatabase) -> None:
        """When `begin` has ended, whoever reads next sees the change."""
        _write(database, 1, 2)
        assert _ids(other) == [1, 2]

    def test_a_block_that_raises_leaves_nothing(self, database: SqlDatabase) -> None:
        """A change is kept whole or not at all."""
        with pytest.raises(_Stop):
            _write_and_raise(database, 1, _Stop)
        _write(database, 2)
        assert _ids(database) == [2]

    def test_a_block_that_is_interrupted_leaves_nothing(self, database: SqlDatabase) -> None:
        """The same for Ctrl-C."""
        with pytest.raises(KeyboardInterrupt):
            _write_and_raise(database, 1, KeyboardInterrupt)
        _write(database, 2)
        assert _ids(database) == [2]

    def test_an_open_change_is_not_seen_and_blocks_no_reader(self, database: SqlDatabase, other: SqlDatabase) -> None:
        """Readers neither see nor wait for a change that is not finished."""
        with database.begin() as tx:
            tx.execute(sa.insert(notes).values(id=1, text="open"))
            assert _ids(database) == _ids(other) == []
        assert _ids(database) == _ids(other) == [1]

    def test_a_reader_goes_on_seeing_the_moment_it_began(self, database: SqlDatabase, other: SqlDatabase) -> None:
        """A reader's first statement fixes what it sees until its block ends."""
        _write(database, 1)
        with database.read() as tx:
            assert _ids_in(tx) == [1]
            _write(other, 2)
            assert _ids_in(tx) == [1]
        assert _ids(database) == [1, 2]

    def test_a_reader_cannot_write(self, database: SqlDatabase) -> None:
        """A write inside `read` is refused, not kept by accident."""
        with pytest.raises(UndriftError), database.read() as tx:
            tx.execute(sa.insert(notes).values(id=1, text="smuggled"))
        assert _ids(database) == []
        _write(database, 2)
        assert _ids(database) == [2]

    def test_what_many_writers_were_told_is_kept_and_nothing_else(self, database: SqlDatabase) -> None:
        """Sixteen threads; every third change raises in its block; who was told "done" finds it, the others do not."""
        writers, changes = 16, 12
        start = threading.Barrier(writers)

        def write(writer: int) -> list[int]:
            start.wait()
            done = []
            for change in range(changes):
                id_ = writer * changes + change
                try:
                    with database.begin() as tx:
                        tx.execute(sa.insert(notes).values(id=id_, text="x"))
                        _raise_if(id_ % 3 == 0)
                except _Stop:
                    continue
                done.append(id_)
            return done

        with ThreadPoolExecutor(writers) as threads:
            told = sorted(id_ for done in threads.map(write, range(writers)) for id_ in done)
        assert _ids(database) == told == [id_ for id_ in range(writers * changes) if id_ % 3]

    def test_one_thread_cannot_wait_for_itself(self, database: SqlDatabase) -> None:
        """A transaction inside a transaction of the same thread is an error, not a standstill."""
        with pytest.raises(UndriftError, match="open already"), database.begin(), database.begin():
            pass
        _write(database, 1)
        assert _ids(database) == [1]

    def test_a_failed_statement_that_is_passed_over_is_never_acknowledged_as_kept(self, database: SqlDatabase) -> None:
        """Either the rest of the change is kept, or the block is told that it is not; never a silent loss."""
        _write(database, 1)
        try:
            with database.begin() as tx:
                tx.execute(sa.insert(notes).values(id=2, text="first"))
                with pytest.raises(sa.exc.IntegrityError):
                    tx.execute(sa.insert(notes).values(id=1, text="taken"))
        except UndriftError:
            assert _ids(database) == [1]
        else:
            assert _ids(database) == [1, 2]

    def test_the_same_key_twice_is_a_conflict(self, database: SqlDatabase) -> None:
        """Two who write the same row: the second is told so, not that the server failed."""
        _write(database, 1)
        with pytest.raises(Conflict, match="meanwhile"):
            _write(database, 1)
        assert _ids(database) == [1]

    def test_a_row_that_is_there_can_be_left_alone(self, database: SqlDatabase) -> None:
        """`insert_or_ignore` adds what is new and says how many those were."""
        with database.begin() as tx:
            added = [
                tx.execute(insert_or_ignore(tx, notes), [{"id": id_, "text": text} for id_ in ids]).rowcount
                for text, ids in (("first", [1]), ("second", [1]), ("third", [1, 2, 3]))
            ]
        assert added == [1, 0, 2]
        with database.read() as tx:
            rows = tx.execute(sa.select(notes.c.id, notes.c.text).order_by(notes.c.id)).all()
        assert rows == [(1, "first"), (2, "third"), (3, "third")]

    def test_a_missing_table_is_no_outage(self, database: SqlDatabase) -> None:
        """A wrong statement is not worth trying again."""
        with pytest.raises(UndriftError, match="refused a statement") as caught, database.read() as tx:
            tx.execute(sa.text("SELECT * FROM contract_nowhere"))
        assert not isinstance(caught.value, Unavailable)

    @pytest.mark.parametrize("moment", TIMES, ids=str)
    def test_a_time_comes_back_to_the_microsecond_and_in_utc(self, database: SqlDatabase, moment: datetime) -> None:
        """`UtcTime` keeps the moment, whatever zone it was written in, and finds it by equality."""
        with database.begin() as tx:
            tx.execute(sa.insert(notes).values(id=1, text="", at=moment))
        with database.read() as tx:
            found = tx.scalars(sa.select(notes.c.at)).one()
            same = tx.scalar(sa.select(sa.func.count()).select_from(notes).where(notes.c.at == moment))
        assert found == moment
        assert found.tzinfo is UTC
        assert same == 1

    def test_times_sort_as_they_happened(self, database: SqlDatabase) -> None:
        """`UtcTime` sorts by moment."""
        shuffled = random.Random(1).sample(TIMES, len(TIMES))  # noqa: S311 - any order will do
        with database.begin() as tx:
            tx.execute(sa.insert(notes), [{"id": id_, "text": "", "at": at} for id_, at in enumerate(shuffled)])
        with database.read() as tx:
            assert tx.scalars(sa.select(notes.c.at).order_by(notes.c.at)).all() == sorted(TIMES)

    @pytest.mark.parametrize(
        "moment",
        [datetime(2013, 1, 1), datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))],  # noqa: DTZ001 - the point
        ids=["no zone", "before year 1"],
    )
    def test_a_time_that_cannot_be_kept_is_refused(self, database: SqlDatabase, moment: datetime) -> None:
        """A time that is no moment, or lies beyond what can be read back, is Invalid."""
        with pytest.raises(Invalid), database.begin() as tx:
            tx.execute(sa.insert(notes).values(id=1, text="", at=moment))
        assert _ids(database) == []

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_a_json_value_comes_back_as_it_was(self, database: SqlDatabase, value: Any) -> None:
        """`Json` keeps kinds, digits and characters; keys come back sorted."""
        with database.begin() as tx:
            tx.execute(sa.insert(notes).values(id=1, text="", data=value))
        with database.read() as tx:
            found = tx.scalars(sa.select(notes.c.data)).one()
        assert repr(found) == repr(_sorted(value))

    def test_nothing_comes_back_as_nothing(self, database: SqlDatabase) -> None:
        """None is kept as NULL."""
        _write(database, 1)
        with database.read() as tx:
            assert tx.execute(sa.select(notes.c.at, notes.c.data)).one() == (None, None)

    def test_an_answer_is_recalled_byte_for_byte(self, database: SqlDatabase) -> None:
        """`recall` gives what `remember` was given, for exactly this key."""
        answer = Answer("models.promote", bytes(range(256)))
        with database.begin() as tx:
            assert database.recall(tx, "key") is None
            database.remember(tx, "key", answer, _NOON)
        with database.begin() as tx:
            assert database.recall(tx, "key") == answer
            assert database.recall(tx, "KEY") is None

    def test_an_answer_is_forgotten_with_the_change_it_belongs_to(self, database: SqlDatabase) -> None:
        """An answer is part of the change it answers."""

        def remember_and_raise() -> None:
            with database.begin() as tx:
                database.remember(tx, "key", Answer("models.promote", b"{}"), _NOON)
                raise _Stop

        with pytest.raises(_Stop):
            remember_and_raise()
        with database.begin() as tx:
            assert database.recall(tx, "key") is None


class _Stop(Exception):
    pass


def _raise_if(condition: bool) -> None:
    if condition:
        raise _Stop


def _write(database: SqlDatabase, *ids: int) -> None:
    with database.begin() as tx:
        for id_ in ids:
            tx.execute(sa.insert(notes).values(id=id_, text="x"))


def _write_and_raise(database: SqlDatabase, id_: int, error: type[BaseException]) -> None:
    with database.begin() as tx:
        tx.execute(sa.insert(notes).values(id=id_, text="lost"))
        raise error


def _ids(database: SqlDatabase) -> list[int]:
    with database.read() as tx:
        return _ids_in(tx)


def _ids_in(tx: sa.Connection) -> list[int]:
    return list(tx.scalars(sa.select(notes.c.id).order_by(notes.c.id)))


def _sorted(value: Any) -> Any:
    """Return the value with its keys in the order in which JSON is kept."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
