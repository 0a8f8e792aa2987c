"""A database of the first release keeps everything when it is migrated."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from alembic import command

import undrift.metastore
from undrift import registry, tracking
from undrift.metastore import migrate, open_database
from undrift.registry import AliasMove, Signature

module = sys.modules["undrift.metastore.migrate"]
START = datetime(2013, 1, 1, tzinfo=UTC)
RUN, OTHER, MODEL = "a" * 32, "b" * 32, "c" * 32
SIGNATURE = {"inputs": [{"name": "temp", "type": "float", "nullable": True}], "task": "classification", "output": "p"}


def us(hours):
    return int((START + timedelta(hours=hours)).timestamp() * 1_000_000)


@pytest.fixture
def old(request, database):
    """A database with the tables of the first release and a little of everything that is rebuilt."""
    with database.begin() as tx:
        undrift.metastore.metadata.drop_all(tx)
        config = module._config()
        config.attributes["connection"] = tx
        command.upgrade(config, "0001")
        put(
            tx,
            "runs",
            id=RUN,
            project="flights",
            experiment="late",
            name="first",
            kind="training",
            status="finished",
            started_at=us(0),
            ended_at=us(1),
            actor="ada",
            parent_id=None,
            error="",
        )
        put(
            tx,
            "runs",
            id=OTHER,
            project="flights",
            experiment="late",
            name="second",
            kind="training",
            status="failed",
            started_at=us(2),
            ended_at=us(3),
            actor="bob",
            parent_id=RUN,
            error="out of memory",
        )
        for name, value in {"depth": 3, "kind": "trees", "names": ["a", "b"], "long": "x" * 5000}.items():
            put(tx, "run_parameters", run_id=RUN, name=name, value=json.dumps(value))
        put(tx, "run_tags", run_id=RUN, name="team", value="ops")
        for step in range(5000):
            put(
                tx,
                "run_metrics",
                run_id=RUN,
                name="loss",
                step=step,
                time=us(0) + step * 1000,
                value=step / 7,
                special=None,
            )
        for step, special in enumerate(("nan", "inf", "-inf")):
            put(tx, "run_metrics", run_id=OTHER, name="odd", step=step, time=us(0), value=None, special=special)
        put(tx, "run_metrics", run_id=OTHER, name="broken", step=0, time=us(0), value=None, special="nan")
        put(tx, "run_links", run_id=RUN, role="input", kind="dataset_version", name="departures", ref="d" * 64)
        put(tx, "models", id=MODEL, project="flights", name="late", owner="ops@example.com", created_at=us(0))
        for number, run in ((1, RUN), (2, OTHER)):
            put(
                tx,
                "model_versions",
                id=str(number) * 32,
                project="flights",
                model="late",
                number=number,
                run_id=run,
                artifact="e" * 64,
                format="onnx",
                signature=json.dumps(SIGNATURE),
                training="{}",
                metrics='{"loss": 0.5}',
                reference_profile=None,
                created_at=us(number),
                created_by="ada",
                state="registered",
                state_reason="",
            )
            put(
                tx,
                "alias_moves",
                id=str(number + 2) * 32,
                project="flights",
                model="late",
                alias="champion",
                sequence=number,
                number=number,
                previous=number - 1 or None,
                at=us(number),
                actor="ada",
                reason="better",
                evidence='{"p": 0.01}',
            )
    yield database
    with database.begin() as tx:
        for name in sa.inspect(tx).get_table_names():
            tx.exec_driver_sql(f'DROP TABLE IF EXISTS "{name}"' + (" CASCADE" * (tx.dialect.name == "postgresql")))


def put(tx, table, **values):
    columns = ", ".join(f'"{name}"' for name in values)
    marks = ", ".join(f":{name}" for name in values)
    tx.execute(sa.text(f"INSERT INTO {table} ({columns}) VALUES ({marks})"), values)


def test_runs_keep_what_they_logged(old, make_ctx):
    migrate(old)
    ctx = make_ctx(old)
    run = tracking.find_run(ctx, tracking.FindRun(RUN, latest=True))
    assert (run.experiment, run.name, run.status, run.actor) == ("late", "first", "finished", "ada")
    assert run.parameters == {"depth": 3, "kind": "trees", "names": ["a", "b"], "long": "x" * 5000}
    assert (run.tags, run.metrics) == ({"team": "ops"}, {"loss": 4999 / 7})
    assert run.links == (tracking.RunLink("input", "dataset_version", "departures", "d" * 64),)
    history = tracking.metric_history(ctx, tracking.MetricHistory(RUN, "loss"))
    assert history.steps == list(range(5000))
    assert history.values == [step / 7 for step in range(5000)]
    other = tracking.find_run(ctx, tracking.FindRun(OTHER))
    assert (other.parent_id, other.error, other.metrics) == (RUN, "out of memory", {"odd": None, "broken": None})
    odd = tracking.metric_history(ctx, tracking.MetricHistory(OTHER, "odd"))
    assert odd.values == ["NaN", "Infinity", "-Infinity"]
    found = tracking.search_runs(ctx, tracking.SearchRuns("flights", filter="params.kind = 'trees'")).runs
    assert [one.id for one in found] == [RUN]


def test_runs_go_on_where_they_were(old, make_ctx):
    migrate(old)
    ctx = make_ctx(old)
    tracking.log_run(ctx, tracking.LogRun(RUN, metrics={"loss": 0.1}, parameters={"depth": 3}))
    new = tracking.start_run(ctx, tracking.StartRun("flights", "late"))
    assert new.experiment_id == tracking.find_run(ctx, tracking.FindRun(RUN)).experiment_id
    assert tracking.create_experiment(ctx, tracking.CreateExperiment("flights", "next")).id != new.experiment_id


def test_versions_and_the_history_of_aliases_are_kept(old, make_ctx):
    migrate(old)
    ctx = make_ctx(old)
    versions = registry.list_versions(ctx, registry.ListVersions("flights", "late"))
    assert [(one.number, one.run_id, one.artifact, one.metrics) for one in versions] == [
        (2, OTHER, "e" * 64, {"loss": 0.5}),
        (1, RUN, "e" * 64, {"loss": 0.5}),
    ]
    assert isinstance(versions[0].signature, Signature)
    for hours, number in ((1.5, 1), (2.5, 2)):
        at = START + timedelta(hours=hours)
        move = registry.find_alias(ctx, registry.FindAlias("flights", "late", "champion", as_of=at))
        assert isinstance(move, AliasMove)
        assert (move.number, move.reason, move.evidence) == (number, "better", {"p": 0.01})


def test_migrating_twice_changes_nothing(old):
    migrate(old)
    again = open_database(str(old.url.render_as_string(hide_password=False)).replace("+psycopg", ""))
    migrate(again)
    again.close()
    with old.read() as tx:
        assert tx.scalar(sa.text("SELECT count(*) FROM runs")) == 2
