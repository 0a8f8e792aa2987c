"""The loop and the registry agree on who has to approve before a version becomes the champion."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from undrift.core import Actor, ReplayClock, new_id
from undrift.core.errors import Conflict, Forbidden
from undrift.events import ListEvents, list_events
from undrift.loop import (
    Cycle,
    DecideCycle,
    ListCycles,
    Retraining,
    Rollout,
    RolloutStep,
    decide_cycle,
    list_cycles,
    turn,
)
from undrift.loop import records as loop_records
from undrift.loop.deployment import Deployment
from undrift.loop.training import Recipe
from undrift.monitoring import Measure, Monitor, Window
from undrift.monitoring import records as monitoring_records
from undrift.registry import (
    DecideApproval,
    DeleteVersion,
    Field,
    FindAlias,
    FindApproval,
    ListApprovals,
    ListVersions,
    RegisterModel,
    RegisterVersion,
    SetApprovalPolicy,
    Signature,
    alias_history,
    approval_status,
    decide_approval,
    delete_version,
    find_alias,
    list_approvals,
    register_model,
    register_version,
    set_approval_policy,
)
from undrift.serving import FindRoute, find_route

START = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SIGNATURE = Signature((Field("x", "float", nullable=True),), "classification", "y")
STEPS = (RolloutStep("shadow", 0.0, 86_400.0), RolloutStep("canary", 0.25, 86_400.0))


class Killed(BaseException):
    """What a process that ends in the middle looks like from inside."""


class Stage:
    """One deployed model, whose turns are taken by hand; the challengers are registered without training."""

    def __init__(self, database, make_ctx, rollout):
        self.database, self.make_ctx = database, make_ctx
        self.deployment = self.with_rollout(rollout)
        self.day = 0
        register_model(self.on(), RegisterModel("p", "m", "ops"))

    def with_rollout(self, rollout):
        return Deployment(
            recipe=Recipe(
                project="p",
                model="m",
                train=lambda x, y, seed: None,
                dataset="rows",
                label="y",
                inputs=("x",),
                views=(),
                lead_s=0.0,
            ),
            monitor=Monitor(endpoint="m", project="p", model="m", owner="ops", watches=(), sources={}),
            retraining=Retraining(on=("schedule:30d",)),
            rollout=rollout,
            refresh=lambda ctx, until: None,
        )

    def on(self, name="worker", kind=None):
        """The context of somebody, now."""
        kind = kind or ("service" if name == "worker" else "person")
        return self.make_ctx(self.database, actor=Actor(name, kind), clock=ReplayClock(START + self.day * DAY))

    def policy(self, needed):
        set_approval_policy(self.on("boss"), SetApprovalPolicy("p", needed, "Four eyes."))

    def challenge(self, *, actor="worker"):
        """What a turn has done when training is over: a cycle with a challenger that passed its gates."""
        ctx = self.on(actor)
        artifact = ctx.repository.trees.edit(None, {"model.onnx": b"model"})
        version = register_version(ctx, RegisterVersion("p", "m", new_id(), artifact, SIGNATURE))
        standing = find_alias(ctx, FindAlias("p", "m", "champion"))
        cycle = Cycle(
            id=new_id(),
            project="p",
            endpoint="m",
            model="m",
            stage="retraining",
            trigger="schedule",
            incident=None,
            reason="30d have passed.",
            opened_at=ctx.now(),
            stage_since=ctx.now(),
            champion=None if standing is None else standing.number,
            challenger=version.number,
            run_id=new_id(),
            evidence={"gates": []},
        )
        with ctx.begin() as tx:
            loop_records.add_cycle(tx, cycle)
        return cycle.id

    def turn(self):
        """Take a turn a day later; returns the cycle as it stands then."""
        self.day += 1
        now = START + self.day * DAY
        turn.rule_on_rollout(self.on(), self.deployment, now)
        cycle_id = turn.decide_retraining(self.on(), self.deployment, now)
        if cycle_id is not None and turn.train_challenger(self.on(), self.deployment, cycle_id, now) is not None:
            turn.begin_rollout(self.on(), self.deployment, cycle_id, now)
        return self.cycle()

    def measured(self, gain=0.05):
        """A window in which both versions scored the same rows, where the challenger gains so much."""
        start = START + self.day * DAY
        window = Window("m", start, start + DAY, 900, 0, None, {}, {}, {}, (), None)
        versions = {"1": Measure(900, 0.4, None, 0.2, 0.2), "2": Measure(900, 0.4 - gain, None, 0.2, 0.2)}
        ctx = self.on()
        with ctx.begin() as tx:
            monitoring_records.add_window(tx, window)
            monitoring_records.measure_window(
                tx, window, labelled=900, served=versions["1"], versions=versions, at=start + DAY
            )

    def until(self, stage, gain=0.05, most=40):
        """Let days pass until the cycle stands at a stage."""
        for _ in range(most):
            self.measured(gain)
            if self.turn().stage == stage:
                return self.cycle()
        raise AssertionError(f"It never was {stage}: {self.cycle()}")

    def cycle(self):
        return list_cycles(self.on(), ListCycles("m", limit=1))[0]

    def decide(self, name, *, approve=True, reason="I looked.", where="loop"):
        if where == "loop":
            return decide_cycle(self.on(name), DecideCycle(self.cycle().id, approve, reason))
        return decide_approval(self.on(name), DecideApproval("p", "m", self.cycle().challenger, approve, reason))

    def champion(self):
        standing = find_alias(self.on(), FindAlias("p", "m", "champion"))
        return None if standing is None else standing.number

    def route(self):
        return [(arm.name, arm.number) for arm in find_route(self.on(), FindRoute("m")).arms]

    def moves(self):
        return [(one.alias, one.number) for one in alias_history(self.on(), ListVersions("p", "m"))[::-1]]

    def transitions(self):
        events = list_events(self.on(), ListEvents(limit=1000))[::-1]
        return [(one.data["before"], one.data["after"]) for one in events if one.type == "loop.transition"]


@pytest.fixture
def make_stage(database, make_ctx):
    def make(**given):
        return Stage(database, make_ctx, Rollout(**({"steps": STEPS} | given)))

    return make


@pytest.fixture
def second(make_stage):
    """A stage with version 1 as the champion; what is challenged next is version 2."""

    def make(**given):
        stage = make_stage(**given)
        stage.challenge()
        assert stage.turn().stage == "promoted"
        return stage

    return make


@pytest.mark.parametrize("where", ["loop", "registry"])
def test_with_a_policy_of_one_a_challenger_waits_for_one_person_and_then_goes_on(second, where):
    stage = second()
    stage.policy(1)
    stage.challenge()
    waiting = stage.turn()
    assert waiting.stage == "awaiting approval"
    assert waiting.waits_for == "Version 2 of 'm' needs 1 approval before it can be 'champion', and has 0."
    assert stage.turn() == waiting
    stage.decide("bob", where=where)
    going = stage.turn()
    assert (going.stage, going.waits_for) == ("shadow", "")
    assert stage.until("promoted").challenger == stage.champion() == 2
    assert stage.moves() == [("champion", 1), ("champion", 2)]
    assert stage.transitions()[1:] == [
        ("retraining", "awaiting approval"),
        ("awaiting approval", "shadow"),
        ("shadow", "canary"),
        ("canary", "promoted"),
    ]
    assert "waits_for" not in stage.cycle().evidence


@pytest.mark.parametrize("where", [("loop", "loop"), ("loop", "registry"), ("registry", "loop")])
def test_with_a_policy_of_two_both_count_wherever_they_were_given(second, where):
    stage = second()
    stage.policy(2)
    stage.challenge()
    stage.turn()
    stage.decide("bob", where=where[0])
    waiting = stage.turn()
    assert waiting.stage == "awaiting approval"
    assert waiting.waits_for.endswith("and has 1 (by bob).")
    stage.decide("bob", where=where[0], reason="I looked again.")
    assert stage.turn().stage == "awaiting approval"
    stage.decide("eve", where=where[1])
    assert stage.turn().stage == "shadow"
    status = approval_status(stage.on(), FindApproval("p", "m", 2))
    assert {one.actor for one in status.given} == {"bob", "eve"}


@pytest.mark.parametrize("where", ["loop", "registry"])
def test_where_the_project_asks_a_person_one_decision_is_enough_wherever_it_was_given(second, where):
    stage = second(approval=True)
    stage.challenge()
    waiting = stage.turn()
    assert waiting.waits_for == "The project asks for a person's agreement."
    stage.decide("bob", where=where)
    assert stage.turn().stage == "shadow"
    (asked,) = [one for one in list_approvals(stage.on(), ListApprovals("p")) if one.number == 2]
    assert (asked.asked_by, asked.state, [one.actor for one in asked.decisions]) == ("worker", "approved", ["bob"])


@pytest.mark.parametrize("where", ["loop", "registry"])
@pytest.mark.parametrize("needed", [0, 1, 2])
def test_a_refusal_ends_the_cycle_with_its_reason(second, where, needed):
    stage = second(approval=True)
    stage.policy(needed)
    stage.challenge()
    stage.turn()
    stage.decide("bob", approve=False, reason="It forgets the islands.", where=where)
    ended = stage.turn()
    assert (ended.stage, ended.outcome) == ("refused", "bob refused: It forgets the islands.")
    assert ended.closed_at is not None
    assert (stage.champion(), stage.route()) == (1, [("champion", 1)])
    assert stage.transitions()[-1] == ("awaiting approval", "refused")
    with pytest.raises(Conflict, match="does not await approval"):
        stage.decide("eve")


def test_what_one_person_approved_another_can_still_refuse(second):
    stage = second()
    stage.policy(2)
    stage.challenge()
    stage.turn()
    stage.decide("bob")
    stage.decide("eve", approve=False, reason="No.", where="registry")
    with pytest.raises(Conflict, match="was refused already"):
        stage.decide("ida")
    assert stage.turn().outcome == "eve refused: No."


@pytest.mark.parametrize("where", ["loop", "registry"])
def test_a_first_version_waits_for_the_policy_too(make_stage, where):
    stage = make_stage()
    stage.policy(1)
    stage.challenge()
    waiting = stage.turn()
    assert (waiting.stage, waiting.champion, stage.champion()) == ("awaiting approval", None, None)
    stage.decide("bob", where=where)
    assert stage.turn().outcome == "The first version passed its gates."
    assert (stage.champion(), stage.route()) == (1, [("champion", 1)])


def test_a_first_version_can_be_refused(make_stage):
    stage = make_stage()
    stage.policy(1)
    stage.challenge()
    stage.turn()
    stage.decide("bob", approve=False, reason="Not yet.", where="registry")
    assert stage.turn().outcome == "bob refused: Not yet."
    assert stage.champion() is None


@pytest.mark.parametrize("where", ["loop", "registry"])
def test_a_policy_set_while_it_is_rolled_out_makes_the_promotion_wait_not_fail(second, where):
    stage = second()
    stage.challenge()
    assert stage.turn().stage == "shadow"
    stage.policy(1)
    waiting = stage.until("awaiting approval")
    assert waiting.waits_for.startswith("Version 2 of 'm' needs 1 approval")
    assert stage.route() == [("champion", 1), ("canary", 2)]
    stage.measured()
    assert stage.turn().stage == "awaiting approval"
    stage.decide("bob", where=where)
    assert stage.turn().stage == "promoted"
    assert (stage.champion(), stage.route()) == (2, [("champion", 2)])
    assert stage.transitions()[-2:] == [("canary", "awaiting approval"), ("awaiting approval", "promoted")]


@pytest.mark.parametrize("where", ["loop", "registry"])
def test_a_refusal_after_the_rollout_takes_the_challenger_off_the_route(second, where):
    stage = second()
    stage.challenge()
    stage.turn()
    stage.policy(1)
    stage.until("awaiting approval")
    stage.decide("bob", approve=False, reason="Too slow.", where=where)
    with pytest.raises(Conflict):
        stage.decide("eve")
    assert stage.turn().outcome == "bob refused: Too slow."
    assert (stage.champion(), stage.route()) == (1, [("champion", 1)])


def test_a_challenger_that_turns_out_worse_while_it_waits_goes_back(second):
    stage = second()
    stage.challenge()
    stage.turn()
    stage.policy(1)
    stage.until("awaiting approval")
    assert "is worse" in stage.until("rolled back", gain=-0.3).outcome
    assert stage.route() == [("champion", 1)]


def test_a_policy_that_asks_nobody_any_more_lets_it_go_on(second):
    stage = second()
    stage.policy(1)
    stage.challenge()
    stage.turn()
    stage.policy(0)
    assert stage.turn().stage == "shadow"


def test_a_project_without_rollout_steps_waits_before_it_promotes(second):
    stage = second(steps=())
    stage.policy(1)
    stage.challenge()
    assert stage.turn().stage == "awaiting approval"
    stage.decide("bob")
    assert stage.turn().stage == "promoted"
    assert stage.champion() == 2


def test_a_worker_that_may_not_promote_waits_with_the_reason(second):
    stage = second(steps=())
    stage.challenge()

    class NoPromotion:
        def check(self, actor, permission):
            if permission == "registry:promote":
                raise Forbidden(f"{actor.name} may not promote.")

    make, stage.make_ctx = stage.make_ctx, lambda *args, **given: make(*args, policy=NoPromotion(), **given)
    waiting = stage.turn()
    assert (waiting.stage, waiting.waits_for) == ("awaiting approval", "worker may not promote.")
    assert stage.turn() == waiting
    stage.make_ctx = make
    assert stage.turn().stage == "promoted"


def test_who_registered_the_version_cannot_approve_it_where_a_policy_asks(second):
    stage = second()
    stage.policy(1)
    stage.challenge(actor="ada")
    stage.turn()
    with pytest.raises(Forbidden, match="a second person decides"):
        stage.decide("ada")
    with pytest.raises(Forbidden, match="Only a person"):
        stage.decide("worker")
    assert stage.turn().stage == "awaiting approval"


@pytest.mark.parametrize("approve", [True, False])
def test_who_registered_the_version_can_decide_where_no_policy_asks(second, approve):
    stage = second(approval=True)
    stage.challenge(actor="ada")
    stage.turn()
    stage.decide("ada", approve=approve)
    assert stage.turn().stage == ("shadow" if approve else "refused")


def test_a_version_deleted_while_it_waits_ends_the_cycle(second):
    stage = second()
    stage.policy(1)
    stage.challenge()
    stage.turn()
    delete_version(stage.on("boss"), DeleteVersion("p", "m", 2, "Made on the wrong rows."))
    assert stage.turn().outcome == "Somebody deleted version 2 meanwhile."


@pytest.mark.parametrize("cut", ["begin_rollout", "decide_cycle", "rule_on_rollout"])
def test_what_was_cut_off_before_its_transaction_ended_is_done_once_when_done_again(second, monkeypatch, cut):
    stage = second()
    stage.policy(1)
    stage.challenge()

    def killed(emit):
        def emitting(self, type_, subject, **data):
            emit(self, type_, subject, **data)
            raise Killed

        return emitting

    def cut_off(action, *types):
        from undrift.core import Context

        emit = Context.emit
        with monkeypatch.context() as patch:
            patch.setattr(
                Context,
                "emit",
                lambda self, type_, subject, **data: (killed(emit) if type_ in types else emit)(
                    self, type_, subject, **data
                ),
            )
            with pytest.raises(Killed):
                action()

    if cut == "begin_rollout":
        before = stage.cycle()
        cut_off(stage.turn, "loop.transition")
        assert stage.cycle() == before
        assert [one for one in list_approvals(stage.on(), ListApprovals("p")) if one.number == 2] == []
    assert stage.turn().stage == "awaiting approval"
    if cut == "decide_cycle":
        before = stage.cycle()
        cut_off(lambda: stage.decide("bob"), "loop.decided")
        assert stage.cycle() == before
        assert not approval_status(stage.on(), FindApproval("p", "m", 2)).given
    stage.decide("bob")
    assert stage.turn().stage == "shadow"
    if cut == "rule_on_rollout":
        cut_off(lambda: stage.until("promoted"), "model.alias_moved")
        assert (stage.champion(), stage.cycle().stage) == (1, "canary")
    stage.until("promoted")
    assert stage.moves() == [("champion", 1), ("champion", 2)]
    asked = [one for one in list_approvals(stage.on(), ListApprovals("p")) if one.number == 2]
    assert [[decision.actor for decision in one.decisions] for one in asked] == [["bob"]]
    assert stage.transitions()[1:] == [
        ("retraining", "awaiting approval"),
        ("awaiting approval", "shadow"),
        ("shadow", "canary"),
        ("canary", "promoted"),
    ]


def test_a_decision_made_while_a_turn_looks_is_not_lost(second, monkeypatch):
    stage = second()
    stage.policy(2)
    stage.challenge()
    stage.turn()
    overtaken = turn._overtaken

    def slowly(*args):
        found = overtaken(*args)
        stage.decide("bob")
        return found

    monkeypatch.setattr(turn, "_overtaken", slowly)
    stage.turn()
    monkeypatch.undo()
    assert stage.cycle().evidence["decided_by"] == "bob"
    stage.decide("eve")
    assert stage.turn().stage == "shadow"


def test_a_cycle_says_what_it_waits_for_only_while_it_waits(make_stage):
    stage = make_stage()
    stage.policy(1)
    stage.challenge()
    waiting = stage.turn()
    assert waiting.waits_for
    assert msgspec.structs.replace(waiting, stage="refused").waits_for == ""
