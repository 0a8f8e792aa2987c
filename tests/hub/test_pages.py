"""The pages: what they say, for whom, and at what cost."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

import msgspec
import pytest
import sqlalchemy as sa

from undrift import registry, serving
from undrift.monitoring import records as monitoring_records

VOID = {"meta", "link", "br", "path", "rect", "line", "input", "img"}
OWN_SCRIPT = r'<script src="/static/[\w.]+\?\w+" data-project="default" defer></script>'
EVIL = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>{{7*7}}"


class Page(HTMLParser):
    """A page, read: its text, its links, and whether it is well formed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.links, self.texts, self.ids = [], [], [], [], []
        self.html = html
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def get(http, path, status=200):
    answer = http.get(path, headers={"accept": "text/html"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Page(answer.text)


PAGES = ("/", "/incidents", "/incidents/1", "/endpoints/late", "/models/flights/late", "/audit")


def test_an_empty_workspace_teaches_three_commands(http):
    page = get(http, "/")
    assert "Nothing is watched yet" in page.text
    for command in ("undrift init", "undrift up", "undrift status"):
        assert command in page.text
    assert get(http, "/incidents").text.count("There is none.") == 1
    assert "Nothing has happened" in get(http, "/audit").text


def test_the_first_page_says_that_nothing_is_wrong(http, year):
    page = get(http, "/")
    assert "Nothing is wrong" in page.text
    assert "all right" in page.text


def test_the_first_page_says_what_is_wrong_since_when_and_whose_it_is(http, troubled_year):
    page = get(http, "/")
    assert "1 incident is open" in page.text
    assert "Data fault: missing values in wind_speed" in page.text
    assert re.search(r"since 2013-12-22 00:00 UTC , for 5 days · owner weather-team@example.com", page.text)
    assert "/incidents/3" in page.links
    assert "1 open incident" in page.html.partition("<title>")[2].partition("</title>")[0]


def test_the_first_page_says_which_decision_waits(http, troubled_year):
    page = get(http, "/")
    assert "A decision is waiting: version 4 of late awaits approval" in page.text
    assert re.search(r"undrift approve [0-9a-f]{32}", page.text)


def test_the_first_page_shows_who_answers_and_how_well(http, troubled_year):
    text = get(http, "/").text
    assert re.search(r"Champion version 2 since 2013-07-12 00:00 UTC by loop", text)
    assert re.search(r"Challenger version 3 canary, 5 % of the traffic", text)
    assert re.search(r"Newest log loss 0\.\d+ expected 0\.431, window of 2013-12-23", text)
    assert re.search(r"Labels arrived >99 % \d+ of \d+ predictions", text)


def test_an_incident_says_cause_diagnosis_action_and_what_came_of_it(http, year):
    text = get(http, "/incidents/2").text
    for said in (
        "Incident 2: Performance drop: loss above expected resolved",
        "Wrong since 2013-06-07 00:00 UTC",
        "lasted 35 days",
        "Owner ops@example.com",
        "No input is broken. There are more or fewer positives",
        "Retrained as version 2 and promoted.",
        "Over the last 14 windows the log_loss is 0.4742.",
        "incident.opened",
        "its loss is lower by +0.0277 [+0.0040, +0.0510]",
    ):
        assert said in text
    assert "seen by grace, worth the interruption" in get(http, "/incidents/1").text


def test_a_model_shows_its_versions_and_who_moved_its_aliases_when_and_why(http, year):
    page = get(http, "/models/flights/late")
    for said in (
        "2 champion 2013-06-21 00:00 UTC loop",
        "log_loss 0.431",
        "156,800 rows, recent 120 days, up to 2013-06-21",
        "2013-07-12 00:00 UTC champion version 2 after 1 loop The challenger is surely not worse",
    ):
        assert said in page.text
    assert "/endpoints/late" in page.links


def test_an_endpoint_shows_its_whole_life(http, year):
    page = get(http, "/endpoints/late")
    for said in (
        "Performance",
        "Incidents",
        "Turns of the loop",
        "rolled back",
        "Aliases",
        "Routes",
        "champion version 2",
    ):
        assert said in page.text
    assert len(re.findall('class="tip"', page.html)) <= 200


def test_the_log_is_paged_and_narrowed(http, year, workspace):
    for number in range(60):
        registry.register_model(workspace.context(), registry.RegisterModel("p", f"m{number}", "ada"))
    first = get(http, "/audit")
    (older,) = [link for link in first.links if link.startswith("/audit?before")]
    second = get(http, older)
    positions = [
        int(one) for one in re.findall(r'data-label="Position" class="minor">(\d+)<', first.html + second.html)
    ]
    assert positions == sorted(positions, reverse=True)
    assert positions[-1] == 1
    assert "The log begins here." in second.text
    narrowed = get(http, "/audit?subject=incidents/1")
    assert "subject incidents/1" in narrowed.text
    assert "model.created" not in narrowed.text


@pytest.mark.parametrize("path", PAGES)
def test_every_link_of_a_page_leads_somewhere(http, troubled_year, path):
    page = get(http, path)
    assert len(page.links) > 5
    for link in set(page.links):
        where, _, anchor = link.partition("#")
        answer = http.get(where or path)
        assert answer.status_code == 200, link
        if anchor:
            assert anchor in Page(answer.text).ids, link


@pytest.mark.parametrize("path", [*PAGES, "/nowhere"])
def test_every_page_can_be_used_without_eyes_or_mouse(http, year, path):
    answer = http.get(path, headers={"accept": "text/html"})
    page = Page(answer.text)
    assert page.count("h1") == 1
    assert page.count("main") == page.count("header") == page.count("footer") == 1
    assert page.links[0] == "#content"
    assert page.count("caption") == page.count("table")
    assert len(page.ids) == len(set(page.ids))
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(deeper - before <= 1 for before, deeper in itertools.pairwise(headings))
    for tag, given in page.tags:
        if tag == "th":
            assert given["scope"] in ("col", "row")
        if given.get("role") in ("region", "group"):
            assert given["aria-label"]


@pytest.mark.parametrize("path", [*PAGES, "/nowhere"])
def test_no_page_has_anything_inline_or_from_outside(http, year, path):
    html = http.get(path, headers={"accept": "text/html"}).text
    assert re.sub(OWN_SCRIPT, "", html).count("<script") == 0
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=", html)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', html)


def test_times_are_shown_in_utc(http, year):
    page = get(http, "/incidents/1")
    times = [given["datetime"] for tag, given in page.tags if tag == "time"]
    assert times
    assert all(one.endswith("Z") for one in times)
    assert page.count("abbr") == len(times)


def test_sheet_and_icon_are_served_and_may_be_kept_for_ever(http):
    page = get(http, "/")
    for tag, given in page.tags:
        if tag == "link":
            answer = http.get(given["href"])
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
    assert http.get("/static/undrift.css").headers["content-type"].startswith("text/css")


@pytest.mark.parametrize("name", ["pages.py", "..%2fpages.py", "%2e%2e%2fapp.py", "undrift.css%00"])
def test_no_other_file_is_served(http, name):
    assert http.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/nowhere", 404, "There is nothing at this address."),
        ("/incidents/99", 404, "There is no incident 99."),
        ("/incidents/99999999999999999999", 400, "too large"),
        ("/incidents/many", 400, "expected `int`"),
        ("/models/flights/nope", 404, "There is no model"),
        ("/endpoints/nope", 404, "There is no endpoint"),
        ("/audit?before=x", 400, "expected `int | null`"),
        ("/audit?oops=1", 400, "does not know oops"),
        ("/endpoints/%3Cscript%3E", 404, "<script>"),
    ],
)
def test_people_get_a_page_for_a_problem_and_programs_get_json(http, path, status, said):
    page = get(http, path, status)
    assert said in page.text
    assert re.search(r"Trace [0-9a-f]{32}", page.text)
    assert "<script" not in page.html
    answer = http.get(path, headers={"accept": "*/*"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_names_and_words_of_others_are_shown_and_never_obeyed(http, workspace, make_life):
    life = make_life(name="late")
    life.version(0, 0.4)
    life.promote(0, 1, EVIL, actor=EVIL, evidence={EVIL: EVIL})
    life.windows(30, lambda day: 0.4, suspect={3: (EVIL,)})
    number = life.incident(3, 5, "data fault", EVIL, EVIL, EVIL, title=f"Data fault: {EVIL}", owner=EVIL, dataset=EVIL)
    change = {"diagnosis": EVIL, "action": EVIL, "acknowledged_by": EVIL, "useful": False}
    with workspace.context().begin() as tx:
        incident = monitoring_records.find_incident(tx, number=number)
        monitoring_records.save_incident(tx, msgspec.structs.replace(incident, **change))
    life.cycle(6, 7, "refused", EVIL, EVIL, EVIL, incident=number, evidence={EVIL: EVIL})
    for path in ("/", "/incidents", "/incidents/1", "/endpoints/late", "/models/flights/late", "/audit"):
        page = get(http, path)
        assert page.count("img") == 0
        assert not [given for _, given in page.tags if any(name.startswith("on") for name in given)]
        assert "<script" not in re.sub(OWN_SCRIPT, "", page.html)
        if path != "/models/flights/late":
            assert "alert" in page.text
        assert "49" not in re.findall(r"onerror=alert\(1\)>(\d+)", page.text)


def test_a_page_costs_the_same_however_much_there_is(http, workspace, make_life):
    life = make_life()
    life.version(0, 0.4)
    life.promote(0, 1, "The first version passed its gates.")
    life.windows(1000, lambda hour: 0.4 + hour / 10_000, hours=1)
    for day in range(200):
        life.incident(day / 5, day / 5 + 0.1, "performance drop", "loss above expected", "", "It is high.")
    statements = []
    for engine in (workspace.database._reader, workspace.database._writer):
        sa.event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    for path in ("/", "/endpoints/late", "/incidents/7", "/incidents?limit=1000", "/models/flights/late", "/audit"):
        statements.clear()
        page = get(http, path)
        assert len(page.html) < 400_000, path
        assert len(statements) < 60, path
        dots = re.findall(r'class="dots" d="([^"]*)"', page.html)
        assert all(one.count("M") <= 200 for one in dots)


def test_many_endpoints_are_listed_and_only_the_worst_are_shown_in_full(http, make_life):
    for number in range(10):
        life = make_life(name=f"model-{number}")
        life.version(0, 0.4)
        life.promote(0, 1, "The first version passed its gates.")
    life.windows(3, lambda day: 0.4)
    life.incident(1, 2, "performance drop", "loss above expected", "", "It is high.", over=False)
    page = get(http, "/")
    full = [given["id"] for tag, given in page.tags if given.get("id", "").startswith("endpoint-")]
    assert len(full) == 6
    assert page.html.index("/endpoints/model-9") < page.html.index("/endpoints/model-0")
    assert "Endpoints that are not shown in full here" in page.text


def test_a_model_that_answers_nowhere_is_shown(http, workspace):
    registry.register_model(workspace.context(), registry.RegisterModel("p", "fare", "ada@example.com"))
    assert "fare in project p, owner ada@example.com, no version yet" in get(http, "/").text
    page = get(http, "/models/p/fare")
    assert "It answers nowhere." in page.text
    assert "No version was registered yet." in page.text


def test_a_retired_version_says_why(http, year, workspace):
    asked = registry.RetireVersion("flights", "late", 3, "It was never better.")
    registry.retire_version(workspace.context(), asked)
    assert "3 retired It was never better." in get(http, "/models/flights/late").text


def test_a_shadow_has_no_share(http, year, workspace):
    arms = (serving.SetArm("champion", 2, 1.0), serving.SetArm("shadow", 3, 0.0))
    serving.set_route(workspace.context(), serving.SetRoute("flights", "late", "late", arms, "To compare."))
    text = get(http, "/endpoints/late").text
    assert "Challenger version 3 shadow" in text
    assert "champion version 2 at 100 %, shadow version 3" in text


def test_a_hub_that_others_can_reach_says_so_on_every_page(workspace):
    from litestar.testing import TestClient

    from undrift.hub import build_app

    with TestClient(build_app(workspace, insecure_no_login=True), base_url="http://127.0.0.1:7470") as http:
        for path in ("/", "/incidents", "/audit", "/nowhere"):
            assert "everybody who reaches it owns it" in http.get(path, headers={"accept": "text/html"}).text


def test_an_incident_of_long_ago_is_shown_in_its_own_time(http, make_life):
    life = make_life()
    life.version(0, 0.4)
    life.promote(0, 1, "The first version passed its gates.")
    life.windows(600, lambda day: 0.4)
    life.incident(20, 25, "data fault", "missing values", "temp", "temp is missing.")
    for day in range(100, 400):
        life.incident(day, day + 1, "performance drop", "loss above expected", "", "It is high.")
    page = get(http, "/incidents/1")
    label = next(given["aria-label"] for tag, given in page.tags if given.get("class") == "chart")
    assert "from 2013-01-01 00:00 to 2013-02-25" in label
    assert "Incident 1: Data fault: missing values in temp" in page.html


def test_an_open_incident_is_not_forgotten_behind_many_newer_ones(http, make_life):
    life = make_life()
    life.version(0, 0.4)
    life.promote(0, 1, "The first version passed its gates.")
    life.incident(1, 2, "data fault", "missing values", "temp", "temp is missing.", over=False)
    for day in range(3, 253):
        life.incident(day, day + 1, "performance drop", "loss above expected", "", "It is high.")
    assert "Endpoint late 1 open incident" in get(http, "/endpoints/late").text
