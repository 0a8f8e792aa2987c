from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from undrift.core import ReplayClock, new_id
from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.events import ListEvents, list_events
from undrift.registry import (
    Field,
    FindAlias,
    FindVersion,
    ListModels,
    ListVersions,
    MoveAlias,
    RegisterModel,
    RegisterVersion,
    RetireVersion,
    Signature,
    alias_history,
    find_alias,
    find_version,
    list_models,
    list_versions,
    move_alias,
    register_model,
    register_version,
    retire_version,
)

START = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SIGNATURE = Signature(
    (Field("temp", "float", nullable=True), Field("carrier", "string", False, ("AA", "UA"))), "classification", "late"
)


@pytest.fixture
def model(ctx):
    return register_model(ctx, RegisterModel("flights", "late", "ops@example.com"))


@pytest.fixture
def artifact(repository):
    return repository.trees.edit(None, {"model.onnx": b"model", "signature.json": b"{}"})


@pytest.fixture
def add(artifact):
    """Register a version of the model; its run is made up when not given."""

    def register(ctx, **given):
        fixed = {
            "project": "flights",
            "model": "late",
            "run_id": new_id(),
            "artifact": artifact,
            "signature": SIGNATURE,
        }
        return register_version(ctx, RegisterVersion(**(fixed | given)))

    return register


def move(ctx, number, *, alias="champion", **given):
    return move_alias(ctx, MoveAlias("flights", "late", alias, number, "it is better", **given))


def later(make_ctx, ctx, days):
    return make_ctx(ctx.database, clock=ReplayClock(START + days * DAY))


def champion(ctx, as_of=None):
    found = find_alias(ctx, FindAlias("flights", "late", "champion", as_of))
    return None if found is None else found.number


def types(ctx):
    return [event.type for event in list_events(ctx, ListEvents())][::-1]


def test_a_model_is_made_known_once(ctx, model):
    assert register_model(ctx, RegisterModel("flights", "late", "somebody else")) == model
    assert types(ctx) == ["model.created"]


def test_versions_count_from_one_in_each_model(ctx, model, add):
    register_model(ctx, RegisterModel("flights", "early", "ops@example.com"))
    assert [add(ctx).number, add(ctx).number, add(ctx, model="early").number, add(ctx).number] == [1, 2, 1, 3]


def test_a_version_is_read_back_as_it_was_registered(database, make_ctx, add):
    ctx = make_ctx(database)
    register_model(ctx, RegisterModel("flights", "late", "ops@example.com"))
    made = add(ctx, training={"rows": 100, "datasets": {"departures": 3}}, metrics={"log_loss": 0.4})
    assert find_version(ctx, FindVersion("flights", "late", number=1)) == made
    assert list_versions(ctx, ListVersions("flights", "late")) == [made]
    assert (made.created_at, made.created_by, made.state) == (START, "ada", "registered")
    assert [(field.name, field.nullable) for field in made.signature.inputs] == [("temp", True), ("carrier", False)]


def test_the_same_key_registers_once(ctx, model, add):
    run_id = new_id()
    made = add(ctx, run_id=run_id, key=run_id, metrics={"log_loss": 0.4})
    assert add(ctx, run_id=run_id, key=run_id, metrics={"log_loss": 0.9}) == made
    assert add(ctx).number == 2
    assert types(ctx).count("model.version_registered") == 2


def test_one_run_may_register_several_versions(ctx, model, add):
    run_id = new_id()
    assert [add(ctx, run_id=run_id).number, add(ctx, run_id=run_id, key="b").number] == [1, 2]


def test_a_key_names_a_version_of_one_model_only(ctx, model, add):
    register_model(ctx, RegisterModel("flights", "early", "ops@example.com"))
    assert add(ctx, key="nightly").model == "late"
    assert add(ctx, key="nightly", model="early").model == "early"
    with pytest.raises(Invalid, match="A key is not empty"):
        add(ctx, key="")


def test_of_many_who_register_under_one_key_all_get_the_same_version(database, make_ctx, add):
    register_model(make_ctx(database), RegisterModel("flights", "late", "ops@example.com"))
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: add(make_ctx(database), key="nightly"), range(6)))
    assert {one.id for one in made} == {made[0].id}


def test_numbers_stay_dense_when_many_register_at_once(database, make_ctx, add):
    register_model(make_ctx(database), RegisterModel("flights", "late", "ops@example.com"))
    runs = [new_id() for _ in range(12)]

    def register(run_id):
        return add(make_ctx(database), run_id=run_id).number

    with ThreadPoolExecutor(6) as pool:
        numbers = list(pool.map(register, runs))
    assert sorted(numbers) == [*range(1, 13)]


def test_a_metric_that_is_no_number_does_not_make_the_version_unreadable(ctx, model, add):
    made = add(ctx, metrics={"roc_auc": math.nan, "log_loss": 0.4, "high": math.inf})
    assert made.metrics == {"log_loss": 0.4}
    assert find_version(ctx, FindVersion("flights", "late", number=1)) == made


def test_a_version_without_a_contract_model_or_artifact_is_refused(ctx, model, add):
    with pytest.raises(Invalid, match="signature with at least one input"):
        add(ctx, signature=Signature((), "classification", "late"))
    with pytest.raises(NotFound, match=r"no model 'early'.*Known are: late"):
        add(ctx, model="early")
    with pytest.raises(NotFound):
        add(ctx, artifact="0" * 64)
    with pytest.raises(Invalid, match="is not an id"):
        add(ctx, run_id="mine")
    assert list_versions(ctx, ListVersions("flights", "late")) == []


def test_what_is_not_there_is_said_on_both_engines(database, make_ctx, add):
    ctx = make_ctx(database)
    with pytest.raises(NotFound, match="no model 'late'"):
        find_version(ctx, FindVersion("flights", "late", number=1))
    register_model(ctx, RegisterModel("flights", "late", "ops@example.com"))
    with pytest.raises(NotFound, match="No version was registered yet"):
        find_version(ctx, FindVersion("flights", "late", number=1))
    add(ctx)
    with pytest.raises(NotFound, match="It has versions 1 to 1"):
        find_version(ctx, FindVersion("flights", "late", number=2))
    with pytest.raises(NotFound, match="had no alias 'champion'"):
        find_version(ctx, FindVersion("flights", "late", alias="champion"))


@pytest.mark.parametrize("given", [{}, {"number": 1, "alias": "champion"}])
def test_a_version_is_asked_for_in_one_way(ctx, model, given):
    with pytest.raises(Invalid, match="one of the two"):
        find_version(ctx, FindVersion("flights", "late", **given))


def test_models_are_listed_with_their_newest_version_and_aliases(database, make_ctx, add):
    ctx = make_ctx(database)
    late = register_model(ctx, RegisterModel("flights", "late", "ops@example.com"))
    early = register_model(ctx, RegisterModel("flights", "early", "ops@example.com"))
    register_model(ctx, RegisterModel("ships", "late", "ops@example.com"))
    add(ctx), add(ctx)
    move(ctx, 1)
    move(ctx, 2, alias="canary")
    move(ctx, 2)
    found = list_models(ctx, ListModels("flights"))
    assert [(one.model, one.newest, one.aliases) for one in found] == [
        (early, None, {}),
        (late, 2, {"canary": 2, "champion": 2}),
    ]
    assert len(list_models(ctx, ListModels())) == 3


def test_an_alias_has_a_history_that_can_be_asked_for_any_moment(ctx, make_ctx, model, add):
    add(ctx), add(ctx)
    move(ctx, 1, evidence={"gain": 0.1})
    move(later(make_ctx, ctx, 5), 2)
    move(later(make_ctx, ctx, 9), 1)
    asked = {-1: None, 0: 1, 4: 1, 5: 2, 8: 2, 9: 1, 99: 1}
    assert {day: champion(ctx, START + day * DAY) for day in asked} == asked
    assert champion(ctx) == 1
    assert find_version(ctx, FindVersion("flights", "late", alias="champion", as_of=START + 6 * DAY)).number == 2
    history = alias_history(ctx, ListVersions("flights", "late"))
    assert [(one.number, one.previous, one.at) for one in history] == [
        (1, 2, START + 9 * DAY),
        (2, 1, START + 5 * DAY),
        (1, None, START),
    ]
    assert (history[-1].actor, history[-1].reason, history[-1].evidence) == ("ada", "it is better", {"gain": 0.1})
    assert alias_history(ctx, ListVersions("flights", "late", limit=1)) == history[:1]


def test_two_moves_at_one_moment_keep_their_order(ctx, model, add):
    add(ctx), add(ctx)
    for number in (1, 2, 1):
        move(ctx, number)
    assert champion(ctx) == champion(ctx, START) == 1


def test_moving_an_alias_to_where_it_is_changes_nothing(ctx, model, add):
    add(ctx)
    made = move(ctx, 1)
    assert move(ctx, 1) == made
    assert types(ctx).count("model.alias_moved") == 1


def test_an_alias_moves_only_from_where_the_mover_believes_it_is(ctx, model, add):
    add(ctx), add(ctx)
    move(ctx, 1, expected=None)
    with pytest.raises(Conflict, match="points to 1, not to None"):
        move(ctx, 2, expected=None)
    with pytest.raises(Conflict, match="points to 1, not to 2") as caught:
        move(ctx, 1, expected=2)
    assert caught.value.details == {"actual": 1}
    assert champion(ctx) == 1
    assert move(ctx, 2, expected=1).previous == 1


def test_of_two_who_move_an_alias_at_once_one_is_told(database, make_ctx, add):
    ctx = make_ctx(database)
    register_model(ctx, RegisterModel("flights", "late", "ops@example.com"))
    for _ in range(5):
        add(ctx)
    move(ctx, 1)

    def try_move(number):
        try:
            return move(make_ctx(database), number, expected=1).number
        except Conflict:
            return None

    with ThreadPoolExecutor(4) as pool:
        moved = [number for number in pool.map(try_move, [2, 3, 4, 5]) if number is not None]
    assert moved == [champion(ctx)]
    assert len(alias_history(ctx, ListVersions("flights", "late"))) == 2


def test_a_version_that_is_in_use_is_not_retired(ctx, model, add):
    add(ctx), add(ctx)
    move(ctx, 1)
    with pytest.raises(Conflict, match="still the champion"):
        retire_version(ctx, RetireVersion("flights", "late", 1, "too old"))
    move(ctx, 2)
    retired = retire_version(ctx, RetireVersion("flights", "late", 1, "too old"))
    assert (retired.state, retired.state_reason) == ("retired", "too old")
    assert find_version(ctx, FindVersion("flights", "late", number=1)) == retired
    with pytest.raises(Conflict, match="is retired: too old"):
        move(ctx, 1)
    assert champion(ctx) == 2


def test_a_long_history_of_one_alias_does_not_hide_another(ctx, model, add):
    add(ctx), add(ctx), add(ctx)
    move(ctx, 3, alias="baseline")
    with ctx.begin():
        for turn in range(1001):
            move(ctx, 1 + turn % 2)
    (found,) = list_models(ctx, ListModels())
    assert found.aliases == {"baseline": 3, "champion": 1}
    with pytest.raises(Conflict, match="still the baseline"):
        retire_version(ctx, RetireVersion("flights", "late", 3, "forgotten"))


@pytest.mark.parametrize(
    "change",
    [
        {"alias": ""},
        {"alias": "a.b"},
        {"alias": "a" * 256},
        {"alias": "Latest"},
        {"alias": "v3"},
        {"alias": "V03"},
        {"number": 9},
        {"model": "early"},
    ],
)
def test_an_alias_of_nothing_is_refused(ctx, model, add, change):
    add(ctx)
    asked = msgspec.structs.replace(MoveAlias("flights", "late", "champion", 1, "why"), **change)
    with pytest.raises((Invalid, NotFound)):
        move_alias(ctx, asked)
