"""Searches for runs: every order and filter against a plain model of it, on both engines and along both ways."""

from __future__ import annotations

import functools
import math
from datetime import UTC, datetime, timedelta

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from undrift.tracking import (
    DatasetUse,
    DeleteRun,
    EndRun,
    LogDatasets,
    LoggedDataset,
    LogRun,
    LogRuns,
    MetricSeries,
    SearchRuns,
    StartRun,
    delete_run,
    end_run,
    log_datasets,
    log_run,
    log_runs,
    records,
    search_runs,
    start_run,
)

START = datetime(2013, 1, 1, tzinfo=UTC)
VALUES = (math.nan, -math.inf, math.inf, 0.0, -0.0, 0.5, 0.5, 1.0, -3.25, 1e300, 5e-324)
WORDS = ("10", "9", "Abc", "abc", "", "ä", "z" * 70, "z" * 70 + "a", "a%b", "A_B")


class Row(msgspec.Struct, frozen=True):
    """What the model knows of a run."""

    id: str
    started: int
    metrics: dict[str, float]
    parameters: dict[str, str]
    tags: dict[str, str]


rows = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.dictionaries(st.sampled_from(("m", "n")), st.sampled_from(VALUES)),
        st.dictionaries(st.sampled_from(("p", "q")), st.sampled_from(WORDS)),
        st.dictionaries(st.sampled_from(("t",)), st.sampled_from(WORDS)),
    ),
    max_size=12,
)
keys = st.sampled_from(("metrics.m", "metrics.n", "params.p", "tags.t", "attributes.start_time"))
orders = st.lists(st.tuples(keys, st.booleans()), max_size=2, unique_by=lambda one: one[0])
numbers = st.sampled_from((0.0, 0.5, 1.0, -3.25, 2.0))
clauses = st.one_of(
    st.tuples(st.sampled_from(("m", "n")), st.sampled_from(("=", "!=", "<", "<=", ">", ">=")), numbers),
    st.tuples(st.sampled_from(("p", "t")), st.sampled_from(("=", "!=")), st.sampled_from(WORDS[:8])),
    st.tuples(st.sampled_from(("p", "t")), st.sampled_from(("IS NULL", "IS NOT NULL")), st.none()),
    st.tuples(st.just("p"), st.sampled_from(("LIKE", "ILIKE")), st.sampled_from(("a%", "%b", "_", "abc", "A\\_B"))),
)


def write(ctx, project, given):
    made = []
    for started, metrics, parameters, tags in given:
        run = start_run(
            ctx,
            StartRun(project, "x", "r", tags=tags, parameters=parameters, started_at=START + timedelta(days=started)),
        )
        if metrics:
            series = tuple(MetricSeries(name, [0], [1], [value]) for name, value in metrics.items())
            log_run(ctx, LogRun(run.id, series=series))
        made.append(Row(run.id, started, metrics, parameters, tags))
    return made


def value_of(row, key):
    kind, _, name = key.partition(".")
    if kind == "attributes":
        return row.started
    return {"metrics": row.metrics, "params": row.parameters, "tags": row.tags}[kind].get(name)


def compared(first, second, order):
    for key, ascending in order:
        one, other = value_of(first, key), value_of(second, key)
        # Values, then NaN, then what is not there: in both directions.
        ranks = [
            2 if value is None else 1 if isinstance(value, float) and math.isnan(value) else 0 for value in (one, other)
        ]
        if ranks[0] != ranks[1]:
            return ranks[0] - ranks[1]
        if ranks[0]:
            continue
        if isinstance(one, str):
            one, other = one.encode(), other.encode()
        if one != other:
            return -1 if (one < other) == ascending else 1
    if all(key != "attributes.start_time" for key, _ in order) and first.started != second.started:
        return second.started - first.started
    return -1 if first.id < second.id else 1


def matches(row, clause):
    key, op, wanted = clause
    if key in {"m", "n"}:
        if key not in row.metrics:
            return False
        value = row.metrics[key]
        if math.isnan(value):
            return op == "!="
        return {
            "=": value == wanted,
            "!=": value != wanted,
            "<": value < wanted,
            "<=": value <= wanted,
            ">": value > wanted,
            ">=": value >= wanted,
        }[op]
    value = (row.parameters if key == "p" else row.tags).get(key)
    if op in {"IS NULL", "IS NOT NULL"}:
        return (value is None) == (op == "IS NULL")
    if value is None:
        return False
    if op in {"LIKE", "ILIKE"}:
        return like(value, wanted, case=op == "LIKE")
    return (value == wanted) == (op == "=")


def like(value, pattern, *, case):
    if not case:
        # Without case only ASCII letters are promised to be alike.
        value, pattern = value.lower(), pattern.lower()
    if not pattern:
        return not value
    if pattern[0] == "%":
        return any(like(value[at:], pattern[1:], case=True) for at in range(len(value) + 1))
    return bool(value) and pattern[0] in {"_", value[0]} and like(value[1:], pattern[1:], case=True)


def written(clause):
    key, op, value = clause
    name = {"m": "metrics.m", "n": "metrics.n", "p": "params.p", "t": "tags.t"}[key]
    if value is None:
        return f"{name} {op}"
    return f"{name} {op} {value}" if isinstance(value, float) else f"{name} {op} '{value}'"


def search(ctx, project, **given):
    found, token = [], ""
    while True:
        page = search_runs(ctx, SearchRuns(project, page_token=token, **given))
        found += [run.id for run in page.runs]
        token = page.next_page_token
        if not token:
            return found


def clear(ctx):
    with ctx.begin() as tx:
        for table in ("runs", "run_metrics", "run_parameters", "run_tags", "metric_chunks", "run_links"):
            tx.exec_driver_sql(f"DELETE FROM {table}")


@hypothesis.settings(max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(given=rows, order=orders, filters=st.lists(clauses, max_size=2), limit=st.integers(1, 5))
def test_runs_come_as_the_model_orders_and_filters_them(database, make_ctx, given, order, filters, limit):
    ctx = make_ctx(database)
    clear(ctx)
    made = write(ctx, "flights", given)
    wanted = [row for row in made if all(matches(row, clause) for clause in filters)]
    wanted.sort(key=functools.cmp_to_key(lambda first, second: compared(first, second, order)))
    asked = {
        "filter": " AND ".join(written(clause) for clause in filters),
        "order_by": tuple(f"{key} {'ASC' if ascending else 'DESC'}" for key, ascending in order),
    }
    assert search(ctx, "flights", limit=limit, **asked) == [row.id for row in wanted]


@pytest.fixture
def many(database, make_ctx):
    """Five experiments of 40 runs; every seventh is NaN, every fifth has no metric."""
    ctx = make_ctx(database)
    runs, entries = [], []
    for place in range(200):
        started = START + timedelta(minutes=place % 50)
        run = start_run(ctx, StartRun("flights", f"x{place % 5}", f"name-{place % 3}", started_at=started, user="ada"))
        if place % 4:
            value = math.nan if place % 7 == 0 else (place * 37 % 100) / 10
            series = (MetricSeries("m", [0], [1], [value]),)
            entries.append(LogRun(run.id, series=series, parameters={"p": str(place % 2)}))
            runs.append(Row(run.id, place % 50, {"m": value}, {"p": str(place % 2)}, {}))
        else:
            runs.append(Row(run.id, place % 50, {}, {}, {}))
    assert all(one.problem is None for one in log_runs(ctx, LogRuns(tuple(entries))))
    return ctx, runs


@pytest.mark.parametrize(
    "order", [(), (("metrics.m", True),), (("metrics.m", False),), (("attributes.start_time", False),)]
)
@pytest.mark.parametrize("text", ["", "metrics.m > 3", "params.p = '1'", "metrics.m != 3 AND params.p != '1'"])
def test_walking_along_an_order_and_gathering_from_a_clause_give_the_same(many, monkeypatch, order, text):
    ctx, _ = many
    asked = {"filter": text, "order_by": tuple(f"{key} {'ASC' if up else 'DESC'}" for key, up in order), "limit": 30}
    answers = []
    for few, walked in ((2_000, 16), (0, 16), (0, 0)):
        monkeypatch.setattr(records.search, "_FEW", few)
        monkeypatch.setattr(records.search, "_WALKED", walked)
        answers.append(search(ctx, "flights", **asked))
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) > 30


def test_many_experiments_are_merged_in_order(many):
    ctx, runs = many
    for up in (True, False):
        order = (("metrics.m", up),)
        wanted = sorted(runs, key=functools.cmp_to_key(lambda one, other, order=order: compared(one, other, order)))
        found = search(ctx, "flights", order_by=(f"metrics.m {'ASC' if up else 'DESC'}",), limit=17)
        assert found == [row.id for row in wanted]


def test_attributes_can_be_asked_for(database, make_ctx):
    ctx = make_ctx(database)
    first = start_run(ctx, StartRun("flights", "a", "Morning", started_at=START, user="ada"))
    second = start_run(ctx, StartRun("flights", "a", "evening", started_at=START + timedelta(seconds=1), user="bob"))
    other = start_run(ctx, StartRun("other", "a", "Morning", started_at=START))
    end_run(ctx, EndRun(first.id, "failed", ended_at=START + timedelta(hours=1)))
    log_datasets(
        ctx,
        LogDatasets(second.id, (DatasetUse(LoggedDataset("wind", "d1"), {"mlflow.data.context": "training"}),)),
    )
    ms = int(START.timestamp() * 1000)
    for text, wanted in (
        ("run_name = 'Morning'", [first]),
        ("attributes.`run name` ILIKE 'm%'", [first]),
        ("tags.`mlflow.runName` LIKE 'e%'", [second]),
        ("tags.`mlflow.runName` IS NULL", []),
        ("tags.`mlflow.runName` IS NOT NULL AND run_name LIKE 'e%'", [second]),
        ("status = 'FAILED'", [first]),
        ("status != 'FAILED'", [second]),
        ("user_id = 'bob'", [second]),
        (f"start_time > {ms}", [second]),
        (f"start_time = {ms}", [first]),
        (f"start_time <= {ms}.5", [first]),
        (f"end_time >= {ms}", [first]),
        (f"run_id IN ('{first.id}', '{other.id}')", [first]),
        (f"run_id NOT IN ('{first.id}')", [second]),
        ("artifact_uri LIKE '%/artifacts'", [second, first]),
        ("datasets.name = 'wind'", [second]),
        ("datasets.digest IN ('d1', 'd2')", [second]),
        ("dataset.context LIKE 'train%'", [second]),
    ):
        assert search(ctx, "flights", filter=text) == [run.id for run in wanted], text
    delete_run(ctx, DeleteRun(first.id))
    assert search(ctx, "flights") == [second.id]
    assert search(ctx, "flights", view="deleted") == [first.id]
    assert search(ctx, "flights", view="all") == [second.id, first.id]
    assert search(ctx, "flights", experiment_ids=(other.experiment_id,)) == []
