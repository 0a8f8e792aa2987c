from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from undrift.core import new_id
from undrift.core.errors import Invalid, TooLarge
from undrift.monitoring import (
    FindLabelAccount,
    Label,
    LabelReport,
    ListCorrections,
    RecordLabels,
    find_label_account,
    labelled_predictions,
    labels,
    list_corrections,
    record_labels,
)
from undrift.serving import collect

START = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def endpoint(database, make_endpoint):
    """An endpoint on each engine, with ten predictions collected."""
    made = make_endpoint(database)
    made.ids = made.day(0, rows=10)
    collect(made.ctx(), made.folder)
    return made


def account(endpoint):
    found = find_label_account(endpoint.ctx(), FindLabelAccount(endpoint.name))
    return found.labelled, found.corrected, found.parked


def labelled(endpoint):
    frame = labelled_predictions(endpoint.ctx(), endpoint.name, START, START + DAY)
    return dict(frame.select("prediction_id", "label").iter_rows())


def test_labels_are_joined_by_prediction_id(endpoint):
    report = endpoint.label(endpoint.ids[:3], [0, 1, 1])
    assert report == LabelReport(recorded=3, unchanged=0, corrected=0, parked=0)
    assert labelled(endpoint) == dict(zip(endpoint.ids, [0.0, 1.0, 1.0], strict=False))
    assert account(endpoint) == (3, 0, 0)


def test_the_same_label_again_changes_nothing(endpoint):
    endpoint.label(endpoint.ids, 1)
    assert endpoint.label(endpoint.ids, 1, START + DAY) == LabelReport(recorded=0, unchanged=10, corrected=0, parked=0)
    twice = record_labels(endpoint.ctx(), RecordLabels(endpoint.name, (Label(endpoint.ids[0], 1.0),) * 2))
    assert twice.unchanged == 1
    assert account(endpoint) == (10, 0, 0)
    assert len(endpoint.events("labels.recorded")) == 1


def test_another_value_is_a_correction_and_the_old_one_is_kept(endpoint):
    one, two = endpoint.ids[:2]
    endpoint.label([one, two], 0)
    report = endpoint.label([one, two], [1, 0], START + DAY)
    assert (report.corrected, report.unchanged, report.recorded) == (1, 1, 0)
    endpoint.label([one], 0, START + 2 * DAY)
    assert labelled(endpoint)[one] == 0.0
    history = list_corrections(endpoint.ctx(), ListCorrections(endpoint.name))
    assert [(past.prediction_id, past.value, past.replaced_by, past.replaced_at) for past in history] == [
        (one, 1.0, 0.0, START + 2 * DAY),
        (one, 0.0, 1.0, START + DAY),
    ]
    assert {past.actor for past in history} == {"ada"}
    assert account(endpoint) == (2, 1, 0), "a prediction that was corrected twice is one"


def test_two_values_for_one_prediction_in_one_call_are_refused_and_nothing_is_recorded(endpoint):
    one, two = endpoint.ids[:2]
    with pytest.raises(Invalid, match="two different labels in one call"):
        record_labels(endpoint.ctx(), RecordLabels(endpoint.name, (Label(two, 1.0), Label(one, 0.0), Label(one, 1.0))))
    assert account(endpoint) == (0, 0, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_label_that_is_no_number_is_refused_and_nothing_is_recorded(endpoint, value):
    with pytest.raises(Invalid, match="not a number"):
        endpoint.label(endpoint.ids[:2], [1.0, value])
    assert account(endpoint) == (0, 0, 0)


def test_too_many_labels_are_refused_and_as_many_as_allowed_are_kept(endpoint):
    many = tuple(Label(new_id(), 1.0) for _ in range(10_001))
    with pytest.raises(TooLarge, match="10001 labels"):
        record_labels(endpoint.ctx(), RecordLabels(endpoint.name, many))
    assert account(endpoint) == (0, 0, 0)
    assert record_labels(endpoint.ctx(), RecordLabels(endpoint.name, many[1:])).parked == 10_000


def test_labels_for_another_endpoint_are_refused_and_nothing_is_recorded(endpoint, make_endpoint):
    other = make_endpoint(endpoint.database, "early")
    other.ids = other.day(0, rows=2)
    collect(other.ctx(), other.folder)
    with pytest.raises(Invalid, match="made by early, not by 'late'"):
        endpoint.label([endpoint.ids[0], other.ids[0]], 1)
    assert account(endpoint) == account(other) == (0, 0, 0)


def test_a_label_nobody_knows_the_prediction_of_is_parked_until_it_turns_up(endpoint):
    early = new_id()
    report = endpoint.label([early, endpoint.ids[0]], 1)
    assert (report.recorded, report.parked, report.parked_ids) == (1, 1, (early,))
    assert "'late' has not logged" in report.sentence
    assert account(endpoint) == (1, 0, 1)

    endpoint.ask([START + DAY / 2], endpoint.columns(1), [0.3], ids=[early])
    endpoint.observe(START + DAY / 2)
    assert account(endpoint) == (2, 0, 0)
    assert labelled(endpoint)[early] == 1.0


def test_a_parked_label_can_be_corrected(endpoint):
    early = new_id()
    endpoint.label([early], 1)
    assert endpoint.label([early], 0).corrected == 1
    endpoint.ask([START + DAY / 2], endpoint.columns(1), [0.3], ids=[early])
    endpoint.observe(START + DAY / 2)
    assert labelled(endpoint)[early] == 0.0


def test_labels_whose_predictions_never_turn_up_do_not_keep_others_waiting(endpoint, monkeypatch):
    monkeypatch.setattr(labels, "_MAX_LABELS", 10)
    strangers = sorted(new_id() for _ in range(25))
    for first in range(0, 25, 5):
        endpoint.label(strangers[first : first + 5], 1)
    mine = new_id()
    endpoint.label([mine], 1)
    endpoint.ask([START + DAY / 2], endpoint.columns(1), [0.3], ids=[mine])
    endpoint.observe(START + DAY / 2)
    assert account(endpoint) == (1, 0, 25)


def test_labels_say_when_they_became_known(endpoint):
    landed = START + timedelta(hours=5)
    record_labels(endpoint.ctx(), RecordLabels(endpoint.name, (Label(endpoint.ids[0], 1.0, landed),)))
    endpoint.label([endpoint.ids[1]], 1, START + DAY)
    with endpoint.database.read() as tx:
        known = dict(tx.exec_driver_sql("SELECT prediction_id, known_at FROM labels").all())
    assert known[endpoint.ids[1]] - known[endpoint.ids[0]] == 19 * 3600 * 1_000_000
