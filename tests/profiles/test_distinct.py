from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from undrift.core.errors import Corrupt
from undrift.profiles import profile
from undrift.profiles.distinct import estimate, hash_floats, hash_text, hash_texts, registers, union


@pytest.mark.parametrize("count", [0, 1, 10, 300, 3_000, 100_000])
def test_the_estimate_is_within_three_standard_errors(count):
    assert estimate(registers(hash_floats(np.arange(count, dtype=np.float64)))) == pytest.approx(count, rel=0.1)


def test_union_is_the_sketch_of_both_and_takes_nothing_twice():
    first, second = (hash_floats(np.arange(start, start + 5_000.0)) for start in (0, 2_500))
    both = registers(np.concatenate((first, second)))
    assert union([registers(first), registers(second)]) == both
    assert union([both, both]) == both


def test_texts_hash_by_content_and_order_not_by_their_neighbours():
    texts = ["", "a", "ab", "ba", "é", "a" * 1000]
    hashes = hash_text(texts)
    assert len(set(hashes.tolist())) == len(texts)
    assert [hash_text([text])[0] for text in texts] == hashes.tolist()


def test_texts_are_hashed_alike_in_pieces():
    texts = [f"{'x' * (k % 50)}{k}" for k in range(300_000)]
    encoded = [text.encode() for text in texts]
    lengths = np.array([len(text) for text in encoded])
    assert lengths.sum() > 2 * (1 << 22)
    hashes = hash_texts(np.frombuffer(b"".join(encoded), np.uint8), lengths)
    assert hashes[[0, 77_777, 299_999]].tolist() == hash_text([texts[k] for k in (0, 77_777, 299_999)]).tolist()


def test_hashes_never_change_because_stored_profiles_hold_them():
    assert hash_text(["EWR", "JFK"]).tolist() == [15536847582764154052, 1736489832659020414]
    assert hash_floats(np.array([39.02])).tolist() == [12647176921852841038]


def test_columns_say_how_many_values_differ():
    frame = pl.DataFrame(
        {
            "few": [f"c{k % 7}" for k in range(20_000)],
            "many": [f"c{k % 9_000}" for k in range(20_000)],
            "number": np.arange(20_000) % 5_000,
        }
    )
    summary = profile(frame)
    assert summary.column("few").distinct == 7
    assert summary.column("many").distinct == pytest.approx(9_000, rel=0.1)
    assert summary.column("number").distinct == pytest.approx(5_000, rel=0.1)


def test_a_sketch_of_another_size_is_corrupt():
    with pytest.raises(Corrupt):
        estimate(b"\x00" * 7)
