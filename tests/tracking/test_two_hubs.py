"""Several hubs on one database: what two of them write to the same run at the same time is all there, once."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from undrift.core import new_id
from undrift.core.errors import Conflict, Invalid
from undrift.events import ListEvents, list_events
from undrift.metastore import open_database
from undrift.tracking import (
    FindRun,
    LogRun,
    MetricHistory,
    MetricSeries,
    SearchRuns,
    StartRun,
    find_run,
    log_run,
    metric_history,
    records,
    search_runs,
    start_run,
)
from undrift.tracking.tables import metric_chunks

WRITERS = 16


@pytest.fixture
def hubs(database, make_ctx):
    """Make a context of one of two hubs: each has connections of its own, as a process would."""
    other = open_database(database.url.render_as_string(hide_password=False))
    yield lambda which: make_ctx((database, other)[which % 2])
    other.close()


def together(work, count):
    """Do the work in so many threads that begin at the same moment."""
    begin = threading.Barrier(count)

    def one(which):
        begin.wait()
        return work(which)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def test_batches_on_one_run_are_all_kept_once_and_none_is_refused(hubs, monkeypatch):
    # Often, so that rows are merged while others add to them.
    monkeypatch.setattr(records.metrics, "_MERGE_AFTER", 8)
    run = start_run(hubs(0), StartRun("flights", "late"))
    names = [f"m{place}" for place in range(6)]

    def write(which):
        choose = random.Random(which)
        said, slowest = [], 0.0
        for count in range(12):
            step = count * WRITERS + which
            # One entry names several rows, and the next ones others: no two writers take them in the same order.
            logged = choose.sample(names, 3)
            series = tuple(MetricSeries(name, [step], [1 + step], [step / 7]) for name in logged)
            began = time.monotonic()
            tags = {f"t{choose.randrange(4)}": str(step)}
            log_run(hubs(which), LogRun(run.id, series=series, tags=tags, parameters={"same": 1}))
            slowest = max(slowest, time.monotonic() - began)
            said += [(name, step) for name in logged]
        return said, slowest

    done = together(write, WRITERS)
    assert max(slowest for _, slowest in done) < 10
    wanted = sorted(one for said, _ in done for one in said)
    found = find_run(hubs(0), FindRun(run.id, latest=True))
    kept = []
    for name in names:
        history = metric_history(hubs(1), MetricHistory(run.id, name))
        assert history.values == [step / 7 for step in history.steps]
        kept += [(name, step) for step in history.steps]
    assert sorted(kept) == wanted
    # Also what is stored, and not only what a reader makes of it.
    with hubs(0).read() as tx:
        assert tx.scalar(sa.select(sa.func.sum(metric_chunks.c.length))) == len(wanted)
    newest = {name: max(step for other, step in wanted if other == name) for name in names}
    assert {one.name: one.step for one in found.latest} == newest
    assert found.parameters == {"same": 1}


def test_of_two_values_of_a_parameter_one_is_refused(hubs):
    for _ in range(12):
        run = start_run(hubs(0), StartRun("flights", "late"))

        def write(which, run=run):
            try:
                log_run(hubs(which), LogRun(run.id, parameters={"depth": which}, metrics={f"m{which}": 1.0}))
            except (Conflict, Invalid):
                return None
            return which

        (told,) = [which for which in together(write, 2) if which is not None]
        found = find_run(hubs(0), FindRun(run.id))
        assert (found.parameters, found.metrics) == ({"depth": told}, {f"m{told}": 1.0})


def test_the_same_call_at_both_hubs_happens_once(hubs):
    for _ in range(12):
        key = new_id()
        begun = together(lambda which, key=key: start_run(hubs(which).once(key), StartRun("flights", "late")).id, 4)
        assert len(set(begun)) == 1
    assert len(search_runs(hubs(0), SearchRuns("flights")).runs) == 12
    assert len(list_events(hubs(0), ListEvents(type="run.started"))) == 12


def test_runs_and_points_from_both_hubs_do_not_lock_each_other_out(hubs):
    shared = start_run(hubs(0), StartRun("flights", "late"))

    def write(which):
        for count in range(8):
            # Beginning a run takes the end of the log, logging takes rows of the run: in either order.
            step = count * WRITERS + which
            series = (MetricSeries("loss", [step], [1], [0.5]),)
            steps = [
                lambda step=step: start_run(hubs(which), StartRun("flights", "late", f"r{step}")),
                lambda series=series: log_run(hubs(which), LogRun(shared.id, series=series)),
            ]
            for one in steps if which % 4 < 2 else steps[::-1]:
                one()

    began = time.monotonic()
    together(write, WRITERS)
    assert time.monotonic() - began < 30
    assert len(search_runs(hubs(1), SearchRuns("flights", limit=1_000)).runs) == 1 + 8 * WRITERS
    assert len(metric_history(hubs(1), MetricHistory(shared.id, "loss")).steps) == 8 * WRITERS
