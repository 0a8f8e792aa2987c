"""`undrift models`: the card, the history, what stood where when, and what people decide."""

from __future__ import annotations

import pytest

from undrift.core import Actor, new_id
from undrift.registry import (
    RegisterVersion,
    SetApprovalPolicy,
    register_version,
    set_approval_policy,
)
from undrift.workspace import Workspace


@pytest.fixture
def workspace(folder, fill):
    """The filled workspace; version 2 was registered by nobody who works at the terminal."""
    workspace = Workspace.open(folder)
    yield workspace
    workspace.close()


@pytest.fixture
def by_worker(workspace):
    """Version 3, registered by the worker; its file is a pickle."""
    ctx = workspace.context(actor=Actor("worker", "service"))
    artifact = ctx.repository.trees.edit(None, {"model.pkl": b"\x80"})
    return register_version(ctx, RegisterVersion("flights", "late", new_id(), artifact)).number


def test_the_card_of_the_newest_version_is_shown_with_what_is_missing(call, fill):
    said = call("models", "show", "late")
    assert said.code == 0
    assert said.out.startswith("late, version 2\n")
    assert "\nMissing\n- " in said.out
    assert call("models", "show", "late", "1").out.startswith("late, version 1\n")
    champion = call("models", "show", "late", "champion")
    assert champion.out.startswith("late, version 1\n")
    assert "It passed its gates." in champion.out


def test_the_card_can_be_had_as_markdown_and_as_json(call, fill):
    assert call("models", "show", "late", "1", "--markdown").out.startswith("# late, version 1\n")
    found = call("models", "show", "late", "1", "--json").json
    assert (found["version"]["number"], found["model"]["name"]) == (1, "late")
    assert found["gaps"]


def test_a_version_that_is_not_there_is_told(call, fill):
    said = call("models", "show", "late", "9")
    assert (said.code, said.err.splitlines()[0]) == (3, "Model 'late' has no version 9.")
    assert call("models", "show", "late", "nobody").code == 3
    assert call("models", "show", "early").code == 3


def test_what_stood_where_at_a_moment_is_said_in_a_sentence(call, fill):
    now = call("models", "as-of", "late", "9999-01-01")
    assert now.code == 0
    assert now.out.startswith("Version 1 was the champion of 'late' on 9999-01-01 00:00:00 UTC. ")
    assert "It passed its gates." in now.out
    before = call("models", "as-of", "late", "1999-03-03")
    assert before.out.startswith("Nothing was the champion of 'late' on 1999-03-03 00:00:00 UTC: ")
    found = call("models", "as-of", "late", "9999-01-01", "--json").json
    assert (found["version"]["number"], found["move"]["reason"]) == (1, "It passed its gates.")
    assert call("models", "as-of", "late", "9999-01-01", "--alias", "canary", "--json").json["version"] is None
    said = call("models", "as-of", "late", "yesterday")
    assert (said.code, said.err.splitlines()[0]) == (2, "'yesterday' is no moment.")


def test_a_second_person_approves_what_another_asked_for(call, by_worker, workspace):
    set_approval_policy(workspace.context(), SetApprovalPolicy("flights", 1, "Four eyes."))
    version = str(by_worker)
    said = call("models", "approve", "late", version, "--reason", "I looked.")
    assert said.code == 3
    assert "Nobody asked" in said.err
    asked = call("models", "ask", "late", version, "--reason", "It is better.")
    assert asked.code == 0
    assert "needs 1 approval before it can be 'champion'" in asked.out
    # Who asked at this terminal is who sits at it.
    refused = call("models", "approve", "late", version, "--reason", "I looked.")
    assert refused.code == 4
    assert "asked for this approval: a second person decides." in refused.err
    history = call("models", "history", "late")
    assert "Approvals" in history.out
    assert "It is better." in history.out
    assert len(call("models", "history", "late", "--json").json["approvals"]) == 1


def test_a_person_decides_about_a_version_that_a_worker_asked_for(call, by_worker, workspace):
    from undrift.registry import RequestApproval, request_approval

    worker = workspace.context(actor=Actor("worker", "service"))
    for alias in ("champion", "canary"):
        request_approval(worker, RequestApproval("flights", "late", by_worker, "It passed its gates.", alias))
    version = str(by_worker)
    said = call("models", "approve", "late", version, "--reason", "I looked.")
    assert (said.code, said.out.split(".")[0]) == (0, f"Version {version} of late is approved for champion")
    said = call("models", "refuse", "late", version, "--reason", "Not yet.", "--alias", "canary", "--json")
    assert (said.json["state"], said.json["decisions"][0]["reason"]) == ("refused", "Not yet.")
    history = call("models", "history", "late").out
    assert "I looked." in history
    assert "Not yet." in history


def test_a_person_answers_for_a_pickle_and_retires_it(call, by_worker):
    version = str(by_worker)
    assert "nobody answers for it" in call("models", "show", "late", version).out
    trusted = call("models", "trust", "late", version, "--reason", "We made it.")
    assert (trusted.code, "it may be loaded" in trusted.out) == (0, True)
    assert "nobody answers for it" not in call("models", "show", "late", version).out
    retired = call("models", "retire", "late", version, "--reason", "Too old.")
    assert retired.out == f"Version {version} of late is retired: Too old.\n"
    assert call("models", "retire", "late", "1", "--reason", "Too old.").code == 5


@pytest.mark.parametrize("command", ["ask", "approve", "refuse", "trust", "retire"])
def test_nothing_is_decided_without_a_reason(call, fill, command):
    assert call("models", command, "late", "2").code == 2


def test_an_alias_that_was_taken_away_is_shown_as_such(call, fill, workspace):
    from undrift.registry import RemoveAlias, remove_alias

    remove_alias(workspace.context(), RemoveAlias("flights", "late", "champion", "It failed."))
    assert "taken away" in call("models", "late").out
    assert "It failed." in call("models", "history", "late").out
