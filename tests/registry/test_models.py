from __future__ import annotations

import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.registry import (
    AsOf,
    DeleteModel,
    DescribeModel,
    DescribeVersion,
    FindCard,
    FindModel,
    FindVersion,
    ListModels,
    ListVersions,
    RegisterModel,
    RenameModel,
    SetApprovalPolicy,
    TagModel,
    TagVersion,
    UntagModel,
    alias_history,
    approval_status,
    as_of,
    card,
    delete_model,
    describe_model,
    describe_version,
    find_model,
    find_version,
    list_models,
    list_versions,
    register_model,
    rename_model,
    set_approval_policy,
    tag_model,
    tag_version,
    untag_model,
)
from undrift.registry.model import check_model_name
from undrift.registry.operations.approvals import FindApproval


@pytest.mark.parametrize("name", ["late", "Verspätung der Züge", "列车", "a.b", "...", " x ", "a" * 250, "\U0001f682"])
def test_a_name_may_have_spaces_and_letters_of_all_scripts(on, name):
    made = register_model(on(), RegisterModel("flights", name))
    assert find_model(on(), FindModel("flights", name)).model == made
    assert made.name == name


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "a/b", "a:b", "a\0b", "a\nb", "a\u2028b", "\ud800", "a" * 251, "a\x7f"]
)
def test_what_cannot_name_a_model_is_refused_and_names_none(on, name):
    with pytest.raises(Invalid, match="cannot name a model"):
        register_model(on(), RegisterModel("flights", name))
    with pytest.raises(NotFound, match="There is no model"):
        find_model(on(), FindModel("flights", name))


def test_names_that_look_the_same_are_the_same(on):
    composed, apart = "V\u00e9lo", "Ve\u0301lo"
    made = register_model(on(), RegisterModel("flights", apart))
    assert made.name == composed
    assert register_model(on(), RegisterModel("flights", composed)) == made
    assert find_model(on(), FindModel("flights", apart)).model == made


@given(st.text(max_size=300))
def test_a_name_that_is_taken_is_taken_again_unchanged(name):
    try:
        kept = check_model_name(name)
    except Invalid:
        return
    assert check_model_name(kept) == kept == unicodedata.normalize("NFC", name)
    assert 0 < len(kept) <= 250
    assert not set(kept) & set("/:\0\n")


def test_only_a_new_one_can_be_asked_for(on, late):
    with pytest.raises(Conflict, match="There is a model 'late'"):
        register_model(on(), RegisterModel("flights", "late", only_new=True))
    made = register_model(
        on(), RegisterModel("flights", "early", description="For boarding.", tags={"team": "ops"}, only_new=True)
    )
    assert (made.owner, made.description, made.tags) == ("", "For boarding.", {"team": "ops"})
    assert register_model(on(), RegisterModel("trains", "late", only_new=True)).project == "trains"


def test_a_model_is_described_and_its_owner_named_without_losing_the_other(on, late):
    describe_model(on(), DescribeModel("flights", "late", description="Is it late?"))
    changed = describe_model(on(day=2), DescribeModel("flights", "late", owner="ada@example.com"))
    assert (changed.description, changed.owner) == ("Is it late?", "ada@example.com")
    assert find_model(on(), FindModel("flights", "late")).model == changed
    assert (changed.updated_at - changed.created_at).days == 2


def test_tags_are_set_overwritten_and_removed(on, late, told):
    tag_model(on(), TagModel("flights", "late", {"team": "ops", "a/b": ""}))
    tag_model(on(), TagModel("flights", "late", {"team": "rail"}))
    assert find_model(on(), FindModel("flights", "late")).model.tags == {"a/b": "", "team": "rail"}
    untag_model(on(), UntagModel("flights", "late", "team"))
    untag_model(on(), UntagModel("flights", "late", "team"))
    assert find_model(on(), FindModel("flights", "late")).model.tags == {"a/b": ""}
    assert [kind for kind, _ in told(on())].count("model.untagged") == 1
    assert told(on(), "model.tagged")[1] == (
        "model.tagged",
        {"model": "late", "tags": {"team": "rail"}},
    )


@pytest.mark.parametrize("key", ["", "a//b", "/a", "a/../b", "..", "a" * 251, "a;b", "a\n"])
def test_a_tag_that_could_not_be_found_again_is_refused(on, late, key):
    with pytest.raises(Invalid, match="cannot be the key of a tag"):
        tag_model(on(), TagModel("flights", "late", {key: "x"}))


def test_a_value_of_a_tag_has_a_longest_length(on, late):
    tag_model(on(), TagModel("flights", "late", {"k": "x" * 100_000}))
    with pytest.raises(Invalid, match="100001 characters"):
        tag_model(on(), TagModel("flights", "late", {"k": "x" * 100_001}))
    with pytest.raises(Invalid, match="cannot be kept"):
        tag_model(on(), TagModel("flights", "late", {"k": "a\0"}))


def test_a_renamed_model_keeps_versions_aliases_tags_approvals_and_history(on, add, move):
    add(on(), tags={"k": "v"}), add(on())
    move(on(), 1)
    tag_model(on(), TagModel("flights", "late", {"team": "ops"}))
    set_approval_policy(on(), SetApprovalPolicy("flights", 1, "Four eyes.", model="late"))
    renamed = rename_model(on(day=3), RenameModel("flights", "late", "delayed"))
    assert (renamed.name, renamed.tags) == ("delayed", {"team": "ops"})
    with pytest.raises(NotFound, match="Known are: delayed"):
        find_model(on(), FindModel("flights", "late"))
    found = find_model(on(), FindModel("flights", "delayed"))
    assert (found.newest, found.aliases, found.model) == (2, {"champion": 1}, renamed)
    first = find_version(on(), FindVersion("flights", "delayed", number=1))
    assert (first.model, first.tags, first.aliases) == ("delayed", {"k": "v"}, ("champion",))
    assert alias_history(on(), ListVersions("flights", "delayed"))[0].model == "delayed"
    assert approval_status(on(), FindApproval("flights", "delayed", 2)).needed == 1
    # The old name is free, and what is made under it has nothing of the other.
    register_model(on(), RegisterModel("flights", "late"))
    assert list_versions(on(), ListVersions("flights", "late")) == []


def test_a_model_is_not_renamed_over_another(on, late):
    register_model(on(), RegisterModel("flights", "early"))
    with pytest.raises(Conflict, match="There is a model 'early'"):
        rename_model(on(), RenameModel("flights", "late", "early"))
    assert rename_model(on(), RenameModel("flights", "late", "late")) == late
    with pytest.raises(NotFound):
        rename_model(on(), RenameModel("flights", "unknown", "other"))


def test_a_deleted_model_is_gone_and_the_log_keeps_what_it_was(on, add, move, told):
    add(on(), tags={"k": "v"}), add(on())
    move(on(), 2)
    set_approval_policy(on(), SetApprovalPolicy("flights", 3, "Strict.", model="late"))
    delete_model(on(), DeleteModel("flights", "late", "Nobody uses it."))
    with pytest.raises(NotFound):
        find_model(on(), FindModel("flights", "late"))
    with pytest.raises(NotFound):
        as_of(on(), AsOf("flights", "late", on().now()))
    assert list_models(on(), ListModels("flights")) == []
    ((_, data),) = told(on(), "model.deleted")
    assert (data["versions"], data["aliases"], data["reason"]) == (2, {"champion": 2}, "Nobody uses it.")
    register_model(on(), RegisterModel("flights", "late"))
    made = add(on())
    assert (made.number, made.tags, made.aliases) == (1, {}, ())
    assert approval_status(on(), FindApproval("flights", "late", 1)).needed == 0
    with pytest.raises(NotFound):
        delete_model(on(), DeleteModel("flights", "never"))


def test_what_a_version_does_moves_the_time_of_its_model_but_tags_and_aliases_do_not(on, add, move):
    def updated():
        return (find_model(on(), FindModel("flights", "late")).model.updated_at - on().now()).days

    add(on(day=1))
    assert updated() == 1
    move(on(day=2), 1)
    tag_model(on(day=3), TagModel("flights", "late", {"a": "b"}))
    tag_version(on(day=4), TagVersion("flights", "late", 1, {"a": "b"}))
    describe_version(on(day=5), DescribeVersion("flights", "late", 1, "The first."))
    assert updated() == 1


def test_reading_many_versions_takes_a_few_statements(on, add, database, monkeypatch):
    for number in range(30):
        add(on(), tags={"n": str(number)})
    import sqlalchemy as sa

    counted = []
    engines = [one for one in vars(database).values() if isinstance(one, sa.Engine)]
    assert engines
    for engine in engines:
        sa.event.listen(engine, "before_cursor_execute", lambda *args: counted.append(args[2]))
    found = list_versions(on(), ListVersions("flights", "late"))
    assert [one.tags["n"] for one in found] == [str(number) for number in reversed(range(30))]
    assert len(counted) <= 6
    counted.clear()
    assert len(list_models(on(), ListModels())) == 1
    assert len(counted) <= 5


def test_a_card_of_nothing_is_not_there(on, late):
    with pytest.raises(NotFound, match="No version was registered yet"):
        card(on(), FindCard("flights", "late", 1))


def test_versions_registered_while_a_model_is_renamed_are_not_lost(on, late, add):
    def register(number):
        while True:
            for name in ("late", "delayed"):
                try:
                    return add(on(), model=name, key=str(number), signature=None, artifact=None).number
                except NotFound:
                    continue

    def rename(_):
        return rename_model(on(), RenameModel("flights", "late", "delayed")).name

    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(register, number) for number in range(6)]
        renamed = pool.submit(rename, None)
        made += [pool.submit(register, number) for number in range(6, 12)]
        assert renamed.result() == "delayed"
        assert sorted(one.result() for one in made) == [*range(1, 13)]
    assert len(list_versions(on(), ListVersions("flights", "delayed"))) == 12


def test_of_many_who_make_a_model_known_at_once_all_get_the_same(on):
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda who: register_model(on(who), RegisterModel("flights", "late", who)), "abcdef"))
    assert {one.id for one in made} == {find_model(on(), FindModel("flights", "late")).model.id}
