from __future__ import annotations

import random

from undrift.profiles.items import LABEL_CHARS, hash_labels, keep, label_of, merge_items


def test_ties_at_the_limit_are_all_left_out():
    items = keep([("a", 3), ("b", 1), ("c", 1)], capacity=2)
    assert (items.labels, items.counts, items.error) == (("a",), (3,), 1)


def test_identifiers_keep_nothing_and_say_so():
    items = keep([(f"id{k}", 1) for k in range(1_000)], capacity=256)
    assert items.labels == ()
    assert items.error == 1


def test_merged_counts_stay_within_the_stated_error():
    rng = random.Random(3)
    true: dict[str, int] = {}
    parts = []
    for _ in range(20):
        counts: dict[str, int] = {}
        for _ in range(500):
            label = f"c{int(rng.paretovariate(0.6)) % 400}"
            counts[label] = counts.get(label, 0) + 1
        for label, count in counts.items():
            true[label] = true.get(label, 0) + count
        parts.append(keep(counts.items(), 32))
    for merged in (merge_items(parts, 32), merge_items([merge_items(parts[:9], 32), merge_items(parts[9:], 32)], 32)):
        found = dict(zip(merged.labels, merged.counts, strict=True))
        assert all(found.get(label, 0) <= count <= found.get(label, 0) + merged.error for label, count in true.items())
        assert merged.error < sum(true.values()) / 4
    assert merge_items(parts[::-1], 32) == merge_items(parts, 32)


def test_long_texts_are_cut_and_stay_apart():
    one, other = label_of("x" * 500 + "1"), label_of("x" * 500 + "2")
    assert one != other
    assert len(one) < LABEL_CHARS + 20
    assert hash_labels([one, "EWR"]).tolist() == [*hash_labels_of("x" * 500 + "1"), *hash_labels_of("EWR")]


def hash_labels_of(text: str) -> list[int]:
    from undrift.profiles.distinct import hash_text

    return hash_text([text]).tolist()
