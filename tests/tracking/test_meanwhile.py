"""What another hub on the same database did a moment ago, and had not committed yet when it was asked for here."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from undrift.core import new_id
from undrift.core.errors import Conflict, Invalid
from undrift.events import ListEvents, list_events
from undrift.metastore import open_database
from undrift.tracking import (
    CreateExperiment,
    EndRun,
    FindExperiment,
    FindRun,
    LogRun,
    LogRuns,
    StartRun,
    TagExperiment,
    create_experiment,
    end_run,
    find_experiment,
    find_run,
    log_run,
    log_runs,
    start_run,
    tag_experiment,
)

START = datetime(2013, 1, 1, tzinfo=UTC)


class Hubs:
    """Two hubs on one PostgreSQL database."""

    def __init__(self, first, second):
        self.first = first
        self.second = second

    def at_once(self, first, second):
        """Do one thing at the first hub, and the other at the second before the first has committed."""
        with ThreadPoolExecutor(1) as threads:
            with self.first.begin() as tx:
                done = first(self.first)
                later = threads.submit(second, self.second)
                for _ in range(100):
                    if later.done() or tx.exec_driver_sql("SELECT 1 FROM pg_locks WHERE NOT granted").first():
                        break
                    time.sleep(0.02)
            return done, later.result(timeout=20)


@pytest.fixture
def hubs(postgres_database, make_ctx):
    other = open_database(postgres_database.url.render_as_string(hide_password=False))
    yield Hubs(make_ctx(postgres_database), make_ctx(other))
    other.close()


def begin(ctx, **given):
    return start_run(ctx, StartRun(**({"project": "flights", "experiment": "late"} | given)))


def test_an_experiment_that_another_hub_is_making_is_taken(hubs):
    one, other = hubs.at_once(begin, begin)
    assert one.id != other.id
    assert one.experiment_id == other.experiment_id


def test_a_run_that_another_hub_is_beginning_is_returned(hubs):
    begin(hubs.first)
    id_ = new_id()
    one, other = hubs.at_once(lambda ctx: begin(ctx, id=id_), lambda ctx: begin(ctx, id=id_, name="another"))
    assert one == other
    assert len(list_events(hubs.first, ListEvents(subject=f"runs/{id_}"))) == 1


def test_a_parameter_that_another_hub_is_writing_is_never_lost_in_silence(hubs):
    run, other = begin(hubs.first), begin(hubs.first)
    log = lambda run_id, **what: lambda ctx: log_run(ctx, LogRun(run_id, **what))  # noqa: E731
    hubs.at_once(log(run.id, parameters={"depth": 3}), log(run.id, parameters={"depth": 3, "rate": 0.1}))
    assert find_run(hubs.first, FindRun(run.id)).parameters == {"depth": 3, "rate": 0.1}
    with pytest.raises(Invalid, match="already logged with value='1'"):
        hubs.at_once(log(run.id, parameters={"x": 1}), log(run.id, parameters={"x": 2, "y": 2}, tags={"a": "b"}))
    entries = LogRuns((LogRun(run.id, parameters={"z": 2}), LogRun(other.id, parameters={"z": 2})))
    _, said = hubs.at_once(log(run.id, parameters={"z": 1}), lambda ctx: log_runs(ctx, entries))
    assert [one.problem is None for one in said] == [False, True]
    found = find_run(hubs.first, FindRun(run.id))
    assert (found.parameters, found.tags) == ({"depth": 3, "rate": 0.1, "x": 1, "z": 1}, {})


def test_a_tag_that_another_hub_is_setting_is_set(hubs):
    id_ = begin(hubs.first).experiment_id
    for _ in range(2):
        hubs.at_once(
            lambda ctx: tag_experiment(ctx, TagExperiment("flights", id_, {"team": "ops", "a": "1"})),
            lambda ctx: tag_experiment(ctx, TagExperiment("flights", id_, {"team": "data"})),
        )
        tags = find_experiment(hubs.first, FindExperiment("flights", id=id_)).tags
        assert tags == {"team": "data", "a": "1"}


def test_a_run_that_another_hub_is_ending_ends_once(hubs):
    run = begin(hubs.first)
    with pytest.raises(Conflict, match="finished already"):
        hubs.at_once(lambda ctx: end_run(ctx, EndRun(run.id)), lambda ctx: end_run(ctx, EndRun(run.id, "failed")))
    assert find_run(hubs.first, FindRun(run.id)).status == "finished"
    assert len(list_events(hubs.first, ListEvents(type="run.ended"))) == 1


def test_two_hubs_never_give_the_same_number(hubs):
    create_experiment(hubs.first, CreateExperiment("flights", "far", id=1_000_000 + int(time.time())))
    one, other = hubs.at_once(
        lambda ctx: create_experiment(ctx, CreateExperiment("flights", "one")),
        lambda ctx: create_experiment(ctx, CreateExperiment("flights", "other")),
    )
    assert other.id == one.id + 1
