"""Bringing in what MLflow has recorded: field by field what MLflow itself says of it."""

from __future__ import annotations

import hashlib
import math
import shutil
import sqlite3

import pytest

from undrift.core.errors import NotFound
from undrift.exchange import Report, bring_in, open_mlflow
from undrift.registry import FindModel, FindVersion, ListVersions, find_model, find_version, list_versions
from undrift.tracking import (
    ExportPoints,
    FindLoggedModel,
    MetricHistory,
    RunsDatasets,
    SearchExperiments,
    SearchRuns,
    export_points,
    metric_history,
    runs_datasets,
    search_experiments,
    search_runs,
)
from undrift.tracking import (
    find_model as find_logged_model,
)
from undrift.tracking.model import to_ms
from undrift.tracking.operations.imports import ExportArtifacts, export_artifacts

pytestmark = pytest.mark.timeout(600)


def bring(uri, target, **given):
    report = Report(uri, target.project)
    source = open_mlflow(uri, report, **given)
    try:
        return bring_in(source, target, report, lambda line: None)
    finally:
        source.close()


def files_of(ctx, root):
    found = export_artifacts(ctx, ExportArtifacts(root, limit=10_000))
    # MLflow's client adds that one when it downloads from a folder on this machine: to the store itself.
    mine = [one for one in found if one.path != "registered_model_meta"]
    return {one.path: hashlib.sha256(ctx.repository.objects.get(one.digest)).hexdigest() for one in mine}


def words(value):
    return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(value, repr(value))


def history(ctx, run_id, name):
    found = metric_history(ctx, MetricHistory(run_id, name))
    return sorted([t, s, words(v)] for t, s, v in zip(found.times_ms, found.steps, found.values, strict=True))


def compare(ctx, said):
    experiments = search_experiments(ctx, SearchExperiments("flights", view="all")).experiments
    assert {
        str(one.id): {
            "name": one.name,
            "state": one.state,
            "created": to_ms(one.created_at),
            "updated": to_ms(one.updated_at),
            "tags": one.tags,
        }
        for one in experiments
    } == said["experiments"]
    runs = search_runs(ctx, SearchRuns("flights", view="all", latest=True)).runs
    assert {run.id for run in runs} == set(said["runs"])
    for run in runs:
        compare_run(ctx, run, said["runs"][run.id])
    for id_, wanted in said["models"].items():
        compare_model(ctx, find_logged_model(ctx, FindLoggedModel("flights", id_)), wanted)
    for name, wanted in said["registered"].items():
        compare_registered(ctx, find_model(ctx, FindModel("flights", name)), wanted)


def compare_run(ctx, run, wanted):
    assert {
        "experiment": str(run.experiment_id),
        "name": run.name,
        "status": run.status.upper(),
        "state": run.state,
        "start": to_ms(run.started_at),
        "end": None if run.ended_at is None else to_ms(run.ended_at),
        "user": run.user or None,
        "params": run.parameters,
        "tags": run.tags,
    } == {name: wanted[name] or None if name == "user" else wanted[name] for name in wanted if name in WORDS}
    assert run.parent_id == wanted["tags"].get("mlflow.parentRunId")
    # MLflow's database keeps the greatest of the rest when the newest is NaN; its history has them all.
    assert {one.name for one in run.latest} == set(wanted["latest"])
    for one in run.latest:
        if not math.isnan(one.value) and wanted["latest"][one.name] != "nan":
            assert repr(one.value) == wanted["latest"][one.name]
    for name, points in wanted["histories"].items():
        # MLflow's file store keeps exact repeats, its database does not.
        assert history(ctx, run.id, name) == sorted(map(list, set(map(tuple, points))))
    uses = [one.use for one in runs_datasets(ctx, RunsDatasets((run.id,)))]
    assert (
        sorted(
            [
                *(getattr(u.dataset, field) for field in ("name", "digest", "source_type", "source", "schema")),
                u.dataset.profile,
                sorted([key, value] for key, value in u.tags.items()),
            ]
            for u in uses
        )
        == wanted["datasets"]
    )
    models = [link for link in run.links if link.kind == "model"]
    assert [link.ref for link in models if link.role == "input"] == wanted["inputs"]
    assert [[link.ref, link.details["step"]] for link in models if link.role == "output"] == wanted["outputs"]
    if run.state == "active":
        assert files_of(ctx, run.id) == wanted["files"]


WORDS = {"experiment", "name", "status", "state", "start", "end", "user", "params", "tags"}


def compare_model(ctx, model, wanted):
    assert {
        "name": model.name,
        "experiment": str(model.experiment_id),
        "created": to_ms(model.created_at),
        "updated": to_ms(model.updated_at),
        "run": model.source_run_id,
        "status": model.status.upper(),
        "params": model.parameters,
        "tags": model.tags,
    } == {name: wanted[name] for name in wanted if name not in {"metrics", "files"}}
    assert files_of(ctx, model.id) == wanted["files"]
    # Every point that MLflow has of a model is one of its run, with the model named.
    pages = {}
    for run_id in {one[4] for one in wanted["metrics"]}:
        for series in export_points(ctx, ExportPoints(run_id)).series:
            if series.model_id == model.id:
                for step, time, value in zip(series.steps, series.times_ms, series.values, strict=True):
                    pages[series.name, step, time, words(value)] = (series.dataset_name, series.dataset_digest)
    for name, step, time, value, _, dataset, digest in wanted["metrics"]:
        # MLflow's database says 0 of a model where its run has NaN.
        found = pages.get((name, step, time, value)) or pages[name, step, time, "nan"]
        assert found == (dataset or "", digest or "")


def compare_registered(ctx, summary, wanted):
    model = summary.model
    assert {
        "created": to_ms(model.created_at),
        "description": model.description,
        "tags": model.tags,
        "aliases": summary.aliases,
    } == {name: wanted[name] for name in ("created", "description", "tags", "aliases")}
    versions = list_versions(ctx, ListVersions("flights", model.name))
    assert {
        one.number: {
            "created": to_ms(one.created_at),
            "source": one.source,
            "run": one.run_id,
            "stage": one.stage,
            "description": one.description,
            "tags": one.tags,
        }
        for one in versions
    } == {
        int(number): {name: value for name, value in version.items() if name != "updated"}
        for number, version in wanted["versions"].items()
    }


@pytest.fixture(params=["file_store", "sqlite_store", "server_store"])
def store(request):
    return request.getfixturevalue(request.param)


def test_everything_comes_in_as_mlflow_says_it(store, database, make_ctx, here):
    ctx = make_ctx(database)
    report = bring(store.uri, here(ctx))
    assert [one for one in report.problems if one.what != "version"] == []
    compare(ctx, store.said)
    assert report.counts["runs"].added == len(store.said["runs"])
    third = find_version(ctx, FindVersion("flights", "late model", alias="champion"))
    assert (third.number, third.format, third.unsafe != ()) == (3, "mlflow", True)
    (model_id,) = store.said["models"]
    assert third.logged_model_id == model_id
    paths = {path for path, _ in ctx.repository.trees.walk(third.artifact)}
    assert paths - {"registered_model_meta"} == set(store.said["models"][model_id]["files"])
    with pytest.raises(NotFound):
        find_version(ctx, FindVersion("flights", "late model", 2))


def test_doing_it_again_changes_nothing(store, ctx, here):
    bring(store.uri, here(ctx))
    with ctx.read() as tx:
        before = {table: tx.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() for table in TABLES}
    again = bring(store.uri, here(ctx))
    assert {what: one.added for what, one in again.counts.items() if one.added} == {}
    with ctx.read() as tx:
        assert {table: tx.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() for table in TABLES} == before
    compare(ctx, store.said)


TABLES = [
    "experiments",
    "runs",
    "run_parameters",
    "run_tags",
    "run_links",
    "metric_chunks",
    "run_metrics",
    "logged_models",
    "artifacts",
    "models",
    "model_versions",
    "alias_moves",
    "stage_moves",
]


def test_a_value_in_a_database_that_is_no_number_is_named(sqlite_store, ctx, here, tmp_path):
    shutil.copy(sqlite_store.folder / "mlflow.db", tmp_path)
    with sqlite3.connect(tmp_path / "mlflow.db") as db:
        (run_id, name) = db.execute("SELECT run_uuid, key FROM metrics WHERE NOT is_nan LIMIT 1").fetchone()
        db.execute("UPDATE metrics SET value = 'many' WHERE run_uuid = ? AND key = ?", (run_id, name))
    db.close()
    report = bring(str(tmp_path / "mlflow.db"), here(ctx))
    assert [one.name for one in report.problems if one.what == "metric"] == [f"{run_id}/{name}"]
    assert report.counts["runs"].added == len(sqlite_store.said["runs"])
