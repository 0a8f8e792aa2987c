from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.core import ReplayClock, SystemClock, parse_time
from undrift.core.clock import in_utc
from undrift.core.errors import Invalid

NEW_YEAR = datetime(2013, 1, 1, tzinfo=UTC)
KATHMANDU = timezone(timedelta(hours=5, minutes=45))


def test_the_system_clock_tells_the_moment_in_utc():
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


def test_a_replay_clock_stands_until_it_is_moved():
    clock = ReplayClock(NEW_YEAR)
    assert clock.now() == clock.now() == NEW_YEAR
    clock.advance_to(NEW_YEAR + timedelta(days=365))
    assert clock.now() == datetime(2014, 1, 1, tzinfo=UTC)


def test_a_replay_clock_may_be_moved_to_where_it_stands_but_not_back():
    clock = ReplayClock(NEW_YEAR)
    clock.advance_to(NEW_YEAR)
    with pytest.raises(Invalid, match="goes forward: it stands at 2013-01-01"):
        clock.advance_to(NEW_YEAR - timedelta(microseconds=1))
    assert clock.now() == NEW_YEAR


def test_a_replay_clock_tells_utc_whatever_zone_it_was_given():
    clock = ReplayClock(datetime(2013, 1, 1, 5, 45, tzinfo=KATHMANDU))
    assert clock.now() == NEW_YEAR
    clock.advance_to(datetime(2013, 1, 2, 5, 45, tzinfo=KATHMANDU))
    assert clock.now().isoformat() == "2013-01-02T00:00:00+00:00"


def test_a_time_without_a_zone_is_not_taken_for_that_of_this_machine():
    with pytest.raises(Invalid, match="no time zone"):
        ReplayClock(NEW_YEAR.replace(tzinfo=None))
    with pytest.raises(Invalid, match="no time zone"):
        ReplayClock(NEW_YEAR).advance_to(NEW_YEAR.replace(tzinfo=None))


@given(st.datetimes(timezones=st.timezones(), allow_imaginary=False).filter(lambda at: 1 < at.year < 9999))
def test_a_moment_in_utc_is_the_same_moment(moment):
    assert in_utc(moment).tzinfo is UTC
    assert in_utc(moment).timestamp() == moment.timestamp()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2013-04-01", datetime(2013, 4, 1, tzinfo=UTC)),
        ("2013-04-01T12:00", datetime(2013, 4, 1, 12, tzinfo=UTC)),
        ("2013-04-01T12:00:00.000001Z", datetime(2013, 4, 1, 12, 0, 0, 1, tzinfo=UTC)),
        ("2013-04-01T05:45:00+05:45", datetime(2013, 4, 1, tzinfo=UTC)),
        ("2013-04-01T00:00:00-04:00", datetime(2013, 4, 1, 4, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_and_told_in_utc(text, moment):
    assert parse_time(text) == moment
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2013-13-01", "2013-04-01T25:00", "1e9", "0001-01-01T00:00+14:00", "x" * 999]
)
def test_what_is_no_time_is_refused_with_an_example(text):
    with pytest.raises(Invalid) as caught:
        parse_time(text)
    assert len(str(caught.value)) < 200


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_is_read(moment):
    assert parse_time(moment.isoformat()) == moment
