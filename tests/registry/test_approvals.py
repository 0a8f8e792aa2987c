from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from undrift.core.errors import Conflict, Forbidden, Invalid, NotFound
from undrift.registry import (
    DecideApproval,
    FindApproval,
    FindVersion,
    ListApprovals,
    ListPolicies,
    RegisterModel,
    RemoveAlias,
    RequestApproval,
    RetireVersion,
    SetApprovalPolicy,
    approval_status,
    decide_approval,
    decide_in_passing,
    find_version,
    list_approval_policies,
    list_approvals,
    register_model,
    remove_alias,
    request_approval,
    retire_version,
    set_approval_policy,
)


def policy(ctx, needed, **given):
    return set_approval_policy(ctx, SetApprovalPolicy("flights", needed, "Four eyes.", **given))


def ask(ctx, number=1, **given):
    return request_approval(ctx, RequestApproval("flights", "late", number, "It is better.", **given))


def decide(ctx, number=1, *, approve=True, reason="I looked.", **given):
    return decide_approval(ctx, DecideApproval("flights", "late", number, approve, reason, **given))


def status(ctx, number=1, alias="champion"):
    return approval_status(ctx, FindApproval("flights", "late", number, alias))


@pytest.fixture
def one(on, add):
    """Version 1, registered by ada."""
    return add(on("ada"))


def test_without_a_policy_nobody_has_to_approve(on, one, move):
    assert status(on()).allowed
    move(on(), 1)


def test_a_policy_keeps_an_alias_where_it_is_until_enough_have_approved(on, one, move, told):
    policy(on("boss"), 2)
    with pytest.raises(Forbidden, match=r"needs 2 approvals .* and has 0\. Nobody asked for any yet") as caught:
        move(on("ada"), 1)
    assert caught.value.details == {"needed": 2, "given": []}
    assert "undrift models approve late 1 --alias champion" in caught.value.next_step
    ask(on("ada"))
    assert decide(on("bob")).state == "open"
    with pytest.raises(Forbidden, match=r"and has 1 \(by bob\)"):
        move(on("ada"), 1)
    assert decide(on("eve"), evidence={"gain": 0.1}).state == "approved"
    assert status(on()).sentence == "Approved by bob, eve."
    move(on("ada"), 1)
    ((_, data),) = told(on(), "model.alias_moved")
    assert [said["actor"] for said in data["approvals"]] == ["bob", "eve"]


def test_who_registered_or_asked_and_services_cannot_approve(on, one):
    policy(on("boss"), 1)
    ask(on("mia"))
    for who, said in [("ada", "ada registered version 1"), ("mia", "mia asked for this approval")]:
        with pytest.raises(Forbidden, match=said):
            decide(on(who))
    with pytest.raises(Forbidden, match="Only a person"):
        decide(on("worker", kind="service"))
    with pytest.raises(Forbidden):
        decide(on("ada"), approve=False)
    assert status(on()).given == ()


def test_the_same_person_twice_counts_once(on, one):
    policy(on("boss"), 2)
    ask(on("ada"))
    decide(on("bob"))
    again = decide(on("bob", day=1), reason="Still.")
    assert len(again.decisions) == 1
    assert not status(on()).allowed


def test_a_refusal_undoes_what_was_approved_until_somebody_asks_anew(on, one, move):
    policy(on("boss"), 1)
    ask(on("ada"))
    decide(on("bob"))
    refused = decide(on("eve", day=1), approve=False, reason="It was trained on the test set.")
    assert (refused.state, len(refused.decisions)) == ("refused", 2)
    with pytest.raises(Forbidden, match=r"eve refused: It was trained on the test set\."):
        move(on("ada"), 1)
    with pytest.raises(Conflict, match="was refused for 'champion' already"):
        decide(on("bob", day=2))
    again = ask(on("ada", day=3))
    assert (again.state, again.decisions) == ("open", ())
    assert not status(on()).allowed
    decide(on("bob", day=4))
    move(on("ada", day=4), 1)


def test_who_changes_their_mind_is_heard(on, one):
    policy(on("boss"), 1)
    ask(on("ada"))
    decide(on("bob"))
    assert decide(on("bob", day=1), approve=False, reason="I looked again.").state == "refused"
    assert status(on()).given == ()


def test_asking_again_changes_nothing_and_asking_is_needed(on, one, told):
    with pytest.raises(NotFound, match="Nobody asked that version 1"):
        decide(on("bob"))
    asked = ask(on("ada"), evidence={"gain": 0.1})
    assert ask(on("mia", day=1)) == asked
    assert (asked.asked_by, asked.evidence) == ("ada", {"gain": 0.1})
    assert len(told(on(), "model.approval_requested")) == 1


def test_an_approval_is_of_one_version_and_one_alias(on, add, one, move):
    add(on("ada"))
    policy(on("boss"), 1)
    policy(on("boss"), 1, alias="canary")
    ask(on("ada"))
    decide(on("bob"))
    for number, alias in [(2, "champion"), (1, "canary")]:
        with pytest.raises(Forbidden):
            move(on("ada"), number, alias=alias)
    move(on("ada"), 2, alias="playground")
    move(on("ada"), 1)


def test_what_a_mover_says_about_approvals_counts_for_nothing(on, one, move):
    policy(on("boss"), 1)
    evidence = {"approved": True, "decided_by": "bob", "approvals": ["bob", "eve"]}
    with pytest.raises(Forbidden):
        move(on("worker", kind="service"), 1, evidence=evidence)


def test_a_model_of_its_own_policy_does_not_follow_the_project(on, one):
    policy(on("boss"), 1)
    register_model(on(), RegisterModel("flights", "early"))
    assert status(on()).needed == 1
    policy(on("boss"), 3, model="late")
    assert status(on()).needed == 3
    policy(on("boss"), 0, model="late")
    assert status(on()).allowed
    assert status(on(), alias="canary").allowed
    register_model(on(), RegisterModel("trains", "late"))
    found = list_approval_policies(on(), ListPolicies("flights"))
    assert [(one.model, one.needed, one.until is None) for one in found] == [
        ("late", 0, True),
        ("late", 3, False),
        (None, 1, True),
    ]


def test_a_policy_that_is_there_is_not_set_again(on, late, told):
    first = policy(on("boss"), 2)
    assert policy(on("mia", day=1), 2) == first
    assert len(told(on(), "model.approval_policy_set")) == 1
    for wrong in (-1, 21):
        with pytest.raises(Invalid, match="cannot be asked for"):
            policy(on(), wrong)
    with pytest.raises(Invalid):
        policy(on(), 1, alias="latest")


def test_an_alias_under_a_policy_may_always_be_taken_away(on, one, move):
    move(on("ada"), 1)
    policy(on("boss"), 2)
    remove_alias(on("ada"), RemoveAlias("flights", "late", "champion", "It fails."))
    with pytest.raises(Forbidden):
        move(on("ada"), 1)


def test_more_approvals_may_be_asked_for_later(on, one, move):
    policy(on("boss"), 1)
    ask(on("ada"))
    assert decide(on("bob")).state == "approved"
    policy(on("boss", day=1), 2)
    with pytest.raises(Forbidden, match="has 1"):
        move(on("ada"), 1)
    decide(on("eve", day=2))
    move(on("ada"), 1)


def test_requests_are_listed_with_what_was_decided(on, add, one):
    add(on("ada"))
    ask(on("ada")), ask(on("ada", day=1), 2)
    decide(on("bob"), approve=False)
    found = list_approvals(on(), ListApprovals("flights", "late"))
    assert [(one.number, one.state, [said.actor for said in one.decisions]) for one in found] == [
        (2, "open", []),
        (1, "refused", ["bob"]),
    ]
    assert list_approvals(on(), ListApprovals(open_only=True)) == found[:1]
    assert list_approvals(on(), ListApprovals("flights", "late", number=1)) == found[1:]
    assert list_approvals(on(), ListApprovals("trains")) == []
    with pytest.raises(Invalid, match="without its project"):
        list_approvals(on(), ListApprovals(model="late"))


def test_nothing_is_decided_without_a_reason_or_for_a_retired_version(on, one):
    with pytest.raises(Invalid, match="without a reason"):
        request_approval(on(), RequestApproval("flights", "late", 1, " "))
    ask(on("ada"))
    with pytest.raises(Invalid, match="without a reason"):
        decide(on("bob"), reason="")
    retire_version(on(), RetireVersion("flights", "late", 1, "Too old."))
    for deed in (ask, decide):
        with pytest.raises(Conflict, match="is retired"):
            deed(on("bob"))


def test_what_a_person_decides_in_the_loop_is_their_approval_of_the_version(on, add, late, move):
    add(on("worker", kind="service"))
    policy(on("boss"), 1)
    asked = DecideApproval("flights", "late", 1, True, "The evidence convinces me.")
    found = decide_in_passing(on("ada"), asked, asked_by="worker")
    assert (found.state, found.asked_by) == ("approved", "worker")
    move(on("worker", kind="service"), 1)


def test_the_loop_asks_for_a_second_person_only_where_a_policy_does(on, one):
    asked = DecideApproval("flights", "late", 1, True, "I like my own model.")
    assert decide_in_passing(on("ada"), asked, asked_by="worker") is None
    assert list_approvals(on(), ListApprovals()) == []
    policy(on("boss"), 1)
    with pytest.raises(Forbidden, match="ada registered version 1"):
        decide_in_passing(on("ada"), asked, asked_by="worker")
    assert find_version(on(), FindVersion("flights", "late", number=1)).aliases == ()


def test_two_who_approve_at_once_both_count(on, one):
    policy(on("boss"), 2)
    ask(on("ada"))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda who: decide(on(who)), ["bob", "eve"]))
    assert status(on()).sentence in {"Approved by bob, eve.", "Approved by eve, bob."}
    assert status(on()).request.state == "approved"
