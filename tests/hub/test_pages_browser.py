"""The pages in a real browser: readable at every width, in light and dark, by keyboard, without a word on the console.

Set ``UNDRIFT_SCREENSHOTS`` to a folder to keep what the browser saw.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
RUN = "import sys; from undrift.hub import run; run(sys.argv[1], port=0, on_ready=lambda url: print(url, flush=True))"
PAGES = ("/", "/incidents", "/incidents/2", "/endpoints/late", "/models/flights/late", "/audit", "/nowhere")
WIDTHS = (1400, 360)
WIDER_THAN_THE_WINDOW = """() => [...document.querySelectorAll("body *")].filter(one => {
    const box = one.getBoundingClientRect();
    return box.width && box.right > innerWidth + 1 && !one.closest(".table, .skip, .chart");
}).map(one => one.outerHTML.slice(0, 80))"""
CUT_OFF = """() => [...document.querySelectorAll(".table")].filter(one => one.scrollWidth > one.clientWidth + 1)
    .map(one => one.getAttribute("aria-label"))"""
CONTRAST = """() => {
    const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92
        : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = one => {
        for (let at = one; at; at = at.parentElement) {
            const found = parse(getComputedStyle(at).backgroundColor);
            if (found.length === 3 || found[3] === 1) return found;
        }
        return [255, 255, 255];
    };
    const poor = [];
    for (const one of document.querySelectorAll("main *, header *, footer *")) {
        const own = [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!own || one.closest("svg")) continue;
        const [a, b] = [light(parse(getComputedStyle(one).color)), light(ground(one))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(one.outerHTML.slice(0, 100));
    }
    return poor;
}"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Opens browser windows; skips where there is no Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no Chromium at {CHROMIUM} (apt-get install chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"), executable_path=CHROMIUM, args=FLAGS.split()
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def hub(lived_in_trouble, tmp_path_factory):
    """The address of a hub with a troubled year behind it."""
    folder = shutil.copytree(lived_in_trouble, tmp_path_factory.mktemp("browser") / "workspace")
    process = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().strip()
    process.terminate()
    assert process.wait(10) == 0
    process.stdout.close()


def show(page, width, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})


@pytest.fixture
def look(chromium, hub):
    """Open a page at a width; what the browser complained of is in ``page.complaints``."""
    opened = []

    def open_page(path, width=1400):
        page = chromium.new_page()
        opened.append(page)
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith(hub) or page.complaints.append(asked.url))
        show(page, width, "light")
        page.goto(hub + path)
        return page

    yield open_page
    for page in opened:
        page.close()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_its_window_and_can_be_read(look, path):
    page = look(path)
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            show(page, width, scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(WIDER_THAN_THE_WINDOW) == []
            assert page.evaluate(CUT_OFF) == []
            assert page.evaluate(CONTRAST) == []
            if folder := os.environ.get("UNDRIFT_SCREENSHOTS"):
                name = path.strip("/").replace("/", "-") or "overview"
                page.screenshot(path=Path(folder) / f"{name}-{width}-{scheme}.png", full_page=True)
    # The browser itself reports the page that is not there.
    assert [said for said in page.complaints if "404 (Not Found)" not in said] == []


def test_what_cannot_be_read_would_be_noticed(look):
    page = look("/incidents", 360)
    page.evaluate("""() => {
        document.querySelector("h1").style = "color: #aaa; min-width: 500px";
        document.querySelector("tbody td").style = "min-width: 600px; display: block";
    }""")
    assert len(page.evaluate(CONTRAST)) == 1
    assert len(page.evaluate(WIDER_THAN_THE_WINDOW)) == 1
    assert page.evaluate(CUT_OFF) == ["Incidents, newest first"]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_curve_is_as_wide_as_the_page_and_its_text_keeps_its_size(look, width):
    page = look("/", width)
    chart = page.locator("svg.chart").first.bounding_box()
    assert chart["width"] > 0.75 * min(width, 1240)
    assert chart["height"] == pytest.approx(278, abs=1)
    heights = page.evaluate(
        "[...document.querySelectorAll('svg.chart text')].map(t => t.getBoundingClientRect().height)"
    )
    assert all(10 <= height <= 18 for height in heights)
    moments = page.evaluate(
        "[...document.querySelectorAll('text.moment')].map(t => t.getBoundingClientRect()).map(b => [b.left, b.right])"
    )
    assert all(before[1] < after[0] for before, after in itertools.pairwise(moments))


def test_the_curve_tells_data_faults_from_drops_by_more_than_colour(look):
    page = look("/endpoints/late")
    titles = page.evaluate("[...document.querySelectorAll('svg.chart rect.span title')].map(t => t.textContent)")
    assert [title.split(",")[0] for title in titles] == [
        "Incident 3: Data fault: missing values in wind_speed",
        "Incident 2: Performance drop: loss above expected",
        "Incident 1: Data fault: unit change in temp",
    ]


def test_from_the_first_page_to_the_cause_in_one_click(look):
    page = look("/")
    page.locator(".worries a.lead").click()
    assert page.url.endswith("/incidents/3")
    assert "missing values in wind_speed" in page.locator("h1").inner_text()


def test_incidents_in_the_curve_can_be_clicked(look):
    page = look("/")
    page.locator("svg.chart a.incident").first.click()
    assert page.url.endswith("/incidents/1")


def test_the_first_key_leads_past_the_menu_and_every_link_can_be_reached(look):
    page = look("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    links = page.locator("main a").count()
    reached = set()
    for _ in range(3 * links):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("[...document.querySelectorAll('main a')].indexOf(document.activeElement)"))
    assert reached >= set(range(links))


def test_what_has_the_focus_is_outlined(look):
    page = look("/")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_evidence_opens_without_a_script(look):
    page = look("/models/flights/late")
    details = page.locator("details").last
    assert not details.locator("pre").is_visible()
    details.locator("summary").click()
    assert "0.0277" in details.locator("pre").inner_text()


def test_tables_become_sheets_on_a_small_screen(look):
    page = look("/incidents", 360)
    assert page.locator("tbody td").first.evaluate("one => getComputedStyle(one, '::before').content") == '"State"'
    assert page.locator(".table").first.evaluate("one => one.scrollWidth <= one.clientWidth")
