from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from undrift.core import ReplayClock
from undrift.core.errors import NotFound
from undrift.registry import (
    AsOf,
    FindAlias,
    FindVersion,
    ListModels,
    ListVersions,
    RegisterModel,
    RegisterVersion,
    RemoveAlias,
    alias_history,
    as_of,
    find_alias,
    find_version,
    list_models,
    move_alias,
    register_model,
    register_version,
    remove_alias,
)
from undrift.registry.operations.aliases import MoveAlias


def test_a_removal_is_kept_with_who_why_and_on_what_evidence(on, add, move, told):
    add(on())
    move(on(), 1)
    removed = remove_alias(on("bob", day=2), RemoveAlias("flights", "late", "champion", "It failed.", {"incident": 7}))
    assert (removed.number, removed.previous, removed.actor, removed.evidence) == (None, 1, "bob", {"incident": 7})
    assert find_alias(on(), FindAlias("flights", "late", "champion")) is None
    with pytest.raises(NotFound, match="had no alias 'champion'"):
        find_version(on(), FindVersion("flights", "late", alias="champion"))
    assert list_models(on(), ListModels())[0].aliases == {}
    first, last = alias_history(on(), ListVersions("flights", "late"))[::-1]
    assert (first.until, last) == (removed.at, removed)
    ((_, data),) = told(on(), "model.alias_removed")
    assert (data["alias"], data["previous"], data["reason"]) == ("champion", 1, "It failed.")
    # Nothing is there to be taken away any more.
    assert remove_alias(on(), RemoveAlias("flights", "late", "champion")) is None
    assert remove_alias(on(), RemoveAlias("flights", "late", "never")) is None
    assert len(told(on(), "model.alias_removed")) == 1


def test_a_removed_alias_comes_back_from_nothing(on, add, move):
    add(on())
    move(on(), 1)
    remove_alias(on(day=1), RemoveAlias("flights", "late", "champion"))
    again = move(on(day=2), 1, expected=None)
    assert (again.number, again.previous) == (1, None)
    asked = {0: 1, 1: None, 2: 1}
    found = {day: find_alias(on(), FindAlias("flights", "late", "champion", on(day=day).now())) for day in asked}
    assert {day: None if one is None else one.number for day, one in found.items()} == asked


def test_a_version_knows_the_aliases_that_point_to_it(on, add, move):
    add(on()), add(on())
    move(on(), 1), move(on(), 1, alias="canary"), move(on(), 2, alias="Canary-2_x")
    found = [find_version(on(), FindVersion("flights", "late", number=number)).aliases for number in (1, 2)]
    assert found == [("canary", "champion"), ("Canary-2_x",)]


def test_a_history_goes_forward_though_a_clock_goes_back(on, add, move):
    add(on()), add(on())
    move(on(day=5), 1)
    back = move(on(day=2), 2)
    assert back.at == on(day=5).now()
    assert find_alias(on(), FindAlias("flights", "late", "champion")).number == 2
    assert find_alias(on(), FindAlias("flights", "late", "champion", on(day=5).now())).number == 2
    assert find_alias(on(), FindAlias("flights", "late", "champion", on(day=4).now())) is None


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(["a", "b"])), max_size=12))
def test_what_stood_where_is_what_the_moves_say(ctx, make_ctx, moves):
    """Compare the answer for every moment with a replay of the moves; 0 takes the alias away."""
    name = f"m{len(list_models(ctx, ListModels()))}"
    register_model(ctx, RegisterModel("flights", name))
    start = ctx.now()
    for _ in range(3):
        register_version(ctx, RegisterVersion("flights", name))
    day, stood = 0, {("a", -1): None, ("b", -1): None}
    for number, days, alias in moves:
        day += days
        then = make_ctx(ctx.database, clock=ReplayClock(start + timedelta(days=day)))
        if number:
            move_alias(then, MoveAlias("flights", name, alias, number, "why"))
        else:
            remove_alias(then, RemoveAlias("flights", name, alias))
        stood[alias, day] = number or None
    for alias in "ab":
        for asked in range(-1, day + 2):
            moment = start + timedelta(days=asked)
            expected = stood[alias, max(at for one, at in stood if one == alias and at <= asked)]
            found = find_alias(ctx, FindAlias("flights", name, alias, moment))
            standing = as_of(ctx, AsOf("flights", name, moment, alias))
            assert (None if found is None else found.number) == expected
            assert (None if standing.version is None else standing.version.number) == expected
            assert standing.since is None or standing.since <= moment
            assert standing.until is None or standing.until > moment
