"""The pages of runs in a real browser: readable, drawn, usable by keyboard, and whole without scripts.

Set ``UNDRIFT_SCREENSHOTS`` to a folder to keep what the browser saw.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from undrift import tracking
from undrift.workspace import Workspace

BROWSER = runpy.run_path(str(Path(__file__).with_name("test_pages_browser.py")))
RUNS = runpy.run_path(str(Path(__file__).with_name("test_pages_runs.py")))
chromium, look, show = BROWSER["chromium"], BROWSER["look"], BROWSER["show"]
id_of, compared, HOSTILE, LONG = RUNS["id_of"], RUNS["compared"], RUNS["HOSTILE"], RUNS["LONG"]
WIDE = [id_of(f"wide-{place}") for place in range(3)]
TREES = [f"tree-{place}" for place in range(6)]
PAGES = {
    "experiments": "/runs",
    "runs": "/runs/flights/1",
    "wrong": "/runs/flights/1?filter=metrics.auc+%3E&find=a",
    "deleted": "/runs/flights/1?view=deleted",
    "hostile": "/runs/flights/3",
    "empty": "/runs/flights/4",
    "run": f"/runs/{id_of('tree-1')}",
    "smooth": f"/runs/{id_of('tree-0')}?smooth=0.9&log=true&x=elapsed",
    "failed": f"/runs/{id_of('gone wrong')}",
    "one": f"/runs/{id_of('alone')}",
    "evil": f"/runs/{id_of(HOSTILE)}",
    "long": f"/runs/{id_of(LONG)}",
    "two": compared("tree-0", "tree-3"),
    "seven": compared(*TREES, "gone wrong") + "&alike=true",
    "strange": compared(HOSTILE, LONG),
    "many": "/runs/wide/5",
    "model": f"/runs/{id_of('tree-0')}?model={RUNS['model_id_of']('tree-0')}",
    "code": f"/runs/compare/code?before={id_of('tree-0')}&after={id_of('tree-1')}&path=train.py",
}
DRAWN = """() => [...document.querySelectorAll(".canvas canvas")].map(one => {
    const copy = Object.assign(document.createElement("canvas"), {width: one.width, height: one.height});
    const context = copy.getContext("2d", {willReadFrequently: true});
    context.drawImage(one, 0, 0);
    const points = context.getImageData(0, 0, one.width, one.height).data;
    const colours = new Set();
    for (let at = 0; at < points.length; at += 4)
        if (points[at + 3] > 200) colours.add(points.slice(at, at + 3).join());
    return colours.size;
})"""


@pytest.fixture(scope="module")
def hub(blank, tmp_path_factory):
    """The address of a hub that has runs."""
    folder = shutil.copytree(blank, tmp_path_factory.mktemp("browser") / "workspace")
    workspace = Workspace.open(folder)
    RUNS["fill_runs"](workspace)
    ctx = workspace.context()
    for place in range(3):
        run = tracking.start_run(
            ctx,
            tracking.StartRun(
                "wide", "many", f"wide-{place}", id=WIDE[place], parameters={f"p{one:02}": one for one in range(30)}
            ),
        )
        tracking.log_run(ctx, tracking.LogRun(run.id, metrics={f"metric/{one:05}": one / 7 for one in range(10_000)}))
    workspace.close()
    process = subprocess.Popen([sys.executable, "-c", BROWSER["RUN"], str(folder)], stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().strip()
    process.terminate()
    assert process.wait(10) == 0
    process.stdout.close()


def settle(page):
    page.wait_for_load_state("networkidle")
    for box in page.locator("[data-curves]").all():
        box.scroll_into_view_if_needed()
    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-curves]')].every(one => one.querySelector('canvas'))"
    )
    page.evaluate("scrollTo(0, 0)")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_window_and_can_be_read(look, name):
    page = look(PAGES[name])
    settle(page)
    for width in (1400, 360):
        for scheme in ("light", "dark"):
            show(page, width, scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(BROWSER["WIDER_THAN_THE_WINDOW"].replace(".chart", ".chart, .diff, .canvas")) == []
            cut = page.evaluate(BROWSER["CUT_OFF"].replace('".table"', '".table:not(.sideways)"'))
            assert cut == []
            assert page.evaluate(BROWSER["CONTRAST"]) == []
            assert all(colours > 5 for colours in page.evaluate(DRAWN))
            if folder := os.environ.get("UNDRIFT_SCREENSHOTS"):
                page.screenshot(path=Path(folder) / f"{name}-{width}-{scheme}.png", full_page=True)
    assert page.complaints == []


def test_curves_are_drawn_and_drawn_again_in_the_dark(look):
    page = look(f"/runs/{id_of('tree-1')}")
    settle(page)
    before = page.evaluate("() => document.querySelector('.canvas canvas').toDataURL()")
    said = page.locator(".drawn .said").all_inner_texts()
    assert "4 points that are no number are gaps." in said
    show(page, 1400, "dark")
    page.wait_for_function("(before) => document.querySelector('.canvas canvas').toDataURL() !== before", arg=before)
    assert page.complaints == []


def test_smoothing_and_scale_are_said(look):
    page = look(f"/runs/{id_of('tree-0')}?metric=loss&smooth=0.9&log=true")
    settle(page)
    (said,) = page.locator(".drawn .said").all_inner_texts()
    assert said.startswith(
        "1000 points of each curve are drawn. Bold: exponential mean with weight 0.9; faint: as logged"
    )
    assert "Logarithmic." in said


def test_what_was_logged_once_is_compared_as_bars(look):
    page = look("/runs/compare?" + "&".join(f"run={run}" for run in WIDE) + "&metric=metric/00007")
    settle(page)
    assert page.locator(".drawn .said").first.inner_text() == "No run has more than one point."
    kinds = (
        "() => echarts.getInstanceByDom(document.querySelector('[data-curves]')).getOption().series.map(s => s.type)"
    )
    assert page.evaluate(kinds) == ["bar"]
    assert page.complaints == []


def test_parallel_axes_lie_above_each_other_where_there_is_no_room_beside(look):
    page = look(compared(*TREES))
    settle(page)
    layout = "() => echarts.getInstanceByDom(document.querySelector('[data-parallel]')).getOption().parallel[0].layout"
    assert page.evaluate(layout) == "horizontal"
    show(page, 360, "light")
    page.wait_for_function(layout.replace("() => ", "() => 'vertical' === "))
    assert page.complaints == []


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (f"/#/experiments/1/runs/{id_of('tree-1')}", f"/runs/{id_of('tree-1')}"),
        (f"/projects/flights/#/experiments/1/runs/{id_of('tree-1')}", f"/runs/{id_of('tree-1')}"),
        ("/projects/flights/#/experiments/1", "/runs/flights/1"),
        ("/#/experiments/0", "/runs?project=default"),
    ],
)
def test_addresses_that_mlflow_clients_print_lead_to_the_same_thing_here(look, hub, told, shown):
    page = look(told)
    page.wait_for_url(hub + shown)
    assert page.complaints == []


def test_what_changed_in_a_file_comes_into_the_page(look):
    page = look(compared("tree-0", "tree-1"))
    page.get_by_role("link", name="what changed").click()
    page.wait_for_selector("#diff pre")
    assert "-depth = 0" in page.locator("#diff").inner_text()
    assert "/runs/compare?" in page.url
    assert page.complaints == []


def test_names_are_found_while_one_types_and_what_is_ticked_stays(look):
    page = look("/runs/wide/5")
    page.locator(".picker summary").click()
    page.locator("#choices input[value='metric/00007']").check()
    page.locator("input[name=find]").fill("0987")
    page.wait_for_selector("#choices input[value='metric/09876']")
    assert page.locator("#choices input[value='metric/00007']").is_checked()
    page.locator("#choices input[value='metric/09876']").check()
    page.get_by_role("button", name="Show those ticked").click()
    heads = page.locator("thead th a").all_inner_texts()
    assert "metric/09876" in heads
    assert "metric/00007" in heads
    assert page.complaints == []


def test_runs_are_ticked_and_compared_by_keyboard(look):
    page = look("/runs/flights/1")
    for name in ("tree-0", "tree-1"):
        page.get_by_label(f"Compare {name}", exact=True).focus()
        page.keyboard.press("Space")
    page.get_by_role("button", name="Compare those ticked").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/runs/compare"))
    assert page.locator("h1").inner_text() == "Comparison of 2 runs"


def test_a_filter_is_typed_and_an_error_stands_beside_it(look):
    page = look("/runs/flights/1")
    page.locator("#filter").fill("metrics.auc > 0.74")
    page.locator("#filter").press("Enter")
    page.wait_for_url(re.compile("filter="))
    assert page.locator("tbody tr").count() == 2
    page.locator("#filter").fill("metrics.auc >")
    page.locator("#filter").press("Enter")
    assert "Invalid" in page.get_by_role("alert").inner_text()


def test_a_dot_leads_to_its_run(look):
    page = look(compared("tree-0", "tree-3") + "&across=parameters.depth&up=metrics.auc")
    settle(page)
    box = page.locator("[data-scatter]")
    box.scroll_into_view_if_needed()
    where = page.evaluate(
        "() => echarts.getInstanceByDom(document.querySelector('[data-scatter]')).convertToPixel('grid', [2, 0.71])"
    )
    box.click(position={"x": where[0], "y": where[1]})
    page.wait_for_url(re.compile(id_of("tree-0")))


def test_without_scripts_everything_but_the_curves_is_there(chromium, hub):
    page = chromium.new_page()
    page.route("**/static/*.js*", lambda route: route.abort())
    page.goto(hub + compared("tree-0", "tree-3"))
    assert page.locator("#parameters").locator("xpath=..").locator("tbody tr").count() == 3
    assert "drawn by a script" in page.locator("#curves").locator("xpath=..").inner_text()
    page.get_by_role("link", name="what changed").click()
    assert page.locator("pre.diff").count() == 1
    page.close()
