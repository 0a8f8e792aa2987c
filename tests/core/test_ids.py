from __future__ import annotations

import os
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.core import check_id, check_name, derive_id, ids, new_id, time_of
from undrift.core.errors import Invalid

MOMENT = datetime(2013, 4, 1, 12, 30, 0, 123_000, tzinfo=UTC)
moments = st.datetimes(timezones=st.just(UTC)).filter(lambda at: at.year >= 1970)


def test_ids_are_uuids_of_version_7():
    for id_ in (new_id(), new_id(MOMENT), derive_id(MOMENT, "cycle", "late")):
        made = uuid.UUID(hex=id_)
        assert (made.version, made.variant, made.hex) == (7, uuid.RFC_4122, id_)
        assert check_id(id_) == id_


def test_ids_increase_strictly_across_threads():
    """What any thread gets after another got its own is larger; none is given twice."""
    start = threading.Barrier(8)

    def make(_):
        start.wait()
        return [new_id() for _ in range(500)]

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(make, range(8)))
    assert all(each == sorted(each) for each in made)
    assert len({id_ for each in made for id_ in each}) == 4000


@pytest.mark.parametrize("step_ns", [0, -3_600_000_000_000], ids=["within a millisecond", "when the clock steps back"])
def test_ids_increase_strictly(monkeypatch, step_ns):
    first = new_id()
    now = time.time_ns() + step_ns
    monkeypatch.setattr(ids.time, "time_ns", lambda: now)
    made = [first, *(new_id() for _ in range(100))]
    assert made == sorted(set(made))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_gives_other_ids_than_its_parent(monkeypatch):
    """Also when both count on from the same last id, because the clock was set back."""
    new_id()
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_000_000_000)
    new_id()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, "".join(new_id() for _ in range(3)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    of_child = os.read(reader, 96).decode()
    os.close(reader)
    os.close(writer)
    assert {of_child[i : i + 32] for i in (0, 32, 64)}.isdisjoint(new_id() for _ in range(3))


@given(moments)
def test_an_id_knows_its_moment_to_the_millisecond(moment):
    expected = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert time_of(new_id(moment)) == time_of(derive_id(moment, "x")) == expected


@given(moments, moments)
def test_ids_sort_by_their_moments(one, other):
    if abs(one - other) >= timedelta(milliseconds=1):
        assert (new_id(one) < new_id(other)) == (one < other)


def test_moments_before_1970_come_first_and_are_ids_all_the_same():
    for id_ in (new_id(datetime(1066, 10, 14, tzinfo=UTC)), derive_id(datetime(1066, 10, 14, tzinfo=UTC), "x")):
        assert time_of(id_) == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_moment_without_a_zone_is_refused():
    for make in (new_id, lambda at: derive_id(at, "x")):
        with pytest.raises(Invalid, match="no time zone"):
            make(MOMENT.replace(tzinfo=None))


def test_a_derived_id_is_the_same_on_every_machine_and_in_every_version():
    assert derive_id(MOMENT, "cycle", "late") == "013dc59355bb72ba9b08edca2e15a854"


@pytest.mark.parametrize(
    "other",
    [
        (MOMENT, "cycle"),
        (MOMENT, "cycle", "late", ""),
        (MOMENT, "cyclelate"),
        (MOMENT, "late", "cycle"),
        (MOMENT + timedelta(milliseconds=1), "cycle", "late"),
    ],
)
def test_other_words_or_another_time_derive_another_id(other):
    assert derive_id(*other) != derive_id(MOMENT, "cycle", "late")


@pytest.mark.parametrize(
    "bad", ["", "x", "0" * 31, "0" * 33, "0" * 32 + "\n", "G" * 32, "A" * 32, "../" * 10 + "ab", "\u0966" * 32]
)
def test_what_is_no_id_is_refused(bad):
    with pytest.raises(Invalid, match="not an id"):
        check_id(bad)
    with pytest.raises(Invalid, match="not an id"):
        time_of(bad)


def test_an_id_beyond_all_time_is_refused():
    with pytest.raises(Invalid, match="after the year 9999"):
        time_of("f" * 32)


@pytest.mark.parametrize("name", ["a", "A", "7", "flights", "late.v2", "a-b_c.d", "x" * 100])
def test_a_safe_name_is_taken_as_it_is(name):
    assert check_name(name, "model") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "-flag",
        "_x",
        "x" * 101,
        "a/b",
        "a\\b",
        "a b",
        "a\n",
        "a\x00",
        "é",
        "a%2e",
        "a:b",
        "\u0430",
    ],
)
def test_an_unsafe_name_is_refused_by_what_it_would_name(name):
    with pytest.raises(Invalid, match="cannot name a model"):
        check_name(name, "model")
