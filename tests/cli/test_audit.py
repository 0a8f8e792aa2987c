"""`undrift audit verify`: a log that was changed, or cut off, shows and goes on showing."""

from __future__ import annotations

import sqlite3

import pytest

from undrift.workspace import Workspace


@pytest.fixture
def published(fill, folder):
    """A workspace with events whose head was written outside the database."""
    workspace = Workspace.open(folder)
    workspace.close()
    return workspace.published_head()


@pytest.fixture
def change(folder):
    def change(statement):
        connection = sqlite3.connect(folder / "undrift.db")
        connection.execute(statement)
        connection.commit()
        connection.close()

    return change


def test_a_whole_log_is_told_with_its_head(call, published):
    said = call("audit", "verify")
    assert (said.code, said.err) == (0, "")
    assert said.out == f"The log is whole: {published.position} events, head {published.position} {published.hash}.\n"
    assert call("audit", "verify", "--json").json["ok"] is True


def test_a_changed_event_is_told_with_its_position_and_exit_code_6(call, published, change):
    change("UPDATE events SET actor = 'eve' WHERE position = 2")
    said = call("audit", "verify")
    assert (said.code, said.out) == (6, "")
    assert said.err.startswith("The log is broken at position 2: ")
    found = call("audit", "verify", "--json")
    assert (found.code, found.json["ok"], found.json["broken_at"]) == (6, False, 2)


def test_an_end_that_was_cut_off_shows_however_often_it_is_asked(call, published, change):
    change(f"DELETE FROM events WHERE position > {published.position - 2}")
    for _ in range(2):
        said = call("audit", "verify")
        assert said.code == 6
        assert f"position {published.position} was published" in said.err


def test_a_head_that_was_noted_elsewhere_is_held_against_the_log(call, published):
    assert call("audit", "verify", "--position", published.position, "--hash", published.hash).code == 0
    assert call("audit", "verify", "--position", published.position, "--hash", "0" * 64).code == 6
    assert call("audit", "verify", "--hash", published.hash).code == 2
