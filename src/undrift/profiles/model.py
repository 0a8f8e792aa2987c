"""What a profile is made of: frozen structs of plain numbers, labels and sketches, written as MessagePack or JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from undrift.core.errors import Corrupt, NotFound, Unavailable

__all__ = ["ColumnProfile", "FrequentItems", "Histogram", "Kind", "Profile", "RowSample"]

FORMAT = 1

Kind = Literal["numeric", "boolean", "categorical", "temporal", "other", "mixed", "empty"]
"""What can be said about a column.

``temporal`` is summarised as seconds since 1970 in UTC. ``other`` (lists, structs, bytes, objects) is only counted.
``mixed`` had different kinds in the windows that were merged. ``empty`` has a type that says nothing (all null).
"""


class FrequentItems(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most frequent values with their counts, the most frequent first.

    Each value came at least ``count`` times and at most ``count + error`` times; a value that is not listed came at
    most ``error`` times. With ``error`` 0 the list is complete and the counts are exact.
    """

    labels: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    error: int = 0


class Histogram(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many values fall into each bin.

    A numeric one has ``edges`` in ascending order and one count more than edges: below the first, from each edge up to
    but without the next, from the last upwards. The first edge is the reference's minimum, and the last lies just above
    its maximum, so that the outer bins count the values out of range. A categorical one has ``labels`` and one count
    more: everything else. The counts leave out nulls, NaN and infinities.
    """

    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    def same_bins(self, other: Histogram) -> bool:
        """Return whether the two count the same bins, so that their counts can be added or compared."""
        return self.edges == other.edges and self.labels == other.labels


class RowSample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some whole rows, drawn evenly: those with the smallest priorities.

    Attributes:
        limit: The largest number of rows that may be kept; 0 keeps none.
        priorities: One per row, ascending, from 64 random bits.
        columns: For each column one value per row; None also where a merged window had no such column. Columns of kind
            ``other`` are left out.
    """

    limit: int
    priorities: tuple[int, ...] = ()
    columns: dict[str, list[bool | int | float | str | None]] = {}


class ColumnProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The summary of one column.

    Attributes:
        kind: What can be said about it, see `Kind`.
        dtypes: The polars types it had, sorted; several after windows with different ones were merged.
        count: Rows that had the column.
        nulls: Rows where it was null.
        nans: Rows where it was not a number; never counted as null.
        infinities: Rows where it was infinite, either way.
        minimum: The smallest finite value; None when there is none or the kind has no order.
        maximum: The largest finite value.
        mean: The mean of the finite values; of booleans the share that is true.
        squares: The sum of squared distances from the mean.
        quantile_sketch: See `undrift.profiles.quantiles`; empty when there are no finite values.
        distinct_sketch: See `undrift.profiles.distinct`; empty while the distinct values are known one by one.
        items: The frequent values. None for numbers of which the quantile sketch knows every value.
        histogram: Counts in the bins of a reference, or of itself; None without values, or when windows with
            different bins were merged.
        problem: Why the column could not be summarised in full; empty when it was.
    """

    name: str
    kind: Kind
    dtypes: tuple[str, ...]
    count: int
    nulls: int
    nans: int = 0
    infinities: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    squares: float | None = None
    quantile_sketch: bytes = b""
    distinct_sketch: bytes = b""
    items: FrequentItems | None = None
    histogram: Histogram | None = None
    problem: str = ""

    @property
    def values(self) -> int:
        """The number of values that are there and finite."""
        return self.count - self.nulls - self.nans - self.infinities

    @property
    def missing_fraction(self) -> float | None:
        """The share of rows, 0 to 1, where the column was null or not a number; None without rows."""
        return (self.nulls + self.nans) / self.count if self.count else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the finite values (divided by n); None where there is no mean."""
        return None if self.squares is None or not self.values else math.sqrt(self.squares / self.values)

    @property
    def distinct(self) -> int | None:
        """The number of distinct values: exact up to 256, else within about 3 %; None where it is not known."""
        from undrift.profiles import distinct, quantiles  # noqa: PLC0415 - numpy is loaded when figures are asked for

        if self.distinct_sketch:
            return round(distinct.estimate(self.distinct_sketch))
        if self.items is not None:
            return len(self.items.labels)
        if self.quantile_sketch:
            return int(quantiles.QuantileSketch.from_bytes(self.quantile_sketch).values.size)
        return None if self.kind in {"other", "mixed"} or self.problem else 0

    def quantiles(self, ranks: Iterable[float]) -> list[float] | None:
        """Return the values below which these shares (0 to 1) of the finite values lie; None when there are none.

        Raises:
            Corrupt: The sketch cannot be read.
        """
        from undrift.profiles.quantiles import QuantileSketch  # noqa: PLC0415 - the same

        if not self.quantile_sketch:
            return None
        return [float(value) for value in QuantileSketch.from_bytes(self.quantile_sketch).quantiles(ranks)]

    def top(self, limit: int = 10) -> list[tuple[str, int]]:
        """Return the most frequent values as text and how often each came, the most frequent first."""
        from undrift.profiles.items import all_items  # noqa: PLC0415 - the same

        items = self.items or all_items(self.quantile_sketch)
        return list(zip(items.labels, items.counts, strict=True))[:limit]


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The summary of a table window: of constant size, mergeable, comparable.

    ``Profile()`` is the summary of nothing, and merging it changes nothing.

    Attributes:
        rows: The number of rows.
        columns: The columns by name, names ascending.
        event_time: The name of the column that says when each row happened; empty when none was named.
        first_event_at: The earliest event time, in UTC; None without one.
        last_event_at: The latest event time, in UTC.
        sample: Some whole rows; None in the empty profile.
    """

    rows: int = 0
    columns: dict[str, ColumnProfile] = {}
    event_time: str = ""
    first_event_at: datetime | None = None
    last_event_at: datetime | None = None
    sample: RowSample | None = None

    def column(self, name: str) -> ColumnProfile:
        """Return a column's summary.

        Raises:
            NotFound: The table had no such column.
        """
        try:
            return self.columns[name]
        except KeyError:
            known = ", ".join(list(self.columns)[:20]) or "none"
            raise NotFound(f"The profile has no column {name!r}.", next_step=f"It has: {known}.") from None

    def to_bytes(self) -> bytes:
        """Write the profile as MessagePack with its format's number; equal profiles give equal bytes."""
        return msgspec.msgpack.encode({"format": FORMAT, "profile": self})

    @classmethod
    def from_bytes(cls, data: bytes) -> Profile:
        """Read what `to_bytes` wrote.

        Raises:
            Unavailable: A newer undrift wrote it, in a format this one does not know.
            Corrupt: The bytes are no profile.

        >>> Profile.from_bytes(Profile(rows=3).to_bytes()).rows
        3
        """
        try:
            envelope = _envelope.decode(data)
            if envelope.format > FORMAT:
                raise Unavailable(
                    f"The profile is written in format {envelope.format}; this undrift reads up to {FORMAT}.",
                    next_step="Update undrift to read it.",
                    format=envelope.format,
                )
            return _profile.decode(envelope.profile)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Corrupt(f"These bytes are not a profile ({error}).", next_step="Profile the window again.") from error


class _Envelope(msgspec.Struct, frozen=True):
    format: int
    profile: msgspec.Raw


_envelope: msgspec.msgpack.Decoder[_Envelope] = msgspec.msgpack.Decoder(_Envelope)
_profile: msgspec.msgpack.Decoder[Profile] = msgspec.msgpack.Decoder(Profile)
