from __future__ import annotations

import contextlib
import json
import math
import random
import re
import subprocess
import sys
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from undrift.core import filters
from undrift.core.errors import Invalid, TooLarge
from undrift.core.filters import (
    EXPERIMENTS,
    LOGGED_MODELS,
    MODEL_VERSIONS,
    REGISTERED_MODELS,
    RUNS,
    Clause,
    OrderBy,
    check_order,
    order_by_field,
    parse_filter,
    parse_order,
)
from undrift.testing.patterns import matches

GRAMMARS = {
    "runs": RUNS,
    "experiments": EXPERIMENTS,
    "registered models": REGISTERED_MODELS,
    "model versions": MODEL_VERSIONS,
    "logged models": LOGGED_MODELS,
}


def read(text, grammar=RUNS):
    return [(clause.entity, clause.key, clause.op, clause.value) for clause in parse_filter(text, grammar)]


def refusal(text, grammar=RUNS):
    with pytest.raises(Invalid) as caught:
        parse_filter(text, grammar)
    assert caught.value.next_step
    assert len(str(caught.value)) < 1_000 + len(grammar.example)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("", []),
        (" \n\t", []),
        ("AND", []),
        ("metrics.m > 1", [("metric", "m", ">", 1.0)]),
        ("metric.m>=1", [("metric", "m", ">=", 1.0)]),
        ("metrics.m = -.5", [("metric", "m", "=", -0.5)]),
        ("metrics.m = 5.", [("metric", "m", "=", 5.0)]),
        ("metrics.m=1e-3", [("metric", "m", "=", 0.001)]),
        ("metrics.m!=-1E+16", [("metric", "m", "!=", -1e16)]),
        ("metrics.m < 1.7976931348623157e308", [("metric", "m", "<", sys.float_info.max)]),
        ("metrics.0 > 1", [("metric", "0", ">", 1.0)]),
        ("params.p = 'x'", [("parameter", "p", "=", "x")]),
        ('param.p="x"', [("parameter", "p", "=", "x")]),
        ("parameter.p='x'", [("parameter", "p", "=", "x")]),
        ("parameters.p='x'", [("parameter", "p", "=", "x")]),
        ("tag.t=''", [("tag", "t", "=", "")]),
        ("tags.t=''''", [("tag", "t", "=", "'")]),
        ("tags.t='it''s'", [("tag", "t", "=", "it's")]),
        ('tags.t="it\'s ""so"""', [("tag", "t", "=", 'it\'s "so"')]),
        (r"tags.t='C:\'", [("tag", "t", "=", "C:\\")]),
        (r"tags.t='C:\' AND tags.u='\\x'", [("tag", "t", "=", "C:\\"), ("tag", "u", "=", r"\\x")]),
        ("tags.t='a AND b'", [("tag", "t", "=", "a AND b")]),
        ("tags.t='a;b -- /* ( OR'", [("tag", "t", "=", "a;b -- /* ( OR")]),
        ("tags.t='a\nb'", [("tag", "t", "=", "a\nb")]),
        ("tags.`my key`='x'", [("tag", "my key", "=", "x")]),
        ('tags."my key"=\'x\'', [("tag", "my key", "=", "x")]),
        ("tags.'my key'='x'", [("tag", "my key", "=", "x")]),
        ("tags.`a``b'c\"d`='x'", [("tag", "a`b'c\"d", "=", "x")]),
        ("tags.mlflow.source.type='x'", [("tag", "mlflow.source.type", "=", "x")]),
        ("metrics.val-acc/top:1>0", [("metric", "val-acc/top:1", ">", 0.0)]),
        ("`params`.`a.b`='x'", [("parameter", "a.b", "=", "x")]),
        ("tags.日本='日本'", [("tag", "日本", "=", "日本")]),
        ("params.and='x' and params.in = 'y'", [("parameter", "and", "=", "x"), ("parameter", "in", "=", "y")]),
        ("params.like like 'x%'", [("parameter", "like", "LIKE", "x%")]),
        ("params.p iLiKe 'x%'", [("parameter", "p", "ILIKE", "x%")]),
        ("params.p is null", [("parameter", "p", "IS NULL", None)]),
        ("tags.t Is  Not\nNull", [("tag", "t", "IS NOT NULL", None)]),
        ("run_id = 'r'", [("attribute", "run_id", "=", "r")]),
        ("attribute.run_id = 'r'", [("attribute", "run_id", "=", "r")]),
        ("attributes.run_id = 'r'", [("attribute", "run_id", "=", "r")]),
        ("attr.run_id = 'r'", [("attribute", "run_id", "=", "r")]),
        ("run.run_id = 'r'", [("attribute", "run_id", "=", "r")]),
        ("\"run_id\"='r'", [("attribute", "run_id", "=", "r")]),
        ("Created > 1", [("attribute", "start_time", ">", 1)]),
        ("attribute.created <= 1.5", [("attribute", "start_time", "<=", 1.5)]),
        ("`run name`='x'", [("attribute", "run_name", "=", "x")]),
        ("attribute.`Run name`='x'", [("attribute", "run_name", "=", "x")]),
        ("attr.\"Run Name\"='x'", [("attribute", "run_name", "=", "x")]),
        ("run_id IN ('a','b')", [("attribute", "run_id", "IN", ("a", "b"))]),
        ("run_id not  in('a', \"b\",)", [("attribute", "run_id", "NOT IN", ("a", "b"))]),
        (f"run_id IN {('it', )}", [("attribute", "run_id", "IN", ("it",))]),
        ("dataset.name IN ('a') AND datasets.digest = 'b'", [
            ("dataset", "name", "IN", ("a",)),
            ("dataset", "digest", "=", "b"),
        ]),
        ("AND metrics.m > 1 and AND metrics.m > 1 AND", [("metric", "m", ">", 1.0)] * 2),
        ("metrics.m>1\r\nAND\ttags.t='x'AND`status`='FAILED'", [
            ("metric", "m", ">", 1.0),
            ("tag", "t", "=", "x"),
            ("attribute", "status", "=", "FAILED"),
        ]),
        ("params.p\u3000=\u00a0'x'\u2003", [("parameter", "p", "=", "x")]),
    ],
)  # fmt: skip
def test_a_filter_of_runs_is_read(text, clauses):
    assert read(text) == clauses


@pytest.mark.parametrize(
    ("grammar", "text", "clauses"),
    [
        (EXPERIMENTS, "name ILIKE 'x%' AND attribute.name != 'y'", [("name", "ILIKE", "x%"), ("name", "!=", "y")]),
        (EXPERIMENTS, "experiment_id IN ('1','02')", [("experiment_id", "IN", ("1", "2"))]),
        (EXPERIMENTS, "creation_time >= 5 AND last_update_time<6", [
            ("creation_time", ">=", 5),
            ("last_update_time", "<", 6),
        ]),
        (EXPERIMENTS, "tag.t LIKE 'x' AND tags.t IS NULL", [("t", "LIKE", "x"), ("t", "IS NULL", None)]),
        (REGISTERED_MODELS, "name LIKE 'x' AND tags.`mlflow.prompt.is_prompt` = 'true'", [
            ("name", "LIKE", "x"),
            ("mlflow.prompt.is_prompt", "=", "true"),
        ]),
        (REGISTERED_MODELS, "name IN ('a')", [("name", "IN", ("a",))]),
        (MODEL_VERSIONS, "version_number > 3 AND version_number='5'", [
            ("version_number", ">", 3),
            ("version_number", "=", 5),
        ]),
        (MODEL_VERSIONS, "run_id NOT IN ('a') AND source_path LIKE 'b%'", [
            ("run_id", "NOT IN", ("a",)),
            ("source_path", "LIKE", "b%"),
        ]),
        (LOGGED_MODELS, "attributes.creation_time > 1 AND last_updated_time < 2.5", [
            ("creation_timestamp", ">", 1),
            ("last_updated_timestamp", "<", 2.5),
        ]),
        (LOGGED_MODELS, "metrics.val-acc>1 AND params.p IN ('a') AND tags.t = \"b\"", [
            ("val-acc", ">", 1.0),
            ("p", "IN", ("a",)),
            ("t", "=", "b"),
        ]),
    ],
)  # fmt: skip
def test_a_filter_of_other_things_is_read(grammar, text, clauses):
    assert [each[1:] for each in read(text, grammar)] == clauses


def test_whole_numbers_stay_whole():
    (clause,) = parse_filter("start_time > 1700000000123", RUNS)
    assert isinstance(clause.value, int)
    assert isinstance(parse_filter("metrics.m > 1", RUNS)[0].value, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # What the tests of MLflow's clients look for.
        ("metric.acc >= 0.94; metrics.rmse < 1", "Search filter contained multiple expression"),
        ("m.acc >= 0.94", "Invalid entity type 'm'. Valid values are ["),
        ("acc >= 0.94", "Invalid attribute key 'acc' specified. Valid keys are "),
        ("attri.x != 1", "Invalid entity type"),
        ("model >= 'LR'", "Invalid attribute key"),
        ("metrics.A > 0.1 OR params.B = 'LR'", "Invalid clause(s) in filter string: 'OR params.B = 'LR''"),
        ("metrics.A > 0.1 NAND params.B = 'LR'", "Invalid clause(s) in filter string"),
        ("metrics.A > 0.1 AND (params.B = 'LR')", "Invalid clause(s) in filter string"),
        ("`metrics.A > 0.1", "Invalid clause(s) in filter string"),
        ("param`.A > 0.1", "Invalid clause(s) in filter string"),
        ("attribute.start != 1", "Invalid attribute key"),
        ("attribute.experiment_id != 1", "Invalid attribute key"),
        ("attribute.status = true", "Invalid clause(s) in filter string"),
        ("dataset.status = 'true'", "Invalid dataset key"),
        ("metrics.acc IS NULL", "IS NULL / IS NOT NULL is only supported for tags and params"),
        ("attribute.status IS NOT NULL", "IS NULL / IS NOT NULL is only supported for tags and params"),
        ("metric.model = 'LR'", "Expected numeric value type for metric. Found 'LR'"),
        ("metric.model = '5'", "Expected numeric value type for metric. Found '5'"),
        ("params.acc = 5", "Expected a quoted string value for parameter (e.g. 'my-value'). Got value 5"),
        ("tags.acc = 5", "Expected a quoted string value for tag (e.g. 'my-value'). Got value 5"),
        ("metrics.acc != metrics.acc", "Expected numeric value type for metric"),
        ("1.0 > metrics.acc", "Expected 'Identifier' found '1.0'"),
        ("attribute.status = 1", "Expected a quoted string value for attributes. Got value 1"),
        ("params.acc = LR", "value is either not quoted or unidentified quote types"),
        ("params.acc = `LR`", "value is either not quoted or unidentified quote types"),
        ("params.'acc = LR", "Invalid clause(s) in filter string"),
        ("params.acc = 'LR", "Invalid clause(s) in filter string"),
        ("params.acc = LR'", "Invalid clause(s) in filter string"),
        ("params.acc = \"LR'", "Invalid clause(s) in filter string"),
        ("tags.acc = = 'LR'", "Invalid clause(s) in filter string"),
        ("attribute.status IS 'RUNNING'", "Invalid clause(s) in filter string"),
        ("params.acc LR !=", "Invalid clause(s) in filter string"),
        ("metric.acc !=", "Invalid clause(s) in filter string"),
        ("foo is null", "Invalid attribute key"),
        ("1=1", "Expected 'Identifier' found '1'"),
        ("'x' = params.p", "Expected 'Identifier' found \"'x'\""),
        *((f"metrics.a {op} 1.0", f"Invalid comparator '{op}' not one of [") for op in ("~", "~=", "==", "<>", "LIKE")),
        *((f"params.a {op} 'x'", f"Invalid comparator '{op}' not one of [") for op in (">", "<=", "~", "RLIKE")),
        *((f"tags.a {op} 'x'", "Invalid comparator") for op in (">", "NOT LIKE", "=<", "IN")),
        *((f"attributes.status {op} 'x'", "Invalid comparator") for op in (">", "~")),
        *((f"attributes.start_time {op} 1234", "Invalid comparator") for op in ("LIKE", "ILIKE")),
        *((f"datasets.name {op} 'x'", "Invalid comparator") for op in (">", "~")),
        # What else cannot be right.
        ("metrics.a > 1 metrics.b > 2", "Join clauses with AND"),
        ("tags.a='x'tags.b='y'", "Join clauses with AND"),
        ("tags.a='x';", "Invalid clause(s)"),
        ("tags.a='x' -- more", "Invalid clause(s)"),
        ("NOT tags.a='x'", "Invalid clause(s)"),
        ("(tags.a='x')", "Expected 'Identifier' found '('"),
        ("tags.a", "A comparison is missing"),
        ("tags.a NOT NULL", "A comparison is missing"),
        ("tags.a ISNULL", "A comparison is missing"),
        ("tags. a = 'x'", "A name is missing behind the dot"),
        ("tags .a = 'x'", "Invalid clause(s)"),
        ("tags.`` = 'x'", "A name is missing behind the dot"),
        ("Params.a = 'x'", "Invalid entity type 'Params'"),
        ("run name = 'x'", "Invalid clause(s)"),
        ("tags.a$b = 'x'", "Invalid clause(s)"),
        (r"tags.a = 'it\'s'", "Invalid clause(s)"),
        ("metrics.a > nan", "Expected numeric value type for metric. Found nan"),
        ("metrics.a > -inf", "Expected numeric value type for metric. Found -inf"),
        ("metrics.a > 1_0", "Found 1_0"),
        ("metrics.a > 0x10", "Found 0x10"),
        ("metrics.a > \u0661", "Expected numeric value type"),
        ("metrics.a > 1.2.3", "Expected numeric value type"),
        ("metrics.a > 1e5.5", "Expected numeric value type"),
        ("metrics.a > 1AND metrics.b>1", "Found 1AND"),
        ("metrics.a > +1", "A value is missing"),
        ("metrics.a > --1", "Found -"),
        ("metrics.a > - 1", "Found -"),
        ("metrics.a > 1e400", "larger than any metric"),
        (f"metrics.a > {'9' * 400}", "larger than any metric"),
        (f"metrics.a > {'9' * 5000}", "Expected numeric value type"),
        (f"start_time > {2**63}", "more than 64 bits"),
        ("start_time > 1e300", "more than 64 bits"),
        ("start_time > '1'", "Expected numeric value type for numeric attribute: start_time. Found '1'"),
        ("start_time IN ('1')", "Expected numeric value type for numeric attribute"),
        ("status IN ('a')", "Only ['run_id'] attributes support comparison with a list of quoted string values"),
        ("params.p IN ('a')", "Expected a quoted string value for parameter (e.g. 'my-value'). Got value ('a')"),
        ("run_id = ('a')", "Expected a quoted string value for attributes. Got value ('a')"),
        ("run_id IN 'a'", "expected a non-empty list of string values"),
        ("run_id IN ()", "expected a non-empty list of string values"),
        ("run_id IN (1, 2)", "expected a non-empty list of quoted string values"),
        ("run_id IN ('a', 1)", "list of quoted string values"),
        ("run_id IN ('a' 'b')", "expected a comma"),
        ("run_id IN (('a'))", "Invalid clause(s)"),
        ("run_id IN ('a'", "Invalid clause(s)"),
        ("run_id IN (", "Invalid clause(s)"),
        ("tags.a = 'x\0'", "a character that no text can have"),
        ("tags.a = '\ud800'", "a character that no text can have"),
    ],
)
def test_a_filter_of_runs_is_refused(text, message):
    assert message in refusal(text)


@pytest.mark.parametrize(
    ("grammar", "text", "message"),
    [
        (EXPERIMENTS, "attributes.name = 'x'", "Invalid entity type 'attributes'"),
        (EXPERIMENTS, "params.p = 'x'", "Invalid entity type 'params'"),
        (EXPERIMENTS, "name IN ('a')", "Only ['experiment_id'] attributes support"),
        (EXPERIMENTS, "experiment_id LIKE '1'", "Invalid comparator 'LIKE'"),
        (EXPERIMENTS, "experiment_id = 1", "Expected a quoted string value for attributes"),
        (EXPERIMENTS, f"experiment_id = '{'1' * 19}'", "Invalid value for attribute 'experiment_id'"),
        (EXPERIMENTS, "experiment_id = 'one'", "Invalid value for attribute 'experiment_id'"),
        (EXPERIMENTS, "experiment_id IN ('1', '-2')", "Invalid value for attribute 'experiment_id'"),
        (EXPERIMENTS, "creation_time > 5.5", "Invalid value for numeric attribute 'creation_time'"),
        (EXPERIMENTS, "creation_time > '5'", "Expected numeric value type"),
        (EXPERIMENTS, "name IS NULL", "only supported for tags, not for 'attribute' 'name'"),
        (REGISTERED_MODELS, "tags.t IS NULL", "Invalid comparator 'IS NULL'"),
        (REGISTERED_MODELS, "run_id = 'x'", "Invalid attribute key 'run_id'"),
        (REGISTERED_MODELS, "last_updated_timestamp > 1", "Invalid attribute key"),
        (MODEL_VERSIONS, "version_number = 5.5", "Invalid value for numeric attribute 'version_number'"),
        (MODEL_VERSIONS, "version_number = 'five'", "Expected numeric value type"),
        (MODEL_VERSIONS, "source_path IN ('a')", "Only ['name', 'run_id'] attributes support"),
        (MODEL_VERSIONS, "creation_timestamp > 1", "Invalid attribute key"),
        (LOGGED_MODELS, "attribute.name = 'x'", "Invalid entity type 'attribute'"),
        (LOGGED_MODELS, "metric.m > 1", "Invalid entity type 'metric'"),
        (LOGGED_MODELS, "datasets.name = 'x'", "Invalid entity type 'datasets'"),
        (LOGGED_MODELS, "tags.t IS NULL", "Invalid comparator 'IS NULL'"),
        (LOGGED_MODELS, "foo = 'x'", "Invalid attribute key 'foo'"),
        (LOGGED_MODELS, "name > 'x'", "Invalid comparator '>'"),
    ],
)
def test_a_filter_of_other_things_is_refused(grammar, text, message):
    assert message in refusal(text, grammar)


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)
def test_the_example_that_a_refusal_gives_is_right(grammar):
    assert parse_filter(grammar.example, grammar)
    assert parse_order([f"{min(grammar.orders)} DESC"], grammar)


@pytest.mark.parametrize(
    ("grammar", "item", "order"),
    [
        (RUNS, "metrics.m", ("metric", "m", True)),
        (RUNS, " metrics.`a b`\tdesc ", ("metric", "a b", False)),
        (RUNS, 'metrics."a b" ASC', ("metric", "a b", True)),
        (RUNS, "params.val-acc/x Desc", ("parameter", "val-acc/x", False)),
        (RUNS, "tags.asc", ("tag", "asc", True)),
        (RUNS, "attributes.Created DESC", ("attribute", "start_time", False)),
        (RUNS, "`Run Name`", ("attribute", "run_name", True)),
        (RUNS, "run.end_time", ("attribute", "end_time", True)),
        (EXPERIMENTS, "experiment_id DESC", ("attribute", "experiment_id", False)),
        (EXPERIMENTS, "attribute.`name`", ("attribute", "name", True)),
        (REGISTERED_MODELS, "timestamp DESC", ("attribute", "last_updated_timestamp", False)),
        (REGISTERED_MODELS, "last_updated_timestamp", ("attribute", "last_updated_timestamp", True)),
        (MODEL_VERSIONS, "creation_timestamp", ("attribute", "creation_timestamp", True)),
        (LOGGED_MODELS, "metrics.m DESC", ("metric", "m", False)),
        (LOGGED_MODELS, "creation_time", ("attribute", "creation_timestamp", True)),
    ],
)
def test_an_order_is_read(grammar, item, order):
    assert parse_order([item], grammar) == (OrderBy(*order),)


@pytest.mark.parametrize(
    ("grammar", "item", "message"),
    [
        (RUNS, "", "Invalid order_by clause ''. Could not be parsed."),
        (RUNS, "desc", "Invalid order_by clause 'desc'. Could not be parsed."),
        (RUNS, "metrics.m ASC DESC", "Could not be parsed"),
        (RUNS, "metrics.m ASC;", "Could not be parsed"),
        (RUNS, "metrics.a, metrics.b", "Could not be parsed"),
        (RUNS, "metrics.m DESC NULLS LAST", "Could not be parsed"),
        (RUNS, "metrics.`a", "Could not be parsed"),
        (RUNS, "metrics.`a`DESC", "Could not be parsed"),
        (RUNS, "metrics.m UP", "Invalid ordering key in order_by clause 'metrics.m UP'"),
        (RUNS, "run name", "Invalid ordering key in order_by clause 'run name'"),
        (RUNS, "foo", "Invalid attribute key 'foo' specified. Valid keys are"),
        (RUNS, "foo.x", "Invalid entity type 'foo'"),
        (RUNS, "dataset.name", "Invalid order_by entity: dataset"),
        (EXPERIMENTS, "tags.t", "Invalid order_by entity: tag"),
        (EXPERIMENTS, "metrics.m", "Invalid entity type 'metrics'"),
        (REGISTERED_MODELS, "creation_timestamp", "Invalid order by key 'creation_timestamp' specified"),
        (MODEL_VERSIONS, "run_id", "Invalid attribute key 'run_id' specified"),
        (LOGGED_MODELS, "params.p", "Invalid order_by entity: parameter"),
    ],
)
def test_an_order_is_refused(grammar, item, message):
    with pytest.raises(Invalid) as caught:
        parse_order([item], grammar)
    assert message in caught.value.message
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("grammar", "items"),
    [
        (RUNS, ["metrics.m", "metric.`m` DESC"]),
        (RUNS, ["start_time", "Created"]),
        (REGISTERED_MODELS, ["timestamp", "name", "last_updated_timestamp DESC"]),
    ],
)
def test_a_field_orders_only_once(grammar, items):
    with pytest.raises(Invalid, match="`order_by` contains duplicate fields"):
        parse_order(items, grammar)


def test_one_key_of_two_entities_orders_twice():
    assert len(parse_order(["metrics.m", "params.m", "tags.m"], RUNS)) == 3
    assert parse_order([], RUNS) == ()


def test_fields_of_logged_models_order_by_name():
    assert order_by_field("creation_time", True, LOGGED_MODELS) == OrderBy("attribute", "creation_timestamp", True)
    assert order_by_field("metrics.a.b c", False, LOGGED_MODELS) == OrderBy("metric", "a.b c", False)
    assert order_by_field(" metrics.`a b` ", False, LOGGED_MODELS) == OrderBy("metric", "a b", False)
    both = [order_by_field(name, True, LOGGED_MODELS) for name in ("creation_time", "creation_timestamp")]
    with pytest.raises(Invalid, match="duplicate fields"):
        check_order(both)


@pytest.mark.parametrize("name", ["", ".", "foo", "metrics.", "metrics.``", "params.p", "metric.m", ".m", "name\0"])
def test_other_fields_of_logged_models_are_refused(name):
    with pytest.raises(Invalid) as caught:
        order_by_field(name, True, LOGGED_MODELS)
    assert "Invalid order by field name" in caught.value.message or "\0" in name
    assert caught.value.next_step


def test_filters_and_orders_have_a_limit():
    clause = "tags.t = 'x'"
    assert len(parse_filter(" AND ".join([clause] * filters.MAX_CLAUSES), RUNS)) == filters.MAX_CLAUSES
    with pytest.raises(TooLarge, match="more than 100 clauses"):
        parse_filter(" AND ".join([clause] * (filters.MAX_CLAUSES + 1)), RUNS)
    fits = f"tags.t = '{'x' * (filters.MAX_TEXT - 11)}'"
    assert len(fits) == filters.MAX_TEXT
    assert parse_filter(fits, RUNS)
    with pytest.raises(TooLarge, match="20,001 characters"):
        parse_filter(fits + " ", RUNS)
    with pytest.raises(TooLarge, match="more than 100 items"):
        parse_order([f"metrics.m{i}" for i in range(101)], RUNS)
    with pytest.raises(TooLarge, match="characters"):
        parse_order(["metrics." + "m" * 10_000, "tags." + "m" * 10_000], RUNS)


@pytest.mark.parametrize(
    "unit",
    [
        "'", '"', "`", "''", "(", "('", "tags.t='", "tags.t=''", "run_id IN ('a',", "AND ", "and", "NOT ", "IS NOT ",
        "1e+", "-", ".", "a.", "=", "\\'", " ", "\n", "é", "\U0001d7d9", "e+", "1", "metrics.", "`a`.",
    ],
)  # fmt: skip
def test_hostile_filters_are_answered_at_once(unit):
    body = unit * (filters.MAX_TEXT // len(unit))

    def answer(read, asked, grammar):
        with contextlib.suppress(Invalid):
            read(asked, grammar)

    began = time.process_time()
    for prefix in ("", "tags.t=", "metrics.m > ", "tags.", "run_id IN ", "tags.t = '"):
        for text in (prefix + body)[: filters.MAX_TEXT], (prefix + body)[: filters.MAX_TEXT - 1] + "'":
            for grammar in (RUNS, LOGGED_MODELS):
                answer(parse_filter, text, grammar)
            answer(parse_order, [text], RUNS)
    # 36 readings of 20,000 characters; a reader that goes back over its text takes minutes.
    assert time.process_time() - began < 5


pieces = st.sampled_from(
    [*"az_.-/:09eE+ '\"`()=!<>~,;%\n\\é日", "AND ", "tags.", "metrics.m", "IN", "IS ", "NOT ", "NULL"]
)


@given(st.lists(pieces, max_size=40).map("".join))
@example("tags.t='x' AND AND")
def test_any_text_is_read_or_refused(text):
    for grammar in GRAMMARS.values():
        try:
            clauses = parse_filter(text, grammar)
        except Invalid as error:
            assert error.next_step  # noqa: PT017 - both ways are right; only these two are
        else:
            assert all(isinstance(clause, Clause) for clause in clauses)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
COMPARISONS = ["=", "!=", "<", "<=", ">", ">="]


@st.composite
def clauses_of(draw, grammar):
    kinds = ["attribute", *grammar.operators, *(["dataset"] if grammar.datasets else [])]
    entity = draw(st.sampled_from(kinds))
    if entity in {"attribute", "dataset"}:
        known = grammar.attributes if entity == "attribute" else grammar.datasets
        key = draw(st.sampled_from(sorted(known)))
        attribute = known[key]
        kind, operators, digits = attribute.kind, attribute.operators, attribute.digits
    else:
        key = draw(names)
        kind, operators, digits = ("number" if entity == "metric" else "string"), grammar.operators[entity], False
    op = draw(st.sampled_from(sorted(operators)))
    value = st.integers(0, 10**18 - 1).map(str) if digits else texts
    if "NULL" in op:
        value = st.none()
    elif "IN" in op.split():
        value = st.lists(value, min_size=1, max_size=4).map(tuple)
    elif entity == "metric":
        value = numbers
    elif kind == "number":
        value = st.integers(-(2**63), 2**63 - 1) | st.floats(-(2.0**62), 2.0**62)
    elif kind == "integer":
        value = st.integers(-(2**63), 2**63 - 1)
    return Clause(entity, key, op, draw(value))


def quoted(text, quote):
    return quote + text.replace(quote, quote * 2) + quote


@st.composite
def filter_and_clauses(draw):
    grammar = draw(st.sampled_from(list(GRAMMARS.values())))
    clauses = draw(st.lists(clauses_of(grammar), max_size=5))
    blanks = st.sampled_from(["", " ", "\n\t", "\u3000"])
    parts = []
    for clause in clauses:
        word = draw(st.sampled_from(sorted(word for word, entity in grammar.words.items() if entity == clause.entity)))
        spelling = draw(
            st.sampled_from([clause.key, *(also for also, key in grammar.aliases.items() if key == clause.key)])
            if clause.entity == "attribute"
            else st.just(clause.key)
        )
        key = quoted(spelling, draw(st.sampled_from('`"')))
        if clause.entity != "attribute" or draw(st.booleans()):
            key = f"{word}.{key}"
        op = draw(st.sampled_from([clause.op, clause.op.lower()])).replace(" ", draw(st.sampled_from([" ", "  \n"])))
        if clause.value is None:
            value = ""
        elif isinstance(clause.value, tuple):
            comma = draw(st.sampled_from([",", " , "]))
            value = f"({comma.join(quoted(text, draw(st.sampled_from(_QUOTES))) for text in clause.value)})"
        elif isinstance(clause.value, str):
            value = quoted(clause.value, draw(st.sampled_from(_QUOTES)))
        else:
            value = repr(clause.value)
        parts.append(f"{key}{draw(blanks)}{op}{draw(blanks)}{value}")
    joint = draw(st.sampled_from([" AND ", " and\n", "\tAnd AND "]))
    return grammar, joint.join(parts), tuple(clauses)


_QUOTES = "'\""


@given(filter_and_clauses())
def test_what_is_written_is_read(written):
    grammar, text, clauses = written
    assert parse_filter(text, grammar) == clauses
    for clause, again in zip(clauses, parse_filter(text, grammar), strict=True):
        assert type(clause.value) is type(again.value)


@pytest.mark.parametrize(
    ("value", "pattern", "with_case", "without"),
    [
        ("", "", True, True),
        ("", "%", True, True),
        ("", "_", False, False),
        ("abc", "abc", True, True),
        ("abc", "ab", False, False),
        ("abc", "%b%", True, True),
        ("abc", "a_c", True, True),
        ("abc", "a%c%", True, True),
        ("aXbXc", "a%b_c", True, True),
        ("Late", "late", False, True),
        ("Größe", "gRÖ%E", False, True),
        ("a\nb", "a_b", True, True),
        ("a\nb", "a%", True, True),
        ("a%b", "a\\%b", False, False),
        ("a.b", "a.b", True, True),
        ("axb", "a.b", False, False),
        ("ab", "%%%a%%b%%", True, True),
        ("[a]", "[a]", True, True),
    ],
)
def test_like(value, pattern, with_case, without):
    assert matches(value, pattern, case_sensitive=True) is with_case
    assert matches(value, pattern, case_sensitive=False) is without


@given(st.text("abA%_\n", max_size=12), st.text("abA%_\n", max_size=8), st.booleans())
def test_like_is_what_the_regular_expression_says(value, pattern, case_sensitive):
    expression = "".join({"%": ".*", "_": "."}.get(each, re.escape(each)) for each in pattern)
    flags = re.DOTALL | (0 if case_sensitive else re.IGNORECASE)
    assert matches(value, pattern, case_sensitive=case_sensitive) is bool(re.fullmatch(expression, value, flags))


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        ("a" * 8000, "%a" * 9_000 + "b"),
        ("a" * 8000, "a%" * 4000 + "_" * 4000),
        ("a" * 8000, "_" * 19_999),
        ("é" * 8000, "%" * 19_999),
        ("a" * 8000, "".join(map(chr, range(0x4E00, 0x4E00 + 9_000))) + "_" * 9_000),
    ],
)
def test_hostile_patterns_are_answered_at_once(value, pattern):
    began = time.process_time()
    for case_sensitive in (True, False):
        matches(value, pattern, case_sensitive=case_sensitive)
    assert time.process_time() - began < 3


_REFERENCE = """
import json, sys
from mlflow.utils import search_utils as s
from mlflow.utils.search_logged_model_utils import parse_filter_string

def logged(text):
    return [[c.entity.type.value, c.entity.key, c.op, c.value] for c in parse_filter_string(text)]

def with_(kind):
    return lambda text: [[c["type"], c["key"], c["comparator"], c["value"]] for c in kind.parse_search_filter(text)]

def ordered(read):
    return lambda text: [list(read(text))]

read = {
    "runs": with_(s.SearchUtils),
    "experiments": with_(s.SearchExperimentsUtils),
    "registered models": with_(s.SearchModelUtils),
    "model versions": with_(s.SearchModelVersionUtils),
    "logged models": logged,
    "order of runs": ordered(s.SearchUtils.parse_order_by_for_search_runs),
}
print(json.dumps([read[kind](text) for kind, text in json.load(sys.stdin)]))
"""


def _valid_filters(kind, grammar, count):
    """Texts that both readers take: no quote within its own quotes, which MLflow leaves doubled."""
    chance = random.Random(f"filters of {kind}")
    bare = [
        "loss",
        "val_acc",
        "a.b.c",
        "mlflow.source.type",
        "x1",
        "ü",
        "Ärger",
        "日本",
        "_x",
        "learning_rate",
        "Status",
    ]
    needy = ["a b", "val-acc", "a/b", "a:b", "p.a.r", "AND", "it's", "1st", "50%", " x "]
    words = [
        "x",
        "",
        "a AND b",
        "%late%",
        "10",
        "it is (so)",
        "a,b",
        "日本",
        "a;b",
        "-- x",
        "/* x */",
        "C:/x",
        "l\nm",
        "=",
        "`",
    ]
    digits = ["1", "0", "-3", "1.5", "-0.25", ".5", "-.5", "1e-3", "2E5", "7.", "123456789012"]

    def string():
        # The reference leaves double quotes around values of logged models.
        quote = "'" if kind == "logged models" else chance.choice("'\"")
        other = '"' if quote == "'" else "'"
        value = chance.choice(words) + chance.choice(["", "", other])
        return quote + value + quote

    def cased(word):
        return chance.choice([word, word.lower(), word.title()])

    for _ in range(count):
        parts = []
        for _ in range(chance.randint(1, 4)):
            kinds = ["attribute", *grammar.operators, *(["dataset"] if grammar.datasets else [])]
            entity = chance.choice(kinds)
            word = chance.choice(sorted(word for word, each in grammar.words.items() if each == entity))
            if entity in {"attribute", "dataset"}:
                known = grammar.attributes if entity == "attribute" else grammar.datasets
                key = chance.choice(sorted(known))
                shape, operators, numeral = known[key].kind, known[key].operators, known[key].digits
                if entity == "attribute" and kind == "runs":
                    key = chance.choice([key, *(also for also, name in grammar.aliases.items() if name == key)])
                written = f"`{key}`" if " " in key else key
                if entity == "dataset" or chance.random() < 0.5:
                    written = f"{word}.{written}"
            else:
                shape, operators, numeral = (
                    ("number" if entity == "metric" else "string"),
                    grammar.operators[entity],
                    False,
                )
                key = chance.choice(bare + needy)
                quote = "`" if kind == "logged models" else chance.choice('`"')
                written = f"{word}.{quote}{key}{quote}" if key in needy or chance.random() < 0.3 else f"{word}.{key}"
            op = chance.choice(sorted(operators))
            if op in COMPARISONS:
                gap = chance.choice(["", " ", "  ", "\n"])
                written += gap + op + chance.choice(["", " ", "\t"])
            else:
                written += f" {cased(op)}"
            if "NULL" in op:
                pass
            elif op.endswith("IN"):
                items = [f"'{chance.randint(1, 99)}'" for _ in range(chance.randint(1, 3))]
                written += f" ({chance.choice([', ', ','])[:2].join(items)}{',' if chance.random() < 0.2 else ''})"
            elif shape == "string":
                value = f"'{chance.randint(1, 99)}'" if numeral else string()
                written += value if op in COMPARISONS else f" {value}"
            else:
                whole = shape == "integer" or kind == "logged models"
                written += chance.choice([each for each in digits if not whole or each.lstrip("-").isdigit()])
            parts.append(written)
        joint = chance.choice([" AND ", " and ", "\nAnd\n"])
        yield chance.choice(["", "", " "]) + joint.join(parts) + chance.choice(["", "", " ", " AND"])


def _valid_orders(count):
    chance = random.Random("orders")
    for _ in range(count):
        entity = chance.choice(["metrics.", "metric.", "params.", "tag.", "`metrics`."])
        key = entity + chance.choice(["loss", "a.b", "`a b`", '"val-acc"', "asc", "ü", "`x/y`"])
        attribute = chance.choice(["", "run.", "attributes."]) + chance.choice(
            ["start_time", "Created", "status", "`run_id`"]
        )
        yield chance.choice([key, attribute]) + chance.choice(["", " ASC", " desc", "  DESC"])


def _as_clause(kind, found):
    entity, key, op, value = found
    grammar = GRAMMARS[kind]
    entity = grammar.words.get(entity, entity)
    if entity == "attribute":
        aliases = {"creation_timestamp_ms": "creation_timestamp", "last_updated_timestamp_ms": "last_updated_timestamp"}
        key = (grammar.aliases | aliases).get(key, key)
    if entity == "metric":
        value = float(value)
    elif isinstance(value, list):
        value = tuple(value)
    elif entity == "attribute" and grammar.attributes[key].kind == "integer":
        value = int(value)
    return Clause(entity, key, op.upper(), value)


@pytest.mark.slow  # to import MLflow takes seconds, and it is better kept out of this process
def test_filters_mean_what_they_mean_to_mlflow():
    pytest.importorskip("sqlparse")
    asked = [(kind, text) for kind, grammar in GRAMMARS.items() for text in _valid_filters(kind, grammar, 150)]
    orders = [("order of runs", text) for text in _valid_orders(100)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _REFERENCE],
        input=json.dumps(asked + orders),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout)
    assert len(answers) == len(asked) + len(orders) == 850
    for (kind, text), found in zip(asked, answers, strict=False):
        assert parse_filter(text, GRAMMARS[kind]) == tuple(_as_clause(kind, each) for each in found), (kind, text)
    for (_, text), ((entity, key, ascending),) in zip(orders, answers[len(asked) :], strict=True):
        expected = OrderBy(entity, RUNS.aliases.get(key, key) if entity == "attribute" else key, ascending)
        assert parse_order([text], RUNS) == (expected,), text


def test_metrics_are_compared_with_finite_numbers_only():
    @given(st.text("0123456789.eE+-", max_size=12))
    def check(written):
        try:
            (clause,) = parse_filter(f"metrics.m > {written}", RUNS)
        except Invalid:
            return
        assert math.isfinite(clause.value)
        assert clause.value == float(written)

    check()


@pytest.mark.parametrize(
    "text",
    [
        "tags.t = {}",
        "tags.{} = 1",
        "{} = 'x'",
        "{}.x = 'x'",
        "metrics.m > '{}'",
        "start_time {} 1",
        "tags.t='{}",
        "run_id = ('{}')",
    ],
)
def test_a_refusal_shows_the_beginning_of_what_is_wrong_and_not_all(text):
    assert len(refusal(text.format("x" * 19_000))) < 500
    assert len(refusal(text.format("~" * 19_000))) < 500
    with pytest.raises(Invalid) as caught:
        parse_order(["x" * 19_000], RUNS)
    assert len(str(caught.value)) < 500
