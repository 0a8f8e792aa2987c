"""Routes: a history over the whole workspace, checked before they are set."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from undrift.core import ReplayClock
from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.events import ListEvents, list_events
from undrift.registry import Field, RetireVersion, Signature, retire_version
from undrift.serving import (
    FindAccount,
    FindRoute,
    ListEndpoints,
    ReadRoutingTable,
    RouteHistory,
    SetArm,
    SetRoute,
    account,
    find_route,
    list_endpoints,
    route_history,
    routing_table,
    set_route,
)

HOUR = timedelta(hours=1)
NUMBERS = Signature((Field("a", "float"), Field("b", "float")), "classification", "late")


def champion(number=1, share=1.0):
    return SetArm("champion", number, share)


def to(*arms, endpoint="late", reason="first", **given):
    return SetRoute("flights", endpoint, "late", arms, reason, **given)


@pytest.fixture
def deployed(ctx, register):
    register(ctx, NUMBERS, NUMBERS, NUMBERS)
    return ctx


@pytest.mark.parametrize("engine", ["sqlite_database", "postgres_database"])
def test_a_route_is_kept_with_who_when_why_and_announced(engine, request, make_ctx, register):
    ctx = make_ctx(request.getfixturevalue(engine))
    register(ctx, NUMBERS)
    route = set_route(ctx, to(champion(), evidence={"loss": 0.3}))
    assert (route.revision, route.actor, route.reason, route.at) == (1, "ada", "first", ctx.now())
    assert find_route(ctx, FindRoute("late")) == route
    assert routing_table(ctx, ReadRoutingTable()).routes == {"late": route}
    (event,) = list_events(ctx, ListEvents(type="endpoint.route_changed"))
    assert (event.subject, event.project) == ("endpoints/late", "flights")
    assert event.data["arms"][0]["number"] == 1
    assert event.data["previous"] is None


def test_revisions_increase_over_the_whole_workspace(deployed):
    first = set_route(deployed, to(champion()))
    other = set_route(deployed, to(champion(), endpoint="late-eu"))
    again = set_route(deployed, to(champion(2)))
    assert [first.revision, other.revision, again.revision] == [1, 2, 3]
    assert routing_table(deployed, ReadRoutingTable()).revision == 3
    assert [route.endpoint for route in list_endpoints(deployed, ListEndpoints("flights"))] == ["late", "late-eu"]
    assert list_endpoints(deployed, ListEndpoints("fares")) == []
    assert [route.revision for route in route_history(deployed, RouteHistory("late"))] == [3, 1]


def test_setting_what_is_there_changes_nothing(deployed):
    first = set_route(deployed, to(champion(), SetArm("shadow", 2, 0.0)))
    assert set_route(deployed, to(SetArm("shadow", 2, 0.0), champion(), reason="again")) == first
    assert len(route_history(deployed, RouteHistory("late"))) == 1


def test_an_earlier_moment_shows_the_route_of_then(deployed):
    start = deployed.now()
    clock = deployed.clock
    set_route(deployed, to(champion()))
    clock.advance_to(start + 2 * HOUR)
    set_route(deployed, to(champion(2)))
    assert find_route(deployed, FindRoute("late", as_of=start + HOUR)).champion.number == 1
    assert find_route(deployed, FindRoute("late", as_of=start + 2 * HOUR)).champion.number == 2
    with pytest.raises(NotFound, match="had no route"):
        find_route(deployed, FindRoute("late", as_of=start - HOUR))


def test_the_route_of_now_is_the_newest_one_even_when_clocks_disagree(deployed, make_ctx):
    set_route(deployed, to(champion()))
    behind = make_ctx(deployed.database, clock=ReplayClock(deployed.now() - HOUR))
    newest = set_route(behind, to(champion(2)))
    assert find_route(deployed, FindRoute("late")) == newest


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ((), "one champion"),
        ((SetArm("canary", 1, 1.0),), "one champion"),
        ((champion(1, 0.5), champion(2, 0.5)), "one champion"),
        ((champion(1, 0.5), SetArm("canary", 2, 0.3), SetArm("canary", 3, 0.2)), "at most one challenger"),
        ((champion(1, 0.9), SetArm("canary", 2, 0.2)), "sum to 1.1"),
        ((champion(1, 0.9), SetArm("shadow", 2, 0.1)), "shadow cannot have a share"),
        ((champion(1, 1.5), SetArm("canary", 2, -0.5)), "cannot have a share"),
        ((champion(1, float("nan")),), "cannot have a share"),
        ((champion(1, 0.5), SetArm("canary", 1, 0.5)), "its own challenger"),
    ],
)
def test_arms_that_make_no_route_are_refused(deployed, arms, said):
    with pytest.raises(Invalid, match=said):
        set_route(deployed, to(*arms))


def test_versions_must_exist_and_not_be_retired(deployed):
    with pytest.raises(NotFound, match="no version 9"):
        set_route(deployed, to(champion(9)))
    retire_version(deployed, RetireVersion("flights", "late", 2, "leaks the label"))
    with pytest.raises(Conflict, match="retired: leaks the label"):
        set_route(deployed, to(champion(2)))


def test_an_endpoint_belongs_to_one_project_and_has_a_safe_name(deployed):
    with pytest.raises(Invalid, match="cannot name"):
        set_route(deployed, to(champion(), endpoint="../late"))
    set_route(deployed, to(champion()))
    with pytest.raises(NotFound, match="no model"):
        set_route(deployed, SetRoute("fares", "late", "late", (champion(),), "mine"))


def test_whoever_expected_another_revision_is_told(deployed):
    first = set_route(deployed, to(champion(), expected=0))
    with pytest.raises(Conflict, match="has revision 1, not 0"):
        set_route(deployed, to(champion(2), expected=0))
    assert set_route(deployed, to(champion(2), expected=first.revision)).revision == 2


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ((Field("a", "float"),), "does not know 'b'"),
        ((Field("a", "float"), Field("b", "float"), Field("c", "float")), "needs 'c'"),
        ((Field("a", "string"), Field("b", "float", True)), "takes 'a' as string"),
        ((Field("a", "float"), Field("b", "float")), "does not take a missing 'b'"),
    ],
)
def test_a_challenger_must_be_able_to_score_what_the_champion_takes(ctx, register, inputs, said):
    ours = Signature((Field("a", "int"), Field("b", "float", True)), "classification", "late")
    register(ctx, ours, Signature(inputs, "classification", "late"))
    with pytest.raises(Conflict, match=said):
        set_route(ctx, to(champion(1, 0.9), SetArm("canary", 2, 0.1)))
    assert set_route(ctx, to(champion(2))).champion.number == 2


def test_an_input_may_not_be_named_like_a_column_of_the_log(ctx, register):
    register(ctx, Signature((Field("score", "float"),), "classification", "late"))
    with pytest.raises(Conflict, match="score"):
        set_route(ctx, to(champion()))


def test_an_unknown_endpoint_is_told_with_those_that_are_known(deployed):
    set_route(deployed, to(champion()))
    for ask in (
        lambda: find_route(deployed, FindRoute("lat")),
        lambda: route_history(deployed, RouteHistory("lat")),
        lambda: account(deployed, FindAccount("lat")),
    ):
        with pytest.raises(NotFound) as caught:
            ask()
        assert caught.value.next_step == "Known are: late."


def test_the_account_of_an_endpoint_begins_with_nothing(deployed):
    set_route(deployed, to(champion()))
    counted = account(deployed, FindAccount("late"))
    assert (counted.logged, counted.collected, counted.dropped, counted.first_event_time) == (0, 0, 0, None)


def test_routes_set_at_once_get_revisions_of_their_own(database, make_ctx, register):
    register(make_ctx(database), NUMBERS)
    made, failed = [], []

    def deploy(place):
        try:
            made.append(set_route(make_ctx(database), to(champion(), endpoint=f"late-{place}")).revision)
        except Exception as error:  # noqa: BLE001 - asserted below
            failed.append(error)

    threads = [threading.Thread(target=deploy, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(made) == list(range(1, 9))
