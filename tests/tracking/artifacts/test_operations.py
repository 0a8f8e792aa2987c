"""What can be done with artifacts, on both engines."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from undrift import tracking
from undrift.core import ReplayClock
from undrift.core.errors import Conflict, Invalid, NotFound, TooLarge
from undrift.core.hashing import hash_bytes
from undrift.events import read_after
from undrift.metastore import metadata
from undrift.tracking import artifacts
from undrift.tracking.artifacts import (
    ArtifactEntry,
    ArtifactTreeOf,
    DeleteArtifacts,
    FindArtifact,
    ListArtifacts,
    MissingObjects,
    PutArtifact,
    PutArtifacts,
    artifact_tree,
    delete_artifacts,
    find_artifact,
    list_artifacts,
    missing_objects,
    put_artifacts,
)


@pytest.fixture
def run(ctx):
    return tracking.start_run(ctx, tracking.StartRun("flights", "late", "first")).id


def entries(ctx, **files):
    digests = [ctx.repository.objects.put(data) for data in files.values()]
    return tuple(
        PutArtifact(path, digest, len(data)) for (path, data), digest in zip(files.items(), digests, strict=True)
    )


def put(ctx, root, files):
    put_artifacts(ctx, PutArtifacts(root, entries(ctx, **files)))


def listed(ctx, root, path="", **given):
    found, after = [], ""
    while True:
        page = list_artifacts(ctx, ListArtifacts(root, path, after=after, **given))
        found += page.entries
        assert len(page.entries) <= given.get("limit", 1000)
        after = page.next_after
        if not after:
            return found


def shown(found):
    return [(one.path, one.kind) for one in found]


def test_files_that_were_put_are_found_with_their_objects(ctx, run):
    put(ctx, run, {"a.txt": b"one", "plots/Größe 1.png": b"two"})
    found = find_artifact(ctx, FindArtifact(run, "plots/Größe 1.png"))
    assert (found.digest, found.size_bytes, found.created_at) == (hash_bytes(b"two"), 3, ctx.now())
    assert listed(ctx, run) == [
        ArtifactEntry("a.txt", "file", 3, hash_bytes(b"one")),
        ArtifactEntry("plots", "folder"),
    ]
    with pytest.raises(NotFound, match="No such artifact: 'plots'"):
        find_artifact(ctx, FindArtifact(run, "plots"))


def test_the_same_path_again_replaces_the_file(ctx, run, make_ctx, database):
    put(ctx, run, {"a.txt": b"one"})
    later = make_ctx(database, clock=ReplayClock(datetime(2014, 1, 1, tzinfo=UTC)))
    put(later, run, {"a.txt": b"other"})
    found = find_artifact(ctx, FindArtifact(run, "a.txt"))
    assert (found.digest, found.size_bytes, found.created_at.year) == (hash_bytes(b"other"), 5, 2014)
    assert len(listed(ctx, run)) == 1


def test_all_files_of_a_call_appear_or_none(ctx, run):
    given = entries(ctx, a=b"1", b=b"2")
    with pytest.raises(NotFound, match="no object"):
        put_artifacts(ctx, PutArtifacts(run, (*given, PutArtifact("c", "0" * 64, 1))))
    with pytest.raises(Invalid, match="has 1 bytes, not 2"):
        put_artifacts(ctx, PutArtifacts(run, (*given, PutArtifact("c", given[0].digest, 2))))
    put(ctx, run, {"x": b"1"})
    with pytest.raises(Conflict, match="would be a folder"):
        put(ctx, run, {"a": b"1", "x/y": b"2"})
    assert shown(listed(ctx, run)) == [("x", "file")]


@pytest.mark.parametrize(
    ("there", "new"),
    [("a", "a/b"), ("a/b", "a"), ("a", "a/b/c"), ("a/b/c", "a/b"), ("a/b", "a/b/c/d"), ("ä/b", "ä")],
)
def test_a_file_and_a_folder_do_not_share_a_name(ctx, run, there, new):
    put(ctx, run, {there: b"1", "a-b": b"2", "a.b": b"3", "a0": b"4"})
    with pytest.raises(Conflict, match="cannot both be there"):
        put(ctx, run, {new: b"2"})
    with pytest.raises(Invalid, match="cannot both be put"):
        put(ctx, run, {new: b"1", "z": b"2", there: b"3"})
    assert len(listed(ctx, run, recursive=True)) == 4


def test_the_same_path_twice_in_a_call_is_refused(ctx, run):
    [one] = entries(ctx, a=b"1")
    with pytest.raises(Invalid, match="cannot both be put"):
        put_artifacts(ctx, PutArtifacts(run, (one, one)))


def test_many_files_are_put_and_listed_in_pages(ctx, run):
    stored = ctx.repository.objects.put_many(b"%d" % n for n in range(2500))
    given = tuple(PutArtifact(f"f/{n:04d}", digest, size) for n, (digest, size) in enumerate(stored))
    put_artifacts(ctx, PutArtifacts(run, given))
    put_artifacts(ctx, PutArtifacts(run, given))
    for found in (listed(ctx, run, "f"), listed(ctx, run, "f", limit=7), listed(ctx, run, recursive=True)):
        assert [one.path for one in found] == [one.path for one in given]
    tree = artifact_tree(ctx, ArtifactTreeOf(run))
    assert (tree.files, tree.size_bytes) == (2500, sum(size for _, size in stored))


def test_too_many_in_one_call_are_refused(ctx, run):
    one = PutArtifact("a", "0" * 64, 1)
    with pytest.raises(TooLarge, match="10001 files"):
        put_artifacts(ctx, PutArtifacts(run, (one,) * 10_001))
    with pytest.raises(TooLarge, match="401 digests"):
        missing_objects(ctx, MissingObjects(("0" * 64,) * 401))


def test_a_list_shows_one_level_and_jumps_over_folders(ctx, run):
    put(ctx, run, dict.fromkeys(("b", "a/1", "a/2", "a/x/y", "a.txt", "a-b/c", "a0", "c/d/e", "ä/ö"), b"1"))
    assert shown(listed(ctx, run)) == [
        ("a-b", "folder"),
        ("a.txt", "file"),
        ("a", "folder"),
        ("a0", "file"),
        ("b", "file"),
        ("c", "folder"),
        ("ä", "folder"),
    ]
    assert shown(listed(ctx, run, "a")) == [("a/1", "file"), ("a/2", "file"), ("a/x", "folder")]
    assert shown(listed(ctx, run, "a/x")) == [("a/x/y", "file")]
    for limit in (1, 2, 3):
        assert listed(ctx, run, limit=limit) == listed(ctx, run)
    for nothing in ("b", "x", "a/1", "a/x/y", "a/x/y/z"):
        assert listed(ctx, run, nothing) == []


def test_the_cost_of_a_list_follows_what_it_shows(ctx, run, database):
    stored = ctx.repository.objects.put(b"1")
    with database.begin() as tx:
        table = metadata.tables["artifacts"]
        rows = [
            {"root": run, "path": f"{folder}/{n:05d}", "digest": stored, "size_bytes": 1, "created_at": ctx.now()}
            for folder in ("deep/a", "deep/b", "wide")
            for n in range(20_000)
        ]
        tx.execute(sa.insert(table), rows)
    put(ctx, run, {"zz": b"1"})
    asked = []
    engine = database._reader
    sa.event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert shown(listed(ctx, run)) == [("deep", "folder"), ("wide", "folder"), ("zz", "file")]
    assert shown(listed(ctx, run, "deep")) == [("deep/a", "folder"), ("deep/b", "folder")]
    assert len([one for one in asked if "artifacts" in one]) <= 8
    started = time.perf_counter()
    for _ in range(10):
        listed(ctx, run)
    assert time.perf_counter() - started < 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # runs of their own keep examples apart
@given(st.sets(st.lists(st.sampled_from(["a", "b", "a.b", "a-", "0", "ä"]), min_size=1, max_size=4).map("/".join)))
def test_a_level_is_what_a_file_system_would_show(ctx_once, paths):
    ctx = ctx_once
    paths = {one for one in paths if not any(other.startswith(f"{one}/") for other in paths)}
    run = tracking.start_run(ctx, tracking.StartRun("flights", "late", "one")).id
    put(ctx, run, dict.fromkeys(paths, b"1"))
    folders = {"", *(one.rsplit("/", n)[0] for one in paths for n in range(1, one.count("/") + 1))}
    for folder in folders:
        prefix = f"{folder}/" if folder else ""
        below = {one[len(prefix) :] for one in paths if one.startswith(prefix)}
        expected = {(prefix + one.split("/")[0], "folder" if "/" in one else "file") for one in below}
        found = shown(listed(ctx, run, folder, limit=2))
        assert len(found) == len(expected)
        assert set(found) == expected


@pytest.fixture
def ctx_once(sqlite_database, make_ctx):
    return make_ctx(sqlite_database)


def test_deleting_goes_by_file_or_folder_and_may_be_repeated(ctx, run):
    put(ctx, run, dict.fromkeys(("a", "b/1", "b/2/3", "b-c", "b.d"), b"1"))
    assert delete_artifacts(ctx, DeleteArtifacts(run, "b")) == 2
    assert delete_artifacts(ctx, DeleteArtifacts(run, "b")) == 0
    assert shown(listed(ctx, run)) == [("a", "file"), ("b-c", "file"), ("b.d", "file")]
    assert delete_artifacts(ctx, DeleteArtifacts(run, "a")) == 1
    assert delete_artifacts(ctx, DeleteArtifacts(run)) == 2
    assert listed(ctx, run) == []


def test_the_tree_of_what_is_there_does_not_change_with_it(ctx, run):
    put(ctx, run, {"model/MLmodel": b"1", "model/data/weights": b"2", "other": b"3"})
    trees = ctx.repository.trees
    whole = artifact_tree(ctx, ArtifactTreeOf(run))
    folder = artifact_tree(ctx, ArtifactTreeOf(run, "model"))
    file = artifact_tree(ctx, ArtifactTreeOf(run, "model/data/weights"))
    delete_artifacts(ctx, DeleteArtifacts(run))
    assert [path for path, _ in trees.walk(whole.digest)] == ["model/MLmodel", "model/data/weights", "other"]
    assert {path: trees.get(folder.digest, path) for path, _ in trees.walk(folder.digest)} == {
        "MLmodel": b"1",
        "data/weights": b"2",
    }
    assert [path for path, _ in trees.walk(file.digest)] == ["weights"]
    assert (folder.files, folder.size_bytes) == (2, 2)
    assert folder.digest == trees.edit(None, {"MLmodel": b"1", "data/weights": b"2"})
    with pytest.raises(NotFound, match="No such artifact"):
        artifact_tree(ctx, ArtifactTreeOf(run, "model"))


def test_what_is_missing_is_said(ctx):
    there = ctx.repository.objects.put(b"1")
    assert missing_objects(ctx, MissingObjects((there, "0" * 64))) == ["0" * 64]
    with pytest.raises(Invalid):
        missing_objects(ctx, MissingObjects(("../../etc",)))


@pytest.mark.parametrize("root", ["0" * 32, "m-" + "0" * 32])
def test_a_root_that_is_not_there_takes_and_gives_nothing(ctx, root):
    given = entries(ctx, a=b"1")
    for call in (
        lambda: put_artifacts(ctx, PutArtifacts(root, given)),
        lambda: put_artifacts(ctx, PutArtifacts(root, ())),
        lambda: delete_artifacts(ctx, DeleteArtifacts(root)),
        lambda: list_artifacts(ctx, ListArtifacts(root)),
        lambda: find_artifact(ctx, FindArtifact(root, "a")),
        lambda: artifact_tree(ctx, ArtifactTreeOf(root)),
    ):
        with pytest.raises(NotFound, match=f"There is no .* {root}"):
            call()


@pytest.mark.parametrize(
    "root", ["", "x", "../0", "0" * 31, "0" * 33, "M-" + "0" * 32, "0" * 32 + "\n", "m-" + "0" * 31]
)
def test_a_root_that_is_no_id_is_refused(ctx, root):
    for call in (
        lambda: put_artifacts(ctx, PutArtifacts(root, ())),
        lambda: delete_artifacts(ctx, DeleteArtifacts(root)),
        lambda: list_artifacts(ctx, ListArtifacts(root)),
        lambda: find_artifact(ctx, FindArtifact(root, "a")),
        lambda: artifact_tree(ctx, ArtifactTreeOf(root)),
    ):
        with pytest.raises(Invalid, match="owns no artifacts"):
            call()


def test_a_deleted_run_keeps_its_files_and_takes_no_more(ctx, run):
    put(ctx, run, {"a": b"1"})
    tracking.delete_run(ctx, tracking.DeleteRun(run))
    for call in (
        lambda: put(ctx, run, {"b": b"1"}),
        lambda: delete_artifacts(ctx, DeleteArtifacts(run)),
    ):
        with pytest.raises(Conflict, match=r"must be in the 'active' state\. Current state is deleted"):
            call()
    assert shown(listed(ctx, run)) == [("a", "file")]


def test_changes_are_in_the_log(ctx, run, database):
    put(ctx, run, {"a": b"1", "b": b"22"})
    delete_artifacts(ctx, DeleteArtifacts(run, "a"))
    delete_artifacts(ctx, DeleteArtifacts(run, "a"))
    with database.read() as tx:
        told = [one for one in read_after(tx, 0) if one.type.startswith("artifacts.")]
    assert [(one.type, one.subject, one.project) for one in told] == [
        ("artifacts.added", f"runs/{run}", "flights"),
        ("artifacts.removed", f"runs/{run}", "flights"),
    ]
    assert told[0].data == {"files": 2, "size_bytes": 3, "first": "a"}


def test_unsafe_paths_are_refused_by_every_operation(ctx, run):
    for path in ("../a", "/a", "a//b", "a%2e%2e/b/%2e%2e"):
        for call in (
            lambda path=path: put_artifacts(ctx, PutArtifacts(run, (PutArtifact(path, "0" * 64, 1),))),
            lambda path=path: delete_artifacts(ctx, DeleteArtifacts(run, path)),
            lambda path=path: list_artifacts(ctx, ListArtifacts(run, path)),
            lambda path=path: list_artifacts(ctx, ListArtifacts(run, after=path)),
            lambda path=path: find_artifact(ctx, FindArtifact(run, path)),
            lambda path=path: artifact_tree(ctx, ArtifactTreeOf(run, path)),
        ):
            with pytest.raises(Invalid):
                call()


def test_the_door_offers_what_it_says():
    assert all(hasattr(artifacts, name) for name in artifacts.__all__)
