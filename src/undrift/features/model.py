"""The noun of features: the feature view."""

from __future__ import annotations

import msgspec

from undrift.core.errors import Invalid

__all__ = ["Aggregate", "FeatureView"]


class Aggregate(msgspec.Struct, frozen=True):
    """A number over the rows of a window: ``mean``, ``sum`` or ``count`` of a column.

    Attributes:
        kind: Which number.
        column: Of which column; left out for ``count``.
    """

    kind: str
    column: str = ""

    def __post_init__(self) -> None:
        if self.kind not in {"mean", "sum", "count"} or (self.kind == "count") == bool(self.column):
            raise Invalid(
                f"{self.kind!r} of {self.column!r} is no aggregate.",
                next_step="Use mean or sum with a column, or count without one.",
            )


class FeatureView(msgspec.Struct, frozen=True, kw_only=True):
    """Features of an entity, looked up in a dataset as they were known at a moment.

    Attributes:
        name: Its name in the project.
        dataset: Where the values come from.
        entity: Columns that say whose values they are; the rows to fill must have them too.
        features: Columns it gives.
        time: Event-time column of the dataset; None when values hold for ever (a plane's seats).
        known_at: Known-at column; the same as ``time`` when left out.
        ttl_s: Seconds after which a value is too old to use.
        window_s: For aggregates: seconds back from the moment asked for.
        aggregates: For aggregates: what each feature is; then ``features`` are its keys.
    """

    name: str
    dataset: str
    entity: tuple[str, ...]
    features: tuple[str, ...]
    time: str | None = None
    known_at: str | None = None
    ttl_s: float | None = None
    window_s: float | None = None
    aggregates: dict[str, Aggregate] = {}

    def __post_init__(self) -> None:
        if not self.entity or not self.features:
            raise Invalid(f"Feature view {self.name!r} needs at least one entity column and one feature.")
        if self.aggregates:
            if self.window_s is None or self.time is None or set(self.aggregates) != set(self.features):
                raise Invalid(f"Feature view {self.name!r} aggregates, so it needs a time, a window, and nothing else.")
            if self.known_at not in (None, self.time):
                # A sum over what was known needs both times in every step; nobody has asked for it yet.
                raise Invalid(
                    f"Feature view {self.name!r} aggregates rows that become known later than they happen.",
                    next_step="Name the column in which they become known as its time.",
                )
        elif self.window_s is not None:
            raise Invalid(f"Feature view {self.name!r} has a window but no aggregates.")

    @property
    def status(self) -> str:
        """The column that says how its values came about."""
        return f"{self.name}__status"

    @property
    def matched(self) -> str:
        """The column with the event time of the row the values came from."""
        return f"{self.name}__time"
