"""Training tables: labelled rows with the features known when each prediction would have been made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Invalid, NotFound
from undrift.data import DatasetVersion, ListQuarantines, find_dataset, list_quarantines, read
from undrift.features.join import Stretch, point_in_time_join
from undrift.features.model import FeatureView

if TYPE_CHECKING:
    import polars as pl

__all__ = ["TrainingTable", "training_table"]


class TrainingTable(msgspec.Struct, frozen=True):
    """A table to learn from, with where it came from and what was left out.

    Attributes:
        frame: One row per labelled example: key, moment, label, features, and status and time per view.
        versions: The dataset versions it was made from, by name.
        rows: Rows in the frame.
        unlabelled: Rows left out because nobody knows the answer.
        quarantined: Rows left out because a value they would have used is in quarantine.
    """

    frame: pl.DataFrame
    versions: dict[str, DatasetVersion]
    rows: int
    unlabelled: int
    quarantined: int


def training_table(
    ctx: Context,
    *,
    project: str,
    dataset: str,
    views: Sequence[FeatureView],
    label: str,
    lead_s: float,
    until: datetime,
) -> TrainingTable:
    """Build the table of everything that can be learnt at a moment, and of nothing that became known later.

    Args:
        ctx: Where from.
        project: Whose.
        dataset: The examples: event time is when the predicted thing happens, known-at when the answer is known.
        views: The features.
        label: The column with the answer.
        lead_s: How many seconds before the event time the prediction is made.
        until: Only examples whose answer was known by then, and that were to be predicted before.

    Raises:
        NotFound: A dataset has no version yet.
        Invalid: The examples have no column with the answer.
    """
    import polars as pl  # noqa: PLC0415 - the hub does without

    versions: dict[str, DatasetVersion] = {}

    def rows_of(name: str) -> pl.DataFrame:
        found = find_dataset(ctx, project, name)
        version, frame = read(ctx, found)
        if version is None:
            raise NotFound(f"Dataset {name!r} has no version yet.", next_step="Add rows with `undrift data add`.")
        versions[name] = version
        # Rows that came since are not for a table of then: doing it again later gives the same.
        later = (pl.col(found.known_at) > until).fill_null(value=False)
        return frame.filter(~later)

    examples = find_dataset(ctx, project, dataset)
    rows = rows_of(dataset)
    if label not in rows.columns:
        raise Invalid(
            f"Dataset {dataset!r} has no column {label!r} with the answer.",
            next_step=f"It has {', '.join(rows.columns)}.",
        )
    known = rows.drop_nulls([examples.key, examples.known_at]).sort(examples.known_at, maintain_order=True)
    frame = known.unique(examples.key, keep="last", maintain_order=True)
    frame = frame.with_columns((pl.col(examples.time) - pl.duration(seconds=lead_s)).alias("predicted_at"))
    frame = frame.filter(pl.col("predicted_at") <= until)
    answered = pl.col(label).is_not_null()
    labelled = frame.filter(answered & pl.col(label).is_not_nan() if frame.schema[label].is_float() else answered)
    stretches: dict[str, list[Stretch]] = {}
    for quarantine in list_quarantines(ctx, ListQuarantines(project)):
        stretches.setdefault(quarantine.dataset, []).append((quarantine.start, quarantine.end))
    loaded = {name: rows_of(name) for name in dict.fromkeys(view.dataset for view in views)}
    joined = point_in_time_join(
        labelled, "predicted_at", [(view, loaded[view.dataset]) for view in views], quarantines=stretches
    )
    suspect = (
        pl.any_horizontal([pl.col(view.status) == "quarantined" for view in views]) if views else pl.lit(value=False)
    )
    for start, end in stretches.get(dataset, ()):
        inside = pl.col(examples.time) >= start
        suspect = suspect | (inside if end is None else inside & (pl.col(examples.time) < end))
    clean = joined.filter(~suspect).sort("predicted_at", examples.key)
    return TrainingTable(clean, versions, clean.height, frame.height - labelled.height, joined.height - clean.height)
