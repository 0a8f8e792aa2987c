from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from undrift.core.errors import Invalid, TooLarge
from undrift.tracking import (
    FindRun,
    ListMetrics,
    LogRun,
    MetricHistory,
    MetricSeries,
    SampleHistories,
    StartRun,
    find_run,
    list_metrics,
    log_run,
    metric_history,
    sample_histories,
    start_run,
)
from undrift.tracking.tables import metric_chunks

START = datetime(2013, 1, 1, tzinfo=UTC)


@pytest.fixture
def run(ctx):
    return start_run(ctx, StartRun("flights", "late"))


def log(ctx, run, *points, name="loss", **more):
    columns = ([p[0] for p in points], [p[1] for p in points], [p[2] for p in points])
    log_run(ctx, LogRun(run.id, series=(MetricSeries(name, *columns, **more),)))


def whole(ctx, run, name="loss"):
    found = metric_history(ctx, MetricHistory(run.id, name))
    return list(zip(found.steps, found.times_ms, found.values, strict=True))


def paged(ctx, run, limit, name="loss"):
    rows, token, pages = [], "", 0
    while True:
        page = metric_history(ctx, MetricHistory(run.id, name, limit=limit, page_token=token))
        assert len(page.steps) <= limit
        rows += zip(page.steps, page.times_ms, page.values, strict=True)
        pages += 1
        token = page.next_page_token
        if not token:
            return rows, pages


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_pages_give_the_whole_history_in_order_whatever_order_it_was_written_in(database, make_ctx, limit):
    ctx = make_ctx(database)
    run = start_run(ctx, StartRun("flights", "late"))
    choose = random.Random(limit)
    points = [(choose.randrange(5), choose.randrange(40), float(choose.randrange(3))) for _ in range(200)]
    for begin in range(0, 200, 8):
        log(ctx, run, *points[begin : begin + 8])
    log(ctx, run, *points[:50])
    ordered = sorted(set(points), key=lambda p: (p[1], p[0], p[2]))
    assert whole(ctx, run) == ordered
    rows, pages = paged(ctx, run, limit)
    assert rows == ordered
    assert pages <= len(ordered) // limit + 1


def test_equal_times_and_steps_with_numbers_that_are_none_come_once_each_on_pages(ctx, run):
    values = ["NaN", "Infinity", "-Infinity", 0.0, 1.0, -1.0]
    for value in values * 2:
        log(ctx, run, (0, 0, value))
    rows, _ = paged(ctx, run, 1)
    assert sorted(str(row[2]) for row in rows) == sorted(str(value) for value in values)
    assert rows == whole(ctx, run)


def test_many_single_points_become_few_rows(database, make_ctx):
    ctx = make_ctx(database)
    run = start_run(ctx, StartRun("flights", "late"))
    for step in range(600):
        log(ctx, run, (step, step, step / 7), model_id="m-" + "0" * 32 if step % 2 else "")
    assert whole(ctx, run) == [(step, step, step / 7) for step in range(600)]
    with ctx.read() as tx:
        assert len(tx.execute(metric_chunks.select()).all()) < 300
    assert paged(ctx, run, 100)[0] == whole(ctx, run)


def test_a_history_that_nobody_wrote_is_empty(ctx, run):
    assert whole(ctx, run, "other") == []
    assert paged(ctx, run, 5)[0] == []


def test_a_page_token_that_was_not_given_out_is_refused(ctx, run):
    for token in ("x", "AAAA", "....", "é"):
        with pytest.raises(Invalid, match="Invalid page token"):
            metric_history(ctx, MetricHistory(run.id, "loss", page_token=token))


@pytest.mark.parametrize(
    ("series", "says"),
    [
        (MetricSeries("loss", [1], [1, 2], [0.5]), "different lengths"),
        (MetricSeries("loss", [], [], []), "or none"),
        (MetricSeries("loss", [1], [-1], [0.5]), "milliseconds since 1970"),
        (MetricSeries("loss", [2**63], [1], [0.5]), "A step of metric"),
        (MetricSeries("a//b", [1], [1], [0.5]), "must not resolve to other names"),
        (MetricSeries("../b", [1], [1], [0.5]), "must not resolve to other names"),
        (MetricSeries("a?b", [1], [1], [0.5]), "may only contain"),
        (MetricSeries("", [1], [1], [0.5]), "Invalid metric name"),
        (MetricSeries("a" * 251, [1], [1], [0.5]), "maximum length of 250"),
    ],
)
def test_columns_that_cannot_be_kept_are_refused(ctx, run, series, says):
    with pytest.raises(Invalid, match=says):
        log_run(ctx, LogRun(run.id, series=(series,)))
    assert find_run(ctx, FindRun(run.id)).metrics == {}


def test_samples_of_many_runs_have_their_ends(ctx, run):
    log(ctx, run, *((step, step, float(step)) for step in range(5000)))
    other = start_run(ctx, StartRun("flights", "late"))
    log(ctx, other, (0, 0, 1.0))
    mine, others = sample_histories(ctx, SampleHistories((run.id, other.id), "loss", 100))
    assert (len(mine.steps), mine.steps[0], mine.steps[-1]) == (100, 0, 4999)
    assert others.values == [1.0]
    (some,) = sample_histories(ctx, SampleHistories((run.id,), "loss", 10, start_step=10, end_step=12))
    assert some.steps == [10, 11, 12]
    with pytest.raises(Invalid, match="both"):
        sample_histories(ctx, SampleHistories((run.id,), "loss", start_step=1))
    with pytest.raises(TooLarge, match="101 runs"):
        sample_histories(ctx, SampleHistories((run.id,) * 101, "loss"))


def test_names_of_metrics_are_listed_by_what_they_contain(database, make_ctx):
    ctx = make_ctx(database)
    run = start_run(ctx, StartRun("flights", "late"))
    for name in ("val/loss", "train/loss", "acc_1", "accx1"):
        log(ctx, run, (0, 0, 1.0), name=name)
    listed = lambda **given: list_metrics(ctx, ListMetrics(run.experiment_id, **given))  # noqa: E731
    assert sorted(listed()) == ["acc_1", "accx1", "train/loss", "val/loss"]
    assert sorted(listed(contains="loss")) == ["train/loss", "val/loss"]
    assert listed(contains="_") == ["acc_1"], "a pattern's signs mean nothing"
    assert len(listed(limit=2)) == 2


def test_the_newest_point_tells_what_was_measured(ctx, run):
    log(ctx, run, (1, 5, 0.5), (2, 4, 0.25), model_id="m-" + "1" * 32, dataset_name="held out", dataset_digest="abc")
    log(ctx, run, (1, 9, 0.75))
    (latest,) = find_run(ctx, FindRun(run.id, latest=True)).latest
    assert (latest.value, latest.step, latest.time_ms) == (0.25, 2, 4)
    assert (latest.model_id, latest.dataset_name, latest.dataset_digest) == ("m-" + "1" * 32, "held out", "abc")


def test_a_page_has_at_least_one_point(ctx, run):
    log(ctx, run, *((step, step, 0.5) for step in range(3)))
    page = metric_history(ctx, MetricHistory(run.id, "loss", limit=0))
    assert page.steps == [0]
    assert page.next_page_token


def test_names_of_an_experiment_that_cannot_be_are_none(database, make_ctx):
    assert list_metrics(make_ctx(database), ListMetrics(2**64)) == []


@pytest.mark.parametrize(
    ("name", "usable"), [("../b", "'b'"), ("a/../../c", "'c'"), ("/a//b/", "'a/b'"), ("..", "Choose another")]
)
def test_the_form_that_is_proposed_for_a_name_can_be_used(ctx, run, name, usable):
    with pytest.raises(Invalid) as caught:
        log(ctx, run, (0, 0, 1.0), name=name)
    assert usable in caught.value.next_step
