from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from undrift.core.errors import Conflict, Invalid, NotFound, TooLarge
from undrift.tracking import (
    ChangeModel,
    CreateLoggedModel,
    DeleteLoggedModel,
    FindLoggedModel,
    LogRun,
    MetricSeries,
    ModelDataset,
    ModelOrder,
    SearchLoggedModels,
    StartRun,
    change_model,
    create_model,
    delete_model,
    find_model,
    log_run,
    search_models,
    start_run,
)

START = datetime(2013, 1, 1, tzinfo=UTC)


@pytest.fixture
def run(ctx):
    return start_run(ctx, StartRun("flights", "late"))


def create(ctx, run, name, **given):
    return create_model(ctx, CreateLoggedModel("flights", run.experiment_id, name, source_run_id=run.id, **given))


def measure(ctx, run, model, value, *, step=0, dataset="", name="auc"):
    digest = "d1" if dataset else ""
    series = MetricSeries(name, [step], [step], [value], model.id, dataset, digest)
    log_run(ctx, LogRun(run.id, series=(series,)))


def names(ctx, run, **asked):
    request = SearchLoggedModels("flights", (run.experiment_id,), **asked)
    return [model.name for model in search_models(ctx, request).models]


def test_a_model_is_pending_until_its_bytes_are_there(ctx, run):
    made = create(ctx, run, "trees", type="LGBM", parameters={"depth": "3"}, tags={"a": "b"})
    assert made.status == "pending"
    ready = change_model(ctx, ChangeModel("flights", made.id, "ready", tags={"c": "d"}, removed_tags=("a",)))
    assert (ready.status, ready.tags, ready.parameters) == ("ready", {"c": "d"}, {"depth": "3"})
    assert find_model(ctx, FindLoggedModel("flights", made.id)) == ready
    with pytest.raises(NotFound, match="Tag with key 'a' not found"):
        change_model(ctx, ChangeModel("flights", made.id, removed_tags=("a",)))


def test_a_deleted_model_is_hidden_and_its_id_stays_taken(ctx, run):
    made = create(ctx, run, "trees")
    for _ in range(2):
        delete_model(ctx, DeleteLoggedModel("flights", made.id))
    with pytest.raises(NotFound, match="not found"):
        find_model(ctx, FindLoggedModel("flights", made.id))
    assert find_model(ctx, FindLoggedModel("flights", made.id, deleted=True)).state == "deleted"
    assert names(ctx, run) == []
    with pytest.raises(Conflict):
        create(ctx, run, "again", id=made.id)


@pytest.mark.parametrize("id_", ["m-1", "../x", "", "m-" + "G" * 32])
def test_what_is_no_id_is_not_found(ctx, run, id_):
    with pytest.raises(NotFound):
        find_model(ctx, FindLoggedModel("flights", id_))


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", " "])
def test_names_that_clients_could_not_address_are_refused(ctx, run, name):
    with pytest.raises(Invalid, match="Invalid model name"):
        create(ctx, run, name)


def test_a_model_of_another_project_is_not_found(ctx, run):
    made = create(ctx, run, "trees")
    with pytest.raises(NotFound):
        find_model(ctx, FindLoggedModel("ships", made.id))
    assert search_models(ctx, SearchLoggedModels("ships", (run.experiment_id,))).models == ()


def test_models_are_searched_and_ordered_by_what_was_measured(ctx, run):
    made = {
        name: create(ctx, run, name, created_at=START + timedelta(hours=hour), parameters={"depth": str(hour)})
        for hour, name in enumerate(("a", "b", "c", "d"))
    }
    measure(ctx, run, made["a"], 0.9)
    measure(ctx, run, made["b"], 0.5)
    measure(ctx, run, made["b"], 0.7, step=1)
    measure(ctx, run, made["c"], "NaN")
    measure(ctx, run, made["a"], 0.1, dataset="held-out")
    measure(ctx, run, made["b"], 0.2, dataset="held-out")
    assert names(ctx, run) == ["d", "c", "b", "a"], "the newest first"
    assert names(ctx, run, filter="metrics.auc > 0.6") == ["b", "a"]
    assert names(ctx, run, filter="metrics.auc >= 0.15", datasets=(ModelDataset("held-out"),)) == ["b"]
    assert names(ctx, run, datasets=(ModelDataset("held-out", "d1"),)) == ["b", "a"]
    assert names(ctx, run, datasets=(ModelDataset("held-out", "other"),)) == []
    held_out = ModelDataset("held-out")
    assert names(ctx, run, order_by=(ModelOrder("metrics.auc", False, held_out),)) == ["b", "a", "d", "c"]
    assert names(ctx, run, order_by=(ModelOrder("metrics.auc", True, held_out),)) == ["a", "b", "d", "c"]
    assert names(ctx, run, filter="params.depth = '2'") == ["c"]
    assert names(ctx, run, filter="name IN ('a', 'd') AND status = 'LOGGED_MODEL_PENDING'") == ["d", "a"]
    assert names(ctx, run, order_by=(ModelOrder("creation_timestamp"),)) == ["a", "b", "c", "d"]
    first = search_models(ctx, SearchLoggedModels("flights", (run.experiment_id,), limit=3))
    rest = SearchLoggedModels("flights", (run.experiment_id,), limit=3, page_token=first.next_page_token)
    assert [model.name for model in search_models(ctx, rest).models] == ["a"]


def test_the_newest_point_of_each_dataset_and_run_is_kept(ctx, run):
    model = create(ctx, run, "trees")
    for step, value in ((2, 0.2), (1, 0.9)):
        measure(ctx, run, model, value, step=step)
    measure(ctx, run, model, 0.4, dataset="held-out")
    found = find_model(ctx, FindLoggedModel("flights", model.id)).metrics
    assert [(one.value, one.step, one.dataset_name) for one in found] == [(0.2, 2, ""), (0.4, 0, "held-out")]


def test_a_run_of_another_project_makes_no_model_here(ctx, run):
    other = start_run(ctx, StartRun("ships", "late"))
    for source in (other.id, "mine"):
        with pytest.raises(NotFound, match="not found"):
            create_model(ctx, CreateLoggedModel("flights", run.experiment_id, "trees", source_run_id=source))


def test_too_many_orders_or_datasets_are_refused(ctx, run):
    with pytest.raises(TooLarge, match="101 orders"):
        names(ctx, run, order_by=tuple(ModelOrder(f"metrics.m{number}") for number in range(101)))
    with pytest.raises(TooLarge, match="101 datasets"):
        names(ctx, run, datasets=(ModelDataset("held-out"),) * 101)


@pytest.mark.parametrize("given", [{"type": "a" * 501}, {"parameters": {"a": "x\0"}}, {"name": "x\0"}])
def test_what_one_engine_could_not_keep_is_refused_on_all(ctx, run, given):
    with pytest.raises(Invalid):
        create(ctx, run, **({"name": "trees"} | given))
