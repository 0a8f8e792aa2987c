"""`undrift init`: what it makes, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import undrift.cli
from undrift.project import load_project


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNDRIFT_WORKSPACE", raising=False)
    return tmp_path


def test_it_makes_a_workspace_and_a_project_and_says_what_comes_next(here, call):
    said = call("init")
    assert (said.code, said.err) == (0, "")
    assert f"Made a workspace at {here / '.undrift'}." in said.out
    assert "undrift up" in said.out
    assert json.loads((here / ".undrift/workspace.json").read_text())["project"] == "project.py"
    assert (here / "project.py").read_text() == Path(undrift.cli.__file__).with_name("example.py").read_text()


def test_the_project_it_makes_can_be_loaded(here, call):
    call("init")
    project = load_project(here / "project.py")
    assert (project.name, list(project.datasets), list(project.models)) == ("deliveries", ["orders"], ["late"])


def test_doing_it_again_changes_nothing_and_says_what_is_there(here, call):
    call("init")
    (here / "project.py").write_text("mine")
    before = (here / ".undrift/workspace.json").read_bytes()
    said = call("init", "--json")
    assert said.json == {
        "workspace": str(here / ".undrift"),
        "made": False,
        "project": str(here / "project.py"),
        "project_made": False,
    }
    assert (here / "project.py").read_text() == "mine"
    assert (here / ".undrift/workspace.json").read_bytes() == before


def test_a_project_that_is_there_becomes_the_project(here, call):
    (here / "project.py").write_text("mine")
    call("init")
    assert (here / "project.py").read_text() == "mine"
    assert json.loads((here / ".undrift/workspace.json").read_text())["project"] == "project.py"


def test_another_folder_can_be_named_and_the_next_steps_name_it_too(here, call):
    said = call("init", "shop/models")
    assert (here / "shop/models/.undrift/workspace.json").exists()
    assert "undrift up --workspace shop/models/.undrift" in said.out


def test_a_folder_and_a_workspace_exclude_each_other(here, call):
    assert call("init", "a", "--workspace", "b/.undrift").code == 2


def test_the_addresses_of_database_and_store_are_kept(here, call):
    call("init", "--database", f"sqlite:///{here}/elsewhere.db", "--store", str(here / "bytes"))
    settings = json.loads((here / ".undrift/workspace.json").read_text())
    assert (settings["database"], settings["store"]) == (f"sqlite:///{here}/elsewhere.db", str(here / "bytes"))
    assert (here / "elsewhere.db").exists()


def test_a_workspace_does_not_move_to_another_database(here, call):
    call("init")
    said = call("init", "--database", "postgresql://db/undrift")
    assert said.code == 5
    assert "has another database already" in said.err


def test_a_database_that_cannot_be_reached_leaves_nothing_behind(here, call, unused_port):
    said = call("init", "--database", f"postgresql://nobody@127.0.0.1:{unused_port}/undrift")
    assert said.code == 7
    assert list(here.iterdir()) == []
    assert call("init").code == 0


def test_a_place_that_cannot_be_written_is_unavailable(here, call):
    (here / "file").write_text("")
    said = call("init", "file/below")
    assert said.code == 7
    assert "A workspace cannot be made at" in said.err
    assert "Give this user write permission there" in said.err
