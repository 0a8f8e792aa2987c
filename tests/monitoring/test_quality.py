from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from undrift.monitoring import DriftWatch, QualityWatch

START = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROWS = 200


def at(day):
    return START + day * DAY


@pytest.fixture
def endpoint(endpoint, quality):
    """An endpoint whose inputs are watched, after three good days."""
    endpoint.watch(quality, DriftWatch())
    live(endpoint, range(3))
    assert endpoint.incidents() == []
    return endpoint


def live(endpoint, days, change=None):
    """Ask on these days, and observe when they are over."""
    for day in days:
        columns = endpoint.columns(ROWS, day)
        endpoint.day(day, rows=ROWS, **columns | (change(columns) if change else {}))
    endpoint.observe(at(day + 1))


def half_missing(*names):
    return lambda columns: {name: [None] * (ROWS // 2) + columns[name][ROWS // 2 :] for name in names}


def in_celsius(columns):
    return {"temp": [round((value - 32) / 1.8, 1) for value in columns["temp"]]}


def unheard_of(columns):
    return {"carrier": ["ZZ"] * 20 + columns["carrier"][20:]}


def suspects(endpoint):
    return [window.suspect for window in endpoint.windows()[3:]]


@pytest.mark.parametrize(
    ("change", "detector", "column", "dataset", "owner"),
    [
        (half_missing("temp"), "missing values", "temp", "weather", "weather-desk@example.com"),
        (in_celsius, "unit change", "temp", "weather", "weather-desk@example.com"),
        (unheard_of, "unseen categories", "carrier", "departures", "ops@example.com"),
    ],
    ids=["missing", "unit", "unseen"],
)
def test_what_no_world_does_is_found_the_day_it_happens_and_over_when_it_is_over(
    endpoint, change, detector, column, dataset, owner
):
    live(endpoint, [3], change)
    live(endpoint, [4], change)
    (incident,) = endpoint.incidents()
    assert (incident.cause, incident.columns, incident.dataset, incident.owner) == (
        "data fault",
        (column,),
        dataset,
        owner,
    )
    assert (incident.opened_at, incident.started_at, incident.last_seen_at) == (at(4), at(3), at(5))
    assert [finding.detector for finding in incident.findings] == [detector] * 2
    assert column in incident.title
    assert suspects(endpoint) == [(column,)] * 2
    live(endpoint, [5])
    (incident,) = endpoint.incidents()
    assert (incident.state, incident.resolved_at) == ("resolved", at(5))
    assert suspects(endpoint)[-1] == ()
    types = [event.type for event in endpoint.events("incident.opened", "incident.extended", "incident.resolved")]
    assert types == ["incident.opened", "incident.resolved"]


def test_a_unit_is_named(endpoint):
    live(endpoint, [3], in_celsius)
    (finding,) = endpoint.incidents()[0].findings
    assert "°F → °C" in finding.sentence
    assert finding.evidence["conversion"] == "°F → °C"


def test_what_a_world_does_is_no_fault(endpoint):
    changes = [
        lambda columns: {"temp": [round(value + 12, 1) for value in columns["temp"]]},
        lambda columns: {"wind": [round(value * 1.7, 1) for value in columns["wind"]]},
        lambda columns: {"carrier": ["AA"] * ROWS},
        lambda columns: {"temp": [None] * 30 + columns["temp"][30:]},
        lambda columns: {"carrier": ["ZZ"] * 5 + columns["carrier"][5:]},
    ]
    for day, change in enumerate(changes, 3):
        live(endpoint, [day], change)
    assert endpoint.incidents() == []
    assert set(suspects(endpoint)) == {()}
    assert endpoint.windows()[3].drift["temp"] > 0.2, "it is shown, though"


def test_what_was_missing_in_training_by_the_day_is_no_fault(endpoint):
    endpoint.deploy(("champion", 1.0, None), moment=at(2.5), missing={"temp": 0.6})
    live(endpoint, [3], half_missing("temp"))
    assert endpoint.incidents() == []
    live(endpoint, [4], lambda columns: {"temp": [None] * ROWS})
    assert [incident.columns for incident in endpoint.incidents()] == [("temp",)]


def test_what_was_missing_lately_without_being_a_fault_is_none_today(endpoint):
    # A little more each day: each is usual after the one before.
    for day, share in enumerate((0.15, 0.3, 0.45), 3):
        live(
            endpoint,
            [day],
            lambda columns, share=share: {"temp": [None] * int(ROWS * share) + [45.0] * int(ROWS * (1 - share))},
        )
    assert endpoint.incidents() == []


def test_faults_of_one_dataset_are_one_incident_and_of_another_are_another(endpoint):
    live(endpoint, [3], half_missing("temp"))
    live(endpoint, [4], half_missing("temp", "wind"))
    live(endpoint, [5], lambda columns: half_missing("wind")(columns) | unheard_of(columns))
    weather, departures = endpoint.incidents()
    assert (weather.columns, weather.last_seen_at, weather.state) == (("temp", "wind"), at(6), "open")
    assert (departures.columns, departures.dataset) == (("carrier",), "departures")
    assert [event.data["columns"] for event in endpoint.events("incident.extended")] == [["temp", "wind"]]
    live(endpoint, [6], half_missing("wind"))
    assert [incident.state for incident in endpoint.incidents()] == ["open", "resolved"]
    live(endpoint, [7])
    assert [incident.resolved_at for incident in endpoint.incidents()] == [at(7), at(6)]


def test_a_fault_that_comes_back_is_another_incident(endpoint):
    live(endpoint, [3], half_missing("temp"))
    live(endpoint, [4])
    live(endpoint, [5], half_missing("temp"))
    assert [(one.number, one.state) for one in endpoint.incidents()] == [(1, "resolved"), (2, "open")]


def test_an_incident_keeps_its_first_and_latest_findings(endpoint):
    live(endpoint, range(3, 10), half_missing("temp", "wind"))
    (incident,) = endpoint.incidents()
    assert [finding.start for finding in incident.findings[::2]] == [at(day) for day in (3, 4, 5, 7, 8, 9)]


def test_few_rows_neither_open_nor_resolve(endpoint):
    endpoint.day(3, rows=49, temp=[None] * 49)
    endpoint.observe(at(4))
    assert endpoint.incidents() == []
    live(endpoint, [4], half_missing("temp"))
    endpoint.day(5, rows=49)
    endpoint.observe(at(6))
    assert [incident.state for incident in endpoint.incidents()] == ["open"]


def test_a_day_without_a_question_resolves_nothing(endpoint):
    live(endpoint, [3], half_missing("temp"))
    live(endpoint, [6], half_missing("temp"))
    assert [(one.state, one.last_seen_at) for one in endpoint.incidents()] == [("open", at(7))]


def test_without_a_watch_nothing_is_said(endpoint):
    endpoint.watch()
    live(endpoint, [3], half_missing("temp"))
    assert endpoint.incidents() == []


def test_a_watch_says_how_much_is_allowed(endpoint):
    endpoint.watch(QualityWatch(missing=0.6, unseen=0.2))
    live(endpoint, [3], lambda columns: half_missing("temp")(columns) | unheard_of(columns))
    assert endpoint.incidents() == []


def test_inputs_without_a_source_are_not_watched(endpoint):
    endpoint.watch(
        QualityWatch(), sources={name: one for name, one in endpoint.monitor.sources.items() if name != "temp"}
    )
    live(endpoint, [3], half_missing("temp"))
    assert endpoint.incidents() == []


def test_a_season_of_days_alarms_nobody(endpoint):
    rng = np.random.default_rng(9)
    for day in range(3, 33):
        weather = rng.normal(0, 5)
        live(
            endpoint, [day], lambda columns, weather=weather: {"temp": [round(v + weather, 1) for v in columns["temp"]]}
        )
    assert endpoint.incidents() == []
