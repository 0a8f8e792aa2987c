from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.core import hash_bytes, hash_file, hash_value


@given(st.binary(max_size=100))
def test_bytes_have_one_address_however_they_are_held(data):
    assert hash_bytes(data) == hash_bytes(bytearray(data)) == hash_bytes(memoryview(data))
    assert len(hash_bytes(data)) == 64


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_a_file_has_the_address_of_its_bytes(tmp_path, size):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "file").write_bytes(data)
    assert hash_file(tmp_path / "file") == hash_bytes(data)


def test_the_address_of_a_known_value_never_changes():
    assert hash_bytes(b"undrift") == "439aaef6191a9844672c5312c81102f771a1eae6e1df436223b459e64a3a1c43"
    assert hash_value({"b": [1, 2.5, None, True, "ü"], "a": {}}) == hash_bytes(
        '{"a":{},"b":[1,2.5,null,true,"ü"]}'.encode()
    )


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-(2**63), 2**63 - 1)))
def test_the_order_of_keys_does_not_matter(value):
    assert hash_value(value) == hash_value(dict(reversed(value.items())))


def test_the_order_of_fields_does_not_matter_either():
    class Before(msgspec.Struct):
        name: str
        size: int

    class After(msgspec.Struct):
        size: int
        name: str

    assert hash_value(Before("late", 3)) == hash_value(After(3, "late")) == hash_value({"size": 3, "name": "late"})


@pytest.mark.parametrize("other", [{"a": 1.0}, {"a": "1"}, {"a": True}, {"a": [1]}, {"b": 1}, {}, None])
def test_different_values_have_different_addresses(other):
    assert hash_value({"a": 1}) != hash_value(other)
