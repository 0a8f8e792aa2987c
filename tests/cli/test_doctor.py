"""`undrift doctor`: finds what is broken, also where nothing else works any more."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from collections import namedtuple

import pytest

from undrift.cli import doctor as doctor_command
from undrift.processes import check_port
from undrift.workspace import Workspace


@pytest.fixture
def findings(call):
    """What the doctor finds, by what it is about; asserts that its exit code fits."""

    def findings(*args):
        said = call("doctor", "--json", *args)
        found = {one["about"]: one for one in said.json["findings"]}
        assert said.code == (1 if any(one["state"] == "bad" for one in found.values()) else 0)
        return found

    return findings


@pytest.fixture(autouse=True)
def no_ports(monkeypatch):
    """Whether somebody uses the usual ports of this machine is not what most of these tests are about."""
    monkeypatch.setattr(doctor_command, "_PORTS", ())


def test_nothing_is_wrong_with_a_workspace_that_is_well(findings, fill):
    found = findings()
    assert {one["state"] for one in found.values()} <= {"ok", "warn"}
    assert found["log"]["sentence"].startswith("It is whole: ")
    assert found["objects"]["sentence"].startswith("2 taken at random")
    assert {"program", "processes", "workspace", "folder", "clock", "disk", "database", "store"} < found.keys()


def test_people_are_told_a_line_each_and_what_to_do(call, fill):
    said = call("doctor")
    assert said.code == 0
    assert (
        "warn  project    None is named: the worker has nothing to run.\n                 Run `undrift init`."
        in said.out
    )
    assert said.out.endswith("Nothing is broken.\n")


def test_a_workspace_that_is_not_there_is_told_beside_the_rest(findings, tmp_path):
    found = findings("--workspace", tmp_path / "nowhere")
    assert found["workspace"]["state"] == "bad"
    assert found["program"]["state"] == "ok"


@pytest.mark.parametrize("text", ["", "{", '{"format": 2}', '{"database": 7}'])
def test_settings_that_cannot_be_used_are_told(text, findings, folder):
    (folder / "workspace.json").write_text(text)
    assert findings()["workspace"]["state"] == "bad"


def test_a_project_that_is_gone_is_told(findings, call, folder):
    call("init")
    (folder.parent / "project.py").unlink()
    assert findings()["project"]["state"] == "bad"


def test_a_database_that_is_gone_is_not_made_anew(findings, folder):
    (folder / "undrift.db").unlink()
    assert findings()["database"]["state"] == "bad"
    assert not (folder / "undrift.db").exists()


def test_a_database_that_is_none_is_told(findings, folder):
    (folder / "undrift.db").write_bytes(b"not a database" * 1000)
    assert findings()["database"]["state"] == "bad"


def test_a_database_that_cannot_be_reached_is_told(findings, folder, unused_port):
    address = f"postgresql://nobody@127.0.0.1:{unused_port}/undrift"
    (folder / "workspace.json").write_text(f'{{"format": 1, "database": "{address}"}}')
    found = findings()
    assert "did not answer" in found["database"]["sentence"]
    assert found["store"]["state"] == "ok"


def test_a_migration_that_was_interrupted_is_finished_when_asked(findings, folder):
    connection = sqlite3.connect(folder / "undrift.db")
    connection.execute("CREATE TABLE migration_in_progress (target VARCHAR(32) NOT NULL)")
    connection.execute("INSERT INTO migration_in_progress VALUES ('0001')")
    connection.commit()
    connection.close()
    broken = findings()["database"]
    assert (broken["state"], "doctor --repair" in broken["next_step"]) == ("bad", True)
    assert findings("--repair")["database"]["state"] == "ok"
    assert findings()["database"]["state"] == "ok"


def test_an_older_database_is_shown_and_left_alone(findings, folder):
    (folder / "undrift.db").unlink()
    sqlite3.connect(folder / "undrift.db").close()
    found = findings()
    assert (found["database"]["state"], "log" in found) == ("warn", False)
    assert Workspace.open(folder).close() is None


def test_a_log_that_was_changed_is_told(findings, fill, folder):
    connection = sqlite3.connect(folder / "undrift.db")
    connection.execute("UPDATE events SET actor = 'eve' WHERE position = 1")
    connection.commit()
    connection.close()
    assert findings()["log"]["sentence"].startswith("It is broken at position 1")


def test_a_damaged_object_is_told_with_its_place(findings, fill, folder):
    objects = [path for path in (folder / "store/objects").rglob("*") if path.is_file()]
    objects[0].write_bytes(b"something else")
    found = findings()["objects"]
    assert found["state"] == "bad"
    assert "1 of 2 are damaged" in found["sentence"]


def test_a_store_that_cannot_be_written_is_told(findings, folder):
    shutil.rmtree(folder / "store", ignore_errors=True)
    (folder / "store").write_text("a file where a folder should be")
    found = findings()
    assert (found["store"]["state"], found["database"]["state"]) == ("bad", "ok")


@pytest.mark.parametrize(("free", "state"), [(50_000_000, "bad"), (1_000_000_000, "warn"), (9_000_000_000, "ok")])
def test_little_free_space_is_told_before_it_is_none(free, state, findings, folder, monkeypatch):
    usage = namedtuple("usage", "total used free")(10, 1, free)  # noqa: PYI024 - as in shutil
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    assert findings()["disk"]["state"] == state


def test_a_port_that_somebody_else_uses_is_told(findings, folder, monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        monkeypatch.setattr(doctor_command, "_PORTS", (port,))
        found = findings()["port"]
    assert (found["state"], str(port) in found["sentence"]) == ("warn", True)
    assert check_port(port) is None
