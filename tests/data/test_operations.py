from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.data import (
    AddQuarantine,
    EndQuarantine,
    ListDatasets,
    ListDatasetVersions,
    ListQuarantines,
    RegisterDataset,
    add_quarantine,
    append,
    end_quarantine,
    list_dataset_versions,
    list_datasets,
    list_quarantines,
    register_dataset,
)
from undrift.events import ListEvents, list_events

START = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DEPARTURES = RegisterDataset("flights", "departures", "id", "at", "known", "ops@example.com")


def events(ctx, kind):
    return list_events(ctx, ListEvents(type=kind))


def test_a_dataset_is_registered_once(ctx):
    made = register_dataset(ctx, DEPARTURES)
    assert register_dataset(ctx, DEPARTURES) == made
    assert len(events(ctx, "dataset.created")) == 1
    other = register_dataset(ctx, msgspec.structs.replace(DEPARTURES, project="ships"))
    assert other.id != made.id


@pytest.mark.parametrize("change", [{"key": "tail"}, {"time": "known"}, {"known_at": "at"}])
def test_key_and_times_of_a_dataset_do_not_change(ctx, change):
    made = register_dataset(ctx, DEPARTURES)
    with pytest.raises(Conflict, match="cannot change"):
        register_dataset(ctx, msgspec.structs.replace(DEPARTURES, **change))
    assert register_dataset(ctx, DEPARTURES) == made


@pytest.mark.parametrize("change", [{"name": "../up"}, {"project": ""}])
def test_names_that_are_not_safe_are_refused(ctx, change):
    with pytest.raises(Invalid, match="cannot name"):
        register_dataset(ctx, msgspec.structs.replace(DEPARTURES, **change))


def test_datasets_are_listed_by_name_with_their_newest_version(ctx, rows):
    departures = register_dataset(ctx, DEPARTURES)
    arrivals = register_dataset(ctx, msgspec.structs.replace(DEPARTURES, name="arrivals"))
    register_dataset(ctx, msgspec.structs.replace(DEPARTURES, project="ships"))
    append(ctx, departures, rows(temp=[1.0]), known_until=START, message="")
    newest = append(ctx, departures, rows(first=1, temp=[1.0]), known_until=START, message="")
    found = list_datasets(ctx, ListDatasets("flights"))
    assert [(one.dataset, one.newest) for one in found] == [(arrivals, None), (departures, newest)]
    assert len(list_datasets(ctx, ListDatasets())) == 3


def test_versions_are_listed_newest_first_up_to_a_limit(ctx, dataset, rows):
    for number in range(3):
        append(ctx, dataset, rows(first=number, temp=[1.0]), known_until=START, message="")
    asked = ListDatasetVersions("flights", "departures", limit=2)
    assert [version.number for version in list_dataset_versions(ctx, asked)] == [3, 2]
    assert len(list_dataset_versions(ctx, msgspec.structs.replace(asked, limit=-5))) == 1
    with pytest.raises(NotFound):
        list_dataset_versions(ctx, ListDatasetVersions("flights", "nowhere"))


def quarantine(**given):
    fixed = {
        "project": "flights",
        "dataset": "departures",
        "columns": ("temp",),
        "start": START,
        "reason": "in another unit",
    }
    return AddQuarantine(**(fixed | given))


def test_a_stretch_is_open_until_the_end_of_its_incident_is_told(ctx, dataset):
    first = add_quarantine(ctx, quarantine(incident_id="a" * 32, evidence={"share": 0.5}))
    other = add_quarantine(ctx, quarantine(incident_id="b" * 32, start=START - DAY))
    assert list_quarantines(ctx, ListQuarantines("flights")) == [other, first], "oldest first"
    assert first.end is None

    ended = end_quarantine(ctx, EndQuarantine("flights", "a" * 32, START + DAY))
    assert ended == [msgspec.structs.replace(first, end=START + DAY)]
    assert list_quarantines(ctx, ListQuarantines("flights", "departures")) == [other, *ended]
    assert end_quarantine(ctx, EndQuarantine("flights", "a" * 32, START + 2 * DAY)) == []
    assert list_quarantines(ctx, ListQuarantines("flights"))[1].end == START + DAY
    assert len(events(ctx, "dataset.quarantined")) == 2
    assert len(events(ctx, "dataset.quarantine_ended")) == 1


def test_stretches_of_other_projects_and_datasets_are_left_alone(ctx, dataset):
    add_quarantine(ctx, quarantine(incident_id="a" * 32))
    assert list_quarantines(ctx, ListQuarantines("ships")) == []
    assert list_quarantines(ctx, ListQuarantines("flights", "arrivals")) == []
    assert end_quarantine(ctx, EndQuarantine("ships", "a" * 32, START + DAY)) == []


def test_a_stretch_that_cannot_be_is_refused(ctx, dataset):
    with pytest.raises(Invalid, match="begins on"):
        add_quarantine(ctx, quarantine(end=START))
    with pytest.raises(NotFound, match="no dataset 'nowhere'"):
        add_quarantine(ctx, quarantine(dataset="nowhere"))
    assert list_quarantines(ctx, ListQuarantines("flights")) == []
