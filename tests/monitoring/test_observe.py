from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import sklearn.metrics

from undrift.core import new_id
from undrift.monitoring import Monitor, Observation, Observer, PerformanceWatch, observe, records

START = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def at(day):
    return START + day * DAY


def starts(endpoint):
    return [(window.start - START) / DAY for window in endpoint.windows()]


# --- Closing ---


def test_a_window_closes_once_when_its_time_is_over(endpoint):
    endpoint.day(0, rows=20)
    assert endpoint.observe(at(0.9)).closed == 0
    assert endpoint.observe(at(1)).closed == 1
    assert endpoint.observe(at(1)).closed == 0
    (window,) = endpoint.windows()
    assert (window.start, window.end, window.predictions, window.labels) == (at(0), at(1), 20, 0)
    assert (window.served, window.versions, window.measured_at, window.restated) == (None, {}, None, 0)
    assert [event.data["predictions"] for event in endpoint.events("window.closed")] == [20]


def test_event_time_stands_still_when_nobody_asks(endpoint):
    endpoint.day(0, rows=10)
    endpoint.day(3, rows=10)
    assert endpoint.observe(at(30)).closed == 4
    assert starts(endpoint) == [0, 1, 2, 3]
    assert [window.predictions for window in endpoint.windows()] == [10, 0, 0, 10]
    assert endpoint.observe(at(60)).closed == 0


def test_windows_lie_on_the_calendar_wherever_the_first_prediction_was(endpoint):
    endpoint.watch(window_s=3600.0)
    moment = at(0) + timedelta(hours=5, minutes=20)
    endpoint.ask([moment], endpoint.columns(1), [0.5])
    endpoint.observe(moment + timedelta(hours=3))
    (window,) = endpoint.windows()
    assert (window.start, window.end) == (at(0) + timedelta(hours=5), at(0) + timedelta(hours=6))


def test_a_window_begins_with_its_start_and_ends_before_its_end(endpoint):
    endpoint.ask([at(0), at(1) - timedelta(microseconds=1), at(1)], endpoint.columns(3), [0.5] * 3)
    endpoint.observe(at(2))
    assert [window.predictions for window in endpoint.windows()] == [2, 1]


def test_an_endpoint_nobody_has_asked_or_made_has_no_windows(endpoint):
    assert endpoint.observe(at(5)) == Observation(closed=0, measured=0, restated=0, touched=())
    unknown = Observer(Monitor(endpoint="nowhere", project="flights", model="late", owner="ops"))
    assert unknown.observe(endpoint.ctx(), at(5)) == Observation(closed=0, measured=0, restated=0, touched=())


def test_a_closed_window_says_what_was_missing_and_what_drifted(endpoint):
    endpoint.day(0, rows=200, temp=[None] * 20 + [45.0] * 180)
    endpoint.observe(at(1))
    (window,) = endpoint.windows()
    assert window.missing == {"temp": 0.1, "wind": 0.0, "carrier": 0.0}
    assert window.drift["temp"] > 0.2
    assert window.drift["wind"] < 0.2
    assert window.profile is not None


# --- Measuring ---


def test_a_window_is_measured_when_its_labels_are_due(endpoint):
    scores = np.random.default_rng(1).uniform(0.05, 0.95, 200).round(3)
    ids = endpoint.day(0, scores=scores.tolist())
    labels = (np.random.default_rng(2).random(200) < scores).astype(float)
    endpoint.observe(at(1))
    endpoint.label(ids[:150], labels[:150].tolist(), at(1.5))
    assert endpoint.observe(at(1.9)).measured == 0
    seen = endpoint.observe(at(2))
    assert (seen.measured, seen.restated) == (1, 0)
    (window,) = endpoint.windows()
    assert (window.labels, window.maturity, window.measured_at) == (150, 0.75, at(2))
    assert window.served.rows == 150
    assert window.served.loss == pytest.approx(sklearn.metrics.log_loss(labels[:150], scores[:150]))
    assert window.served.auc_score == pytest.approx(sklearn.metrics.roc_auc_score(labels[:150], scores[:150]))
    assert window.served.label_mean == pytest.approx(labels[:150].mean())
    assert window.served.score_mean == pytest.approx(scores[:150].mean())
    assert window.versions == {"1": window.served}


def test_a_window_without_labels_is_measured_as_nothing(endpoint):
    endpoint.day(0, rows=10)
    assert endpoint.observe(at(5)).measured == 1
    (window,) = endpoint.windows()
    assert (window.served, window.versions, window.labels, window.maturity) == (None, {}, 0, 0.0)


def test_one_class_has_no_order_but_a_loss(endpoint):
    endpoint.label(endpoint.day(0, rows=10), 0)
    endpoint.observe(at(5))
    (window,) = endpoint.windows()
    assert window.served.auc_score is None
    assert window.served.loss == pytest.approx(-np.log(0.7))


def test_a_regression_is_measured_by_its_mean_absolute_error(endpoint):
    endpoint.watch(task="regression")
    endpoint.label(endpoint.day(0, rows=4, scores=[1.0, 2.0, 3.0, 4.0]), [2.0, 2.0, 2.0, 2.0])
    endpoint.observe(at(5))
    (window,) = endpoint.windows()
    assert (window.served.loss, window.served.auc_score) == (1.0, None)


def test_a_prediction_without_a_number_is_counted_but_not_measured(endpoint):
    ids = endpoint.day(0, rows=10, scores=[None] * 5 + [0.3] * 5)
    endpoint.label(ids, 0)
    endpoint.day(1, rows=10, scores=[None] * 10)
    endpoint.label(endpoint.day(2, rows=10, scores=[None] * 10), 0)
    endpoint.observe(at(9))
    first, _, last = endpoint.windows()
    assert (first.predictions, first.labels, first.served.rows) == (10, 10, 5)
    assert first.served.loss == pytest.approx(-np.log(0.7))
    assert (last.labels, last.served, last.versions) == (10, None, {})


def test_numbers_too_large_to_add_up_do_not_make_a_window_unreadable(endpoint):
    endpoint.watch(task="regression")
    endpoint.label(endpoint.day(0, rows=4, scores=[1.0] * 4), 1.7e308)
    endpoint.observe(at(5))
    (window,) = endpoint.windows()
    assert (window.labels, window.served) == (4, None)


# --- Labels that come later ---


def test_late_labels_restate_the_windows_they_belong_to_and_no_others(endpoint, monkeypatch):
    ids = [endpoint.day(day, rows=20) for day in range(4)]
    for day in range(4):
        endpoint.label(ids[day][:10], 0, at(day + 1))
    endpoint.observe(at(8))
    before = endpoint.windows()

    read = []
    real = observe.read_predictions

    def spy(ctx, endpoint, start, end):
        read.append((start - START) / DAY)
        return real(ctx, endpoint, start, end)

    monkeypatch.setattr(observe, "read_predictions", spy)
    endpoint.label(ids[1][10:15], 1, at(9))
    endpoint.label([*ids[3][10:], ids[3][0]], 1, at(9))
    seen = endpoint.observe(at(9))
    assert (seen.closed, seen.measured, seen.restated) == (0, 2, 2)
    assert read == [1, 3]
    after = endpoint.windows()
    assert [window.restated for window in after] == [0, 1, 0, 1]
    assert [window.labels for window in after] == [10, 15, 10, 20]
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[3].served.label_mean == 11 / 20, "a corrected label counts with its new value"
    assert after[1].measured_at == before[1].measured_at, "measured first then, restated since"
    told = [(event.data["labels_before"], event.data["labels"]) for event in endpoint.events("window.restated")]
    assert told == [(10, 15), (10, 20)]
    assert endpoint.observe(at(9)).measured == 0
    assert read == [1, 3], "nothing new, nothing read"


def test_labels_that_come_before_a_window_is_due_do_not_restate_it(endpoint):
    ids = endpoint.day(0, rows=10)
    endpoint.label(ids[:5], 0, at(0.5))
    endpoint.observe(at(1))
    endpoint.label(ids[5:], 0, at(1.5))
    endpoint.observe(at(1.6))
    assert endpoint.observe(at(2)).restated == 0
    endpoint.observe(at(3))
    (window,) = endpoint.windows()
    assert (window.labels, window.restated) == (10, 0)


def test_a_label_that_was_parked_restates_when_its_prediction_turns_up(endpoint):
    endpoint.label(endpoint.day(0, rows=10), 0)
    stranger = new_id()
    endpoint.label([stranger], 1)
    endpoint.observe(at(2))
    endpoint.ask([at(0.5)], endpoint.columns(1), [0.3], ids=[stranger])
    assert endpoint.observe(at(2)).restated == 1
    (window,) = endpoint.windows()
    assert (window.labels, window.served.rows) == (11, 11)


@pytest.mark.parametrize("cut", ["mark_relabelled", "measure_window", "add_window", "unmeasured_windows"])
def test_an_observation_that_was_cut_off_is_made_up_for(endpoint, monkeypatch, cut):
    ids = [endpoint.day(day, rows=20) for day in range(3)]
    endpoint.label(ids[0], 0, at(1))
    endpoint.observe(at(2))
    endpoint.label(ids[0][:5], 1, at(2))
    endpoint.label(ids[1], 0, at(2))

    class Killed(BaseException):
        pass

    def killed(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(records, cut, killed)
        with pytest.raises(Killed):
            endpoint.observe(at(3))
    endpoint.observer = Observer(endpoint.monitor)  # a new process
    endpoint.observe(at(3))
    windows = endpoint.windows()
    assert [(window.labels, window.measured_at is not None) for window in windows] == [
        (20, True),
        (20, True),
        (0, False),
    ]
    assert windows[0].served.label_mean == 0.25
    assert len(endpoint.events("window.closed")) == 3


@pytest.mark.parametrize("restarted", [False, True])
def test_who_observes_seldom_sees_the_same_as_who_observes_daily(make_endpoint, sqlite_database, restarted):
    endpoint = make_endpoint(sqlite_database)
    for day in range(6):
        ids = endpoint.day(day, rows=60)
        endpoint.label(ids, (np.arange(60) % 3 == 0).astype(float).tolist(), at(day + 1))
        if restarted:
            endpoint.observer = Observer(endpoint.monitor)
        endpoint.observe(at(day + 1))
    endpoint.observe(at(8))
    daily = endpoint.windows()
    other = Observer(endpoint.monitor)
    with endpoint.ctx().begin() as tx:
        tx.exec_driver_sql("DELETE FROM windows")
        tx.exec_driver_sql("DELETE FROM monitors")
    other.observe(endpoint.ctx(at(8)), at(8))
    at_once = endpoint.windows()
    assert [(one.start, one.labels, one.served, one.drift, one.profile) for one in at_once] == [
        (one.start, one.labels, one.served, one.drift, one.profile) for one in daily
    ]


# --- Several versions ---


def test_each_version_is_measured_on_the_rows_that_both_scored(endpoint):
    endpoint.deploy(("champion", 0.5, 1), ("canary", 0.5, None), moment=at(0), compare=True)
    rows = 100
    moments = [at(0) + place * DAY / rows for place in range(rows)]
    arms = [place % 2 for place in range(rows)]
    champion, canary = [0.4] * rows, [0.2] * rows
    scores = [(champion, canary)[arm][row] for row, arm in enumerate(arms)]
    others = [(canary, champion)[arm][row] for row, arm in enumerate(arms)]
    others[0] = None  # the canary failed at this row
    ids = endpoint.ask(moments, endpoint.columns(rows), scores, arms=arms, others=others)
    endpoint.label(ids, 0)
    endpoint.observe(at(2))
    (window,) = endpoint.windows()
    assert (window.served.rows, window.versions["1"].rows, window.versions["2"].rows) == (100, 99, 99)
    assert window.versions["1"].loss == pytest.approx(-np.log(0.6))
    assert window.versions["2"].loss == pytest.approx(-np.log(0.8))
    assert window.served.loss == pytest.approx(-(np.log(0.6) + np.log(0.8)) / 2)


def test_a_shadow_that_always_fails_leaves_the_champion_measured(endpoint):
    endpoint.deploy(("champion", 1.0, 1), ("shadow", 0.0, None), moment=at(0))
    moments = [at(0) + place * DAY / 60 for place in range(60)]
    endpoint.label(endpoint.ask(moments, endpoint.columns(60), [0.3] * 60, others=[None] * 60), 0)
    endpoint.observe(at(2))
    (window,) = endpoint.windows()
    assert {version: found.rows for version, found in window.versions.items()} == {"1": 60}


# --- The loss ---


def live(endpoint, days, rate, *, observe_=True, **changes):
    """Live some days with a share of positives; each day's labels are in two days later."""
    for day in days:
        ids = endpoint.day(day, rows=100, **changes)
        endpoint.label(ids, (np.arange(100) < 100 * rate).astype(float).tolist(), at(day + 1))
        if observe_:
            endpoint.observe(at(day + 2))


def test_a_loss_above_what_was_expected_opens_one_incident_and_ends_when_it_is_back(endpoint, performance):
    endpoint.watch(performance)
    live(endpoint, range(3), 0.2)
    assert endpoint.incidents() == []
    live(endpoint, range(3, 6), 0.6)
    (incident,) = endpoint.incidents()
    assert (incident.cause, incident.owner, incident.dataset, incident.state) == (
        "performance drop",
        "ops@example.com",
        None,
        "open",
    )
    assert (incident.opened_at, incident.started_at) == (at(5), at(1)), "known when day 3 was measured"
    finding = incident.findings[0]
    assert (finding.detector, finding.limit) == ("loss above expected", pytest.approx(0.55))
    assert finding.value > finding.limit
    assert finding.evidence["version"] == 1
    assert incident.last_seen_at == at(6)
    live(endpoint, range(6, 10), 0.2)
    (incident,) = endpoint.incidents()
    assert (incident.state, incident.resolved_at) == ("resolved", at(10))
    assert [event.type for event in endpoint.events("incident.opened", "incident.resolved")] == [
        "incident.opened",
        "incident.resolved",
    ]


def test_too_few_windows_or_rows_say_nothing_about_the_loss(endpoint, performance):
    endpoint.watch(performance)
    live(endpoint, range(2), 0.9)
    assert endpoint.incidents() == []
    endpoint.watch(PerformanceWatch("log_loss", drop=0.05, span=1))
    endpoint.label(endpoint.day(2, rows=49), 1)
    endpoint.observe(at(4))
    assert endpoint.incidents() == []


def test_a_window_with_a_data_fault_says_nothing_about_the_model(endpoint, performance, quality):
    endpoint.watch(performance, quality)
    live(endpoint, range(3), 0.2)
    live(endpoint, range(3, 6), 0.9, temp=[None] * 100)
    assert [incident.cause for incident in endpoint.incidents()] == ["data fault"]
    live(endpoint, range(6, 9), 0.2)
    assert [(incident.cause, incident.state) for incident in endpoint.incidents()] == [("data fault", "resolved")]


def test_another_champion_ends_an_incident_about_the_one_before(endpoint, performance):
    endpoint.watch(performance)
    live(endpoint, range(4), 0.6)
    assert [incident.state for incident in endpoint.incidents()] == ["open"]
    endpoint.deploy(("champion", 1.0, None), moment=at(5.5))
    endpoint.day(5, rows=100)
    live(endpoint, [6], 0.6)
    (incident,) = endpoint.incidents()
    assert (incident.state, incident.resolved_at) == ("resolved", at(5.5))
    assert endpoint.events("incident.resolved")[0].data["why"] == "another version took over"
    live(endpoint, range(7, 10), 0.6)
    assert [incident.state for incident in endpoint.incidents()] == ["resolved", "open"], "it is no better"


def test_late_labels_can_open_an_incident(endpoint, performance):
    endpoint.watch(performance)
    ids = [endpoint.day(day, rows=100) for day in range(4)]
    for day in range(4):
        endpoint.label(ids[day][:50], 0, at(day + 1))
    endpoint.observe(at(6))
    assert endpoint.incidents() == []
    for day in range(1, 4):
        endpoint.label(ids[day][50:], 1, at(9))
    seen = endpoint.observe(at(9))
    assert (seen.restated, seen.touched) == (3, (1,))
    assert [incident.cause for incident in endpoint.incidents()] == ["performance drop"]


def test_everything_is_the_same_on_both_engines(database, make_endpoint, performance, quality):
    endpoint = make_endpoint(database)
    endpoint.watch(performance, quality)
    live(endpoint, range(3), 0.2)
    live(endpoint, range(3, 5), 0.7)
    live(endpoint, range(5, 7), 0.2, carrier=["XX"] * 100)
    live(endpoint, range(7, 12), 0.2)
    assert [(one.number, one.cause, one.state) for one in endpoint.incidents()] == [
        (1, "performance drop", "resolved"),
        (2, "data fault", "resolved"),
    ]
    assert len(endpoint.windows()) == 12
