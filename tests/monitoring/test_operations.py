from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.monitoring import (
    AcknowledgeIncident,
    DescribeIncident,
    FindIncident,
    ListIncidents,
    ListWindows,
    PerformanceWatch,
    acknowledge_incident,
    describe_incident,
    find_incident,
    list_incidents,
    list_windows,
)

START = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def incident(endpoint, quality):
    """An open incident, number 1."""
    endpoint.watch(quality)
    endpoint.day(0, temp=[None] * 200)
    endpoint.observe(START + DAY)
    return endpoint.incidents()[0]


def acknowledge(endpoint, **given):
    return acknowledge_incident(endpoint.ctx(), AcknowledgeIncident(1, **given))


def resolve(endpoint):
    endpoint.day(1)
    endpoint.observe(START + 2 * DAY)


def test_somebody_has_seen_it(endpoint, incident):
    seen = acknowledge(endpoint, useful=True)
    assert (seen.state, seen.acknowledged_by, seen.useful) == ("acknowledged", "ada", True)
    assert find_incident(endpoint.ctx(), FindIncident(1)) == seen
    assert acknowledge(endpoint).useful is True, "what was said of its use stays"
    assert list_incidents(endpoint.ctx(), ListIncidents(open_only=True)) == [seen]


def test_an_incident_that_was_seen_goes_on_and_ends_as_any_other(endpoint, incident):
    acknowledge(endpoint)
    endpoint.day(1, temp=[None] * 200)
    endpoint.observe(START + 2 * DAY)
    (found,) = endpoint.incidents()
    assert (found.state, found.last_seen_at) == ("acknowledged", START + 2 * DAY)
    endpoint.day(2)
    endpoint.observe(START + 3 * DAY)
    assert endpoint.incidents()[0].state == "resolved"


def test_one_that_is_over_can_still_be_called_useful_or_not(endpoint, incident):
    resolve(endpoint)
    with pytest.raises(Conflict, match="was resolved already"):
        acknowledge(endpoint)
    said = acknowledge(endpoint, useful=False)
    assert (said.state, said.useful) == ("resolved", False)


def test_saying_why_again_changes_nothing(endpoint, incident):
    for _ in range(2):
        said = describe_incident(endpoint.ctx(), DescribeIncident(1, "The sensor froze.", "Told.", {"share": 1.0}))
    assert (said.diagnosis, said.action) == ("The sensor froze.", "Told.")
    assert len(endpoint.events("incident.diagnosed")) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda ctx: find_incident(ctx, FindIncident(7)),
        lambda ctx: acknowledge_incident(ctx, AcknowledgeIncident(7)),
        lambda ctx: describe_incident(ctx, DescribeIncident(7, "", "")),
    ],
)
def test_an_incident_nobody_knows_is_not_found(endpoint, call):
    with pytest.raises(NotFound, match="no incident 7"):
        call(endpoint.ctx())


def test_incidents_are_listed_newest_first_by_what_was_asked(endpoint, incident):
    resolve(endpoint)
    endpoint.day(2, temp=[None] * 200)
    endpoint.observe(START + 3 * DAY)

    def numbers(**asked):
        return [one.number for one in list_incidents(endpoint.ctx(), ListIncidents(**asked))]

    assert numbers() == numbers(endpoint="late") == numbers(project="flights") == [2, 1]
    assert numbers(open_only=True) == [2]
    assert numbers(limit=1) == [2]
    assert numbers(endpoint="early") == numbers(project="ships") == []


def test_windows_are_listed_newest_first_by_what_was_asked(endpoint):
    for day in range(5):
        endpoint.day(day, rows=1)
    endpoint.observe(START + 5 * DAY)

    def days(**asked):
        return [(one.start - START).days for one in list_windows(endpoint.ctx(), ListWindows("late", **asked))]

    assert days() == [4, 3, 2, 1, 0]
    assert days(start=START + DAY, before=START + 3 * DAY) == [2, 1]
    assert days(limit=2) == [4, 3]
    assert list_windows(endpoint.ctx(), ListWindows("early")) == []


@pytest.mark.parametrize("given", [{"drop": 0}, {"drop": -0.1}, {"span": 0}, {"metric": "roc_auc"}])
def test_a_performance_watch_that_can_watch_nothing_is_refused(given):
    with pytest.raises(Invalid):
        PerformanceWatch(**given)
