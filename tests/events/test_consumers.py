"""Consumers read the log with an offset of their own; none loses or repeats an event."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from undrift.events import VerifyLog, advance, offset, read_after, verify_log
from undrift.metastore import open_database


@pytest.fixture
def ctx(database, make_ctx):
    return make_ctx(database)


def emit(ctx, count):
    with ctx.begin():
        for n in range(count):
            ctx.emit("a.b", f"s/{n}", project="p")


def take(database, consumer, limit, handle):
    """One round of a consumer: read on, handle, remember how far, all in one change."""
    with database.begin() as tx:
        events = read_after(tx, offset(tx, consumer), limit=limit)
        for event in events:
            handle(event)
        if events:
            advance(tx, consumer, events[-1].position)
    return len(events)


def test_a_new_consumer_begins_at_the_beginning(ctx):
    with ctx.read() as tx:
        assert offset(tx, "triggers") == 0


def test_consumers_move_on_by_themselves(ctx):
    emit(ctx, 5)
    with ctx.begin() as tx:
        advance(tx, "triggers", 3)
        advance(tx, "webhooks", 1)
        advance(tx, "triggers", 4)
    with ctx.read() as tx:
        assert [offset(tx, name) for name in ("triggers", "webhooks", "pages")] == [4, 1, 0]


def test_an_offset_is_undone_with_the_work_it_stands_for(ctx):
    emit(ctx, 3)
    seen = []

    def fail_on_the_second(event):
        seen.append(event.position)
        if len(seen) == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        take(ctx.database, "triggers", 10, fail_on_the_second)
    take(ctx.database, "triggers", 10, fail_on_the_second)
    assert seen == [1, 2, 1, 2, 3]


def test_a_consumer_misses_none_and_repeats_none_while_two_processes_write(ctx, start_writers):
    """Sixteen threads in two processes write; positions stay dense, and the reader sees each once, in order."""
    processes = [start_writers(ctx.database, name, threads=8, events=8) for name in ("one", "other")]
    readers = [threading.Thread(target=process.stdout.read) for process in processes]
    for reader in readers:
        reader.start()
    seen = []
    while True:
        running = any(process.poll() is None for process in processes)
        if take(ctx.database, "test", 7, lambda event: seen.append(event.position)) == 0 and not running:
            break
    for reader in readers:
        reader.join()
    assert [process.returncode for process in processes] == [0, 0]
    assert seen == list(range(1, 2 * 8 * 8 + 1))
    found = verify_log(ctx, VerifyLog())
    assert (found.ok, found.events) == (True, len(seen))


def test_a_consumer_that_runs_twice_handles_each_event_once(ctx):
    """Two hubs on one database each run the same consumer."""
    emit(ctx, 60)
    hubs = [open_database(ctx.database.url.render_as_string(hide_password=False)) for _ in range(2)]
    start = threading.Barrier(2)

    def consume(hub):
        handled = []
        start.wait()
        while take(hub, "triggers", 3, lambda event: handled.append(event.position)):
            pass
        return handled

    with ThreadPoolExecutor(2) as threads:
        handled = [position for each in threads.map(consume, hubs) for position in each]
    for hub in hubs:
        hub.close()
    assert sorted(handled) == list(range(1, 61))
