"""What comes from elsewhere: what cannot be kept is named, and harms nothing else; what is there stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from undrift.core import new_id
from undrift.core.errors import Invalid
from undrift.tracking import (
    FindLoggedModel,
    FindRun,
    ImportedRun,
    ImportExperiment,
    ImportModels,
    ImportPoints,
    ImportRuns,
    LoggedModel,
    MetricSeries,
    RunLink,
    StartRun,
    find_model,
    find_run,
    import_experiment,
    import_models,
    import_points,
    import_runs,
    start_run,
)

START = datetime(2013, 1, 1, tzinfo=UTC)


@pytest.fixture
def experiment(ctx):
    return import_experiment(ctx, ImportExperiment("flights", "late", "elsewhere", START)).experiment


def bring(ctx, experiment, *runs):
    return import_runs(ctx, ImportRuns("flights", experiment.id, "elsewhere", runs))


def test_what_of_a_run_cannot_be_kept_is_named_and_the_rest_comes(ctx, experiment):
    good = ImportedRun(new_id(), "good", START)
    bad = ImportedRun(
        new_id(),
        "b\0d",
        START,
        parent_id="parent",
        user="u" * 300,
        error="\0",
        status="failed",
        parameters={"a": "x\0", "b": 1},
        tags={"c": "x\0", "d": "yes"},
        links=(
            RunLink("input", "k" * 41, "n", "r"),
            RunLink("input", "object", "n\0", "r"),
            RunLink("input", "k", "n", "r"),
        ),
    )
    answers = bring(ctx, experiment, bad, good)
    assert [answer.added for answer in answers] == [True, True]
    assert sorted(reason.split()[0] for reason in answers[0].refused) == ["link", "link", "parameter", "parent", "tag"]
    found = find_run(ctx, FindRun(bad.id))
    assert (found.name, found.parameters, found.tags) == ("b\ufffdd", {"b": 1}, {"d": "yes"})
    assert (found.links, found.parent_id, found.error) == ((RunLink("input", "k", "n", "r"),), None, "\ufffd")


def test_a_run_that_failed_since_it_was_imported_says_why(ctx, experiment):
    id_ = new_id()
    bring(ctx, experiment, ImportedRun(id_, "r", START, status="running"))
    ended = START + timedelta(hours=1)
    bring(ctx, experiment, ImportedRun(id_, "r", START, status="failed", ended_at=ended, error="out of memory"))
    bring(ctx, experiment, ImportedRun(id_, "r", START, status="finished", ended_at=START))
    found = find_run(ctx, FindRun(id_))
    assert (found.status, found.ended_at, found.error) == ("failed", ended, "out of memory")


@pytest.mark.parametrize("number", [-1, 10**18, 2**64])
def test_a_number_that_cannot_be_kept_is_kept_as_a_tag(ctx, number):
    made = import_experiment(ctx, ImportExperiment("flights", "far", "elsewhere", START, id=number)).experiment
    assert 0 <= made.id < 10**18
    assert made.tags == {"undrift.imported_id": str(number)}


def test_a_model_of_a_run_that_cannot_be_comes_without_it(ctx, experiment):
    model = LoggedModel(
        id=f"m-{new_id()}",
        project="flights",
        experiment_id=experiment.id,
        name="tr\0ees",
        type="x",
        source_run_id="r" * 40,
        status="ready",
        state="active",
        created_at=START,
        updated_at=START,
    )
    (answer,) = import_models(ctx, ImportModels("flights", "elsewhere", (model,)))
    assert answer.added
    assert answer.refused[0].startswith("source run")
    found = find_model(ctx, FindLoggedModel("flights", model.id))
    assert (found.name, found.source_run_id) == ("tr\ufffdees", "")


def test_points_that_cannot_be_kept_are_refused_as_those_that_are_logged(ctx):
    run = start_run(ctx, StartRun("flights", "late"))
    for series in (
        MetricSeries("a", [1], [], [0.5]),
        MetricSeries("a", [1], [-1], [0.5]),
        MetricSeries("a", [2**63], [1], [1.0]),
    ):
        with pytest.raises(Invalid):
            import_points(ctx, ImportPoints(run.id, "elsewhere", (series,)))
