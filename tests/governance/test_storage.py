"""Storage explained: whose, how much, shared or not, and what would free it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from undrift import governance, registry, tracking
from undrift.core import ReplayClock
from undrift.core.errors import NotFound
from undrift.tracking import artifacts


@pytest.fixture
def ctx(database, make_ctx):
    return make_ctx(database, clock=ReplayClock(datetime.fromisoformat("2013-01-01T00:00:00Z")))


def run_with(ctx, number, files, project="flights"):
    run = tracking.start_run(
        ctx, tracking.StartRun(id=f"{number:032x}", project=project, experiment="first", kind="training")
    )
    put(ctx, run.id, files)
    return run


def put(ctx, root, files):
    entries = [artifacts.PutArtifact(path, ctx.repository.objects.put(data), len(data)) for path, data in files.items()]
    artifacts.put_artifacts(ctx, artifacts.PutArtifacts(root, tuple(entries)))


def explain(ctx, **given):
    return governance.explain_storage(ctx, governance.ExplainStorage(**given))


def test_an_empty_store_takes_nothing(ctx):
    explained = explain(ctx, measure=True)
    assert (explained.shares, explained.largest, explained.logical_bytes, explained.physical_bytes) == ((), (), 0, 0)
    assert explained.stored_bytes == 0


def test_equal_bytes_are_counted_once_and_it_is_said(ctx):
    run_with(ctx, 1, {"a": b"x" * 1000, "b": b"y" * 10})
    run_with(ctx, 2, {"c": b"x" * 1000})
    explained = explain(ctx, measure=True)
    (share,) = explained.shares
    assert (share.kind, share.project, share.things) == ("artifacts of runs", "flights", 2)
    assert (share.logical_bytes, share.physical_bytes) == (2010, 1010)
    assert (explained.logical_bytes, explained.physical_bytes, explained.stored_bytes) == (2010, 1010, 1010)
    assert [(one.kind, one.name, one.logical_bytes) for one in explained.largest] == [
        ("experiment", "first", 2010),
        ("artifacts of runs", f"{1:032x}", 1010),
        ("artifacts of runs", f"{2:032x}", 1000),
    ]


def test_what_was_deleted_is_a_share_of_its_own_until_it_is_freed(ctx):
    run_with(ctx, 1, {"a": b"x" * 1000})
    gone = run_with(ctx, 2, {"c": b"z" * 500})
    tracking.delete_run(ctx, tracking.DeleteRun(gone.id))
    deleted = next(share for share in explain(ctx).shares if share.kind == "deleted runs, not freed")
    assert (deleted.logical_bytes, deleted.freed_by) == (500, "undrift storage free")
    ctx.clock.advance_to(ctx.now() + timedelta(days=8))
    governance.free_storage(ctx, governance.FreeStorage(dry_run=False))
    assert [share.kind for share in explain(ctx).shares] == ["artifacts of runs"]


def test_only_one_project_when_it_is_named(ctx):
    run_with(ctx, 1, {"a": b"x" * 10}, project="flights")
    run_with(ctx, 2, {"a": b"y" * 20}, project="trains")
    explained = explain(ctx, project="trains")
    assert (explained.logical_bytes, explained.physical_bytes) == (20, 20)
    assert {share.project for share in explained.shares} == {one.project for one in explained.largest} == {"trains"}


def register(ctx, tree=None, **given):
    registry.register_model(ctx, registry.RegisterModel("flights", "late", "ops@example.com"))
    return registry.register_version(
        ctx, registry.RegisterVersion(project="flights", model="late", artifact=tree, **given)
    )


def delete_version(ctx, number):
    registry.delete_version(ctx, registry.DeleteVersion(project="flights", model="late", number=number))


def test_model_versions_are_measured_by_their_trees(ctx):
    tree = ctx.repository.trees.edit(None, {"weights.bin": b"m" * 100, "data/model.bin": b"d" * 900})
    register(ctx, tree)
    (share,) = explain(ctx).shares
    assert (share.kind, share.things, share.logical_bytes) == ("model versions", 1, 1000)


def test_a_version_made_of_the_artifacts_of_a_run_is_counted_once(ctx):
    files = {"weights.bin": b"m" * 100, "MLmodel": b"d" * 900}
    run_with(ctx, 1, files)
    register(ctx, ctx.repository.trees.edit(None, files))
    register(ctx, ctx.repository.trees.edit(None, files | {"more": b"x" * 50}))
    explained = explain(ctx)
    versions = next(share for share in explained.shares if share.kind == "model versions")
    assert (versions.logical_bytes, versions.physical_bytes) == (2050, 1050)
    assert (explained.logical_bytes, explained.physical_bytes) == (3050, 1050)


def test_newer_versions_of_other_projects_hide_nothing(ctx, monkeypatch):
    monkeypatch.setattr("undrift.governance.operations._MOST_VERSIONS", 1)
    register(ctx, ctx.repository.trees.edit(None, {"weights.bin": b"m" * 100}))
    ctx.clock.advance_to(ctx.now() + timedelta(days=1))
    registry.register_model(ctx, registry.RegisterModel("trains", "late", "ops@example.com"))
    tree = ctx.repository.trees.edit(None, {"weights.bin": b"n" * 100})
    registry.register_version(ctx, registry.RegisterVersion(project="trains", model="late", artifact=tree))
    assert explain(ctx, project="flights").logical_bytes == 100


def test_a_tree_that_is_damaged_stops_no_explanation(ctx):
    tree = ctx.repository.trees.edit(None, {"weights.bin": b"m" * 100})
    register(ctx, tree)
    run_with(ctx, 1, {"a": b"x" * 10})
    ctx.repository.store.write(f"objects/{tree[:2]}/{tree[2:]}", b"altered")
    assert explain(ctx).logical_bytes == 10


def test_a_version_whose_bytes_are_gone_cannot_be_held(ctx):
    register(ctx, ctx.repository.trees.edit(None, {"weights.bin": b"m" * 100}))
    delete_version(ctx, 1)
    ctx.clock.advance_to(ctx.now() + timedelta(days=8))
    governance.free_storage(ctx, governance.FreeStorage(dry_run=False))
    with pytest.raises(NotFound, match="not in the store any more"):
        governance.hold(ctx, governance.HoldSubject("flights", "models/late/1", "the auditors ask for it"))


def test_a_deleted_version_gives_up_its_bytes_and_keeps_its_place_in_the_history(ctx):
    both = b"b" * 200
    first = ctx.repository.trees.edit(None, {"weights.bin": b"m" * 100, "both": both})
    second = ctx.repository.trees.edit(None, {"weights.bin": b"n" * 100, "both": both})
    register(ctx, first)
    register(ctx, second)
    delete_version(ctx, 1)
    ctx.clock.advance_to(ctx.now() + timedelta(days=8))
    looked = governance.free_storage(ctx, governance.FreeStorage())
    freed = governance.free_storage(ctx, governance.FreeStorage(dry_run=False))
    assert (looked.versions, looked.objects, looked.freed_bytes) == (1, 2, freed.freed_bytes)
    assert (freed.versions, freed.objects, freed.kept_objects) == (1, 2, 1)  # the weights, and the tree
    assert ctx.repository.trees.get(second, "both") == both
    again = governance.free_storage(ctx, governance.FreeStorage(dry_run=False))
    assert (again.versions, again.objects, again.missing, again.errors) == (0, 0, (), ())


def test_a_held_version_keeps_its_bytes(ctx):
    tree = ctx.repository.trees.edit(None, {"weights.bin": b"m" * 100})
    register(ctx, tree)
    governance.hold(ctx, governance.HoldSubject("flights", "models/late/1", "the auditors ask for it"))
    delete_version(ctx, 1)
    ctx.clock.advance_to(ctx.now() + timedelta(days=8))
    freed = governance.free_storage(ctx, governance.FreeStorage(dry_run=False))
    assert (freed.versions, freed.objects) == (0, 0)
    assert ctx.repository.trees.get(tree, "weights.bin") == b"m" * 100


def test_a_version_that_is_made_of_a_runs_artifacts_keeps_the_run(ctx):
    run = run_with(ctx, 1, {"model/weights.bin": b"m" * 100})
    register(ctx, None, run_id=run.id, source=f"runs:/{run.id}/model")
    tracking.delete_run(ctx, tracking.DeleteRun(run.id))
    ctx.clock.advance_to(ctx.now() + timedelta(days=8))
    freed = governance.free_storage(ctx, governance.FreeStorage(dry_run=False))
    assert (freed.runs, freed.objects) == (0, 0)
    assert governance.Kept(f"run {run.id}", "a model version is made of its artifacts") in freed.kept
    delete_version(ctx, 1)
    assert governance.free_storage(ctx, governance.FreeStorage(dry_run=False)).runs == 1
