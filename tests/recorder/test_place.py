"""Where runs go, and how what was left is sent there."""

from __future__ import annotations

import json
import os

import pytest

import undrift as ud
from undrift.cli.app import run as cli
from undrift.core.errors import Invalid, NotFound
from undrift.recorder import runs_folder, sync_runs
from undrift.recorder.place import find_place
from undrift.recorder.spool import find_spools


@pytest.fixture
def nowhere(tmp_path, monkeypatch, runs):
    """A home and a working folder without a workspace."""
    (tmp_path / "home").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "a" / "b")
    return tmp_path


def test_the_argument_comes_first_then_the_hub_then_the_workspace_then_the_nearest_then_home(
    nowhere, monkeypatch, workspace
):
    assert (find_place().target, find_place().create) == (str(nowhere / "home" / ".undrift"), True)
    workspace.rename(nowhere / "a" / ".undrift")
    assert find_place().target == str(nowhere / "a" / ".undrift")
    monkeypatch.setenv("UNDRIFT_WORKSPACE", "here")
    assert find_place().target == str(nowhere / "a" / "b" / "here")
    monkeypatch.setenv("UNDRIFT_HUB", "http://127.0.0.1:7470/")
    assert find_place().target == "http://127.0.0.1:7470"
    assert find_place("there").target == str(nowhere / "a" / "b" / "there")
    monkeypatch.setenv("UNDRIFT_HUB", "localhost")
    with pytest.raises(Invalid):
        find_place()


def test_a_workspace_of_somebody_else_above_is_not_taken(nowhere, monkeypatch, workspace):
    workspace.rename(nowhere / "a" / ".undrift")
    monkeypatch.setattr(os, "getuid", lambda: 12_345)
    assert find_place().create


def test_without_any_workspace_one_is_made_at_home(nowhere):
    with ud.run("flights", capture=False, system_metrics=False) as run:
        run.log(loss=1)
    with ud.connect(nowhere / "home" / ".undrift") as client:
        assert client.tracking.find_run(run_id=run.id).metrics == {"loss": 1.0}


def test_where_the_cache_cannot_be_written_run_folders_lie_among_temporary_files(monkeypatch, tmp_path):
    monkeypatch.delenv("UNDRIFT_RUNS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert runs_folder() == tmp_path / "undrift" / "runs"
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/1/task")
    monkeypatch.setattr(os, "access", lambda path, _: not str(path).startswith("/proc"))
    assert "undrift-" in str(runs_folder())


def test_runs_recorded_offline_are_merged_in_with_ids_and_times(workspace, runs, monkeypatch, find, points, capsys):
    monkeypatch.setenv("UNDRIFT_OFFLINE", "1")
    begun = []
    for number in range(3):
        with ud.run("flights", target=workspace, capture=False, system_metrics=False) as run:
            run.log(loss=number, step=5, time=1_700_000_000 + number)
            with run.child("fold") as fold:
                fold.log(loss=1)
            run.artifact("note.txt", content="hello")
        begun.append((run.id, fold.id))
    assert len(list(find_spools(runs))) == 6
    assert cli(["runs", "sync", "--json"]) == 0
    assert [one["state"] for one in json.loads(capsys.readouterr().out)] == ["sent"] * 6
    for number, (run_id, fold_id) in enumerate(begun):
        assert points(run_id, "loss") == [(5, float(number))]
        assert find(fold_id).parent_id == run_id
        assert find(run_id).started_at <= find(fold_id).started_at <= find(run_id).ended_at
    assert cli(["runs", "sync"]) == 0
    assert "Nothing waits" in capsys.readouterr().out


def test_a_run_that_is_still_recorded_is_left_alone(record, runs, workspace):
    run = record(offline=True)
    run.log(loss=1)
    run.flush()
    (there,) = sync_runs(target=workspace)
    assert (there.run_id, there.state) == (run.id, "recording")
    run.end()
    (there,) = sync_runs(target=workspace)
    assert there.state == "sent"


def test_sending_what_cannot_be_sent_says_so(record, runs, capsys, unused_port, tmp_path):
    run = record(offline=True)
    run.log(loss=1)
    run.end()
    assert cli(["runs", "sync", "--hub", f"http://127.0.0.1:{unused_port}"]) == 7
    said = capsys.readouterr().out
    assert run.id in said
    assert "did not answer" in said
    assert str(run.folder) in said
    with pytest.raises(NotFound):
        list(sync_runs(tmp_path / "nothing"))
    assert cli(["runs", "sync", str(run.folder), "--workspace", str(tmp_path / "workspace")]) == 0


def test_a_folder_of_a_newer_undrift_is_left_alone(record, runs, workspace):
    run = record(offline=True)
    run.log(loss=1)
    run.end()
    about = run.folder / "run.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"format": 99}))
    (there,) = sync_runs(target=workspace)
    assert (there.state, "newer undrift" in there.trouble) == ("left", True)
    assert about.exists()
    about.write_text("{")
    (there,) = sync_runs(target=workspace)
    assert (there.run_id, there.state, "cannot be read" in there.trouble) == (run.id, "left", True)


def test_sending_what_a_killed_process_left_does_not_end_a_run_that_another_goes_on_with(
    train, record, runs, workspace, find
):
    process = train(
        "import sys, time\nimport undrift as ud\n"
        "run = ud.run('flights', target=sys.argv[1], offline=True, capture=False, system_metrics=False)\n"
        "run.log(loss=1)\nrun.flush()\nprint(run.id, flush=True)\ntime.sleep(60)\n",
        workspace,
    )
    run_id = process.stdout.readline().strip()
    process.kill()
    process.wait()
    with record(id=run_id) as run:
        run.log(loss=2, step=2)
        run.flush()
        assert {(one.run_id, one.state) for one in sync_runs(target=workspace)} == {
            (run_id, "sent"),
            (run_id, "recording"),
        }
        assert find(run_id).status == "running"
    assert find(run_id).status == "finished"
    assert not list(find_spools(runs))


def test_run_folders_do_not_lie_where_somebody_else_has_made_a_place_for_them(monkeypatch, tmp_path):
    monkeypatch.delenv("UNDRIFT_RUNS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/1/task")
    monkeypatch.setattr(os, "access", lambda path, _: not str(path).startswith("/proc"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"undrift-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    folder = runs_folder()
    assert not folder.is_relative_to(tmp_path / f"undrift-{os.getuid()}")
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert runs_folder() == folder


def test_a_run_begins_where_the_working_folder_was_removed(train, workspace, find):
    process = train(
        "import os, sys\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')\nimport undrift as ud\n"
        "from undrift.recorder.place import find_place\nassert find_place().create\n"
        "run = ud.run('flights', target=sys.argv[1])\nrun.log(loss=1)\nprint(run.id, flush=True)\n",
        workspace,
        HOME=str(workspace.parent),
    )
    run_id = process.stdout.readline().strip()
    _, err = process.communicate(timeout=60)
    assert find(run_id).status == "finished", err
