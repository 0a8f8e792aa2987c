"""The pages of experiments, runs and comparisons: what they say, what they cost, and that names do not break out."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import runpy
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from undrift import tracking
from undrift.core import Actor, ReplayClock, derive_id
from undrift.hub.web.asked import RunsAsked, link, read_asked
from undrift.registry import RegisterModel, RegisterVersion, register_model, register_version
from undrift.tracking.artifacts import PutArtifact, PutArtifacts, put_artifacts
from undrift.workspace import Workspace

PAGE = runpy.run_path(str(Path(__file__).with_name("test_pages.py")))
Page, get, EVIL = PAGE["Page"], PAGE["get"], PAGE["EVIL"]
VENDOR = Path(__file__).parents[2] / "src/undrift/hub/web/static/vendor"
START = datetime(2026, 3, 1, tzinfo=UTC)
HOSTILE = EVIL + "</script><!--<script>\u2028"
LONG = "a very long name that never ends " * 7


def id_of(name):
    return derive_id(START, "runs", name)


def fill_runs(workspace):
    """Write runs of all kinds: good ones, a failed one, NaN, a deleted one, one that is a part, hostile names."""

    def ctx(minute=0):
        return workspace.context(Actor("ada"), clock=ReplayClock(START + timedelta(minutes=minute)))

    repository = ctx().repository
    lock = {
        "interpreter": {"implementation": "cpython", "version": "3.11.2", "platform": "linux-x86_64"},
        "distributions": [{"name": "numpy", "version": "2.4.0"}, {"name": "polars", "version": "2.0.1"}],
    }
    for place in range(6):
        name = f"tree-{place}"
        train = f"depth = {place}\nfit(depth)\n# ünï <b>code</b>\n".encode()
        code = repository.trees.edit(None, {"train.py": train, "lib/same.py": b"same = 1\n"})
        lock["distributions"][1]["version"] = "2.0.1" if place < 3 else "2.1.0"
        environment = repository.objects.put(json.dumps(lock).encode())
        run = start(
            ctx(place),
            "delays",
            name,
            parameters={"depth": place + 2, "rate": f"{0.3 / (place + 1):.4g}", "model": ["tree", "boost"][place % 2]},
            tags={"undrift.git_commit": "4f" * 20, "undrift.git_dirty": "true", "undrift.git_branch": "main"},
            links=(
                tracking.RunLink("input", "code", "source", code),
                tracking.RunLink("input", "environment", "environment", environment),
                tracking.RunLink("input", "dataset_version", "departures", f"{place // 3:064x}", "training"),
                tracking.RunLink("output", "tree", "model", code),
            ),
        )
        steps = list(range(2_000 if place == 0 else 120))
        times = [1_772_323_200_000 + place * 60_000 + step * 500 for step in steps]
        loss = [0.2 + 0.05 * place + math.exp(-step / 30) + 0.03 * math.sin(step * (place + 1)) for step in steps]
        if place == 1:
            loss[40:44] = ["NaN"] * 4
        log(ctx(place), run, "loss", steps, times, loss)
        log(ctx(place), run, "auc", [0, 1], times[:2], [0.6, 0.71 + place / 100])
        log(ctx(place), run, "cost/cpu_seconds", [0], times[:1], [12.5])
        put_artifacts(
            ctx(place),
            PutArtifacts(
                run.id,
                tuple(
                    PutArtifact(path, repository.objects.put(path.encode() * 900), len(path.encode()) * 900)
                    for path in ("notes.txt", "plots/roc curve 50%.png", "plots/deep/größe.csv")
                ),
            ),
        )
        if place == 0:
            model(ctx(place), run, "forest", "auc", "deep/weights.bin")
        tracking.end_run(ctx(place + 3), tracking.EndRun(run.id))
    failed = start(ctx(10), "delays", "gone wrong", parameters={"depth": 99})
    log(ctx(10), failed, "loss", [0, 1, 2], [1, 2, 3], [1.0, "Infinity", "NaN"])
    tracking.end_run(ctx(12), tracking.EndRun(failed.id, "failed", "ValueError: depth is <99>"))
    child = start(ctx(11), "delays", "fold-1", parent_id=failed.id, tags={"mlflow.parentRunId": failed.id})
    tracking.end_run(ctx(12), tracking.EndRun(child.id, "killed"))
    tracking.delete_run(ctx(13), tracking.DeleteRun(start(ctx(9), "delays", "thrown away").id))
    start(ctx(14), "only one", "alone")
    evil = start(
        ctx(15),
        HOSTILE.replace("\u2028", ""),
        HOSTILE,
        parameters={"text": HOSTILE, "p": 1},
        tags={"evil": HOSTILE},
        links=(tracking.RunLink("input", "dataset", HOSTILE, "abc", HOSTILE, {HOSTILE: HOSTILE}),),
        user=HOSTILE,
    )
    log(ctx(15), evil, "m", [0], [1], [1.0])
    model(ctx(15), evil, "<b>{{7*7}}<script>", "m", "a/<b>.txt", HOSTILE)
    other = start(
        ctx(16), HOSTILE.replace("\u2028", ""), LONG, parameters={"text": LONG, "p": 2, LONG[:240].strip(): "ä"}
    )
    log(ctx(16), other, "m", [0], [1], [2.0])
    tracking.create_experiment(ctx(17), tracking.CreateExperiment("flights", "leer, für später"))


def start(ctx, experiment, name, **given):
    return tracking.start_run(ctx, tracking.StartRun("flights", experiment, name, id=id_of(name), **given))


def model_id_of(name):
    return f"m-{derive_id(START, 'models', name)}"


def model(ctx, run, name, metric, path, kind="sklearn"):
    asked = tracking.CreateLoggedModel(run.project, run.experiment_id, name, kind, run.id, id=model_id_of(run.name))
    made = tracking.create_model(ctx, asked)
    tracking.change_model(ctx, tracking.ChangeModel(run.project, made.id, "ready"))
    for at, (dataset, value) in enumerate((("train", 0.41), ("test", 0.42))):
        series = tracking.MetricSeries(metric, [0], [at], [value], made.id, dataset, "d1")
        tracking.log_run(ctx, tracking.LogRun(run.id, series=(series,)))
    entry = PutArtifact(path, ctx.repository.objects.put(b"weights"), 7)
    put_artifacts(ctx, PutArtifacts(made.id, (entry,)))


def log(ctx, run, name, steps, times, values):
    series = tracking.MetricSeries(name, list(steps), list(times), list(values))
    tracking.log_run(ctx, tracking.LogRun(run.id, series=(series,)))


@pytest.fixture(scope="session")
def filled(blank, tmp_path_factory):
    """The folder of a workspace with runs: copying it is cheaper than filling another."""
    opened = Workspace.open(shutil.copytree(blank, tmp_path_factory.mktemp("filled") / "workspace"))
    fill_runs(opened)
    opened.close()
    return opened.folder


@pytest.fixture
def workspace(blank, filled, tmp_path, request):
    """A workspace, empty or with runs."""
    template = filled if "runs" in request.fixturenames else blank
    opened = Workspace.open(shutil.copytree(template, tmp_path / "workspace"))
    yield opened
    opened.close()


@pytest.fixture
def runs(workspace):
    """The workspace has runs."""


@pytest.fixture
def number(workspace, runs):
    """Return the number of an experiment by its name."""

    def number(name):
        return tracking.find_experiment(workspace.context(), tracking.FindExperiment("flights", name=name)).id

    return number


def names_in(page):
    return re.findall(r'<th scope="row" class="named"><a href="/runs/[0-9a-f]{32}">([^<]*)</a>', page.html)


def compared(*names):
    return "/runs/compare?" + "&".join(f"run={id_of(name)}" for name in names)


ALL = (
    "/runs",
    "/runs?project=flights",
    "/runs?view=deleted",
    "/runs/flights/1",
    "/runs/flights/1?filter=nonsense",
    "/runs/flights/1?view=deleted",
    "/runs/flights/2",
    "/runs/flights/3",
    "/runs/flights/4",
    f"/runs/{id_of('tree-0')}",
    f"/runs/{id_of('gone wrong')}",
    f"/runs/{id_of('alone')}",
    f"/runs/{id_of('thrown away')}",
    f"/runs/{id_of('tree-0')}?folder=plots",
    f"/runs/{id_of('tree-0')}?model={model_id_of('tree-0')}&folder=deep",
    f"/runs/{id_of(HOSTILE)}",
    f"/runs/{id_of(LONG)}",
    compared("tree-0", "tree-1"),
    compared("tree-0", "tree-1", "tree-2", "tree-3", "tree-4", "tree-5", "gone wrong") + "&alike=true",
    compared(HOSTILE, LONG),
    f"/runs/compare/code?before={id_of('tree-0')}&after={id_of('tree-1')}&path=train.py",
)


def test_without_runs_the_page_says_how_the_first_one_is_made(http):
    page = get(http, "/runs")
    assert "There are no experiments yet" in page.text
    assert "ud.run(" in page.text


def test_experiments_are_listed_by_project_and_searched(http, runs):
    page = get(http, "/runs")
    for name in ("delays", "only one", "leer, für später"):
        assert name in page.text
    assert "/runs?project=flights" in page.links
    found = get(http, "/runs?project=flights&filter=name+LIKE+'only%25'")
    assert "only one" in found.text
    assert "delays" not in found.text
    wrong = get(http, "/runs?project=flights&filter=name+IS")
    assert "Invalid" in re.search(r'role="alert">(.*?)</p>', wrong.html).group(1)


def test_runs_are_listed_newest_first_with_metrics_and_parameters(http, number):
    page = get(http, f"/runs/flights/{number('delays')}")
    assert names_in(page) == ["fold-1", "gone wrong", *(f"tree-{place}" for place in reversed(range(6)))]
    headings = re.findall(r'title="(metric|parameter) ([^"]*)"', page.html)
    assert headings == [
        ("metric", "auc"),
        ("metric", "loss"),
        ("metric", "cost/cpu_seconds"),
        ("parameter", "depth"),
        ("parameter", "model"),
        ("parameter", "rate"),
    ]
    assert '<td class="amount">NaN</td>' in page.html


def test_a_search_and_an_order_are_a_link(http, number):
    path = f"/runs/flights/{number('delays')}"
    page = get(http, path + "?filter=metrics.auc+>+0.72+AND+params.model+%3D+'tree'&order=metrics.`loss`+ASC")
    assert names_in(page) == ["tree-2", "tree-4"]
    assert 'aria-sort="ascending"' in page.html
    (turned,) = [target for target in page.links if "order=metrics.%60loss%60+DESC" in target]
    assert names_in(get(http, turned)) == ["tree-4", "tree-2"]


@pytest.mark.parametrize("asked", ["filter=metrics.auc+>", "order=nonsense+DESC", "filter=a+OR+b"])
def test_what_is_wrong_with_a_search_stands_beside_it(http, number, asked):
    page = get(http, f"/runs/flights/{number('delays')}?{asked}")
    assert page.count("table") == 0
    assert "Invalid" in re.search(r'id="mistake" role="alert">(.*?)</p>', page.html).group(1)
    field = next(given for tag, given in page.tags if given.get("id") == "filter")
    assert (field["aria-invalid"], field["aria-describedby"]) == ("true", "mistake")


def test_columns_are_chosen_and_found_by_name(http, number):
    path = f"/runs/flights/{number('delays')}"
    page = get(http, path + "?columns=chosen&metric=auc&parameter=rate")
    assert re.findall(r'title="(?:metric|parameter) ([^"]*)"', page.html) == ["auc", "rate"]
    found = get(http, path + "?columns=chosen&metric=auc&find=cpu")
    offered = [
        given["value"] for tag, given in found.tags if given.get("type") == "checkbox" and given["name"] != "run"
    ]
    assert offered == ["auc", "cost/cpu_seconds"]
    many = "".join(f"&metric=m{place}" for place in range(15))
    cut = get(http, path + "?columns=chosen" + many)
    assert len(re.findall(r'title="metric', cut.html)) == 12
    assert "3 columns more than can be shown are left out." in cut.text


def test_pages_of_runs_follow_each_other(http, workspace):
    ctx = workspace.context()
    for place in range(70):
        tracking.start_run(ctx, tracking.StartRun("p", "many", f"r{place}"))
    first = get(http, "/runs/p/1")
    (following,) = {target for target in first.links if "page=" in target}
    second = get(http, following)
    assert len(names_in(first)) == 50
    assert sorted(names_in(first) + names_in(second)) == sorted(f"r{place}" for place in range(70))
    assert "/runs/p/1" in second.links


def test_a_project_may_be_called_as_a_page_is(http, workspace):
    run = tracking.start_run(workspace.context(), tracking.StartRun("compare", "code", "r"))
    assert names_in(get(http, f"/runs/compare/{run.experiment_id}")) == ["r"]


def test_deleted_runs_are_in_a_view_of_their_own(http, number):
    path = f"/runs/flights/{number('delays')}"
    assert "thrown away" not in names_in(get(http, path))
    assert names_in(get(http, path + "?view=deleted")) == ["thrown away"]
    page = get(http, f"/runs/{id_of('thrown away')}")
    assert f"undrift runs restore {id_of('thrown away')}" in page.text


def test_a_run_is_shown_with_everything_it_logged(http, runs):
    page = get(http, f"/runs/{id_of('tree-0')}")
    for said in (
        "Run tree-0 finished",
        "by ada",
        "3 minutes",
        "4f4f4f4f4f with uncommitted changes",
        "12.5 processor seconds",
        "auc 0.71 1",
        "depth 2",
        "input dataset_version departures",
        "output tree model",
        "branch: main",
        "notes.txt 7.91 KiB",
        "plots/ folder",
        f'mlflow.start_run(run_id="{id_of("tree-0")}")',
        "set_tracking_uri('http://127.0.0.1:7470/projects/flights')",
    ):
        assert said in page.text, said
    folder = get(http, f"/runs/{id_of('tree-0')}?folder=plots")
    assert f"/api/v1/artifacts/{id_of('tree-0')}/plots/roc%20curve%2050%25.png" in folder.links
    answer = http.get(f"/api/v1/artifacts/{id_of('tree-0')}/plots/roc%20curve%2050%25.png")
    assert answer.content == b"plots/roc curve 50%.png" * 900


def test_a_failed_run_says_why_and_shows_its_parts(http, runs):
    page = get(http, f"/runs/{id_of('gone wrong')}")
    assert "ValueError: depth is <99>" in page.text
    assert f"/runs/{id_of('fold-1')}" in page.links
    assert f"/runs/{id_of('gone wrong')}" in get(http, f"/runs/{id_of('fold-1')}").links
    assert re.search(r"loss NaN 2", page.text)


def test_models_that_a_run_made_are_shown_with_their_files_and_versions(http, workspace, runs):
    ctx = workspace.context()
    register_model(ctx, RegisterModel("flights", "late", "ops@example.com"))
    register_version(ctx, RegisterVersion("flights", "late", run_id=id_of("tree-0")))
    page = get(http, f"/runs/{id_of('tree-0')}")
    assert "Registered as late version 1 ." in page.text
    assert "/models/flights/late#v1" in page.links
    # Measured on two datasets: the newest counts.
    assert re.search(r"forest sklearn …\w{8} ready .* auc 0.42 files", page.text)
    (files,) = [target for target in page.links if f"model={model_id_of('tree-0')}" in target]
    listed = get(http, files)
    assert "deep/ folder" in listed.text
    assert "notes.txt" not in listed.text
    address = f"/api/v1/artifacts/{model_id_of('tree-0')}/deep/weights.bin"
    assert address in get(http, files.replace("#", "&folder=deep#")).links
    assert http.get(address).content == b"weights"


def test_files_of_a_model_that_another_run_made_are_not_shown(http, runs):
    page = get(http, f"/runs/{id_of('tree-1')}?model={model_id_of('tree-0')}")
    assert "No model that this run made" in page.text
    assert "deep/" not in page.text


def test_what_was_logged_once_is_not_drawn_as_a_curve(http, workspace):
    ctx = workspace.context()
    run = tracking.start_run(ctx, tracking.StartRun("p", "e", "r"))
    log(ctx, run, "score at the end", [500], [500], [0.9])
    log(ctx, run, "loss", range(3), range(3), [3.0, 2.0, 1.0])
    page = get(http, f"/runs/{run.id}")
    assert re.findall(r'data-metric="([^"]*)"', page.html) == ["loss"]


def test_thousands_of_inputs_are_listed_by_their_first(http, workspace):
    links = tuple(tracking.RunLink("input", "dataset", f"part {place}", f"{place:064x}") for place in range(900))
    run = tracking.start_run(workspace.context(), tracking.StartRun("p", "e", "r", links=links))
    page = get(http, f"/runs/{run.id}")
    assert "the first 200 of 900" in page.text
    assert len(page.html) < 200_000


def test_an_address_that_an_mlflow_client_was_given_shows_the_project(http, runs):
    page = get(http, "/projects/flights/")
    assert "delays" in page.text
    follows = [given for tag, given in page.tags if "mlflow" in given.get("src", "")]
    assert [one["data-project"] for one in follows] == ["flights"]
    assert "no experiments" in get(http, "/projects/nowhere", 404).text


def test_curves_are_sampled_on_the_server(http, runs):
    answer = http.get(f"/runs/compare/curves?metric=loss&run={id_of('tree-0')}&run={id_of('tree-1')}")
    assert answer.headers["content-type"].startswith("application/json")
    found = answer.json()
    assert [len(curve["steps"]) for curve in found["curves"]] == [1000, 120]
    assert found["curves"][0]["steps"][-1] == 1999
    assert found["curves"][1]["values"][40] == "NaN"
    assert http.get("/runs/compare/curves?metric=no-such&run=" + id_of("tree-0")).json()["curves"][0]["values"] == []


def test_a_comparison_shows_what_differs_first_and_counts_what_is_alike(http, runs):
    page = get(http, compared("tree-0", "tree-3"))
    for said in (
        "3 differ",
        "1 is alike",
        "rate 0.3 0.075",
        "dataset_version departures",
        "train.py",
        "polars 2.0.1 2.1.0",
    ):
        assert said in page.text, said
    assert "lib/same.py" not in page.text
    assert "lib/same.py" in get(http, compared("tree-0", "tree-3") + "&alike=true").text
    drawn = json.loads(re.search(r'id="drawn">(.*?)</script>', page.html).group(1))
    assert [axis["name"] for axis in drawn["parallel"]] == [
        "parameters.depth",
        "parameters.model",
        "parameters.rate",
        "metrics.auc",
    ]
    assert (drawn["across"]["name"], drawn["up"]["name"]) == ("parameters.depth", "metrics.auc")
    assert drawn["across"]["values"] == [2.0, 5.0]


def test_a_comparison_draws_first_what_most_runs_have(http, workspace):
    ctx = workspace.context()
    ids = []
    for place in range(3):
        run = tracking.start_run(ctx, tracking.StartRun("p", "e", f"r{place}", parameters={"a": place}))
        logged = {"b/loss": place + 0.5} | ({"a/only here": 1.0} if place == 0 else {})
        tracking.log_run(ctx, tracking.LogRun(run.id, metrics=logged))
        ids.append(run.id)
    page = get(http, "/runs/compare?" + "&".join(f"run={id_}" for id_ in ids))
    assert re.findall(r'data-metric="([^"]*)"', page.html) == ["b/loss"]
    drawn = json.loads(re.search(r'id="drawn">(.*?)</script>', page.html).group(1))
    assert drawn["up"]["name"] == "metrics.b/loss"
    assert drawn["parallel"][-1]["name"] == "metrics.b/loss"


def test_what_changed_in_the_code_is_a_link(http, runs):
    page = get(http, compared("tree-0", "tree-1"))
    (target,) = [target for target in page.links if target.startswith("/runs/compare/code")]
    diff = get(http, target)
    assert '<span class="removed">-depth = 0\n</span>' in diff.html
    assert '<span class="added">+depth = 1\n</span>' in diff.html
    assert "# ünï <b>code</b>" in diff.text


def test_a_hundred_runs_can_be_compared(http, workspace):
    ctx = workspace.context()
    ids = []
    for place in range(100):
        run = tracking.start_run(ctx, tracking.StartRun("p", "many", f"r{place}", parameters={"a": place, "b": 1 / 7}))
        tracking.log_run(ctx, tracking.LogRun(run.id, metrics={f"m{one}": place + one for one in range(50)}))
        ids.append(run.id)
    path = "/runs/compare?" + "&".join(f"run={id_}" for id_ in ids)
    page = get(http, path)
    assert len(page.html) < 1_000_000
    assert "more rows of metrics are left out" in page.text
    assert len(http.get(path.replace("?", "/curves?metric=m0&")).json()["curves"]) == 100


@pytest.mark.parametrize("query", ["", "?run=" + "0" * 32])
def test_fewer_than_two_runs_cannot_be_compared(http, query):
    assert "at least two runs" in get(http, "/runs/compare" + query, 400).text


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/runs/" + "0" * 32, 404, "not found"),
        ("/runs/nonsense", 404, "not found"),
        ("/runs/flights/999", 404, "No Experiment"),
        ("/runs/flights/many", 400, "expected `int"),
        ("/runs/flights/1?oops=1", 400, "does not know oops"),
        ("/runs/flights/1?view=none", 400, "does not fit"),
        ("/runs/flights/1?view=all&view=deleted", 400, "given twice"),
        ("/runs/flights/1?page=zzz", 400, "page token"),
        ("/runs/" + id_of("tree-0") + "?smooth=1.5", 400, "does not fit"),
    ],
)
def test_an_address_that_leads_nowhere_is_a_problem_with_a_sentence(http, runs, path, status, said):
    assert said in get(http, path, status).text


@pytest.mark.parametrize("path", ALL, ids=range(len(ALL)))
def test_every_page_can_be_used_without_eyes_mouse_or_script(http, runs, path):
    page = get(http, path)
    assert page.count("h1") == 1
    assert page.count("caption") == page.count("table")
    assert len(page.ids) == len(set(page.ids))
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(deeper - before <= 1 for before, deeper in itertools.pairwise(headings))
    labelled = set(re.findall(r'<label for="([^"]*)"', page.html))
    inside = re.findall(r"<label>.*?</label>", page.html, re.DOTALL)
    for tag, given in page.tags:
        if tag == "th":
            assert given["scope"] in ("col", "row")
        if given.get("role") in ("region", "group", "img"):
            assert given["aria-label"]
        if (tag == "input" and given.get("type") != "hidden") or tag == "select":
            named = given.get("id") in labelled or "aria-label" in given
            assert named or any(f'name="{given["name"]}"' in one for one in inside), given


@pytest.mark.parametrize("path", ALL, ids=range(len(ALL)))
def test_every_link_leads_somewhere(http, runs, path):
    page = get(http, path)
    assert len(page.links) > 8
    for target in set(page.links):
        where, _, anchor = target.partition("#")
        answer = http.get(where or path, headers={"accept": "text/html"})
        assert answer.status_code == 200, target
        if anchor:
            assert f'id="{anchor}"' in answer.text, target


@pytest.mark.parametrize("path", ALL, ids=range(len(ALL)))
def test_names_of_others_do_not_break_out_and_nothing_is_inline(http, runs, path):
    page = get(http, path)
    for tag, given in page.tags:
        assert tag != "img"
        assert not [name for name in given if name.startswith("on")]
        assert "style" not in given
        if tag == "script":
            assert given.get("type") == "application/json" or given["src"].startswith("/static/")
    assert page.html.count("<script") == page.html.count("</script>") == page.count("script")
    assert not re.search(r"<style|onerror=alert\(1\)>49", page.html)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page.html)
    for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page.html, re.DOTALL):
        assert "<" not in data
        json.loads(data)


def test_large_scripts_are_loaded_only_where_something_is_drawn(http, runs):
    for path in ("/", "/runs", "/runs/flights/1", f"/runs/{id_of('alone')}"):
        assert "echarts" not in get(http, path).html
    assert "echarts" in get(http, compared("tree-0", "tree-1")).html
    page = get(http, f"/runs/{id_of('tree-0')}")
    (source,) = [given["src"] for tag, given in page.tags if "echarts" in given.get("src", "")]
    answer = http.get(source, headers={"accept-encoding": "gzip"})
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/javascript")
    assert int(answer.headers["content-length"]) < 400_000
    assert hashlib.sha256(answer.content).hexdigest() == manifest()["echarts"]["sha256"]


def manifest():
    return {one["name"]: one for one in json.loads((VENDOR / "manifest.json").read_text())}


def test_what_others_wrote_is_pinned_with_version_licence_and_hash():
    said = {"manifest.json"}
    for name, one in manifest().items():
        for file, digest in {one["file"]: one["sha256"], **one["licence_files"]}.items():
            assert hashlib.sha256((VENDOR / file).read_bytes()).hexdigest() == digest
            said.add(file)
        assert one["licence_files"]
        assert one["package"] == f"npm:{name}@{one['version']}"
        assert one["version"] in (VENDOR / one["file"]).read_text()
    assert {file.name for file in VENDOR.iterdir()} == said


def test_runs_are_linked_from_the_log_and_the_versions_they_made(http, workspace, runs, make_life):
    assert f"/runs/{id_of('tree-0')}" in get(http, f"/audit?subject=runs/{id_of('tree-0')}").links
    assert "/runs" in get(http, "/").links
    life = make_life()
    life.version(0, 0.4)
    run_id = derive_id(datetime(2013, 1, 1, tzinfo=UTC), "flights", "late")
    assert f"/runs/{run_id}" not in get(http, "/models/flights/late").links
    tracking.start_run(workspace.context(), tracking.StartRun("flights", "late", id=run_id))
    assert f"/runs/{run_id}" in get(http, "/models/flights/late").links


def test_a_page_costs_the_same_however_many_runs_there_are(http, workspace, number):
    statements = []
    for engine in (workspace.database._reader, workspace.database._writer):
        sa.event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    for path in (
        "/runs",
        f"/runs/flights/{number('delays')}",
        f"/runs/{id_of('tree-0')}",
        compared("tree-0", "tree-1"),
    ):
        statements.clear()
        get(http, path)
        assert len(statements) < 60, (path, len(statements))


def test_ten_thousand_metrics_are_listed_by_their_first_and_found_by_name(http, workspace):
    ctx = workspace.context()
    run = tracking.start_run(ctx, tracking.StartRun("p", "wide", "wide"))
    tracking.log_run(ctx, tracking.LogRun(run.id, metrics={f"m/{place:05}": place for place in range(10_000)}))
    page = get(http, f"/runs/{run.id}")
    assert "the first 200 of 10,000" in page.text
    assert len(page.html) < 200_000
    assert "m/09876 9876" in get(http, f"/runs/{run.id}?find=09876").text
    listed = get(http, "/runs/p/1?find=0987")
    assert len(listed.html) < 200_000
    assert 'value="m/09876"' in listed.html


def test_what_is_asked_survives_the_address():
    asked = RunsAsked(filter="a = 'ü&='", metric=("a b", "c/d"), columns="chosen", view="all")
    assert read_asked(RunsAsked, link("/x", asked).partition("?")[2].encode()) == asked
    assert read_asked(RunsAsked, b"filter=&order=") == RunsAsked()
