from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from undrift.core import ReplayClock, new_id
from undrift.core.errors import Conflict, Invalid, NotFound, TooLarge
from undrift.events import ListEvents, list_events
from undrift.tracking import (
    DeleteRun,
    EndRun,
    FindRun,
    ListDatasets,
    ListProjects,
    ListRuns,
    LogRun,
    LogRuns,
    MetricHistory,
    MetricPoint,
    MetricSeries,
    RestoreRun,
    RunLink,
    SearchRuns,
    StartRun,
    UpdateRun,
    delete_run,
    end_run,
    find_run,
    list_datasets,
    list_projects,
    list_runs,
    log_run,
    log_runs,
    metric_history,
    restore_run,
    search_runs,
    start_run,
    update_run,
)

START = datetime(2013, 1, 1, tzinfo=UTC)
DATA = RunLink("input", "dataset_version", "departures", "d" * 64)
MODEL = RunLink("output", "tree", "model", "e" * 64)


def begin(ctx, **given):
    return start_run(ctx, StartRun(**({"project": "flights", "experiment": "late", "name": "first"} | given)))


def find(ctx, run):
    return find_run(ctx, FindRun(run.id))


def log(ctx, run, **what):
    log_run(ctx, LogRun(run.id, **what))


def types(ctx):
    return [event.type for event in list_events(ctx, ListEvents())][::-1]


def points(ctx, run, name="loss"):
    return metric_history(ctx, MetricHistory(run.id, name)).values


def test_a_run_begins_with_all_it_was_given(ctx):
    run = begin(ctx, parameters={"depth": 3, "names": ["a"]}, tags={"who": "ada"}, links=(DATA,), parent_id=new_id())
    assert (run.status, run.started_at, run.actor, run.ended_at) == ("running", START, "ada", None)
    assert find(ctx, run) == run
    assert types(ctx) == ["experiment.created", "run.started"]


def test_beginning_the_same_run_again_returns_the_one_that_is_there(ctx):
    run = begin(ctx, id=new_id(), parameters={"depth": 3})
    log(ctx, run, metrics={"loss": 0.5})
    again = begin(ctx, id=run.id, name="another name", parameters={"depth": 9})
    assert (again.name, again.parameters, again.metrics) == ("first", {"depth": 3}, {"loss": 0.5})
    assert types(ctx) == ["experiment.created", "run.started"]


def test_the_same_point_twice_is_kept_once(ctx):
    run = begin(ctx)
    for _ in range(2):
        log(ctx, run, metrics={"loss": 0.5}, parameters={"depth": 3}, tags={"a": "b"}, links=(DATA,))
    assert points(ctx, run) == [0.5]
    found = find(ctx, run)
    assert (found.metrics, found.parameters, found.tags, found.links) == (
        {"loss": 0.5},
        {"depth": 3},
        {"a": "b"},
        (DATA,),
    )


def test_the_last_value_of_a_metric_is_that_of_its_last_step_and_time(ctx):
    run = begin(ctx)
    later = START + timedelta(seconds=1)
    made = [(0.9, 2, START), (0.7, 2, later), (0.1, 1, later), (0.2, 0, later)]
    log(ctx, run, points=tuple(MetricPoint("loss", value, step, time) for value, step, time in made))
    assert find(ctx, run).metrics == {"loss": 0.7}
    assert points(ctx, run) == [0.9, 0.2, 0.1, 0.7]


def test_numbers_that_are_none_are_kept_and_shown_as_nothing(database, make_ctx):
    ctx = make_ctx(database)
    run = begin(ctx)
    log(ctx, run, metrics={"nan": math.nan, "high": math.inf, "low": -math.inf, "big": 1e308})
    assert find(ctx, run).metrics == {"nan": None, "high": None, "low": None, "big": 1e308}
    words = {"nan": ["NaN"], "high": ["Infinity"], "low": ["-Infinity"], "big": [1e308]}
    assert {name: points(ctx, run, name) for name in words} == words
    # It travels as JSON, whatever was logged.
    assert msgspec.json.decode(msgspec.json.encode(find(ctx, run)), type=type(run)) == find(ctx, run)


def test_tags_are_replaced(ctx):
    run = begin(ctx, tags={"stage": "draft", "who": "ada"})
    log(ctx, run, tags={"stage": "done"})
    assert find(ctx, run).tags == {"stage": "done", "who": "ada"}


def test_a_parameter_is_written_once(ctx):
    run = begin(ctx, parameters={"depth": 3})
    log(ctx, run, parameters={"depth": 3, "rate": 0.1})
    with pytest.raises(Invalid, match="already logged with value='3'") as caught:
        log(ctx, run, parameters={"depth": 9, "other": 1}, metrics={"loss": 0.5}, tags={"a": "b"})
    assert caught.value.details["conflicts"] == [{"key": "depth", "old_value": "3", "new_value": "9"}]
    found = find(ctx, run)
    assert (found.parameters, found.metrics, found.tags) == ({"depth": 3, "rate": 0.1}, {}, {}), "all or nothing"


def test_what_several_runs_have_to_say_is_kept_or_refused_one_by_one(database, make_ctx):
    ctx = make_ctx(database)
    one, other = begin(ctx, parameters={"depth": 3}), begin(ctx)
    entries = (
        LogRun(one.id, metrics={"loss": 0.5}, parameters={"depth": 4}),
        LogRun(other.id, metrics={"loss": 0.4}, parameters={"depth": 4}),
        LogRun(new_id(), metrics={"loss": 0.3}),
        LogRun(other.id, metrics={"loss": 0.2}, parameters={"depth": 5}),
        LogRun(one.id, metrics={"a//b": 0.1}),
        LogRun(one.id, tags={"said": "yes"}),
    )
    said = [logged.problem and logged.problem["code"] for logged in log_runs(ctx, LogRuns(entries))]
    assert said == ["invalid", None, "not_found", "invalid", "invalid", None]
    assert (find(ctx, one).metrics, find(ctx, one).tags) == ({}, {"said": "yes"})
    assert (find(ctx, other).metrics, find(ctx, other).parameters) == ({"loss": 0.4}, {"depth": 4})


def test_a_deleted_run_takes_nothing_more_until_it_is_restored(ctx):
    run = begin(ctx)
    for _ in range(2):
        delete_run(ctx, DeleteRun(run.id))
    assert list_runs(ctx, ListRuns()) == []
    assert find(ctx, run).state == "deleted"
    with pytest.raises(Conflict, match="must be in the 'active' state"):
        log(ctx, run, metrics={"loss": 0.5})
    with pytest.raises(Conflict, match="must be in the 'active' state"):
        end_run(ctx, EndRun(run.id))
    restore_run(ctx, RestoreRun(run.id))
    log(ctx, run, metrics={"loss": 0.5})
    assert types(ctx)[2:] == ["run.deleted", "run.restored"]


def test_links_are_told_to_the_log(ctx):
    run = begin(ctx, links=(DATA,))
    log(ctx, run, links=(MODEL,))
    log(ctx, run, metrics={"loss": 0.1})
    assert find(ctx, run).links == (DATA, MODEL)
    assert types(ctx)[1:] == ["run.started", "run.linked"]
    event = list_events(ctx, ListEvents(type="run.linked"))[0]
    assert event.data["links"] == [msgspec.to_builtins(MODEL)]


def test_a_run_ends_once(ctx):
    run = begin(ctx)
    ctx.clock.advance_to(START + timedelta(hours=1))
    ended = end_run(ctx, EndRun(run.id))
    assert (ended.status, ended.ended_at) == ("finished", START + timedelta(hours=1))
    ctx.clock.advance_to(START + timedelta(hours=2))
    assert end_run(ctx, EndRun(run.id)) == ended == find(ctx, run), "ending it again changes nothing"
    with pytest.raises(Conflict, match="finished already"):
        end_run(ctx, EndRun(run.id, "failed", "out of memory"))
    assert find(ctx, run) == ended
    assert types(ctx)[1:] == ["run.started", "run.ended"]


def test_a_run_that_failed_says_why(ctx):
    run = begin(ctx)
    end_run(ctx, EndRun(run.id, "failed", "out of memory"))
    found = find(ctx, run)
    assert (found.status, found.error) == ("failed", "out of memory")


@pytest.mark.parametrize(("call", "kind"), [(log_run, LogRun), (end_run, EndRun), (find_run, FindRun)])
def test_a_run_nobody_knows_is_not_found(ctx, call, kind):
    for unknown in (new_id(), "mine", "../../etc/passwd", ""):
        with pytest.raises(NotFound, match="not found"):
            call(ctx, kind(unknown))


def test_too_many_points_are_refused_and_as_many_as_allowed_are_kept(ctx):
    run = begin(ctx)
    many = tuple(MetricPoint("loss", 0.1, step, START) for step in range(10_001))
    with pytest.raises(TooLarge, match="10001 points"):
        log(ctx, run, points=many)
    assert points(ctx, run) == []
    log(ctx, run, points=many[:-1])
    assert len(points(ctx, run)) == 10_000


def test_runs_are_listed_newest_first_a_page_at_a_time(ctx, make_ctx):
    made = []
    for hour in range(7):
        at = START + timedelta(hours=hour)
        mine = make_ctx(ctx.database, clock=ReplayClock(at))
        made.append(begin(mine, id=new_id(at)))
    begin(ctx, project="ships")
    begin(ctx, experiment="other")
    begin(ctx, kind="batch")
    asked = ListRuns(project="flights", experiment="late", kind="training", limit=3)
    pages, before = [], None
    while page := list_runs(ctx, msgspec.structs.replace(asked, before=before)):
        assert len(page) <= 3
        pages += page
        before = page[-1].id
    assert pages == made[::-1]
    assert len(list_runs(ctx, ListRuns())) == 10
    assert len(list_runs(ctx, ListRuns(limit=0))) == 1, "a page has at least one"


def test_a_page_comes_with_all_that_its_runs_logged(ctx):
    for number in range(3):
        run = begin(ctx, parameters={"depth": number}, links=(DATA,), started_at=START + timedelta(hours=number))
        log(ctx, run, metrics={"loss": float(number)}, tags={"n": str(number)})
    found = list_runs(ctx, ListRuns())
    assert [(one.parameters["depth"], one.metrics["loss"], one.tags["n"], one.links) for one in found] == [
        (number, float(number), str(number), (DATA,)) for number in (2, 1, 0)
    ]


@pytest.mark.parametrize("given", [{"project": "../x"}, {"experiment": ""}, {"id": "mine"}])
def test_names_and_ids_are_checked(ctx, given):
    with pytest.raises(Invalid):
        begin(ctx, **given)
    assert types(ctx) == []


def test_the_runs_a_run_is_made_of_are_found_however_they_were_recorded(database, make_ctx):
    ctx = make_ctx(database)
    whole = begin(ctx, name="whole")
    native = begin(ctx, name="native", parent_id=whole.id)
    foreign = begin(ctx, name="foreign", tags={"mlflow.parentRunId": whole.id})
    begin(ctx, name="other", parent_id=native.id)

    def named(filter_):
        return {run.name for run in search_runs(ctx, SearchRuns("flights", filter=filter_)).runs}

    assert named(f"tags.`mlflow.parentRunId` = '{whole.id}'") == {"native", "foreign"}
    assert named("tags.`mlflow.parentRunId` IS NULL") == {"whole"}
    assert named("tags.`mlflow.parentRunId` IS NOT NULL") == {"native", "foreign", "other"}
    assert foreign.parent_id is None


def test_projects_with_experiments_are_listed(ctx):
    begin(ctx)
    begin(ctx, project="ships")
    assert list_projects(ctx, ListProjects()) == ["flights", "ships"]


def test_the_id_of_a_run_of_another_project_is_refused(ctx):
    run = begin(ctx, project="ships")
    with pytest.raises(Conflict, match="another project"):
        begin(ctx, id=run.id)


def test_a_run_that_is_running_has_not_ended(ctx):
    run = begin(ctx)
    with pytest.raises(Invalid, match="has not ended"):
        end_run(ctx, EndRun(run.id, "running"))
    assert find(ctx, run).ended_at is None


def test_a_run_that_runs_again_has_no_end(ctx):
    run = start_run(ctx, StartRun("flights", "late"))
    ended = end_run(ctx, EndRun(run.id, "finished"))
    assert ended.ended_at is not None
    again = update_run(ctx, UpdateRun(run.id, status="running"))
    assert (again.status, again.ended_at) == ("running", None)
    assert end_run(ctx, EndRun(run.id, "failed")).status == "failed"


def test_a_run_that_is_given_the_status_of_an_end_tells_once_that_it_ended(ctx):
    run = begin(ctx)
    update_run(ctx, UpdateRun(run.id, name="other"))
    assert "run.ended" not in types(ctx)
    for _ in range(2):
        update_run(ctx, UpdateRun(run.id, status="failed", ended_at=START))
    (event,) = list_events(ctx, ListEvents(type="run.ended"))
    assert (event.subject, event.data["status"]) == (f"runs/{run.id}", "failed")
    assert find(ctx, run).ended_at == START


@pytest.mark.parametrize(
    "given", [{"name": "a" * 8001}, {"kind": "a" * 41}, {"user": "a" * 257}, {"parent_id": "mine"}]
)
def test_what_one_engine_could_not_keep_is_refused_on_all(database, make_ctx, given):
    ctx = make_ctx(database)
    with pytest.raises(Invalid):
        begin(ctx, **given)
    assert list_runs(ctx, ListRuns()) == []


def test_a_new_name_is_no_longer_than_a_first_one(ctx):
    run = begin(ctx)
    with pytest.raises(TooLarge, match="at most 8000"):
        update_run(ctx, UpdateRun(run.id, name="a" * 8001))


def test_a_text_that_cannot_be_kept_harms_no_other_entry(database, make_ctx):
    ctx = make_ctx(database)
    run = begin(ctx)
    bad = RunLink("input", "object", "a\0b", "r")
    measured = MetricSeries("loss", [1], [1], [0.5], dataset_name="a\0b")
    entries = (
        LogRun(run.id, tags={"a": "x\0y"}),
        LogRun(run.id, parameters={"a": "x\0y"}),
        LogRun(run.id, links=(bad,)),
        LogRun(run.id, series=(measured,)),
        LogRun(run.id, parameters={"kept": {"as": "JSON\0"}}, tags={"ok": "yes"}),
    )
    said = [logged.problem and logged.problem["code"] for logged in log_runs(ctx, LogRuns(entries))]
    assert said == ["invalid"] * 4 + [None]
    assert (find(ctx, run).parameters, find(ctx, run).tags) == ({"kept": {"as": "JSON\0"}}, {"ok": "yes"})


def test_a_reason_that_no_text_can_be_is_kept_as_well_as_can_be(database, make_ctx):
    ctx = make_ctx(database)
    run = begin(ctx)
    end_run(ctx, EndRun(run.id, "failed", "bytes: \0 \ud800"))
    assert (find(ctx, run).status, find(ctx, run).error) == ("failed", "bytes: \ufffd ?")


def test_a_link_that_is_said_twice_is_told_once(ctx):
    run = begin(ctx)
    log(ctx, run, links=(MODEL, MODEL))
    (event,) = list_events(ctx, ListEvents(type="run.linked"))
    assert event.data["links"] == [msgspec.to_builtins(MODEL)]


def test_a_page_after_a_run_that_is_not_there_is_refused(ctx):
    begin(ctx)
    for unknown in (new_id(), "x"):
        with pytest.raises(NotFound, match="not found"):
            list_runs(ctx, ListRuns(before=unknown))


def test_numbers_of_experiments_that_no_engine_has_find_nothing(database, make_ctx):
    ctx = make_ctx(database)
    begin(ctx)
    far = (2**63, -(2**63) - 1, 2**64)
    assert search_runs(ctx, SearchRuns("flights", experiment_ids=far)).runs == ()
    assert list_datasets(ctx, ListDatasets("flights", far)) == []
    assert len(search_runs(ctx, SearchRuns("flights", experiment_ids=(*range(40_000), *far))).runs) <= 1
