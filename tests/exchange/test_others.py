"""Exports of Neptune and Weights & Biases, in the forms that their makers document."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from undrift.core.errors import Invalid, NotFound
from undrift.exchange import Report, bring_in
from undrift.exchange.neptune import NeptuneExport
from undrift.exchange.wandb import WandbExport
from undrift.tracking import MetricHistory, SearchRuns, metric_history, search_runs
from undrift.tracking.model import to_ms
from undrift.tracking.operations.imports import ExportArtifacts, export_artifacts

AT = datetime(2024, 1, 31, 12, 0, tzinfo=UTC)

# As the README of neptune-exporter says.
SCHEMA = pa.schema(
    [
        ("project_id", pa.string()),
        ("run_id", pa.string()),
        ("attribute_path", pa.string()),
        ("attribute_type", pa.string()),
        ("step", pa.decimal128(18, 6)),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("int_value", pa.int64()),
        ("float_value", pa.float64()),
        ("string_value", pa.string()),
        ("bool_value", pa.bool_()),
        ("datetime_value", pa.timestamp("ms", tz="UTC")),
        ("string_set_value", pa.list_(pa.string())),
        ("file_value", pa.struct([("path", pa.string())])),
        (
            "histogram_value",
            pa.struct([("type", pa.string()), ("edges", pa.list_(pa.float64())), ("values", pa.list_(pa.float64()))]),
        ),
    ]
)


def bring(source, target, report):
    bring_in(source, target, report, lambda line: None)
    return report


def row(path, kind, step=None, **value):
    return {
        "project_id": "ops/flights",
        "run_id": "RUN-1",
        "attribute_path": path,
        "attribute_type": kind,
        "step": None if step is None else Decimal(step),
        "timestamp": AT if step is not None else None,
    } | value


@pytest.fixture
def neptune(tmp_path):
    data, files = tmp_path / "exports/data/ops_flights_1a2b", tmp_path / "exports/files/ops_flights_1a2b/RUN-1"
    data.mkdir(parents=True)
    files.mkdir(parents=True)
    (files / "card.md").write_text("# card")
    (tmp_path / "secret").write_text("secret")
    first = [
        row("sys/name", "string", string_value="late"),
        row("sys/custom_run_id", "string", string_value="my-run"),
        row("sys/creation_time", "datetime", datetime_value=AT),
        row("sys/owner", "string", string_value="ada"),
        row("sys/failed", "bool", bool_value=True),
        row("sys/tags", "string_set", string_set_value=["b", "a"]),
        row("params/seed", "int", int_value=7),
        row("params/rate [1]", "float", float_value=0.5),
        row("params/deep", "bool", bool_value=False),
        *(row("metrics/loss", "float_series", step, float_value=1.0 / (step + 1)) for step in range(3)),
        row("metrics/loss", "float_series", "3.5", float_value=9.0),
        row("logs/out", "string_series", 0, string_value="hello"),
        row("weights", "histogram_series", 0, histogram_value={"type": "C", "edges": [0.0, 1.0], "values": [3.0]}),
        row("docs/card", "file", file_value={"path": "ops_flights_1a2b/RUN-1/card.md"}),
        row("docs/leak", "file", file_value={"path": "../../secret"}),
        row("docs/absolute", "file", file_value={"path": str(tmp_path / "secret")}),
    ]
    second = [row("metrics/loss", "float_series", step, float_value=float("nan")) for step in range(3, 5)]
    for part, rows in enumerate((first, second)):
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), data / f"RUN-1_part_{part}.parquet", compression="snappy")
    return tmp_path / "exports"


def test_a_run_of_neptune_comes_in(neptune, ctx, here):
    report = Report("", "flights")
    bring(NeptuneExport(neptune, report), here(ctx), report)
    (run,) = search_runs(ctx, SearchRuns("flights")).runs
    assert (run.name, run.experiment, run.status, run.user) == ("my-run", "ops/flights/late", "failed", "ada")
    assert run.started_at == AT
    assert run.parameters == {"params/seed": 7, "params/rate _1_": 0.5, "params/deep": False}
    assert run.tags["neptune.run_id"] == "RUN-1"
    assert json.loads(run.tags["neptune.sys/tags"]) == ["a", "b"]
    history = metric_history(ctx, MetricHistory(run.id, "metrics/loss"))
    assert list(zip(history.steps, history.values, strict=True)) == [
        (0, 1.0),
        (1, 0.5),
        (2, 1 / 3),
        (3, "NaN"),
        (4, "NaN"),
    ]
    assert set(history.times_ms) == {to_ms(AT)}
    files = {one.path: ctx.repository.objects.get(one.digest) for one in export_artifacts(ctx, ExportArtifacts(run.id))}
    assert set(files) == {"docs/card.md", "logs/out.jsonl", "weights.jsonl"}
    assert files["docs/card.md"] == b"# card"
    assert json.loads(files["logs/out.jsonl"])["value"] == "hello"
    assert json.loads(files["weights.jsonl"])["value"]["edges"] == [0.0, 1.0]
    assert {one.name for one in report.problems} == {
        "RUN-1/docs/leak",
        "RUN-1/docs/absolute",
        "RUN-1/metrics/loss",
    }
    again = bring(NeptuneExport(neptune, Report("", "flights")), here(ctx), Report("", "flights"))
    assert {what: one.added for what, one in again.counts.items() if one.added} == {}


def test_parquet_of_something_else_is_named(tmp_path, ctx, here):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x_part_0.parquet")
    (tmp_path / "y_part_0.parquet").write_bytes(b"no Parquet")
    report = Report("", "flights")
    bring(NeptuneExport(tmp_path, report), here(ctx), report)
    assert len(report.problems) == 2
    with pytest.raises(NotFound, match="no Parquet file"):
        NeptuneExport(tmp_path / "nothing", Report("", "flights"))


def make_wandb(folder, history="jsonl"):
    files = folder / "run-20240131_120000-abcd1234/files"
    files.mkdir(parents=True)
    (files / "config.yaml").write_text(
        "wandb_version: 1\n_wandb:\n  desc: null\n  value: {cli_version: 0.24.0}\n"
        "lr:\n  desc: null\n  value: 0.5\nlayers:\n  value: [1, 2]\n"
    )
    (files / "wandb-summary.json").write_text('{"loss": 0.25, "_step": 2, "_timestamp": 1706702403.5, "_runtime": 3}')
    (files / "wandb-metadata.json").write_text(
        '{"startedAt": "2024-01-31T12:00:00.000000Z", "program": "train.py", "host": "box", "username": "ada"}'
    )
    (files / "output.log").write_text("hello")
    (files / "requirements.txt").write_text("numpy==2.0\n")
    rows = [
        {"_step": step, "_timestamp": 1706702400.5 + step, "loss": 1 / (step + 1), "note": "x"} for step in range(3)
    ]
    rows.append({"_step": 3, "_timestamp": 1706702404.5, "loss": float("nan")})
    if history == "jsonl":
        (files / "history.jsonl").write_text("\n".join(map(json.dumps, rows)))
    elif history == "csv":
        lines = [f"{one['_step']},{one['_timestamp']},{one['loss']},{one.get('note', '')}" for one in rows]
        (files / "history.csv").write_text("\n".join(["_step,_timestamp,loss,note", *lines]))
    elif history == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), files / "0000.parquet")
    return folder


@pytest.mark.parametrize("history", ["jsonl", "csv", "parquet"])
def test_a_run_of_wandb_comes_in_with_its_history(tmp_path, ctx, here, history):
    report = Report("", "flights")
    source = WandbExport(make_wandb(tmp_path / "wandb", history), report)
    bring(source, here(ctx), report)
    (run,) = search_runs(ctx, SearchRuns("flights")).runs
    assert run.parameters == {"lr": 0.5, "layers": [1, 2]}
    assert (run.started_at, run.user, run.tags["wandb.run_id"]) == (AT, "ada", "abcd1234")
    found = metric_history(ctx, MetricHistory(run.id, "loss"))
    assert list(zip(found.steps, found.times_ms, found.values, strict=True)) == [
        (0, 1706702400500, 1.0),
        (1, 1706702401500, 0.5),
        (2, 1706702402500, 1 / 3),
        (3, 1706702404500, "NaN"),
    ]
    paths = {one.path for one in export_artifacts(ctx, ExportArtifacts(run.id))}
    assert paths > {"output.log", "requirements.txt", "config.yaml"}
    assert report.problems == []
    again = Report("", "flights")
    bring(WandbExport(tmp_path / "wandb", again), here(ctx), again)
    assert {what: one.added for what, one in again.counts.items() if one.added} == {}


def test_what_is_no_number_in_a_history_of_wandb_stops_nothing(tmp_path, ctx, here):
    make_wandb(tmp_path / "wandb")
    files = tmp_path / "wandb/run-20240131_120000-abcd1234/files"
    (files / "wandb-metadata.json").write_text('{"project": "p\\ud83d"}')
    (files / "wandb-summary.json").write_text('{"_timestamp": Infinity}')
    (files / "config.yaml").write_text("odd:\n  value: {null: 1, 2024-01-31: x}\n")
    (files / "history.jsonl").write_text(
        '{"_step": NaN, "_timestamp": Infinity, "loss": 1}\n{"_step": 1, "_timestamp": 1706702400, "loss": 2}\nbroken\n'
    )
    report = Report("", "flights")
    bring(WandbExport(tmp_path / "wandb", report), here(ctx), report)
    (run,) = search_runs(ctx, SearchRuns("flights")).runs
    found = metric_history(ctx, MetricHistory(run.id, "loss"))
    assert sorted(zip(found.steps, found.times_ms, found.values, strict=True)) == [(0, 0, 1.0), (1, 1706702400000, 2.0)]
    assert [one.reason for one in report.problems] == ["1 of its lines cannot be read."]


def test_a_cell_of_a_csv_without_an_end_is_named(tmp_path, ctx, here):
    make_wandb(tmp_path / "wandb", "csv")
    path = tmp_path / "wandb/run-20240131_120000-abcd1234/files/history.csv"
    path.write_text(path.read_text() + '4,5,6,"' + "x" * 200_000)
    report = Report("", "flights")
    bring(WandbExport(tmp_path / "wandb", report), here(ctx), report)
    assert ["history.csv cannot be read" in one.reason for one in report.problems] == [True]


def test_without_a_history_the_last_values_come_and_the_way_to_the_rest_is_told(tmp_path, ctx, here):
    report = Report("", "flights")
    bring(WandbExport(make_wandb(tmp_path / "wandb", ""), report), here(ctx), report)
    (run,) = search_runs(ctx, SearchRuns("flights")).runs
    assert run.metrics == {"loss": 0.25}
    (problem,) = report.problems
    assert "scan_history" in problem.reason


def test_wandbs_own_log_is_refused_in_words(tmp_path):
    (tmp_path / "run-1-x").mkdir()
    (tmp_path / "run-1-x/run-x.wandb").write_bytes(b":W&B")
    with pytest.raises(Invalid, match="not documented") as refused:
        WandbExport(tmp_path, Report("", "flights"))
    assert "scan_history" in refused.value.next_step
    with pytest.raises(NotFound):
        WandbExport(tmp_path / "nothing", Report("", "flights"))
