from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from undrift.core import ReplayClock, new_id
from undrift.core.errors import Invalid
from undrift.registry import (
    DeleteVersion,
    DescribeModel,
    DescribeVersion,
    MoveStage,
    RegisterModel,
    RegisterVersion,
    SearchModels,
    SearchVersions,
    delete_version,
    describe_model,
    describe_version,
    move_stage,
    register_model,
    register_version,
    search_models,
    search_versions,
)
from undrift.testing.patterns import matches

PROMPT = {"mlflow.prompt.is_prompt": "true"}


def models(ctx, text="", order_by=(), **given):
    page = search_models(ctx, SearchModels("flights", text, tuple(order_by), **given))
    return [one.model.name for one in page.models]


def versions(ctx, text="", order_by=(), **given):
    page = search_versions(ctx, SearchVersions("flights", text, tuple(order_by), **given))
    return [(one.model, one.number) for one in page.versions]


@pytest.fixture
def some(on):
    """Five models of two projects."""
    for day, (name, tags) in enumerate(
        {"delay": {"team": "rail"}, "Delay": {"team": "Air"}, "étage": {}, "Étage": {"x": "a%b"}, "zz": PROMPT}.items()
    ):
        register_model(on(day=day), RegisterModel("flights", name, tags=tags))
    register_model(on(), RegisterModel("trains", "delay"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["Delay", "delay", "Étage", "étage"]),
        ("name = 'delay'", ["delay"]),
        ("name != 'delay'", ["Delay", "Étage", "étage"]),
        ("name LIKE 'd%'", ["delay"]),
        ("name LIKE 'D%'", ["Delay"]),
        ("name ILIKE 'd%'", ["Delay", "delay"]),
        ("name LIKE '_elay'", ["Delay", "delay"]),
        ("name LIKE '%'", ["Delay", "delay", "Étage", "étage"]),
        ("name LIKE 'd*'", []),
        ("name LIKE '[dD]elay'", []),
        ("name LIKE 'étage'", ["étage"]),
        ("name LIKE 'e\u0301t%'", ["étage"]),
        ("name = 'e\u0301tage'", ["étage"]),
        ("name ILIKE 'ÉT%'", ["Étage", "étage"]),
        ("name IN ('delay', 'zz', 'étage')", ["delay", "étage"]),
        ("name NOT IN ('delay', 'étage')", ["Delay", "Étage"]),
        ("tags.team = 'rail'", ["delay"]),
        ("tags.team != 'rail'", ["Delay"]),
        ("tags.team ILIKE '%A%'", ["Delay", "delay"]),
        ("tags.team LIKE '%A%'", ["Delay"]),
        ("tag.x LIKE 'a\\%b'", []),
        ("tags.x = 'a%b'", ["Étage"]),
        ("tags.team = 'rail' AND name = 'Delay'", []),
        ("tags.team ILIKE 'r%' AND tags.team ILIKE '%l'", ["delay"]),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", ["zz"]),
        ("tags.`mlflow.prompt.is_prompt` != 'true'", ["Delay", "delay", "Étage", "étage"]),
        ("name = 'zz'", []),
        ("name = 'x'' OR 1=1 --'", []),
    ],
)
def test_models_are_found_the_same_way_on_both_engines(on, some, text, found):
    assert models(on(), text) == found


def test_models_are_ordered_by_bytes_or_by_their_last_change(on, some):
    assert models(on(), order_by=["name DESC"]) == ["étage", "Étage", "delay", "Delay"]
    assert models(on(), order_by=["last_updated_timestamp DESC"]) == ["Étage", "étage", "Delay", "delay"]
    describe_model(on(day=9), DescribeModel("flights", "delay", "Changed."))
    assert models(on(), order_by=["timestamp DESC", "name"])[0] == "delay"


def test_a_page_leads_to_the_next_one(on, some):
    first = search_models(on(), SearchModels("flights", max_results=3))
    second = search_models(on(), SearchModels("flights", max_results=3, page_token=first.next_page_token))
    assert [one.model.name for one in (*first.models, *second.models)] == ["Delay", "delay", "Étage", "étage"]
    assert second.next_page_token == ""
    nothing = search_models(on(), SearchModels("flights", max_results=0))
    assert (nothing.models, bool(nothing.next_page_token)) == ((), True)
    for token in ("x", "e30=", "eyJvZmZzZXQiOiAtMX0=", "é"):
        with pytest.raises(Invalid, match="Invalid page token"):
            models(on(), page_token=token)
    for wrong in (-1, 1001):
        with pytest.raises(Invalid, match="max_results"):
            models(on(), max_results=wrong)


def test_a_model_is_found_with_its_aliases_and_newest_versions(on, add, move):
    add(on()), add(on()), add(on())
    move(on(), 1)
    move_stage(on(), MoveStage("flights", "late", 2, "Production"))
    (found,) = search_models(on(), SearchModels("flights")).models
    assert (found.newest, found.aliases) == (3, {"champion": 1})
    assert {one.stage: one.number for one in found.latest} == {"None": 3, "Production": 2}


@pytest.fixture
def many(on):
    """Versions of two models, with runs, sources and tags; one is deleted."""
    runs = [new_id() for _ in range(3)]
    register_model(on(), RegisterModel("flights", "late"))
    register_model(on(), RegisterModel("flights", "Early"))
    for day in range(3):
        register_version(
            on(day=day),
            RegisterVersion("flights", "late", runs[day], source=f"runs:/{day}/model", tags={"n": str(day)}),
        )
    register_version(on(day=3), RegisterVersion("flights", "Early", source="S3://bucket", tags=PROMPT))
    register_version(on(day=4), RegisterVersion("flights", "Early", runs[0], source="s3://bucket"))
    register_version(on(day=5), RegisterVersion("flights", "Early"))
    delete_version(on(day=6), DeleteVersion("flights", "Early", 3))
    return runs


def test_versions_are_found_by_what_is_known_of_them(on, many):
    late = [("late", 3), ("late", 2), ("late", 1)]
    asked = {
        "": [("Early", 2), *late],
        "name = 'late'": late,
        "name = 'late' AND version_number > 1": late[:2],
        "version_number >= 2 AND version_number != 3": [("Early", 2), ("late", 2)],
        "version_number = '1'": late[2:],
        f"run_id = '{many[0]}'": [("Early", 2), ("late", 1)],
        f"run_id != '{many[0]}'": late[:2],
        f"run_id IN ('{many[0]}', '{many[1]}')": [("Early", 2), ("late", 2), ("late", 1)],
        f"run_id NOT IN ('{many[0]}', '{many[1]}')": late[:1],
        "source_path LIKE 'runs:/%/model'": late,
        "source_path LIKE 'S3%'": [],
        "source_path ILIKE 'S3%'": [("Early", 2)],
        "tags.n = '1'": [("late", 2)],
        "tags.n != '1'": [("late", 3), ("late", 1)],
        "tags.`mlflow.prompt.is_prompt` = 'true'": [("Early", 1)],
        "name = 'never'": [],
    }
    assert {text: versions(on(), text) for text in asked} == asked


def test_versions_are_ordered_as_asked_with_ties_by_name_and_number(on, many):
    assert versions(on(), order_by=["name"]) == [("Early", 2), ("late", 3), ("late", 2), ("late", 1)]
    assert versions(on(), order_by=["version_number ASC"])[:2] == [("late", 1), ("Early", 2)]
    assert versions(on(), order_by=["creation_timestamp"])[0] == ("late", 1)
    describe_version(on(day=9), DescribeVersion("flights", "late", 1, "Changed."))
    assert versions(on())[0] == ("late", 1)
    assert versions(on(), order_by=["last_updated_timestamp DESC"])[0] == ("late", 1)


def test_versions_come_in_pages_with_their_tags_and_stages(on, many):
    move_stage(on(day=2), MoveStage("flights", "late", 3, "Staging"))
    seen, token = [], ""
    while True:
        page = search_versions(on(), SearchVersions("flights", "name = 'late'", max_results=2, page_token=token))
        seen += page.versions
        token = page.next_page_token
        if not token:
            break
    assert [(one.number, one.tags, one.stage) for one in seen] == [
        (3, {"n": "2"}, "Staging"),
        (2, {"n": "1"}, "None"),
        (1, {"n": "0"}, "None"),
    ]
    for wrong in (0, 200_001):
        with pytest.raises(Invalid, match="max_results"):
            versions(on(), max_results=wrong)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("naming = 'x'", ()),
        ("name > 'x'", ()),
        ("name = 1", ()),
        ("version_number = 'x'", ()),
        ("metrics.a > 1", ()),
        ("name = 'a' OR name = 'b'", ()),
        ("", ("stage",)),
        ("", ("name", "name DESC")),
    ],
)
def test_what_cannot_be_asked_is_told(on, text, order):
    with pytest.raises(Invalid):
        versions(on(), text, order)
    with pytest.raises(Invalid):
        models(on(), text, order)


signs = st.text(st.sampled_from("aAbÄäß%_*?[]\\^-"), max_size=6)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=signs.filter(str.strip), pattern=signs)
def test_patterns_match_as_they_do_outside_the_database(ctx, make_ctx, value, pattern):
    with ctx.begin():
        name = register_model(ctx, RegisterModel("flights", value)).name
    text = pattern.replace("'", "''")
    later = make_ctx(ctx.database, clock=ReplayClock(ctx.now()))
    for op, exact in (("LIKE", True), ("ILIKE", False)):
        found = name in models(later, f"name {op} '{text}'", max_results=1000)
        assert found == matches(name, pattern, case_sensitive=exact), (name, op, pattern)
