"""What is brought in adds to what is here, and takes the place of nothing."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from undrift.core.errors import Forbidden
from undrift.core.hashing import hash_bytes
from undrift.core.ids import new_id
from undrift.registry import (
    AsOf,
    DeleteVersion,
    ExportHistory,
    ExportVersions,
    FindAlias,
    ImportHistory,
    ImportModel,
    ImportVersions,
    ListVersions,
    MoveAlias,
    MoveStage,
    SetApprovalPolicy,
    as_of,
    delete_version,
    export_history,
    export_versions,
    find_alias,
    import_history,
    import_model,
    import_versions,
    list_approval_policies,
    move_alias,
    move_stage,
    set_approval_policy,
    stage_history,
)
from undrift.registry.operations.approvals import ListPolicies


def given(on):
    """Return all that was decided about `late`, as an import that brings it somewhere else."""
    history = export_history(on(), ExportHistory("flights", "late"))
    return ImportHistory(
        "trains", "there", "late", history.alias_moves, history.stage_moves, history.policies, history.requests
    )


def bring(on, late):
    import_model(on(), ImportModel("trains", late, "there"))
    versions = tuple(export_versions(on(), ExportVersions("flights", "late")))
    return import_versions(on(), ImportVersions("trains", "late", "there", versions))


def test_a_history_comes_with_its_order_and_only_once(on, late, add, move):
    for day, number in enumerate((1, 2, 1)):
        if day < 2:
            add(on(day=day))
        move(on(day=day), number)
    bring(on, late)
    assert import_history(on(day=9), given(on)) == 3
    assert import_history(on(day=9), given(on)) == 0
    move(on(day=10), 2)  # and goes on there
    assert import_history(on(day=11), given(on)) == 1
    stood = [
        as_of(on(), AsOf("trains", "late", late.created_at + timedelta(days=day, hours=1))).version.number
        for day in (0, 1, 2, 10)
    ]
    assert stood == [1, 2, 1, 2]


def test_an_alias_that_went_another_way_here_stays_where_it_is(on, late, add, move):
    add(on())
    add(on())
    move(on(day=1), 1)
    bring(on, late)
    mine = move_alias(on(day=5), MoveAlias("trains", "late", "champion", 2, "It is better here."))
    for newer in (False, True):
        if newer:
            move(on(day=8), 2)
            move(on(day=9), 1)
        assert import_history(on(day=9), given(on)) == 0
        assert find_alias(on(), FindAlias("trains", "late", "champion")) == mine


def test_a_policy_that_asks_for_nobody_takes_the_place_of_none_here(on, late, add):
    add(on())
    set_approval_policy(on(day=1), SetApprovalPolicy("flights", 2, "strict", model="late"))
    set_approval_policy(on(day=2), SetApprovalPolicy("flights", 0, "lax", model="late"))
    bring(on, late)
    set_approval_policy(on(), SetApprovalPolicy("trains", 1, "The board says so.", model="late"))
    assert import_history(on(day=9), given(on)) == 0
    assert [one.needed for one in list_approval_policies(on(), ListPolicies("trains"))] == [1]
    with pytest.raises(Forbidden):
        move_alias(on(day=9), MoveAlias("trains", "late", "champion", 1, "why"))


def test_a_stage_that_was_chosen_here_stays(on, late, add):
    for _ in range(2):
        add(on())
    for number in (1, 2):
        move_stage(on(day=1), MoveStage("flights", "late", number, "Production"))
    bring(on, late)
    move_stage(on(day=5), MoveStage("trains", "late", 1, "Archived"))
    assert import_history(on(day=9), given(on)) == 1
    found = {one.number: one.stage for one in stage_history(on(), ListVersions("trains", "late"))}
    assert found == {1: "Archived", 2: "Production"}


def test_a_deleted_version_whose_bytes_are_gone_keeps_its_place(on, late, add, move):
    add(on())
    move(on(day=1), 1)
    delete_version(on(day=2), DeleteVersion("flights", "late", 1, "It was wrong."))
    (gone,) = export_versions(on(), ExportVersions("flights", "late"))
    never = msgspec.structs.replace(
        gone, id=new_id(), artifact=hash_bytes(b"never there"), reference_profile=hash_bytes(b"nor there")
    )
    import_model(on(), ImportModel("trains", late, "there"))
    odd = msgspec.structs.replace(never, artifact="../" * 30)
    (answer,) = import_versions(on(), ImportVersions("trains", "late", "there", (odd,)))
    assert not answer.added
    (answer,) = import_versions(on(), ImportVersions("trains", "late", "there", (never,)))
    assert (answer.added, answer.refused) == (True, ())
    assert import_history(on(day=9), given(on)) == 2
    standing = as_of(on(), AsOf("trains", "late", late.created_at + timedelta(days=1, hours=1)))
    assert (standing.version.number, standing.version.state) == (1, "deleted")
    assert standing.version.artifact == never.artifact
