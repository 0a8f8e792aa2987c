"""Stores that somebody made to do harm, or that are broken: nothing outside is read, and nothing stops the rest."""

from __future__ import annotations

import http.server
import json
import os
import sqlite3
import threading
import time

import pytest

from undrift.core.errors import Invalid, NotFound, Unavailable
from undrift.exchange import Report, bring_in, open_mlflow
from undrift.exchange.folders import Folder, read_yaml
from undrift.tracking import SearchExperiments, SearchRuns, search_experiments, search_runs
from undrift.tracking.operations.imports import ExportArtifacts, export_artifacts

RUN = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"


def make_store(root, location=""):
    experiment = root / "1"
    for run in (RUN, OTHER):
        for part in ("metrics", "params", "tags", "artifacts"):
            (experiment / run / part).mkdir(parents=True)
        (experiment / run / "meta.yaml").write_text(
            f"run_id: {run}\nexperiment_id: '1'\nstatus: 3\nstart_time: 1700000000000\nend_time: null\n"
            f"lifecycle_stage: active\nrun_name: one\nartifact_uri: {location}\n"
        )
        (experiment / run / "params/seed").write_text("7")
    (experiment / "meta.yaml").write_text("experiment_id: '1'\nname: one\nlifecycle_stage: active\n")
    return experiment / RUN


def bring(root, target, **given):
    report = Report(str(root), "flights")
    source = open_mlflow(str(root), report, **given)
    bring_in(source, target, report, lambda line: None)
    source.close()
    return report


def reasons(report):
    return {(one.what, one.name): one.reason for one in report.problems}


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret.txt").write_text("secret")
    return path


def everything(ctx):
    """All texts and bytes that came in."""
    runs = search_runs(ctx, SearchRuns("flights", view="all")).runs
    said = repr(runs) + repr(search_experiments(ctx, SearchExperiments("flights", view="all")))
    for run in runs:
        for one in export_artifacts(ctx, ExportArtifacts(run.id)):
            said += one.path + ctx.repository.objects.get(one.digest).decode(errors="replace")
    return said


def test_links_lead_nowhere(ctx, here, tmp_path, secret):
    run = make_store(tmp_path / "mlruns")
    (run / "params/leak").symlink_to(secret / "secret.txt")
    (run / "tags/leak").symlink_to(secret / "secret.txt")
    (run / "metrics/leak").symlink_to(secret / "secret.txt")
    (run / "artifacts/leak.txt").symlink_to(secret / "secret.txt")
    (run / "artifacts/folder").symlink_to(secret)
    (run / "artifacts/circle").symlink_to(run / "artifacts")
    (run / "artifacts/mine.txt").write_text("mine")
    (run / "artifacts/inner.txt").symlink_to(run / "artifacts/mine.txt")
    report = bring(tmp_path / "mlruns", here(ctx))
    assert "secret" not in everything(ctx).replace("secret.txt", "")
    assert {one.path for one in export_artifacts(ctx, ExportArtifacts(RUN))} == {"mine.txt", "inner.txt"}
    assert len(report.problems) >= 6


def test_a_store_whose_runs_are_links_is_empty(ctx, here, tmp_path, secret):
    run = make_store(tmp_path / "mlruns")
    run.rename(secret / "run")
    run.symlink_to(secret / "run")
    bring(tmp_path / "mlruns", here(ctx))
    assert [one.id for one in search_runs(ctx, SearchRuns("flights")).runs] == [OTHER]


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}", "{}/../outside", "file://{}/%2e%2e/outside"])
def test_an_artifact_address_outside_the_store_is_refused(ctx, here, tmp_path, secret, form):
    run = make_store(tmp_path / "mlruns", form.format(secret))
    (run / "artifacts").rmdir()
    report = bring(tmp_path / "mlruns", here(ctx))
    assert export_artifacts(ctx, ExportArtifacts(RUN)) == []
    assert "outside the store" in reasons(report)["files", RUN]


def test_a_folder_that_was_named_is_read(ctx, here, tmp_path, secret):
    run = make_store(tmp_path / "mlruns", str(secret))
    (run / "artifacts").rmdir()
    bring(tmp_path / "mlruns", here(ctx), artifacts=secret)
    assert [one.path for one in export_artifacts(ctx, ExportArtifacts(RUN))] == ["secret.txt"]


def test_what_is_kept_far_away_is_named(ctx, here, tmp_path):
    run = make_store(tmp_path / "mlruns", "s3://bucket/one")
    (run / "artifacts").rmdir()
    report = bring(tmp_path / "mlruns", here(ctx))
    assert "s3://bucket/one" in reasons(report)["files", RUN]


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {}']\n",
        "name: !!python/object/apply:os.system ['touch {}']\n",
        "a: &a [x, x]\nb: *a\n",
        "- 1\n- 2\n",
        "{{" * 5_000,
        "\x00\x01",
        "",
    ],
)
def test_yaml_holds_plain_values_or_nothing(ctx, here, tmp_path, text):
    run = make_store(tmp_path / "mlruns")
    (run / "meta.yaml").write_text(text.replace("{}", str(tmp_path / "done")) if "{}" in text else text)
    report = bring(tmp_path / "mlruns", here(ctx))
    assert not (tmp_path / "done").exists()
    assert [one.id for one in search_runs(ctx, SearchRuns("flights")).runs] == [OTHER]
    assert ("run", RUN) in reasons(report)


@pytest.mark.parametrize("line", ["status: [1]", "status: {a: 1}", 'user_id: ["\\0"]'])
def test_values_of_other_kinds_keep_no_run_back(ctx, here, tmp_path, line):
    run = make_store(tmp_path / "mlruns")
    name = line.partition(":")[0]
    kept = [one for one in (run / "meta.yaml").read_text().splitlines() if not one.startswith(name)]
    (run / "meta.yaml").write_text("\n".join([*kept, line]))
    bring(tmp_path / "mlruns", here(ctx))
    assert {one.id for one in search_runs(ctx, SearchRuns("flights")).runs} == {RUN, OTHER}


def test_a_text_that_stands_for_a_gigabyte_is_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (tmp_path / "meta.yaml").write_text("\n".join(lines))
    begun = time.monotonic()
    with pytest.raises(Invalid, match="aliases"):
        read_yaml(Folder(tmp_path), tmp_path / "meta.yaml")
    assert time.monotonic() - begun < 5


def test_enormous_values_are_named_and_the_rest_comes(ctx, here, tmp_path):
    run = make_store(tmp_path / "mlruns")
    (run / "params/long").write_text("x" * 7_000)
    (run / "params/huge").write_text("x" * 3_000_000)
    (run / "tags/long").write_text("x" * 9_000)
    (run / "metrics/loss").write_text("1 0.5 0\nno number\n1 2 3 4\n2 1e400 1\n99999999999999999999999 1 1\n-5 1 1\n")
    report = bring(tmp_path / "mlruns", here(ctx))
    (found,) = [one for one in search_runs(ctx, SearchRuns("flights")).runs if one.id == RUN]
    assert found.parameters == {"seed": "7"}
    assert {one.name for one in report.problems} >= {f"{RUN}/huge", f"{RUN}/loss", RUN}


def test_a_pipe_in_place_of_a_file_does_not_hold_anybody_up(ctx, here, tmp_path):
    run = make_store(tmp_path / "mlruns")
    os.mkfifo(run / "params/pipe")
    os.mkfifo(run / "artifacts/pipe")
    report = bring(tmp_path / "mlruns", here(ctx))
    assert report.counts["runs"].added == 2


@pytest.mark.parametrize("name", ["a?b", "a#b", "%2e%2e%2fb", "a\\b", "a\nb"])
def test_names_that_no_artifact_may_have_are_named(ctx, here, tmp_path, name):
    run = make_store(tmp_path / "mlruns")
    (run / "artifacts" / name).write_text("x")
    (run / "artifacts/good").write_text("y")
    report = bring(tmp_path / "mlruns", here(ctx))
    assert [one.path for one in export_artifacts(ctx, ExportArtifacts(RUN))] == ["good"]
    assert [one.what for one in report.problems] == ["file"]


def test_a_moved_store_still_has_its_files(ctx, here, tmp_path):
    run = make_store(tmp_path / "mlruns", "/gone/mlruns/1/x/artifacts")
    (run / "artifacts/a.txt").write_text("a")
    (tmp_path / "mlruns").rename(tmp_path / "copied")
    report = bring(tmp_path / "copied", here(ctx))
    assert [one.path for one in export_artifacts(ctx, ExportArtifacts(RUN))] == ["a.txt"]
    assert report.problems == []


def test_the_folder_above_will_do(ctx, here, tmp_path):
    make_store(tmp_path / "mlruns")
    assert bring(tmp_path, here(ctx)).counts["runs"].added == 2


def test_an_unknown_schema_is_refused_in_words(tmp_path):
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE alembic_version (version_num TEXT)")
        db.execute("INSERT INTO alembic_version VALUES ('0123456789ab')")
    db.close()
    with pytest.raises(Invalid, match="0123456789ab, which undrift does not know") as refused:
        open_mlflow(f"sqlite:///{path}", Report("", "flights"))
    assert "mlflow db upgrade" in refused.value.next_step


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(100)])
def test_what_is_no_database_is_refused(tmp_path, content):
    (tmp_path / "mlflow.db").write_bytes(content)
    with pytest.raises(Invalid, match="no database of MLflow"):
        open_mlflow(str(tmp_path / "mlflow.db"), Report("", "flights"))


def test_places_that_are_none(tmp_path, unused_port):
    report = Report("", "flights")
    with pytest.raises(NotFound, match="no file store"):
        open_mlflow(str(tmp_path / "nothing"), report)
    with pytest.raises(NotFound, match="no database"):
        open_mlflow(f"sqlite:///{tmp_path}/nothing.db", report)
    with pytest.raises(Invalid, match="SQLite only"):
        open_mlflow("postgresql://localhost/mlflow", report)
    with pytest.raises(Invalid, match="no place of MLflow"):
        open_mlflow("databricks://x", report)


def test_a_server_that_is_away(unused_port, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(Unavailable, match="did not answer"):
        open_mlflow(f"http://127.0.0.1:{unused_port}", Report("", "flights"))


class Broken(http.server.BaseHTTPRequestHandler):
    """A server of MLflow with two runs: it fails at the files of one, and at the metrics of the other."""

    def do_POST(self):
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(length)
        self.do_GET()

    def do_GET(self):
        path = self.path.removeprefix("/api/2.0/mlflow/").partition("?")[0]
        of_other = OTHER in self.path
        runs = [
            {
                "info": {"run_id": id_, "status": "FINISHED", "start_time": 1, "artifact_uri": "s3://gone"},
                "data": {"metrics": [{"key": "loss", "value": 1}]},
            }
            for id_ in (RUN, OTHER)
        ]
        points = {"metrics": [{"key": "loss", "value": 1.5, "timestamp": 2, "step": 3}]}
        answers = {
            "experiments/search": (200, {"experiments": [{"experiment_id": "1", "name": "one", "creation_time": 1}]}),
            "runs/search": (200, {"runs": runs}),
            "runs/get": (404, {"message": "gone"}) if of_other else (200, {"run": runs[0]}),
            "metrics/get-history": (500, {"message": "broken"}) if of_other else (200, points),
            "artifacts/list": (200, {"files": []}) if of_other else (500, {"message": "no such bucket"}),
            "registered-models/search": (200, {}),
        }
        status, answer = answers.get(path, (404, {"message": "no such endpoint"}))
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


def test_what_a_server_fails_at_is_named_and_the_rest_comes(ctx, here, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            report = bring(f"http://127.0.0.1:{server.server_port}", here(ctx))
        finally:
            server.shutdown()
            thread.join()
    found = {one.id: one for one in search_runs(ctx, SearchRuns("flights")).runs}
    assert set(found) == {RUN, OTHER}
    assert found[RUN].metrics == {"loss": 1.5}
    assert {(one.what, one.name.partition("/")[0]) for one in report.problems} == {
        ("files", RUN),
        ("links", OTHER),
        ("metrics", OTHER),
    }
