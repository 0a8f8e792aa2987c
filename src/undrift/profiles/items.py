"""Frequent items: the values that come most often, with counts and a stated error.

Up to the capacity every value is kept and counted exactly. Beyond it a value is kept only when it comes more often than
the first one that does not fit; that number is the error. Merged, counts and errors add up: a kept count is a lower
bound, and nothing that is left out came more often than the error. Values that tie at the limit are all left out, so
that what is kept does not depend on an order; a column of identifiers keeps none.

Source: the mergeable form of Misra-Gries counters, Agarwal et al., PODS 2012, https://doi.org/10.1145/2213556.2213562.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from undrift.profiles.distinct import Hashes, hash_text
from undrift.profiles.model import FrequentItems
from undrift.profiles.quantiles import QuantileSketch

__all__ = ["CAPACITY", "LABEL_CHARS", "NUMBERS", "all_items", "hash_labels", "keep", "label_of", "merge_items"]

CAPACITY = 256
NUMBERS = 16  # of numbers with many values only spikes are worth naming: a sentinel, a default, a cap
LABEL_CHARS = 80

_LONG = "…#"


def keep(counts: Iterable[tuple[str, int]], capacity: int, error: int = 0) -> FrequentItems:
    """Keep the most frequent of some values, given once each with their counts.

    >>> keep([("EWR", 5), ("JFK", 7), ("LGA", 1)], capacity=2)
    FrequentItems(labels=('JFK', 'EWR'), counts=(7, 5), error=1)
    """
    ranked = sorted(counts, key=lambda item: (-item[1], item[0]))
    if len(ranked) > capacity:
        dropped = ranked[capacity][1]
        ranked = [item for item in ranked[:capacity] if item[1] > dropped]
        error += dropped
    return FrequentItems(tuple(label for label, _ in ranked), tuple(count for _, count in ranked), error)


def merge_items(parts: Iterable[FrequentItems], capacity: int) -> FrequentItems:
    """Return the frequent items of all values of the parts; the order of the parts does not matter."""
    counts: dict[str, int] = {}
    error = 0
    for part in parts:
        error += part.error
        for label, count in zip(part.labels, part.counts, strict=True):
            counts[label] = counts.get(label, 0) + count
    return keep(counts.items(), capacity, error)


def all_items(quantile_sketch: bytes) -> FrequentItems:
    """Return all values of a quantile sketch that knows them one by one; nothing of one that does not."""
    if not quantile_sketch:
        return FrequentItems()
    sketch = QuantileSketch.from_bytes(quantile_sketch)
    return keep(zip(map(repr, sketch.values.tolist()), sketch.counts.tolist(), strict=True), CAPACITY)


def label_of(text: str) -> str:
    """Return the text itself, or the beginning of a long one and its hash, so that two long ones stay apart.

    >>> label_of("EWR"), len(label_of("x" * 10_000))
    ('EWR', 98)
    """
    return text if len(text) <= LABEL_CHARS else f"{text[:LABEL_CHARS]}{_LONG}{int(hash_text([text])[0]):016x}"


def hash_labels(labels: Sequence[str]) -> Hashes:
    """Return the hashes of the texts that these labels stand for, shape (n,)."""
    hashes = hash_text(labels)
    for place, label in enumerate(labels):
        if len(label) > LABEL_CHARS and label[LABEL_CHARS:].startswith(_LONG):
            hashes[place] = np.uint64(int(label[LABEL_CHARS + len(_LONG) :], 16))
    return hashes
