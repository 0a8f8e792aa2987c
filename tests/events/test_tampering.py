"""Someone with a shell on the database changes the past; verify names the first place that does not fit."""

from __future__ import annotations

import msgspec
import pytest
import sqlalchemy as sa

from undrift.core.errors import Forbidden, Invalid
from undrift.events import Head, VerifyLog, head, read_after, verify_log
from undrift.events.model import FIRST_HASH, chain_hash
from undrift.events.tables import events

EVENTS = 12


@pytest.fixture
def ctx(database, make_ctx):
    return make_ctx(database)


@pytest.fixture
def tamper(ctx):
    """Write twelve events, then run SQL on the database as an intruder would."""
    with ctx.begin():
        for n in range(1, EVENTS + 1):
            ctx.emit("model.promoted", f"models/late/{n}", project="flights", score=n / 10)

    def run(*statements):
        with ctx.database.begin() as tx:
            for statement in statements:
                tx.exec_driver_sql(statement) if isinstance(statement, str) else tx.execute(statement)

    return run


@pytest.fixture
def published(ctx, tamper):
    """The head as it was published outside the database before anybody tampered."""
    with ctx.read() as tx:
        return head(tx)


def test_an_untouched_log_is_whole(ctx, published):
    found = verify_log(ctx, VerifyLog(published.position, published.hash))
    assert (found.ok, found.events, found.head, found.broken_at, found.problem) == (True, EVENTS, published, None, "")


@pytest.mark.parametrize("bad", [1, 5, EVENTS])
@pytest.mark.parametrize(
    "change",
    [
        "data = '{\"score\":0.99}'",
        "subject = 'models/other'",
        "actor = 'bob'",
        "type = 'model.retired'",
        "project = 'trains'",
        "trace_id = 'other'",
        "time = time + 1",
        "id = '0123456789abcdef0123456789abcdef'",
        "hash = 'feed'",
        "data = '{\"score\":'",
        "data = ''",
        "data = '[]'",
        "time = 9000000000000000000",
        "time = -9000000000000000000",
    ],
)
def test_an_edited_event_is_named(ctx, tamper, change, bad):
    tamper(f"UPDATE events SET {change} WHERE position = {bad}")
    found = verify_log(ctx, VerifyLog())
    assert (found.ok, found.broken_at, found.events) == (False, bad, bad - 1)
    assert found.problem


@pytest.mark.parametrize(
    "change", ["time = 'yesterday'", "data = CAST(x'ff' AS TEXT)", "subject = x'00ff'", "position = -4"]
)
def test_what_sqlite_lets_stand_in_any_column_is_named_too(sqlite_database, make_ctx, change):
    ctx = make_ctx(sqlite_database)
    for _ in range(6):
        with ctx.begin():
            ctx.emit("a.b", "s/1", project="p")
    with ctx.begin() as tx:
        tx.exec_driver_sql(f"UPDATE events SET {change} WHERE position = 4")
    found = verify_log(ctx, VerifyLog())
    assert (found.ok, found.broken_at) == (False, 1 if "position" in change else 4)


@pytest.mark.parametrize("bad", [1, 5, EVENTS - 1])
def test_a_deleted_event_is_missed(ctx, tamper, bad):
    tamper(f"DELETE FROM events WHERE position = {bad}")
    found = verify_log(ctx, VerifyLog())
    assert (found.ok, found.broken_at) == (False, bad)
    assert found.problem == f"Position {bad} is missing: the next one there is {bad + 1}."


def test_a_deleted_event_is_missed_also_when_the_rest_moves_up(ctx, tamper):
    tamper(
        "DELETE FROM events WHERE position = 5",
        *(f"UPDATE events SET position = {n - 1} WHERE position = {n}" for n in range(6, EVENTS + 1)),
    )
    assert verify_log(ctx, VerifyLog()).broken_at == 5


def test_reordered_events_are_named(ctx, tamper):
    tamper(
        "UPDATE events SET position = 99 WHERE position = 5",
        "UPDATE events SET position = 5 WHERE position = 8",
        "UPDATE events SET position = 8 WHERE position = 99",
    )
    assert verify_log(ctx, VerifyLog()).broken_at == 5


@pytest.mark.parametrize("position", [0, -3, EVENTS + 1, EVENTS + 5])
def test_an_event_slipped_in_before_or_behind_is_named(ctx, tamper, position):
    tamper(
        f"INSERT INTO events SELECT {position}, 'forged', type, subject, project, time, actor, trace_id, data, hash"
        " FROM events WHERE position = 1"
    )
    found = verify_log(ctx, VerifyLog())
    assert (found.ok, found.broken_at) == (False, min(max(position, 1), EVENTS + 1))


def test_a_cut_off_end_shows_against_a_published_head(ctx, tamper, published):
    tamper(f"DELETE FROM events WHERE position > {EVENTS - 3}")
    assert verify_log(ctx, VerifyLog()).ok, "by itself the rest is a whole log"
    for request in (VerifyLog(published.position, published.hash), VerifyLog(published.position)):
        found = verify_log(ctx, request)
        assert (found.ok, found.broken_at) == (False, EVENTS - 2)
        assert found.problem == f"The end was cut off: position 12 was published, the log ends at {EVENTS - 3}."


def test_a_log_that_was_emptied_shows_against_a_published_head(ctx, tamper, published):
    tamper("DELETE FROM events")
    found = verify_log(ctx, VerifyLog(published.position, published.hash))
    assert (found.ok, found.broken_at, found.head) == (False, 1, Head(0, FIRST_HASH))


def test_a_past_that_was_rewritten_with_fitting_hashes_shows_against_a_published_head(ctx, tamper, published):
    """Who can write the table can compute hashes too; only what was published outside tells."""
    with ctx.read() as tx:
        log = read_after(tx, 0)
    previous = FIRST_HASH
    for event in log:
        forged = msgspec.structs.replace(event, data={"score": 1}) if event.position == 5 else event
        previous = chain_hash(previous, forged)
        tamper(
            sa.update(events).where(events.c.position == event.position).values(data=forged.data, hash=previous),
        )
    assert verify_log(ctx, VerifyLog()).ok, "by itself it is a whole log"
    found = verify_log(ctx, VerifyLog(published.position, published.hash))
    assert (found.ok, found.broken_at) == (False, EVENTS)
    assert "rewritten" in found.problem


def test_a_head_stays_true_while_the_log_grows(ctx, published):
    with ctx.begin():
        ctx.emit("model.retired", "models/late/1", project="flights")
    found = verify_log(ctx, VerifyLog(published.position, published.hash))
    assert (found.ok, found.events) == (True, EVENTS + 1)


def test_a_hash_without_its_position_is_refused(ctx):
    with pytest.raises(Invalid, match="without its position"):
        verify_log(ctx, VerifyLog(hash="0" * 64))


def test_the_first_bad_place_is_found_in_a_long_log(ctx, tamper):
    with ctx.begin():
        for n in range(2500):
            ctx.emit("a.b", f"s/{n}", project="p")
    tamper("UPDATE events SET data = 'x' WHERE position = 1717", "DELETE FROM events WHERE position = 2000")
    found = verify_log(ctx, VerifyLog())
    assert (found.ok, found.broken_at, found.events) == (False, 1717, 1716)


def test_who_may_not_read_events_may_not_verify_them(database, make_ctx):
    class Deny:
        def check(self, actor, permission):
            raise Forbidden(permission)

    with pytest.raises(Forbidden, match="events:read"):
        verify_log(make_ctx(database, policy=Deny()), VerifyLog())
