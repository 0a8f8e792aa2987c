"""`undrift storage`: what takes space and whose it is, what would go, and how much came back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from undrift import tracking
from undrift.core import Actor, ReplayClock
from undrift.core.hashing import hash_bytes
from undrift.tracking.artifacts import PutArtifact, PutArtifacts, put_artifacts
from undrift.workspace import Workspace

START = datetime(2013, 4, 1, tzinfo=UTC)


@pytest.fixture
def runs(folder):
    """Two runs, of which one was deleted long ago; both have a file of 3,000 bytes, and each has one of its own."""
    workspace = Workspace.open(folder)
    ctx = workspace.context(Actor("ada"), clock=ReplayClock(START))
    made = []
    for name in ("kept", "gone"):
        run = tracking.start_run(ctx, tracking.StartRun("flights", "late", name))
        files = {"shared": b"s" * 3_000, name: name.encode() * 500}
        put = [PutArtifact(path, ctx.repository.objects.put(data), len(data)) for path, data in files.items()]
        put_artifacts(ctx, PutArtifacts(run.id, tuple(put)))
        made.append(run.id)
    tracking.delete_run(ctx, tracking.DeleteRun(made[1]))
    workspace.close()
    return made


def is_there(folder, data):
    workspace = Workspace.open(folder)
    try:
        return workspace.repository.objects.measure([hash_bytes(data)]) != [None]
    finally:
        workspace.close()


def test_what_takes_storage_is_told_by_kind_project_owner_and_run(call, runs):
    out = call("storage", "--measure").out
    for said in ("artifacts of runs", "deleted runs, not freed", "flights", "ada", "undrift storage free", runs[0]):
        assert said in out
    found = call("storage", "--json").json
    assert (found["logical_bytes"], found["physical_bytes"]) == (10_000, 7_000)
    assert call("storage", "--project", "trains").out == "Nothing is stored for project trains.\n"


def test_without_yes_nothing_goes_and_with_it_the_bytes_come_back_once(call, runs, folder):
    looked = call("storage", "free")
    assert "2.0 KiB in 1 objects would be freed; 1 runs would be removed." in looked.out
    assert "Nothing was removed." in looked.out
    assert is_there(folder, b"gone" * 500)
    done = call("storage", "free", "--yes")
    assert (done.code, "2.0 KiB in 1 objects were freed; 1 runs were removed." in done.out) == (0, True)
    assert "1 objects of what goes are kept, for others need them." in done.out
    assert not is_there(folder, b"gone" * 500)
    assert is_there(folder, b"s" * 3_000)
    again = call("storage", "free", "--yes", "--json").json
    assert (again["freed_bytes"], again["runs"], again["errors"]) == (0, 0, [])
    assert call("runs", "show", runs[1]).code == 3


def test_what_is_held_stays_until_it_is_released(call, runs, folder):
    held = call("storage", "hold", f"runs/{runs[1]}", "--project", "flights", "--reason", "Court case 7.")
    assert held.code == 0
    assert "Court case 7." in call("storage", "free", "--yes").out
    assert is_there(folder, b"gone" * 500)
    (one,) = call("storage", "holds", "--json").json
    assert call("storage", "release", one["id"], "--reason", "It is over.").code == 0
    assert call("storage", "holds").out == "Nothing is held.\n"
    assert call("storage", "free", "--yes", "--json").json["runs"] == 1
    assert not is_there(folder, b"gone" * 500)


def test_what_is_missing_already_is_named_and_stops_nothing(call, runs, folder):
    digest = hash_bytes(b"s" * 3_000)
    (folder / "store" / "objects" / digest[:2] / digest[2:]).unlink()
    done = call("storage", "free", "--yes")
    assert (done.code, "2.0 KiB in 1 objects were freed" in done.out) == (0, True)
    assert "Missing already" in done.out
    assert digest in done.out


def test_too_little_time_and_an_unknown_hold_are_told(call, runs):
    wrong = call("storage", "free", "--yes", "--older-than", "0")
    assert wrong.code == 2
    assert wrong.err
    assert call("storage", "release", "nothing").code == 3
