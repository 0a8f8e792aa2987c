from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from undrift.core.errors import Conflict, Corrupt, Invalid, NotFound
from undrift.data import (
    ListDatasetVersions,
    RegisterDataset,
    append,
    find_dataset,
    list_dataset_versions,
    read,
    read_newest,
    records,
    register_dataset,
    versions,
)
from undrift.events import ListEvents, list_events
from undrift.profiles import Profile

START = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def versions_of(ctx, dataset):
    return list_dataset_versions(ctx, ListDatasetVersions(dataset.project, dataset.name))


def reasons(ctx, dataset, **which):
    return read(ctx, dataset, quarantine=True, **which)[1]


def test_every_version_can_be_read_again(ctx, dataset, rows):
    first, second = rows(temp=[1.0, 2.0]), rows(first=2, temp=[3.0])
    made = append(ctx, dataset, first, known_until=START, message="January")
    grown = append(ctx, dataset, second, known_until=START + DAY, message="February")

    assert (made.number, made.parent, made.rows, made.added_rows) == (1, None, 2, 2)
    assert (grown.number, grown.parent, grown.rows, grown.added_rows) == (2, made.id, 3, 1)
    assert_frame_equal(read(ctx, dataset, number=1)[1], first)
    newest, frame = read(ctx, dataset)
    assert newest == grown == read_newest(ctx, dataset)
    assert_frame_equal(frame, pl.concat([first, second]))
    assert versions_of(ctx, dataset) == [grown, made]


def test_nothing_is_read_before_anything_was_added(ctx, dataset):
    version, frame = read(ctx, dataset)
    assert version is None
    assert frame.is_empty()
    assert read_newest(ctx, dataset) is None
    with pytest.raises(NotFound, match="no version 1"):
        read(ctx, dataset, number=1)


def test_a_dataset_nobody_knows_is_named_with_those_there_are(ctx, dataset):
    with pytest.raises(NotFound, match="Known are: departures"):
        find_dataset(ctx, "flights", "arrivals")


def test_a_version_says_who_when_why_and_its_event_too(ctx, dataset, rows):
    made = append(ctx, dataset, rows(temp=[1.0, 2.0]), known_until=START, message="January")
    assert (made.author, made.message, made.created_at) == ("ada", "January", START)
    commit = ctx.repository.commits.read(made.id)
    assert commit.facts == {"dataset": "departures", "number": 1, "known_until": START.isoformat()}
    assert Profile.from_bytes(ctx.repository.objects.get(made.profile)).rows == 2
    event = list_events(ctx, ListEvents(type="dataset.version_committed"))[0]
    assert (event.subject, event.data["commit"], event.data["rows"]) == ("datasets/departures/1", made.id, 2)


def test_a_new_column_is_taken_in_and_is_empty_in_the_rows_before(ctx, dataset, rows):
    append(ctx, dataset, rows(temp=[1.0]), known_until=START, message="")
    made = append(ctx, dataset, rows(first=1, temp=[2.0], wind=[5]), known_until=START, message="")
    assert read(ctx, dataset)[1]["wind"].to_list() == [None, 5]
    assert {column.name: column.nullable for column in made.columns}["wind"], "the rows before have no value"
    assert_frame_equal(read(ctx, dataset, number=1)[1], rows(temp=[1.0]))


@pytest.mark.parametrize(
    ("columns", "said"),
    [({"wind": [1.0]}, "temp disappeared"), ({"temp": ["warm"]}, "temp was Float64 and is String")],
    ids=["disappeared", "another type"],
)
def test_a_breaking_change_is_refused_and_nothing_is_added(ctx, dataset, rows, columns, said):
    append(ctx, dataset, rows(temp=[1.0]), known_until=START, message="")
    with pytest.raises(Invalid, match=said):
        append(ctx, dataset, rows(first=1, **columns), known_until=START, message="")
    assert [version.number for version in versions_of(ctx, dataset)] == [1]
    assert len(list_events(ctx, ListEvents(type="dataset.version_committed"))) == 1


def test_a_breaking_change_that_was_named_is_accepted(ctx, dataset, rows):
    append(ctx, dataset, rows(temp=[1.0, 2.0], wind=[1.0, 2.0]), known_until=START, message="")
    made = append(ctx, dataset, rows(first=2, wind=["calm"]), known_until=START, message="", allow=["temp", "wind"])
    columns = {column.name: column for column in made.columns}
    assert columns["temp"].nullable
    assert columns["wind"].type == "String"
    _, frame = read(ctx, dataset)
    assert frame["temp"].to_list() == [1.0, 2.0, None]
    assert frame["wind"].to_list() == ["1.0", "2.0", "calm"]


def test_a_change_that_could_never_be_read_back_is_refused_even_when_it_was_named(ctx, dataset, rows):
    append(ctx, dataset, rows(temp=[[1.0]]), known_until=START, message="")
    with pytest.raises(Invalid, match="could not be read beside the old ones"):
        append(ctx, dataset, rows(first=1, temp=[1.0]), known_until=START, message="", allow=["temp"])
    assert read(ctx, dataset)[0].number == 1


def test_a_batch_without_any_value_does_not_change_the_type(ctx, dataset, rows):
    append(ctx, dataset, rows(temp=[None, None]), known_until=START, message="nothing measured yet")
    typed = append(ctx, dataset, rows(first=2, temp=[1.0, 2.0]), known_until=START, message="")
    assert {column.name: column.type for column in typed.columns}["temp"] == "Float64"
    append(ctx, dataset, rows(first=4, temp=[None]), known_until=START, message="silence", allow=())
    made = append(ctx, dataset, rows(first=5, temp=[3.0]), known_until=START, message="")
    column = next(column for column in made.columns if column.name == "temp")
    assert (column.type, column.nullable) == ("Float64", True)
    # Of the silent batch the rows are put aside, as values were always there before.
    assert read(ctx, dataset)[1]["temp"].to_list() == [None, None, 1.0, 2.0, None, 3.0]


@pytest.mark.parametrize("missing", ["id", "at", "known"])
def test_rows_without_key_or_times_are_refused(ctx, dataset, rows, missing):
    with pytest.raises(Invalid, match=f"no column {missing}"):
        append(ctx, dataset, rows(temp=[1.0]).drop(missing), known_until=START, message="")
    assert read_newest(ctx, dataset) is None


@pytest.mark.parametrize("column", ["at", "known"])
def test_times_that_are_no_times_are_refused(ctx, dataset, rows, column):
    with pytest.raises(Invalid, match="holds String, not times"):
        append(ctx, dataset, rows(temp=[1.0]).cast({column: pl.String}), known_until=START, message="")


def test_times_are_kept_in_utc_whatever_they_came_in(ctx, dataset, rows):
    frame = rows(temp=[1.0, 2.0]).with_columns(
        pl.col("at").dt.replace_time_zone(None).cast(pl.Datetime("ms")),
        pl.col("known").dt.convert_time_zone("America/New_York").cast(pl.Datetime("ns", "America/New_York")),
    )
    append(ctx, dataset, frame, known_until=START, message="")
    append(ctx, dataset, rows(first=2, temp=[1.0]), known_until=START, message="")
    assert_frame_equal(read(ctx, dataset)[1], pl.concat([rows(temp=[1.0, 2.0]), rows(first=2, temp=[1.0])]))


def test_a_day_is_its_first_moment(ctx, dataset, rows):
    append(ctx, dataset, rows(temp=[1.0]).cast({"at": pl.Date}), known_until=START, message="")
    assert read(ctx, dataset)[1]["at"].to_list() == [START]


def test_rows_that_fail_a_check_are_kept_aside_with_the_reason(ctx, dataset, rows):
    append(ctx, dataset, rows(temp=[float(value) for value in range(10)]), known_until=START, message="")
    made = append(ctx, dataset, rows(first=10, temp=[5.0, 999.0, None]), known_until=START, message="")
    assert (made.rows, made.added_rows, made.quarantined_rows) == (11, 1, 2)
    assert read(ctx, dataset)[1]["temp"].to_list() == [*map(float, range(10)), 5.0]
    aside = reasons(ctx, dataset)
    assert aside["id"].to_list() == ["f11", "f12"]
    assert aside["quarantine_reason"].to_list() == [
        "temp is outside -18 to 27",
        "temp is missing in 33% of the batch",
    ]
    assert reasons(ctx, dataset, number=1).is_empty()


def test_a_first_version_without_rows_proposes_nothing_and_the_one_with_rows_does(ctx, dataset, rows):
    append(ctx, dataset, rows(temp=[1.0]).clear(), known_until=START, message="nothing yet")
    made = append(ctx, dataset, rows(temp=[1.0, None, 3.0]), known_until=START, message="")
    assert (made.rows, made.quarantined_rows) == (3, 0), "nothing was known of the column yet"
    later = append(ctx, dataset, rows(first=3, temp=[999.0]), known_until=START, message="")
    assert later.quarantined_rows == 1


def test_a_key_that_counts_upwards_stays_welcome(ctx, dataset, rows):
    append(ctx, dataset, rows(temp=[1.0, 2.0]).with_columns(id=pl.Series([1, 2])), known_until=START, message="")
    frame = rows(first=2, temp=[1.0, 2.0]).with_columns(id=pl.Series([1001, 1002]))
    assert append(ctx, dataset, frame, known_until=START, message="").quarantined_rows == 0


def test_checks_that_people_changed_stay(ctx, dataset, rows):
    append(ctx, dataset, rows(temp=[1.0, 2.0]), known_until=START, message="")
    with ctx.begin() as tx:
        records.set_checks(tx, dataset.id, [])
    assert append(ctx, dataset, rows(first=2, temp=[999.0]), known_until=START, message="").quarantined_rows == 0
    with ctx.read() as tx:
        assert records.find_checks(tx, dataset.id) == []


@pytest.mark.parametrize("frame", [pl.DataFrame(), None], ids=["without columns", "without rows"])
def test_an_empty_frame_says_only_what_is_known(ctx, dataset, rows, frame):
    first = append(ctx, dataset, rows(temp=[1.0]), known_until=START, message="")
    made = append(
        ctx, dataset, rows(temp=[1.0]).clear() if frame is None else frame, known_until=START + DAY, message="quiet"
    )
    assert (made.number, made.rows, made.added_rows, made.columns) == (2, 1, 0, first.columns)
    assert made.known_until == START + DAY
    assert_frame_equal(read(ctx, dataset)[1], rows(temp=[1.0]))
    assert append(ctx, dataset, rows(first=1, temp=[2.0]), known_until=START + DAY, message="").rows == 2


def test_a_first_version_without_rows_still_says_which_columns_there_are(ctx, dataset, rows):
    with pytest.raises(Invalid, match="They have none"):
        append(ctx, dataset, pl.DataFrame(), known_until=START, message="")
    empty = rows(temp=[1.0]).clear()
    made = append(ctx, dataset, empty, known_until=START, message="")
    assert (made.rows, made.quarantined_rows) == (0, 0)
    assert_frame_equal(read(ctx, dataset)[1], empty)


def test_what_is_known_does_not_go_backwards(ctx, dataset, rows):
    append(ctx, dataset, rows(temp=[1.0]), known_until=START + DAY, message="")
    with pytest.raises(Invalid, match="cannot stop at 2013-01-01"):
        append(ctx, dataset, rows(first=1, temp=[2.0]), known_until=START, message="")
    assert append(ctx, dataset, rows(first=1, temp=[2.0]), known_until=START + DAY, message="").number == 2


def test_known_until_needs_a_zone(ctx, dataset, rows):
    append(ctx, dataset, rows(temp=[1.0]), known_until=START, message="")
    with pytest.raises(Invalid, match="no time zone"):
        append(ctx, dataset, rows(temp=[1.0]), known_until=datetime(2014, 1, 1), message="")  # noqa: DTZ001


@pytest.mark.parametrize("before", [0, 1], ids=["first version", "later version"])
def test_of_appends_at_once_each_is_kept_or_refused(database, make_ctx, rows, before):
    ctx = make_ctx(database)
    dataset = register_dataset(ctx, RegisterDataset("flights", "departures", "id", "at", "known", "ops@example.com"))
    for _ in range(before):
        append(ctx, dataset, rows(temp=[0.0, 1.0]), known_until=START, message="")
    together = threading.Barrier(4)

    def add(number):
        mine = make_ctx(database)
        together.wait()
        try:
            return append(mine, dataset, rows(first=10 * number, temp=[0.5]), known_until=START, message="")
        except Conflict:
            return None

    with ThreadPoolExecutor(4) as pool:
        made = [version for version in pool.map(add, range(1, 5)) if version is not None]
    # Who read before the winner had written is refused; who read after it comes next.
    assert made
    assert sorted(version.number for version in made) == [*range(before + 1, before + 1 + len(made))]
    newest, frame = read(ctx, dataset)
    assert newest.rows == frame.height == 2 * before + len(made)


def test_who_read_an_older_version_is_refused_and_loses_nothing_of_the_other(ctx, make_ctx, dataset, rows, monkeypatch):
    append(ctx, dataset, rows(temp=[1.0, 2.0]), known_until=START, message="")
    real, done = versions.apply_checks, []

    def meanwhile(frame, checks):
        if not done:
            done.append(True)
            append(make_ctx(ctx.database), dataset, rows(first=2, temp=[3.0]), known_until=START, message="other")
        return real(frame, checks)

    monkeypatch.setattr(versions, "apply_checks", meanwhile)
    with pytest.raises(Conflict, match="Somebody added version 2"):
        append(ctx, dataset, rows(first=5, temp=[2.5]), known_until=START, message="mine")
    assert read(ctx, dataset)[1]["temp"].to_list() == [1.0, 2.0, 3.0]
    assert append(ctx, dataset, rows(first=5, temp=[2.5]), known_until=START, message="mine").number == 3


def part_of(ctx, version, folder="rows/"):
    tree = ctx.repository.commits.read(version.id).tree
    return next(entry.digest for path, entry in ctx.repository.trees.walk(tree) if path.startswith(folder))


def stored(tmp_path, digest):
    return tmp_path / "blobs" / "objects" / digest[:2] / digest[2:]


@pytest.mark.parametrize("damage", ["truncated", "altered", "removed"])
def test_a_damaged_part_is_corrupt_and_named(ctx, dataset, rows, tmp_path, damage):
    version = append(ctx, dataset, rows(temp=[1.0, 2.0]), known_until=START, message="")
    digest = part_of(ctx, version)
    path = stored(tmp_path, digest)
    content = path.read_bytes()
    path.chmod(0o600)
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(content[:-7] if damage == "truncated" else content[:-1] + b"?")
    with pytest.raises(Corrupt, match=digest) as caught:
        read(ctx, dataset)
    if damage == "removed":
        assert "version 1 of dataset 'departures'" in str(caught.value)


def test_a_tree_that_is_gone_is_corrupt(ctx, dataset, rows, tmp_path):
    version = append(ctx, dataset, rows(temp=[1.0, 2.0]), known_until=START, message="")
    stored(tmp_path, ctx.repository.commits.read(version.id).tree).unlink()
    with pytest.raises(Corrupt, match="version 1 of dataset 'departures'"):
        read(ctx, dataset)


def test_a_version_costs_what_it_adds(ctx, dataset, rows):
    big = append(ctx, dataset, rows(temp=[float(value % 7) for value in range(5000)]), known_until=START, message="")
    small = append(ctx, dataset, rows(first=5000, temp=[1.0, 2.0]), known_until=START, message="")
    assert small.size_bytes < big.size_bytes / 3
