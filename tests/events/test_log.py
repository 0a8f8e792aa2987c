"""Appending to the log, and reading it back."""

from __future__ import annotations

import contextlib
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from undrift.core import EventDraft, new_id
from undrift.core.errors import Corrupt, Invalid
from undrift.events import EventLog, Head, ListEvents, VerifyLog, head, list_events, read_after, verify_log
from undrift.events.model import FIRST_HASH

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
drafts = st.builds(
    EventDraft,
    id=st.builds(new_id),
    type=texts,
    subject=texts,
    project=texts,
    time=st.datetimes(timezones=st.timezones(), allow_imaginary=False).filter(lambda at: 1 < at.year < 9999),
    actor=texts,
    trace_id=texts,
    data=st.dictionaries(texts, values, max_size=4),
)


@pytest.fixture
def ctx(database, make_ctx):
    return make_ctx(database)


def emit(ctx, count=1, **given):
    with ctx.begin():
        for _ in range(count):
            ctx.emit(given.get("type", "a.b"), given.get("subject", "s/1"), project=given.get("project", "p"), n=1)


def everything(ctx):
    with ctx.read() as tx:
        return read_after(tx, 0, limit=100_000)


def positions(events):
    return [event.position for event in events]


def test_an_empty_log_is_whole_and_has_a_head(ctx):
    with ctx.read() as tx:
        assert head(tx) == Head(0, FIRST_HASH)
        assert read_after(tx, 0) == []
    found = verify_log(ctx, VerifyLog())
    assert (found.ok, found.events, found.head) == (True, 0, Head(0, FIRST_HASH))


def test_appending_nothing_changes_nothing(ctx):
    with ctx.begin() as tx:
        EventLog().append(tx, [])
    assert everything(ctx) == []


def test_positions_count_from_one_without_gaps_also_after_undone_changes(ctx):
    for count in (1, 3, 2):
        emit(ctx, count)
        with pytest.raises(ZeroDivisionError), ctx.begin():
            ctx.emit("a.lost", "s/1", project="p", n=1 / 0)
    assert positions(everything(ctx)) == [1, 2, 3, 4, 5, 6]
    with ctx.read() as tx:
        assert head(tx) == Head(6, everything(ctx)[-1].hash)


def test_a_reader_gets_what_follows_a_position_in_order(ctx):
    emit(ctx, 7)
    with ctx.read() as tx:
        assert positions(read_after(tx, 2, limit=3)) == [3, 4, 5]
        assert positions(read_after(tx, 5)) == [6, 7]
        assert read_after(tx, 7) == []


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(drafts, min_size=1, max_size=5))
def test_whatever_is_written_keeps_its_hash_when_it_is_read(ctx, written):
    """UTC and microseconds, all of Unicode, numbers of any size: what is hashed is what will be read."""
    with ctx.begin() as tx:
        EventLog().append(tx, written)
    found = verify_log(ctx, VerifyLog())
    assert found.ok, found.problem
    with ctx.read() as tx:
        read = read_after(tx, found.events - len(written))
    for event, draft in zip(read, written, strict=True):
        assert event.time.timestamp() == draft.time.timestamp()
        assert event.time.tzinfo is UTC
        assert (event.id, event.type, event.subject, event.actor) == (draft.id, draft.type, draft.subject, draft.actor)


def test_numbers_that_json_does_not_know_are_kept_as_nothing(ctx):
    with ctx.begin():
        ctx.emit("a.b", "s/1", project="p", ratio=math.nan, bound=-math.inf, score=0.5)
    assert everything(ctx)[0].data == {"ratio": None, "bound": None, "score": 0.5}
    assert verify_log(ctx, VerifyLog()).ok


def test_an_event_without_a_time_zone_is_refused_with_its_change(ctx):
    with pytest.raises(Invalid, match="no time zone"), ctx.begin():
        ctx.emit("a.b", "s/1", project="p", time=datetime(2013, 1, 1, tzinfo=UTC).replace(tzinfo=None))
    assert everything(ctx) == []


def test_positions_are_dense_under_sixteen_threads(ctx, make_ctx):
    start = threading.Barrier(16)

    def write(thread):
        start.wait()
        for count in range(10):
            emit(make_ctx(ctx.database), count % 3, subject=f"s/{thread}")

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(write, range(16)))
    events = everything(ctx)
    assert positions(events) == list(range(1, 16 * 9 + 1))
    assert verify_log(ctx, VerifyLog()).ok


# ---- listing ---------------------------------------------------------------------------------------------------------


def subjects(ctx, **request):
    return [event.subject for event in list_events(ctx, ListEvents(**request))]


def test_a_list_begins_with_the_newest_and_goes_on_before_its_last(ctx):
    emit(ctx, 5)
    page = list_events(ctx, ListEvents(limit=2))
    assert positions(page) == [5, 4]
    assert positions(list_events(ctx, ListEvents(limit=2, before=page[-1].position))) == [3, 2]
    assert list_events(ctx, ListEvents(before=1)) == []


def test_a_subject_also_lists_what_lies_below_it_and_nothing_beside_it(ctx):
    for subject in (
        "models/late",
        "models/late/3",
        "models/late2",
        "models/Late/3",
        "models/%ate/1",
        "models/late/3/x",
    ):
        emit(ctx, subject=subject)
    assert subjects(ctx, subject="models/late") == ["models/late/3/x", "models/late/3", "models/late"]
    assert subjects(ctx, subject="models/%ate") == ["models/%ate/1"]
    assert subjects(ctx, subject="models/_ate") == subjects(ctx, subject="models/late/") == []


def test_a_list_can_be_narrowed_by_type_and_project(ctx):
    emit(ctx, type="model.promoted", project="flights", subject="1")
    emit(ctx, type="model.retired", project="flights", subject="2")
    emit(ctx, type="model.promoted", project="trains", subject="3")
    assert subjects(ctx, type="model.promoted") == ["3", "1"]
    assert subjects(ctx, project="flights") == ["2", "1"]
    assert subjects(ctx, project="flights", type="model.promoted") == ["1"]


@pytest.mark.parametrize(("limit", "found"), [(-1, 1), (0, 1), (1, 1), (1000, 3), (10**30, 3)])
def test_a_list_has_a_limit_whatever_is_asked(ctx, limit, found):
    emit(ctx, 3)
    assert len(list_events(ctx, ListEvents(limit=limit))) == found


@pytest.mark.parametrize(("before", "found"), [(-(10**30), 0), (0, 0), (2, 1), (10**30, 3)])
def test_a_list_takes_any_number_as_a_place(ctx, before, found):
    emit(ctx, 3)
    assert len(list_events(ctx, ListEvents(before=before))) == found


def test_a_question_that_the_database_cannot_hold_is_no_failure_of_the_server(ctx):
    with contextlib.suppress(Invalid):
        assert list_events(ctx, ListEvents(subject="a\x00b")) == []


def test_a_damaged_event_is_not_handed_to_a_consumer(ctx):
    emit(ctx, 2)
    with ctx.begin() as tx:
        tx.exec_driver_sql("UPDATE events SET data = '{\"n\":' WHERE position = 2")
    with ctx.read() as tx:
        assert positions(read_after(tx, 0, limit=1)) == [1]
        with pytest.raises(Corrupt, match="no undrift has written"):
            read_after(tx, 1)
