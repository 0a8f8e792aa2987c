"""Out into an archive and back in: nothing is lost, and the second archive is the first, byte for byte."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from undrift.core import Actor
from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.core.hashing import hash_bytes
from undrift.core.ids import new_id
from undrift.data import RegisterDataset, register_dataset
from undrift.data.versions import append
from undrift.exchange import Here, Report, archive, export_project, import_archive
from undrift.exchange.folders import Folder
from undrift.registry import (
    AsOf,
    DecideApproval,
    DeleteVersion,
    Field,
    FindVersion,
    MoveAlias,
    MoveStage,
    RegisterModel,
    RegisterVersion,
    RemoveAlias,
    RequestApproval,
    SetApprovalPolicy,
    Signature,
    TrustVersion,
    as_of,
    decide_approval,
    delete_version,
    find_version,
    move_alias,
    move_stage,
    register_model,
    register_version,
    remove_alias,
    request_approval,
    set_approval_policy,
    trust_version,
)
from undrift.tracking import (
    CreateExperiment,
    CreateLoggedModel,
    DatasetUse,
    DeleteLoggedModel,
    DeleteRun,
    EndRun,
    FindRun,
    ImportExperiment,
    LogDatasets,
    LoggedDataset,
    LogRun,
    MetricSeries,
    RunLink,
    StartRun,
    create_experiment,
    create_model,
    delete_model,
    delete_run,
    end_run,
    find_run,
    import_experiment,
    log_datasets,
    log_run,
    start_run,
)
from undrift.tracking.artifacts import PutArtifact, PutArtifacts, put_artifacts


def quiet(line):
    pass


def later(ctx, **by):
    ctx.clock.advance_to(ctx.now() + timedelta(**(by or {"seconds": 1})))


def fill(ctx, make_ctx, database, project="flights"):
    """One of everything, with a tick of the clock in between."""
    first = create_experiment(ctx, CreateExperiment(project, "späte Flüge", {"team": "ops"}))
    later(ctx)
    parent = start_run(
        ctx,
        StartRun(
            project,
            experiment_id=first.id,
            name="parent",
            parameters={"seed": 7, "rate": 0.1, "layers": [1, 2], "note": "½"},
            tags={"B": "2", "a": "1"},
            links=(
                RunLink("input", "object", "Zeta", ctx.repository.objects.put(b"an input")),
                RunLink("input", "tree", "alpha", ctx.repository.trees.edit(None, {"src/a.py": b"a", "b": b"bb"})),
            ),
        ),
    )
    model = create_model(ctx, CreateLoggedModel(project, first.id, "late", source_run_id=parent.id, tags={"k": "v"}))
    gone = create_model(ctx, CreateLoggedModel(project, first.id, "gone", source_run_id=parent.id))
    delete_model(ctx, DeleteLoggedModel(project, gone.id))
    log_run(
        ctx,
        LogRun(
            parent.id,
            series=(
                MetricSeries("loss", [0, 1, 2], [10, 11, 12], [1.5, "NaN", "-Infinity"]),
                MetricSeries("Auc", [3], [13], [0.9], model.id, "frame", "abc"),
                MetricSeries("auc", [-1], [13], [0.0]),
            ),
            links=(RunLink("output", "model", model.id, model.id, details={"step": 3}),),
        ),
    )
    log_datasets(
        ctx,
        LogDatasets(
            parent.id,
            (DatasetUse(LoggedDataset("frame", "abc", "s3", "{}", "{}", "p"), {"mlflow.data.context": "training"}),),
        ),
    )
    put(ctx, parent.id, {"notes/readme.txt": b"hello", "Große Datei.bin": bytes(2_000_000)})
    put(ctx, model.id, {"MLmodel": b"flavors: {}\n", "model.pkl": b"\x80"})
    later(ctx)
    child = start_run(ctx, StartRun(project, experiment_id=first.id, name="child", parent_id=parent.id))
    end_run(ctx, EndRun(child.id, "failed", "It broke."))
    delete_run(ctx, DeleteRun(child.id))
    create_experiment(ctx, CreateExperiment(project, "leer"))

    register_model(ctx, RegisterModel(project, "late", "ops@example.com", "Says it.", {"x": "y"}))
    set_approval_policy(ctx, SetApprovalPolicy(project, 1, "Four eyes.", "late"))
    set_approval_policy(ctx, SetApprovalPolicy(project, 0, "Nobody asks.", alias="shadow"))
    tree = ctx.repository.trees.edit(None, {"model.onnx": b"bytes", "extra/data.json": b"{}"})
    pickled = ctx.repository.trees.edit(None, {"model.pkl": b"\x80"})
    signature = Signature((Field("distance", "float", nullable=True),), "classification", "late")
    profile = ctx.repository.objects.put(b"a profile")
    for _ in range(3):
        later(ctx)
        register_version(
            ctx,
            RegisterVersion(
                project,
                "late",
                parent.id,
                tree,
                signature,
                {"rows": 5},
                {"auc": 0.9},
                profile,
                key=new_id(),
                logged_model_id=model.id,
                description="½",
                tags={"t": "v"},
            ),
        )
    register_version(ctx, RegisterVersion(project, "late", artifact=pickled))
    trust_version(ctx, TrustVersion(project, "late", 4, "I made it."))
    bob = make_ctx(database, actor=Actor("bob"), clock=ctx.clock)
    request_approval(ctx, RequestApproval(project, "late", 1, "It is better."))
    later(ctx)
    decide_approval(bob, DecideApproval(project, "late", 1, approve=True, reason="It is."))
    move_alias(ctx, MoveAlias(project, "late", "champion", 1, "Approved.", {"auc": 0.9}))
    later(ctx, days=1)
    move_alias(ctx, MoveAlias(project, "late", "shadow", 3, "Look at it."))
    remove_alias(ctx, RemoveAlias(project, "late", "shadow", "Seen."))
    move_alias(ctx, MoveAlias(project, "late", "shadow", 2, "Again."))
    move_stage(ctx, MoveStage(project, "late", 1, "Production"))
    move_stage(ctx, MoveStage(project, "late", 2, "Production", archive_existing=True))
    delete_version(ctx, DeleteVersion(project, "late", 3, "Wrong data."))
    later(ctx)
    dataset = register_dataset(ctx, RegisterDataset(project, "departures", "id", "at", "at", "ops@example.com"))
    frame = pl.DataFrame({"id": [1, 2], "at": [ctx.now(), ctx.now()], "late": [True, None]})
    append(ctx, dataset, frame, known_until=ctx.now(), message="First.")
    return parent.id


def put(ctx, root, files):
    stored = ctx.repository.objects.put_many(list(files.values()))
    entries = tuple(PutArtifact(path, *one) for path, one in zip(files, stored, strict=True))
    put_artifacts(ctx, PutArtifacts(root, entries))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def other(tmp_path, request):
    """A workspace that knows nothing: another database on SQLite, another store."""
    from undrift.blobs import Repository, open_store
    from undrift.metastore import metadata, open_database

    database = open_database(f"sqlite:///{tmp_path}/other.db")
    with database.begin() as tx:
        metadata.create_all(tx)
    yield database, Repository(open_store(str(tmp_path / "other_blobs")))
    database.close()


def test_the_second_archive_is_the_first_byte_for_byte(database, make_ctx, here, other, tmp_path):
    ctx = make_ctx(database)
    run_id = fill(ctx, make_ctx, database)
    export_project(here(ctx), tmp_path / "one", quiet)
    there = make_ctx(other[0], repository=other[1], actor=Actor("eve"))
    report = import_archive(here(there), tmp_path / "one", Report("archive", "flights"), quiet)
    assert report.problems == []
    export_project(here(there), tmp_path / "two", quiet)
    first, second = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert sorted(first) == sorted(second)
    for path, data in first.items():
        assert second[path] == data, path
    assert find_run(there, FindRun(run_id)) == find_run(ctx, FindRun(run_id))
    for number in (1, 2, 4):
        asked = FindVersion("flights", "late", number)
        assert find_version(there, asked) == find_version(ctx, asked)
    moment = ctx.now()
    asked = AsOf("flights", "late", moment)
    assert as_of(there, asked) == as_of(ctx, asked)


def test_back_into_postgresql_it_is_the_same(postgres_database, make_ctx, here, other, tmp_path):
    there = make_ctx(other[0], repository=other[1])
    fill(there, lambda database, **given: make_ctx(database, repository=other[1], **given), other[0])
    export_project(here(there), tmp_path / "one", quiet)
    ctx = make_ctx(postgres_database)
    import_archive(here(ctx), tmp_path / "one", Report("archive", "flights"), quiet)
    export_project(here(ctx), tmp_path / "two", quiet)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_importing_twice_adds_nothing(ctx, sqlite_database, make_ctx, here, other, tmp_path):
    fill(ctx, make_ctx, sqlite_database)
    export_project(here(ctx), tmp_path / "one", quiet)
    there = make_ctx(other[0], repository=other[1])
    import_archive(here(there), tmp_path / "one", Report("archive", "flights"), quiet)
    again = import_archive(here(there), tmp_path / "one", Report("archive", "flights"), quiet)
    assert {what: one.added for what, one in again.counts.items() if one.added} == {}
    assert again.problems == []
    export_project(here(there), tmp_path / "two", quiet)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_an_import_that_was_cut_off_goes_on(ctx, sqlite_database, make_ctx, here, other, tmp_path, monkeypatch):
    fill(ctx, make_ctx, sqlite_database)
    export_project(here(ctx), tmp_path / "one", quiet)
    there = make_ctx(other[0], repository=other[1])
    target = here(there)
    done = 0

    def cut(operation, request, call=target.call):
        nonlocal done
        if operation.emits:
            done += 1
            if done % 4 == 0:
                raise KeyboardInterrupt
        return call(operation, request)

    monkeypatch.setattr(target, "call", cut)
    for _ in range(50):
        try:
            import_archive(target, tmp_path / "one", Report("archive", "flights"), quiet)
            break
        except KeyboardInterrupt:
            done += 1
            monkeypatch.setattr(target, "call", lambda operation, request: here(there).call(operation, request))
    export_project(here(there), tmp_path / "two", quiet)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_it_comes_into_another_project_of_the_same_workspace(ctx, sqlite_database, make_ctx, here, tmp_path):
    run_id = fill(ctx, make_ctx, sqlite_database)
    export_project(here(ctx), tmp_path / "one", quiet)
    report = import_archive(here(ctx, "copy"), tmp_path / "one", Report("archive", "copy"), quiet)
    assert report.problems == []
    copied = here(ctx, "copy").run_id(run_id)
    assert copied != run_id
    run = find_run(ctx, FindRun(copied))
    assert run.tags["undrift.imported_id"] == run_id
    assert run.metrics == find_run(ctx, FindRun(run_id)).metrics
    version = find_version(ctx, FindVersion("copy", "late", alias="champion"))
    assert (version.number, version.run_id) == (1, copied)
    assert find_version(ctx, FindVersion("flights", "late", 1)).run_id == run_id
    again = import_archive(here(ctx, "copy"), tmp_path / "one", Report("archive", "copy"), quiet)
    assert {what: one.added for what, one in again.counts.items() if one.added} == {}


def test_anybody_can_read_it(ctx, sqlite_database, make_ctx, here, tmp_path):
    run_id = fill(ctx, make_ctx, sqlite_database)
    manifest = export_project(here(ctx), tmp_path / "one", quiet)
    assert json.loads((tmp_path / "one/manifest.json").read_text())["project"] == "flights"
    experiment = json.loads((tmp_path / "one/experiments.jsonl").read_text().splitlines()[0])
    points = pl.read_parquet(tmp_path / f"one/metrics/{experiment['id']}.parquet")
    assert points.filter(name="Auc").row(0, named=True) == {
        "run_id": run_id,
        "name": "Auc",
        "step": 3,
        "time_ms": 13,
        "value": 0.9,
        "model_id": points.filter(name="Auc")["model_id"][0],
        "dataset_name": "frame",
        "dataset_digest": "abc",
    }
    loss = points.filter(name="loss")["value"].to_list()
    assert [repr(value) for value in loss] == ["1.5", "nan", "-inf"]
    files = {
        one["path"]: one["digest"]
        for one in map(json.loads, (tmp_path / "one/artifacts.jsonl").read_text().splitlines())
    }
    digest = files["notes/readme.txt"]
    assert (tmp_path / "one/objects" / digest[:2] / digest[2:]).read_bytes() == b"hello"
    runs = pl.read_ndjson(tmp_path / "one/runs.jsonl")
    assert runs.height == 2
    assert manifest.files["runs.jsonl"].rows == 2


def test_a_changed_archive_is_refused(ctx, sqlite_database, make_ctx, here, other, tmp_path):
    fill(ctx, make_ctx, sqlite_database)
    export_project(here(ctx), tmp_path / "one", quiet)
    there = make_ctx(other[0], repository=other[1])
    for name in ("runs.jsonl", "versions.jsonl"):
        shutil.copytree(tmp_path / "one", tmp_path / name)
        text = (tmp_path / name / name).read_bytes()
        (tmp_path / name / name).write_bytes(text.replace(b"ada", b"eve", 1))
        with pytest.raises(Invalid, match="not what the manifest says"):
            import_archive(here(there), tmp_path / name, Report("archive", "flights"), quiet)
    (tmp_path / "one/manifest.json").unlink()
    with pytest.raises(NotFound, match="no archive"):
        import_archive(here(there), tmp_path / "one", Report("archive", "flights"), quiet)


def test_a_changed_object_is_named_and_never_kept_under_its_old_name(
    ctx, sqlite_database, make_ctx, here, other, tmp_path
):
    fill(ctx, make_ctx, sqlite_database)
    export_project(here(ctx), tmp_path / "one", quiet)
    changed = {}
    for path in (tmp_path / "one/objects").rglob("*"):
        if path.is_file() and path.read_bytes() in {b"hello", bytes(2_000_000)}:
            changed[path.parent.name + path.name] = path
            path.write_bytes(b"x" * path.stat().st_size)
    assert len(changed) == 2
    there = make_ctx(other[0], repository=other[1])
    report = import_archive(here(there), tmp_path / "one", Report("archive", "flights"), quiet)
    assert {one.name.replace("/", "") for one in report.problems if one.what == "object"} == set(changed)
    assert [other[1].objects.size(digest) for digest in changed] == [None, None]


def seal(folder):
    """Make the manifest say of each file what is in it now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, facts in manifest["files"].items():
        data = (folder / name).read_bytes()
        facts |= {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["experiments", "runs", "tables", "table_versions", "models", "versions", "artifacts"])
def test_lines_that_say_something_else_are_named_and_the_rest_comes(
    ctx, sqlite_database, make_ctx, here, other, tmp_path, name
):
    fill(ctx, make_ctx, sqlite_database)
    export_project(here(ctx), tmp_path / "one", quiet)
    path = tmp_path / "one" / f"{name}.jsonl"
    path.write_bytes(b'{"id": [], "dataset": [], "name": 7}\n' + path.read_bytes())
    seal(tmp_path / "one")
    report = import_archive(
        here(make_ctx(other[0], repository=other[1])), tmp_path / "one", Report("archive", "flights"), quiet
    )
    assert [one.what for one in report.problems] == [name]
    assert report.counts["runs"].added == 2
    assert report.counts["table versions"].added > 0


def test_an_import_holds_few_objects_and_reads_the_runs_once(
    ctx, sqlite_database, make_ctx, here, other, tmp_path, monkeypatch
):
    fill(ctx, make_ctx, sqlite_database)
    for number in range(5):
        import_experiment(ctx, ImportExperiment("flights", f"more {number}", "", ctx.now()))
    export_project(here(ctx), tmp_path / "one", quiet)
    for _ in range(20):
        data = os.urandom(900)
        path = tmp_path / "one/objects" / hash_bytes(data)[:2] / hash_bytes(data)[2:]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    monkeypatch.setattr(archive, "_HELD_BYTES", 4_000)
    held, opened = [], []
    keep, pieces = Here.keep, Folder.pieces
    monkeypatch.setattr(Here, "keep", lambda self, some: [held.append(sum(map(len, some))), keep(self, some)][1])
    monkeypatch.setattr(Folder, "pieces", lambda self, path: [opened.append(path.name), pieces(self, path)][1])
    import_archive(here(make_ctx(other[0], repository=other[1])), tmp_path / "one", Report("archive", "flights"), quiet)
    assert sum(held) > 18_000
    assert opened.count("runs.jsonl") == 2, "once to look whether it is whole, once to bring it in"
    assert len(held) > 4


def test_a_link_in_an_archive_is_not_followed_out(ctx, sqlite_database, make_ctx, here, other, tmp_path):
    fill(ctx, make_ctx, sqlite_database)
    export_project(here(ctx), tmp_path / "one", quiet)
    (tmp_path / "secret").write_bytes((tmp_path / "one/runs.jsonl").read_bytes())
    (tmp_path / "one/runs.jsonl").unlink()
    (tmp_path / "one/runs.jsonl").symlink_to(tmp_path / "secret")
    with pytest.raises(Invalid, match="leads out"):
        import_archive(here(make_ctx(other[0], repository=other[1])), tmp_path / "one", Report("a", "flights"), quiet)


def test_an_export_goes_into_an_empty_folder_only(ctx, here, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/file").write_text("mine")
    with pytest.raises(Conflict, match="not empty"):
        export_project(here(ctx), tmp_path / "one", quiet)
    assert list((tmp_path / "one").iterdir()) == [Path(tmp_path / "one/file")]
