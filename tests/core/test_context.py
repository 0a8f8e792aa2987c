from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from undrift.core import Actor
from undrift.core.errors import UndriftError
from undrift.events import head, read_after


class Stop(Exception):
    pass


@pytest.fixture
def ctx(database, make_ctx):
    return make_ctx(database)


def log(ctx):
    with ctx.database.read() as tx:
        return read_after(tx, 0)


def types(ctx):
    return [event.type for event in log(ctx)]


def test_events_carry_who_when_what_and_which_call(ctx):
    with ctx.begin():
        ctx.emit("model.promoted", "models/late/3", project="flights", alias="champion")
    (event,) = log(ctx)
    assert (event.type, event.subject, event.project) == ("model.promoted", "models/late/3", "flights")
    assert (event.actor, event.trace_id, event.data) == ("ada", ctx.trace_id, {"alias": "champion"})
    assert event.time == ctx.now() == datetime(2013, 1, 1, tzinfo=UTC)


def test_an_event_may_have_happened_at_another_time(ctx):
    local = datetime(2013, 3, 1, 5, 45, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    with ctx.begin():
        ctx.emit("label.arrived", "labels/1", project="flights", time=local)
    assert log(ctx)[0].time == datetime(2013, 3, 1, tzinfo=UTC)


def test_an_event_outside_a_change_is_refused(ctx):
    with pytest.raises(UndriftError, match="with the change it tells of"):
        ctx.emit("model.promoted", "models/late/3", project="flights")
    with ctx.read(), pytest.raises(UndriftError, match="with the change it tells of"):
        ctx.emit("model.promoted", "models/late/3", project="flights")
    assert types(ctx) == []


def test_events_are_gone_with_the_change_that_was_undone(ctx):
    def change():
        with ctx.begin():
            ctx.emit("a.lost", "a/1", project="p")
            raise Stop

    with pytest.raises(Stop):
        change()
    with ctx.begin():
        ctx.emit("a.kept", "a/1", project="p")
    assert types(ctx) == ["a.kept"]


def test_a_begin_inside_a_begin_is_the_same_change(ctx):
    with ctx.begin() as outer:
        ctx.emit("a.first", "a/1", project="p")
        with ctx.begin() as inner:
            assert inner is outer
            ctx.emit("a.second", "a/1", project="p")
        assert types(ctx) == [], "the inner block has not committed"
        ctx.emit("a.third", "a/1", project="p")
    assert types(ctx) == ["a.first", "a.second", "a.third"]


def test_what_an_inner_block_did_is_undone_with_the_outer_one(ctx):
    def change():
        with ctx.begin():
            with ctx.begin():
                ctx.emit("a.lost", "a/1", project="p")
            raise Stop

    with pytest.raises(Stop):
        change()
    assert types(ctx) == []


def test_a_read_inside_a_begin_sees_what_the_change_has_done_so_far(ctx):
    with ctx.begin() as tx, ctx.read() as also:
        assert also is tx


def test_two_contexts_in_one_thread_do_not_wait_for_each_other_for_ever(ctx):
    with pytest.raises(UndriftError, match="open already"), ctx.begin(), ctx.once("key").begin():
        pass
    with ctx.begin():
        ctx.emit("a.kept", "a/1", project="p")
    assert types(ctx) == ["a.kept"]


def test_a_context_for_one_call_differs_only_in_its_key(ctx):
    once = ctx.once("key")
    assert once.idempotency_key == "key"
    assert ctx.idempotency_key is None
    assert {name: value for name, value in vars(once).items() if name != "idempotency_key"} == {
        name: value for name, value in vars(ctx).items() if name != "idempotency_key"
    }


def test_each_call_has_a_trace_id_unless_it_brings_one(database, make_ctx):
    one, other, brought = make_ctx(database), make_ctx(database), make_ctx(database, trace_id="abc")
    assert len({one.trace_id, other.trace_id, "abc"}) == 3
    assert brought.trace_id == "abc"


def test_the_fixture_stands_on_a_fresh_database(ctx):
    with ctx.read() as tx:
        assert head(tx).position == 0
    assert ctx.actor == Actor("ada", "person")
