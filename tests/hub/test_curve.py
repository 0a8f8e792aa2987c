"""The curve: windows merged until there are few, drawn as an SVG that fits every width."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.hub.web.axis import time_marks, value_marks
from undrift.hub.web.charts import Level, Mark, Span, performance_chart
from undrift.hub.web.curve import MOST_POINTS, Point, points_of, trailing_means
from undrift.monitoring import Measure, Window

START = datetime(2013, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def window(place, loss=0.4, rows=100, *, predictions=120, suspect=(), measured=True):
    start = START + place * HOUR
    measure = None if loss is None else Measure(rows, loss, None, 0.2, 0.2)
    return Window(
        endpoint="late",
        start=start,
        end=start + HOUR,
        predictions=predictions,
        labels=rows if measured else 0,
        served=measure,
        versions={},
        missing={},
        drift={},
        suspect=suspect,
        profile=None,
        measured_at=start if measured else None,
    )


def point(place, loss=0.4, rows=100, suspect=()):
    start = START + place * HOUR
    return Point(start, start + HOUR, 1, rows, rows, measured=True, loss=loss, rows=rows, suspect=suspect)


def test_few_windows_stay_as_they_are_oldest_first():
    points = points_of([window(1, 0.5), window(0, 0.4)])
    assert [(one.loss, one.windows) for one in points] == [(0.4, 1), (0.5, 1)]


@given(st.integers(1, 2100))
def test_however_many_windows_there_are_at_most_so_many_points_are_drawn(count):
    points = points_of([window(place) for place in range(count)])
    assert len(points) <= MOST_POINTS
    assert sum(one.windows for one in points) == count
    assert (points[0].start, points[-1].end) == (START, START + count * HOUR)
    assert sum(one.predictions for one in points) == 120 * count


def test_a_merged_loss_is_what_one_long_window_would_have_said():
    (merged,) = points_of([window(0, 0.2, rows=300), window(1, 0.6, rows=100)], most=1)
    assert merged.loss == pytest.approx(0.3)
    assert (merged.rows, merged.labels, merged.predictions) == (400, 400, 240)


def test_what_has_no_labels_has_no_loss():
    (merged,) = points_of([window(0, None, rows=0, measured=False)])
    assert (merged.loss, merged.measured, merged.maturity) == (None, False, 0.0)


def test_a_point_is_as_mature_as_its_labels():
    (merged,) = points_of([window(0, rows=60), window(1, rows=120)], most=1)
    assert merged.maturity == 0.75


def test_a_fault_in_one_window_makes_the_point_suspect():
    (merged,) = points_of([window(0, suspect=("temp",)), window(1, suspect=("visib", "temp"))], most=1)
    assert merged.suspect == ("temp", "visib")


def test_the_calmed_curve_leaves_data_faults_out():
    points = [point(0, 0.4), point(1, 9.0, suspect=("temp",)), point(2, 0.6, rows=300)]
    assert trailing_means(points, 7) == pytest.approx([0.4, 0.4, 0.55])
    assert trailing_means([point(0, 9.0, suspect=("temp",))], 7) == [None]


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_marks_of_values_lie_between_the_ends_and_are_few(one, other):
    low, high = sorted((one, other))
    marks = value_marks(low, high)
    assert 1 <= len(marks) <= 4 or high - low < 1e-9
    assert all(low - 1e-6 <= mark <= high + 1e-6 for mark in marks)


@given(st.integers(0, 7_000_000_000), st.integers(1, 40_000_000))
def test_marks_of_time_lie_between_the_ends_in_order_and_are_few(seconds, minutes):
    start = datetime.fromtimestamp(seconds, UTC)
    end = start + timedelta(minutes=minutes)
    marks = [moment for moment, _ in time_marks(start, end)]
    assert len(marks) <= 6
    assert marks == sorted(set(marks))
    assert all(start <= mark <= end for mark in marks)


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (0.15, ["1 Jan", "01:00", "02:00", "03:00"]),
        (4, ["1 Jan 2013", "2 Jan", "3 Jan", "4 Jan", "5 Jan"]),
        (365, ["Jan 2013", "Apr", "Jul", "Oct", "Jan 2014"]),
        (365 * 4, ["2013", "2014", "2015", "2016"]),
    ],
)
def test_an_axis_speaks_of_hours_days_months_or_years(days, said):
    assert [text for _, text in time_marks(START, START + timedelta(days=days))] == said


def drawn(points, **given):
    return ET.fromstring(str(performance_chart(points, label="A curve", **given)))


def of_class(chart, name):
    return [one for one in chart.iter() if name in one.get("class", "").split()]


def test_the_chart_says_what_it_shows_and_stretches_only_shapes():
    chart = drawn([point(place) for place in range(10)])
    assert (chart.get("aria-label"), chart.get("width"), chart.get("viewBox")) == ("A curve", "100%", None)
    assert [one.get("preserveAspectRatio") for one in of_class(chart, "plot")] == ["none", "none"]
    assert not [one for plot in of_class(chart, "plot") for one in plot.iter() if one.tag == "text"]


def test_incidents_are_shaded_and_lead_to_their_page():
    span = Span(START + 2 * HOUR, START + 4 * HOUR, "fault", "/incidents/3", "#3", "Incident 3")
    chart = drawn([point(place) for place in range(10)], spans=[span])
    (shade,) = of_class(chart, "fault")
    assert float(shade.get("x")) == pytest.approx(42 + 0.2 * 958, abs=0.1)
    assert float(shade.get("width")) == pytest.approx(0.2 * 958, abs=0.1)
    (link,) = of_class(chart, "incident")
    assert link.get("href") == "/incidents/3"


def test_promotions_are_vertical_lines():
    mark = Mark(START + 5 * HOUR, "/models/p/late", "v2", "Version 2")
    chart = drawn([point(place) for place in range(10)], marks=[mark])
    (line,) = of_class(chart, "promotion")
    assert line.get("x1") == line.get("x2")
    assert of_class(chart, "promoted")[0].find("text").text == "v2"


def test_what_lies_outside_the_time_shown_is_not_drawn():
    late = START + 100 * HOUR
    chart = drawn(
        [point(place) for place in range(10)],
        spans=[Span(late, late + HOUR, "drop", "/incidents/1", "#1", "")],
        marks=[Mark(late, "/", "v9", "")],
    )
    assert not of_class(chart, "drop")
    assert not of_class(chart, "promotion")


def test_names_that_would_be_written_over_each_other_are_left_out():
    spans = [
        Span(START + place * HOUR, START + (place + 1) * HOUR, "drop", f"/incidents/{place}", f"#{place}", "")
        for place in range(100)
    ]
    chart = drawn([point(place) for place in range(100)], spans=spans)
    assert len(of_class(chart, "drop")) == 100
    assert len(of_class(chart, "incident")) < 20


def test_a_data_fault_does_not_press_the_curve_flat():
    points = [point(place, 0.4 + place / 1000) for place in range(10)]
    calm = of_class(drawn(points), "mean")[0].get("d")
    wild = of_class(drawn([*points[:9], point(9, 50.0, suspect=("temp",))]), "dots")
    assert calm.startswith("M")
    assert [one.get("class") for one in wild] == ["dots", "dots suspect"]
    assert wild[1].get("d").endswith(" 0h0")


def test_the_strip_below_is_as_high_as_the_labels_that_have_arrived():
    half = Point(START, START + HOUR, 1, 100, 50, measured=True, loss=0.4, rows=50, suspect=())
    (bar,) = of_class(drawn([half]), "arrived")
    assert float(bar.get("height")) == 8


def test_pointing_at_a_window_says_what_it_is():
    (tip,) = of_class(drawn([point(0, 0.4123, suspect=("temp",))], tips=True), "tip")
    assert tip.find("title").text == (
        "2013-01-01 00:00 to 2013-01-01 01:00 UTC; loss 0.4123; 100 of 100 labels; data fault in temp"
    )


@pytest.mark.parametrize("losses", [[None], [0.4], [0.0], [None, None], [0.4, 0.4], [1e300, 1e-300], [-5.0, 5.0]])
def test_every_curve_can_be_drawn(losses):
    drawn([point(place, loss) for place, loss in enumerate(losses)], levels=[Level(START, 0.4)])


def test_names_of_others_are_escaped():
    evil = '"><script>alert(1)</script>'
    span = Span(START, START + HOUR, "fault", evil, evil, evil)
    text = str(performance_chart([point(0, suspect=(evil,))], spans=[span], label=evil, tips=True))
    assert "<script" not in text
    ET.fromstring(text)
