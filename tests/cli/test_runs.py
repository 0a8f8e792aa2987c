"""`undrift runs`: lists, searches, one run, comparisons, experiments, deletion, and where a hub shows the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from undrift import tracking
from undrift.core import Actor, ReplayClock, derive_id
from undrift.workspace import Workspace

START = datetime(2026, 3, 1, tzinfo=UTC)
HOLD = """
import subprocess, sys
from undrift.workspace import Workspace
workspace = Workspace.open(sys.argv[1])
with workspace.hold("up"):
    child = subprocess.Popen([sys.executable, "-c", "input()", "hub", "--port", "7999"], stdin=subprocess.PIPE)
    print("held", flush=True)
    sys.stdin.read()
    child.communicate(b"\\n")
"""


def id_of(name):
    return derive_id(START, name)


@pytest.fixture
def tracked(folder):
    """Runs of two experiments, one of them deleted, with code and metrics."""
    workspace = Workspace.open(folder)
    for place in range(3):
        ctx = workspace.context(Actor("ada"), clock=ReplayClock(START + timedelta(minutes=place)))
        code = ctx.repository.trees.edit(None, {"train.py": f"depth = {place}\n".encode(), "same.py": b"\n"})
        run = tracking.start_run(
            ctx,
            tracking.StartRun(
                "flights",
                "delays",
                f"tree-{place}",
                id=id_of(f"tree-{place}"),
                parameters={"depth": place, "model": "tree"},
                links=(tracking.RunLink("input", "code", "source", code),),
            ),
        )
        values = {"auc": 0.7 + place / 100, **{f"system/{one:04}": 1.0 for one in range(200)}}
        tracking.log_run(ctx, tracking.LogRun(run.id, metrics=values))
        tracking.end_run(ctx, tracking.EndRun(run.id))
    ctx = workspace.context(clock=ReplayClock(START + timedelta(hours=1)))
    tracking.start_run(ctx, tracking.StartRun("flights", "spare", "odd", id=id_of("odd")))
    series = tracking.MetricSeries("auc", [0], [1], ["NaN"])
    tracking.log_run(ctx, tracking.LogRun(id_of("odd"), series=(series,)))
    workspace.close()


def rows(out):
    return [line.split()[1] for line in out.splitlines()[1:] if len(line.split()) > 3]


def test_runs_are_listed_with_a_few_metrics_each(call, tracked):
    out = call("runs").out
    assert "auc 0.72" in out
    assert "and 197 more" in out
    assert "auc not a number" in out
    assert max(len(line) for line in out.splitlines()) < 250


def test_runs_are_searched_and_ordered(call, tracked):
    said = call("runs", "--experiment", "delays", "--filter", "metrics.auc > 0.705", "--order", "metrics.auc ASC")
    assert (said.code, said.err) == (0, "")
    assert rows(said.out) == ["tree-1", "tree-2"]
    found = call("runs", "--filter", "params.model = 'tree'", "--limit", "2", "--json").json
    assert [run["name"] for run in found] == ["tree-2", "tree-1"]


def test_columns_are_chosen(call, tracked):
    out = call("runs", "--experiment", "delays", "--columns", "parameters.depth,metrics.auc").out
    assert out.splitlines()[0].split()[-2:] == ["auc", "depth"]
    assert out.splitlines()[1].split()[-2:] == ["0.72", "2"]
    wrong = call("runs", "--columns", "depth")
    assert (wrong.code, wrong.err.splitlines()[0]) == (2, "'depth' is no column.")


def test_a_wrong_filter_and_an_unknown_experiment_are_told(call, tracked):
    wrong = call("runs", "--experiment", "delays", "--filter", "metrics.auc >")
    assert wrong.code == 2
    assert "Invalid clause" in wrong.err
    unknown = call("runs", "--experiment", "delay")
    assert unknown.code == 3
    assert unknown.err == "There is no experiment 'delay'.\nKnown are: delays, spare.\n"


def test_of_several_projects_one_has_to_be_named(call, tracked, folder):
    workspace = Workspace.open(folder)
    tracking.start_run(workspace.context(), tracking.StartRun("trains", "delays"))
    workspace.close()
    said = call("runs", "--filter", "metrics.auc > 0")
    assert said.err == "There are several projects: flights, trains.\nSay which with --project.\n"
    assert "Several projects have" in call("runs", "--experiment", "delays").err
    assert rows(call("runs", "--experiment", "delays", "--project", "flights").out)[-1] == "tree-0"


def test_a_run_is_shown_in_both_ways(call, tracked):
    shown = call("runs", "show", id_of("tree-1"))
    assert shown.out == call("runs", id_of("tree-1")).out
    for said in ("tree-1", "depth  1", "and 101 more", "source"):
        assert said in shown.out
    assert re.search(r"auc +0\.71\n", shown.out)
    assert call("runs", "show", id_of("tree-1"), "--json").json["parameters"] == {"depth": 1, "model": "tree"}


def test_what_differs_is_compared(call, tracked):
    out = call("runs", "compare", id_of("tree-0"), id_of("tree-2")).out
    for said in ("depth", "0.7 ", "0.72", "train.py", "(1 alike)", "No environment was kept"):
        assert said in out
    assert "same.py" not in out
    assert "same.py" in call("runs", "compare", id_of("tree-0"), id_of("tree-2"), "--alike").out
    found = call("runs", "compare", id_of("tree-0"), id_of("tree-2"), "--json").json
    assert found["parameters"] == [{"name": "depth", "values": [0, 2], "same": False}]


def test_what_changed_in_a_file_is_printed(call, tracked):
    said = call("runs", "compare", id_of("tree-0"), id_of("tree-2"), "--code", "train.py")
    assert "-depth = 0\n+depth = 2" in said.out
    same = call("runs", "compare", id_of("tree-0"), id_of("tree-2"), "--code", "same.py")
    assert same.out == "same.py is the same in both.\n"
    assert call("runs", "compare", id_of("tree-0"), id_of("tree-2"), "--code", "no.py").code == 3


@pytest.mark.parametrize("more", [(), ("--code", "train.py")])
def test_one_run_alone_is_not_compared(call, tracked, more):
    said = call("runs", "compare", id_of("tree-0"), *more)
    assert said.code == 2
    assert "at least two runs" in said.err


def test_experiments_are_listed(call, tracked):
    out = call("runs", "experiments").out
    assert "delays" in out
    assert "spare" in out
    found = call("runs", "experiments", "--filter", "name LIKE 'sp%'", "--json").json
    assert [one["name"] for one in found] == ["spare"]


def test_experiments_of_an_empty_workspace_are_none(call, folder):
    assert call("runs", "experiments").out == "There are no experiments yet.\n"


def test_runs_are_deleted_and_come_back(call, tracked):
    ids = [id_of("tree-0"), id_of("tree-1")]
    assert call("runs", "delete", *ids).code == 0
    assert rows(call("runs", "--experiment", "delays").out) == ["tree-2"]
    assert rows(call("runs", "--experiment", "delays", "--deleted").out) == ["tree-1", "tree-0"]
    assert "finished, deleted" in call("runs", "show", ids[0]).out
    assert call("runs", "restore", *ids, "--json").json == {"restored": ids}
    assert len(rows(call("runs", "--experiment", "delays").out)) == 3
    assert call("runs", "delete", "0" * 32).code == 3
    assert call("runs", "delete").code == 2


def test_every_view_ends_with_where_the_hub_shows_the_same(call, tracked, folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        two = (id_of("tree-0"), id_of("tree-1"))
        for args, path in (
            ((), "/runs"),
            (("show", two[0]), f"/runs/{two[0]}"),
            (("experiments",), "/runs"),
            (
                ("--experiment", "delays", "--filter", "metrics.auc > 0.7"),
                "/runs/flights/1?filter=metrics.auc%20%3E%200.7",
            ),
            (("compare", *two), f"/runs/compare?run={two[0]}&run={two[1]}"),
            (
                ("compare", *two, "--code", "train.py"),
                f"/runs/compare/code?before={two[0]}&after={two[1]}&path=train.py",
            ),
        ):
            out = call("runs", *args).out
            assert out.splitlines()[-1] == f"http://127.0.0.1:7999{path}"
            if args[:1] != ("compare",) or "--code" not in args:
                json.loads(call("runs", *args, "--json").out)
    finally:
        process.communicate("")
    assert "http://" not in call("runs").out
