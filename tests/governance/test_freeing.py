"""What was deleted is removed for good, with the bytes nothing else needs; everything else stays."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from datetime import datetime, timedelta

import polars as pl
import pytest
import sqlalchemy as sa

from undrift import data, events, governance, tracking
from undrift.blobs import Repository, open_store
from undrift.blobs.claims import ROUND
from undrift.blobs.collection import Rounds
from undrift.core import Context, ReplayClock
from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.core.hashing import hash_bytes
from undrift.metastore import metadata
from undrift.project import snapshot_code
from undrift.tracking import artifacts, stored

DAY = timedelta(days=1)


@pytest.fixture
def ctx(database, make_ctx):
    """A context on each engine, whose clock can be moved."""
    return make_ctx(database, clock=ReplayClock(datetime.fromisoformat("2013-01-01T00:00:00Z")))


def pass_days(ctx, days):
    ctx.clock.advance_to(ctx.now() + days * DAY)
    # A process that runs for days has forgotten by then what it wrote.
    ctx.repository = Repository(ctx.repository.store)


def start(ctx, number, files, project="flights", experiment="first"):
    run = tracking.start_run(
        ctx, tracking.StartRun(id=f"{number:032x}", project=project, experiment=experiment, kind="training")
    )
    put(ctx, run.id, files)
    tracking.log_run(
        ctx,
        tracking.LogRun(
            run.id,
            parameters={"depth": 3},
            tags={"team": "ops"},
            metrics={"loss": 0.5},
        ),
    )
    return run


def put(ctx, root, files):
    entries = [
        artifacts.PutArtifact(path, ctx.repository.objects.put(content), len(content))
        for path, content in files.items()
    ]
    artifacts.put_artifacts(ctx, artifacts.PutArtifacts(root, tuple(entries)))


def delete(ctx, run):
    tracking.delete_run(ctx, tracking.DeleteRun(run.id))


def free(ctx, **given):
    return governance.free_storage(ctx, governance.FreeStorage(**({"dry_run": False} | given)))


def there(ctx, content):
    return Repository(ctx.repository.store).objects.measure([hash_bytes(content)]) != [None]


def test_a_run_that_was_deleted_long_ago_goes_with_all_it_logged(ctx):
    run, other = start(ctx, 1, {"a": b"only mine", "b": b"shared"}), start(ctx, 2, {"c": b"shared"})
    delete(ctx, run)
    pass_days(ctx, 8)
    freed = free(ctx)
    assert (freed.runs, freed.objects, freed.freed_bytes) == (1, 1, 9)
    assert freed.removed == (f"run {run.id} ({run.name})",)
    assert freed.kept_objects == 1
    assert freed.kept[0] == governance.Kept(f"object {hash_bytes(b'shared')}", f"artifact {other.id}/c")
    assert not there(ctx, b"only mine")
    assert there(ctx, b"shared")
    with pytest.raises(NotFound):
        tracking.find_run(ctx, tracking.FindRun(run.id))
    with ctx.database.read() as tx:
        for table in metadata.sorted_tables:
            for column in (one for one in table.c if one.name in {"run_id", "root"}):
                assert tx.scalar(sa.select(sa.func.count()).where(column == run.id)) == 0, column


def test_freeing_again_changes_nothing(ctx):
    delete(ctx, start(ctx, 1, {"a": b"mine"}))
    pass_days(ctx, 8)
    free(ctx)
    again = free(ctx)
    assert (again.runs, again.objects, again.freed_bytes, again.errors, again.missing) == (0, 0, 0, (), ())


def test_nothing_goes_when_one_only_looks(ctx):
    run = start(ctx, 1, {"a": b"mine", "b": b"shared"})
    start(ctx, 2, {"b": b"shared"})
    delete(ctx, run)
    pass_days(ctx, 8)
    looked = free(ctx, dry_run=True)
    assert (looked.runs, looked.objects, looked.freed_bytes, looked.kept_objects) == (1, 1, 4, 1)
    assert there(ctx, b"mine")
    tracking.restore_run(ctx, tracking.RestoreRun(run.id))
    assert free(ctx).runs == 0
    assert free(ctx).objects == 0
    assert there(ctx, b"mine")


def test_what_was_deleted_lately_is_kept_and_said(ctx):
    run = start(ctx, 1, {"a": b"mine"})
    delete(ctx, run)
    pass_days(ctx, 6)
    freed = free(ctx)
    assert (freed.runs, freed.objects) == (0, 0)
    assert freed.kept == (
        governance.Kept(f"run {run.id} ({run.name})", "deleted 2013-01-01 00:00 UTC, not long enough ago"),
    )
    assert free(ctx, older_than_hours=24).freed_bytes == 4


def test_what_is_held_stays_until_it_is_released(ctx):
    run = start(ctx, 1, {"a": b"mine"})
    delete(ctx, run)
    held = governance.hold(ctx, governance.HoldSubject("flights", f"runs/{run.id}", "court case 7"))
    assert governance.hold(ctx, governance.HoldSubject("flights", f"runs/{run.id}", "court case 7")) == held
    pass_days(ctx, 8)
    freed = free(ctx)
    assert (freed.runs, freed.objects) == (0, 0)
    assert governance.Kept(f"runs/{run.id}", "held by ada: court case 7") in freed.kept
    assert governance.list_holds(ctx, governance.ListHolds("flights")) == [held]
    released = governance.release(ctx, governance.ReleaseHold(held.id, "over"))
    assert (released.released_by, released.release_reason) == ("ada", "over")
    with pytest.raises(Conflict, match="released by ada already"):
        governance.release(ctx, governance.ReleaseHold(held.id))
    assert free(ctx).runs == 1


@pytest.mark.parametrize("kind", ["experiments", "objects", "logged_models"])
def test_other_things_can_be_held_too(ctx, kind):
    run = start(ctx, 1, {"a": b"mine"})
    model = tracking.create_model(ctx, tracking.CreateLoggedModel("flights", run.experiment_id, "late"))
    put(ctx, model.id, {"MLmodel": b"model"})
    refs = {"experiments": run.experiment_id, "objects": hash_bytes(b"mine"), "logged_models": model.id}
    governance.hold(ctx, governance.HoldSubject("flights", f"{kind}/{refs[kind]}", "why"))
    tracking.delete_experiment(ctx, tracking.DeleteExperiment("flights", run.experiment_id))
    pass_days(ctx, 8)
    free(ctx)
    assert there(ctx, b"mine") is (kind != "logged_models")
    assert there(ctx, b"model") is (kind != "objects")


def test_a_hold_needs_something_that_is_there_and_a_reason(ctx):
    with pytest.raises(Invalid, match="cannot be held"):
        governance.hold(ctx, governance.HoldSubject("flights", "runs/x", "why"))
    with pytest.raises(NotFound, match="no version 1"):
        governance.hold(ctx, governance.HoldSubject("flights", "models/late/1", "why"))
    run = start(ctx, 1, {})
    for subject in (f"runs/{2:032x}", "experiments/77", f"logged_models/m-{1:032x}", f"objects/{1:064x}"):
        with pytest.raises(NotFound):
            governance.hold(ctx, governance.HoldSubject("flights", subject, "why"))
    for subject in (f"runs/{run.id}", f"experiments/{run.experiment_id}"):
        with pytest.raises(NotFound):
            governance.hold(ctx, governance.HoldSubject("trains", subject, "why"))
    with pytest.raises(Invalid, match="reason"):
        governance.hold(ctx, governance.HoldSubject("flights", f"runs/{1:032x}", " "))
    with pytest.raises(NotFound):
        governance.release(ctx, governance.ReleaseHold("x"))


def test_a_deleted_experiment_goes_with_its_runs_and_models(ctx):
    run = start(ctx, 1, {"a": b"mine"})
    model = tracking.create_model(ctx, tracking.CreateLoggedModel("flights", run.experiment_id, "late"))
    put(ctx, model.id, {"MLmodel": b"model"})
    tracking.delete_experiment(ctx, tracking.DeleteExperiment("flights", run.experiment_id))
    pass_days(ctx, 8)
    freed = free(ctx)
    assert (freed.runs, freed.logged_models, freed.experiments, freed.freed_bytes) == (1, 1, 1, 9)
    with pytest.raises(NotFound):
        tracking.find_experiment(ctx, tracking.FindExperiment("flights", run.experiment_id))
    start(ctx, 3, {})  # the name is free again


def test_a_model_that_is_not_deleted_outlives_its_run_unless_told_otherwise(ctx):
    run = start(ctx, 1, {"a": b"mine"})
    model = tracking.create_model(
        ctx, tracking.CreateLoggedModel("flights", run.experiment_id, "late", source_run_id=run.id)
    )
    put(ctx, model.id, {"MLmodel": b"model"})
    delete(ctx, run)
    pass_days(ctx, 8)
    assert free(ctx, with_models=True, dry_run=True).logged_models == 1
    assert (free(ctx).logged_models, there(ctx, b"model")) == (0, True)
    tracking.delete_model(ctx, tracking.DeleteLoggedModel(project="flights", id=model.id))
    pass_days(ctx, 8)
    assert (free(ctx).logged_models, there(ctx, b"model")) == (1, False)


def test_models_go_with_their_run_when_told_so(ctx):
    run = start(ctx, 1, {})
    model = tracking.create_model(
        ctx, tracking.CreateLoggedModel("flights", run.experiment_id, "late", source_run_id=run.id)
    )
    put(ctx, model.id, {"MLmodel": b"model"})
    delete(ctx, run)
    pass_days(ctx, 8)
    # The run is gone afterwards, so it has to be known before.
    freed = free(ctx, with_models=True)
    assert (freed.runs, freed.logged_models, there(ctx, b"model")) == (1, 1, False)


def test_only_the_project_that_is_named_is_freed(ctx):
    for number, project in ((1, "flights"), (2, "trains")):
        delete(ctx, start(ctx, number, {"a": project.encode()}, project=project))
    pass_days(ctx, 8)
    assert free(ctx, project="trains").runs == 1
    assert there(ctx, b"flights")
    assert not there(ctx, b"trains")


def test_what_nobody_ever_named_goes_a_day_after_it_was_noticed(ctx):
    ctx.repository.objects.put(b"left by a client that was killed")
    first = free(ctx)
    assert (first.objects, first.later_objects, first.later_bytes) == (0, 1, 32)
    explained = governance.explain_storage(ctx, governance.ExplainStorage())
    assert (explained.unneeded_objects, explained.unneeded_bytes) == (1, 32)
    pass_days(ctx, 0.9)
    assert free(ctx).later_objects == 1
    pass_days(ctx, 0.2)
    assert free(ctx).freed_bytes == 32


def test_what_was_noticed_and_is_needed_again_is_noticed_anew(ctx):
    run = start(ctx, 1, {})
    ctx.repository.objects.put(b"one")
    free(ctx)
    put(ctx, run.id, {"a": b"one"})
    pass_days(ctx, 3)
    free(ctx)
    artifacts.delete_artifacts(ctx, artifacts.DeleteArtifacts(run.id))
    assert free(ctx).later_objects == 1
    assert there(ctx, b"one")


def test_what_is_missing_already_is_listed_and_stops_nothing(ctx):
    run, other = start(ctx, 1, {"a": b"gone", "b": b"mine"}), start(ctx, 2, {"c": b"gone too"})
    for content in (b"gone", b"gone too"):
        digest = hash_bytes(content)
        ctx.repository.store.delete(f"objects/{digest[:2]}/{digest[2:]}")
    delete(ctx, run)
    pass_days(ctx, 8)
    freed = free(ctx)
    assert (freed.runs, freed.freed_bytes, freed.missing_count, freed.errors) == (1, 4, 2, ())
    assert freed.missing == (
        governance.Kept(hash_bytes(b"gone"), f"run {run.id}"),
        governance.Kept(hash_bytes(b"gone too"), f"artifact {other.id}/c"),
    )


def test_nothing_is_written_to_the_database_while_writers_wait_for_the_end_of_a_round(ctx, monkeypatch):
    """A writer may claim within a transaction, and has the database locked while it waits."""
    delete(ctx, start(ctx, 1, {"a": b"mine"}))
    entries = {f"{number}": b"%d" % number for number in range(20)}
    run = start(ctx, 2, {})
    stored = ctx.repository.objects.put_many(entries.values())
    made = [artifacts.PutArtifact(path, *one) for path, one in zip(entries, stored, strict=True)]
    artifacts.put_artifacts(ctx, artifacts.PutArtifacts(run.id, tuple(made)))
    delete(ctx, run)
    pass_days(ctx, 8)
    begin, store, within = ctx.database.begin, ctx.repository.store, []

    def watched():
        within.append(store.size(ROUND) is not None)
        return begin()

    monkeypatch.setattr(ctx.database, "begin", watched)
    freed = free(ctx)
    assert (freed.runs, freed.objects) == (2, 21)
    assert within
    assert not any(within)


def test_the_log_of_another_workspace_stays(ctx):
    content = ctx.repository.objects.put(b'{"type": "run.started"}')
    tracking.import_logbook(ctx, tracking.ImportLogbook("flights", "there", content, 1))
    free(ctx)
    pass_days(ctx, 3)
    assert free(ctx).objects == 0
    assert there(ctx, b'{"type": "run.started"}')


def test_a_deleted_file_that_looks_like_a_tree_takes_nothing_along(ctx):
    new = b"written a moment ago"
    tree = ctx.repository.trees.edit(None, {"a": new})
    delete(ctx, start(ctx, 1, {"tree.json": ctx.repository.objects.get(tree)}))
    pass_days(ctx, 8)
    assert free(ctx).objects == 1
    assert there(ctx, new)


def test_what_is_held_while_storage_is_freed_stays(ctx, monkeypatch):
    runs = [start(ctx, number, {"a": b"mine %d" % number}) for number in (1, 2)]
    for run in runs:
        delete(ctx, run)
    pass_days(ctx, 8)
    find = stored.doomed_runs
    other = Context(
        actor=ctx.actor,
        clock=ctx.clock,
        database=ctx.database,
        repository=ctx.repository,
        policy=ctx.policy,
        events=ctx.events,
    )

    def find_and_hold(*given):
        found = find(*given)
        governance.hold(other, governance.HoldSubject("flights", f"runs/{runs[0].id}", "court case 7"))
        return found

    monkeypatch.setattr(stored, "doomed_runs", find_and_hold)
    assert free(ctx).removed == (f"run {runs[1].id} ({runs[1].name})",)
    assert there(ctx, b"mine 1")
    assert not there(ctx, b"mine 2")


def test_the_one_who_frees_stays_so_while_it_looks_for_what_is_needed(ctx, monkeypatch):
    start(ctx, 1, {"a": b"mine"})
    monkeypatch.setattr("undrift.blobs.collection._LOCK_S", 0.0)  # over at once unless it is renewed
    renewed = []
    lock = Rounds.lock
    monkeypatch.setattr(Rounds, "lock", lambda self: renewed.append(lock(self)))
    free(ctx)
    assert len(renewed) > 1


def test_it_is_written_into_the_log(ctx):
    delete(ctx, start(ctx, 1, {"a": b"mine"}))
    pass_days(ctx, 8)
    free(ctx)
    with ctx.database.read() as tx:
        told = {event.type: event.data for event in events.read_after(tx, 0, limit=1000)}
    assert told["runs.removed"]["ids"] == [f"{1:032x}"]
    assert (told["storage.freed"]["runs"], told["storage.freed"]["freed_bytes"]) == (1, 4)


@pytest.mark.parametrize("hours", [0, 0.5, -1, float("nan"), float("inf")])
def test_less_than_an_hour_is_refused(ctx, hours):
    with pytest.raises(Invalid):
        free(ctx, older_than_hours=hours)


def test_an_idempotency_key_is_refused_for_bytes_cannot_be_brought_back(ctx):
    with pytest.raises(Invalid, match="within a transaction"):
        governance.free_storage(ctx.once("key"), governance.FreeStorage(dry_run=False))


def test_a_dataset_and_code_stay(ctx, tmp_path):
    dataset = data.register_dataset(
        ctx, data.RegisterDataset("flights", "departures", "id", "at", "known", "ops@example.com")
    )
    at = pl.Series([ctx.now()], dtype=pl.Datetime("us", "UTC"))
    for number in (1, 2):
        rows = pl.DataFrame({"id": [number], "at": at, "known": at})
        data.append(ctx, dataset, rows, known_until=ctx.now(), message="more")
    (project := tmp_path / "project").mkdir()
    (project / "flights.py").write_text("answer = 42")
    code = snapshot_code(ctx, "flights", project)
    pass_days(ctx, 8)
    free(ctx)
    pass_days(ctx, 8)
    freed = free(ctx)
    assert (freed.objects, freed.missing, freed.errors) == (0, (), ())
    _, rows = data.read(ctx, dataset)
    assert sorted(rows["id"]) == [1, 2]
    assert ctx.repository.trees.get(ctx.repository.commits.read(code).tree, "flights.py") == b"answer = 42"


def test_freeing_that_was_killed_goes_on(tmp_path):
    """Killed at any point, the next one ends where one that was never killed ends."""
    script = textwrap.dedent(
        """
        import sys
        from datetime import timedelta
        from undrift import governance
        from undrift.core import ReplayClock
        from undrift.workspace import Workspace
        workspace = Workspace.open(sys.argv[1])
        now = workspace.context().now()
        ctx = workspace.context(clock=ReplayClock(now + timedelta(days=float(sys.argv[2]))))
        print("begun", flush=True)
        freed = governance.free_storage(ctx, governance.FreeStorage(dry_run=False))
        print(freed.runs, freed.objects, freed.errors, flush=True)
        """
    )
    from undrift.workspace import Workspace

    workspace = Workspace.open(tmp_path / "ws", create=True)
    with workspace.database.begin() as tx:
        metadata.create_all(tx)
    ctx = workspace.context()
    kept = start(ctx, 9999, {"kept": b"kept", "b": b"0" * 100})
    for number in range(1, 101):
        run = start(ctx, number, {"own": b"%d" % number * 30, "b": b"0" * 100})
        delete(ctx, run)
    for wait in (0.0, 0.1, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(workspace.folder), "8"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "begun\n"
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    ended = subprocess.run(
        [sys.executable, "-c", script, str(workspace.folder), "10"], capture_output=True, text=True, check=True
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(workspace.folder), "12"], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1].endswith("()")
    left = {key for key, _ in open_store(str(workspace.folder / "store")).list("objects")}
    digests = {hash_bytes(b"kept"), hash_bytes(b"0" * 100)}
    assert left == {f"objects/{one[:2]}/{one[2:]}" for one in digests}
    assert tracking.find_run(ctx, tracking.FindRun(kept.id)).id == kept.id
    workspace.close()
