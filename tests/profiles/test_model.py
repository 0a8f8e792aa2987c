from __future__ import annotations

import contextlib

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undrift.core.errors import Corrupt, NotFound, Unavailable
from undrift.profiles import Profile, profile
from undrift.profiles.model import FORMAT

WINDOW = profile(pl.DataFrame({"temp": [39.0, 41.5, None], "origin": ["EWR", "JFK", "EWR"]}))


def test_a_profile_survives_being_written():
    assert Profile.from_bytes(WINDOW.to_bytes()) == WINDOW
    assert Profile.from_bytes(Profile().to_bytes()) == Profile()


def test_a_profile_is_json_with_sketches_as_base64():
    text = msgspec.json.encode(WINDOW)
    assert msgspec.json.decode(text, type=Profile) == WINDOW


def test_a_newer_format_is_refused_with_what_to_do():
    newer = msgspec.msgpack.encode({"format": FORMAT + 1, "profile": {"surprise": True}})
    with pytest.raises(Unavailable, match="Update undrift"):
        Profile.from_bytes(newer)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"{}", b"\x91" * 100_000, msgspec.msgpack.encode({"format": FORMAT, "profile": {"rows": "many"}})],
)
def test_garbage_is_corrupt(data):
    with pytest.raises(Corrupt):
        Profile.from_bytes(data)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.data())
def test_a_damaged_profile_is_corrupt_or_reads_as_some_profile(data):
    written = bytearray(WINDOW.to_bytes())
    written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(written)))
    for damaged in (written, written[:cut]):
        with contextlib.suppress(Corrupt, Unavailable):
            assert isinstance(Profile.from_bytes(bytes(damaged)), Profile)


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(NotFound, match="It has: origin, temp"):
        WINDOW.column("tmp")


def test_a_column_answers_questions():
    temp, origin = WINDOW.column("temp"), WINDOW.column("origin")
    assert temp.values == 2
    assert temp.missing_fraction == pytest.approx(1 / 3)
    assert temp.deviation == 1.25
    assert temp.quantiles([0.5, 1.0]) == [39.0, 41.5]
    assert temp.top() == [("39.0", 1), ("41.5", 1)]
    assert (temp.distinct, origin.distinct) == (2, 2)
    assert origin.top(1) == [("EWR", 2)]
    assert origin.quantiles([0.5]) is None
    assert origin.deviation is None
