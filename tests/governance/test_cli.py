"""What `undrift storage` prints: a table that a person understands."""

from __future__ import annotations

from datetime import timedelta

import pytest

from undrift import governance, tracking
from undrift.cli.storage import _show, _tell, size
from undrift.core import ReplayClock
from undrift.tracking import artifacts


@pytest.mark.parametrize(
    ("count", "said"),
    [(None, ""), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 30, "5.0 GiB"), (3 << 60, "3072.0 PiB")],
)
def test_sizes_are_short(count, said):
    assert size(count) == said


@pytest.fixture
def deleted(make_ctx, sqlite_database):
    """A context a week after one of two runs that share a file was deleted."""
    ctx = make_ctx(sqlite_database)
    for number, own in ((1, b"x" * 3000), (2, b"y" * 1000)):
        run = tracking.start_run(
            ctx, tracking.StartRun(id=f"{number:032x}", project="flights", experiment="first", kind="training")
        )
        files = {"own": own, "both": b"z" * 2000}
        put = [artifacts.PutArtifact(path, ctx.repository.objects.put(one), len(one)) for path, one in files.items()]
        artifacts.put_artifacts(ctx, artifacts.PutArtifacts(run.id, tuple(put)))
    tracking.delete_run(ctx, tracking.DeleteRun(run.id))
    return make_ctx(sqlite_database, clock=ReplayClock(ctx.now() + timedelta(days=8)))


def test_what_takes_storage_is_a_table_with_what_frees_it(deleted, capsys):
    _show(governance.explain_storage(deleted, governance.ExplainStorage(measure=True)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Kind", "Project", "Owner", "Things", "Size", "Stored", "Freed", "by"]
    assert lines[1].split() == ["artifacts", "of", "runs", "flights", "ada", "1", "4.9", "KiB", "4.9", "KiB"]
    assert "undrift storage free" in lines[2]
    assert lines[2].startswith("deleted runs, not freed")
    assert "Size, as if nothing were shared  7.8 KiB" in lines
    assert "Stored, equal bytes once         5.9 KiB" in lines
    assert "In the store, measured           5.9 KiB" in lines


def test_a_look_says_that_nothing_was_removed_and_how_to_do_it(deleted, capsys):
    _tell(governance.free_storage(deleted, governance.FreeStorage()))
    said = capsys.readouterr().out
    assert said.startswith("1000 B in 1 objects would be freed; 1 runs would be removed.\n")
    assert "1 objects of what goes are kept, for others need them." in said
    assert said.endswith("Nothing was removed. `undrift storage free --yes` does it.\n")
    _tell(governance.free_storage(deleted, governance.FreeStorage(dry_run=False)))
    said = capsys.readouterr().out
    assert said.startswith("1000 B in 1 objects were freed; 1 runs were removed.\n")
    assert "Nothing was removed" not in said
