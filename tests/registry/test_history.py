from __future__ import annotations

from datetime import datetime

import pytest

from undrift.core import new_id
from undrift.core.errors import Invalid
from undrift.registry import (
    AsOf,
    DecideApproval,
    DeleteVersion,
    DescribeModel,
    Field,
    FindCard,
    MoveStage,
    RemoveAlias,
    RequestApproval,
    SetApprovalPolicy,
    Signature,
    TagModel,
    TrustVersion,
    as_of,
    card,
    decide_approval,
    delete_version,
    describe_model,
    move_stage,
    remove_alias,
    request_approval,
    set_approval_policy,
    tag_model,
    trust_version,
)
from undrift.tracking import EndRun, RunLink, StartRun, end_run, start_run


@pytest.fixture
def run(on):
    """A finished run that recorded its code, environment and data."""
    run_id = new_id()
    links = (
        RunLink("input", "code", "source", "c" * 64),
        RunLink("input", "environment", "environment", "e" * 64),
        RunLink("input", "dataset_version", "departures", "d" * 32),
        RunLink("output", "tree", "model", "f" * 64),
    )
    asked = StartRun("flights", "late", "nightly", id=run_id, parameters={"depth": 6}, links=links)
    start_run(on("worker", kind="service"), asked)
    end_run(on("worker", kind="service"), EndRun(run_id))
    return run_id


def served(ctx, moment, alias="champion"):
    return as_of(ctx, AsOf("flights", "late", moment, alias))


def test_what_served_on_a_day_who_put_it_there_and_on_what_evidence_is_one_answer(on, add, run, move):
    add(on("worker", kind="service"), run_id=run, metrics={"log_loss": 0.4})
    add(on("worker", kind="service"))
    set_approval_policy(on("boss"), SetApprovalPolicy("flights", 1, "Four eyes.", model="late"))
    request_approval(on("mia"), RequestApproval("flights", "late", 1, "It passed its gates."))
    decide_approval(on("bob", day=1), DecideApproval("flights", "late", 1, True, "The gates convince me."))
    move(on("ada", day=2), 1, evidence={"gain": 0.1})
    request_approval(on("mia", day=8), RequestApproval("flights", "late", 2, "Newer."))
    decide_approval(on("bob", day=8), DecideApproval("flights", "late", 2, True, "Yes."))
    move(on("eve", day=9), 2)
    found = served(on(), on(day=5).now())
    assert (found.version.number, found.since, found.until) == (1, on(day=2).now(), on(day=9).now())
    assert (found.move.actor, found.move.reason, found.move.evidence) == ("ada", "It is better.", {"gain": 0.1})
    assert [(one.actor, one.reason) for one in found.approvals] == [("bob", "The gates convince me.")]
    assert [link.ref for link in found.run.code] == ["c" * 64]
    assert [link.ref for link in found.run.environment] == ["e" * 64]
    assert [(link.name, link.ref) for link in found.run.data] == [("departures", "d" * 32)]
    assert found.run.parameters == {"depth": 6}
    assert found.sentence == (
        "Version 1 was the champion of 'late' on 2013-01-06 00:00:00 UTC. ada put it there on 2013-01-03 00:00:00 UTC, "
        "where it stood until 2013-01-10 00:00:00 UTC: It is better. Approved by bob."
    )
    assert found.gaps == ("no profile of its training data: drift has nothing to be measured against",)
    now = served(on(), on(day=99).now())
    assert (now.version.number, now.until) == (2, None)
    assert "where it stood ever since" in now.sentence


def test_that_nothing_served_is_an_answer_too(on, add, move):
    add(on())
    never = served(on(), on(day=5).now())
    assert (never.version, never.move, never.since, never.until) == (None, None, None, None)
    assert never.sentence == "Nothing was the champion of 'late' on 2013-01-06 00:00:00 UTC: it never was."
    move(on(day=7), 1)
    before = served(on(), on(day=5).now())
    assert (before.version, before.until) == (None, on(day=7).now())
    assert before.sentence.endswith("it was put there first on 2013-01-08 00:00:00 UTC.")
    remove_alias(on("bob", day=8), RemoveAlias("flights", "late", "champion", "It failed."))
    after = served(on(), on(day=9).now())
    assert (after.version, after.since, after.until) == (None, on(day=8).now(), None)
    assert "version 1 was taken away by bob on 2013-01-09 00:00:00 UTC: It failed." in after.sentence
    move(on(day=20), 1)
    between = served(on(), on(day=9).now())
    assert between.until == on(day=20).now()
    assert "nothing took its place until 2013-01-21 00:00:00 UTC" in between.sentence


def test_a_version_that_was_deleted_since_is_told_of_as_it_was(on, add, move):
    add(on(), metrics={"log_loss": 0.4})
    move(on(day=1), 1)
    delete_version(on(day=5), DeleteVersion("flights", "late", 1, "Trained on the test set."))
    found = served(on(), on(day=3).now())
    assert (found.version.number, found.version.state, found.version.metrics) == (1, "deleted", {"log_loss": 0.4})
    assert "It was deleted since: Trained on the test set." in found.sentence
    assert served(on(), on(day=6).now()).version is None


def test_approvals_that_came_later_or_were_taken_back_before_are_not_told(on, add, move):
    add(on("worker", kind="service"))
    move(on("ada", day=1), 1)
    request_approval(on("mia", day=2), RequestApproval("flights", "late", 1, "Late."))
    decide_approval(on("bob", day=2), DecideApproval("flights", "late", 1, True, "Fine."))
    assert served(on(), on(day=5).now()).approvals == ()


def test_a_moment_without_a_zone_is_no_moment(on, late):
    with pytest.raises(Invalid):
        served(on(), datetime(2013, 3, 3))  # noqa: DTZ001


def test_a_card_names_every_gap(on, add):
    add(on(), artifact=None, source="s3://models/late", run_id=new_id())
    found = card(on(), FindCard("flights", "late", 1))
    for said in [
        "is not here: nothing says how it was made",
        "trained on data whose version is unknown",
        "no files in the store (a client named s3://models/late)",
        "no format",
        "no signature: serving can check nothing",
        "no metrics",
        "no profile of its training data",
        "no intended use",
        "no approval",
    ]:
        assert any(said in gap for gap in found.gaps), said
        assert said.split(" (")[0].replace("_", "\\_") in found.markdown


def test_a_full_card_has_no_gaps_and_tells_what_there_is(on, add, run, move, repository):
    profile = repository.objects.put(b"profile")
    add(
        on("worker", kind="service"),
        run_id=run,
        metrics={"log_loss": 0.41},
        training={"rows": 1000, "datasets": {"departures": 3}},
        reference_profile=profile,
        description="More trees.",
        tags={"team": "ops"},
    )
    describe_model(on(), DescribeModel("flights", "late", description="Says whether a flight will be late."))
    request_approval(on("mia"), RequestApproval("flights", "late", 1, "It passed."))
    decide_approval(on("bob"), DecideApproval("flights", "late", 1, True, "Convincing."))
    move(on("ada", day=1), 1)
    move_stage(on("ada", day=2), MoveStage("flights", "late", 1, "Production"))
    found = card(on(), FindCard("flights", "late", 1))
    assert found.gaps == ()
    assert found.intended_use == "Says whether a flight will be late."
    assert (found.approvals[0].decisions[0].actor, found.moves[0].alias, found.stages[0].stage) == (
        "bob",
        "champion",
        "Production",
    )
    for said in [
        "Nothing that is asked for here.",
        "0.41",
        "More trees.",
        "temp",
        run,
        "bob approved",
        "c" * 64,
        "1000",
    ]:
        assert said in found.markdown


def test_the_intended_use_may_be_a_tag(on, add):
    add(on())
    tag_model(on(), TagModel("flights", "late", {"intended_use": "Planning of gates."}))
    assert card(on(), FindCard("flights", "late", 1)).intended_use == "Planning of gates."


def test_a_run_that_failed_or_recorded_nothing_is_a_gap(on, add):
    run_id = new_id()
    start_run(on(), StartRun("flights", "late", "x", id=run_id))
    end_run(on(), EndRun(run_id, "failed", "No memory."))
    add(on(), run_id=run_id)
    gaps = card(on(), FindCard("flights", "late", 1)).gaps
    assert {"its run is failed, not finished", "its run did not record the code"} <= set(gaps)


def test_a_card_says_who_answers_for_unsafe_bytes(on, add):
    add(on(), files={"model.pkl": b"\x80"})
    assert any("nobody answers for it" in gap for gap in card(on(), FindCard("flights", "late", 1)).gaps)
    trust_version(on("bob"), TrustVersion("flights", "late", 1, "We made it."))
    found = card(on(), FindCard("flights", "late", 1))
    assert not any("nobody answers" in gap for gap in found.gaps)
    assert "bob: We made it." in found.markdown


def test_what_others_wrote_is_text_in_a_card(on, add):
    signature = Signature((Field("temp", "float"),), "regression", "late`\n\n# Approved")
    add(
        on(),
        description="<script>alert(1)</script>\n\n# Approved",
        tags={"x": "a|b\n| c"},
        signature=signature,
        files={"model.onnx": b"model"},
    )
    text = card(on(), FindCard("flights", "late", 1)).markdown
    assert "<script>" not in text
    assert "\n# Approved" not in text
    assert "a\\|b \\| c" in text
