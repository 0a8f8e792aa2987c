"""Checks run before a version becomes visible; rows that fail go to quarantine with a reason.

They are proposed from the first version, kept with the dataset as JSON that people can review and change, and never
stop the rest of a batch: a bad row is put aside, the good ones go on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Check", "InRange", "MostlyPresent", "apply_checks", "propose_checks"]

_MARGIN_WIDTHS = 2.0
_RARELY_MISSING = 0.01


class InRange(msgspec.Struct, frozen=True, tag="in_range"):
    """Numbers lie between two bounds, both included; missing ones (null, not a number) pass."""

    column: str
    low: float
    high: float


class MostlyPresent(msgspec.Struct, frozen=True, tag="mostly_present"):
    """Of a batch at most this fraction is missing; when more is, the rows without a value are put aside."""

    column: str
    max_missing_fraction: float


Check = InRange | MostlyPresent


def propose_checks(frame: pl.DataFrame) -> list[Check]:
    """Propose checks from rows that are believed to be good.

    A range is proposed with a margin of twice its own width on both sides: it finds what cannot be, not what is new.
    No rows, and a column that does not vary, say nothing about what can be.
    """
    import polars.selectors as cs  # noqa: PLC0415 - the hub lists datasets without polars

    if frame.is_empty():
        return []
    checks: list[Check] = [
        MostlyPresent(name, 0.05) for name in frame.columns if _missing(frame, name) <= _RARELY_MISSING
    ]
    for name in frame.select(cs.numeric()).columns:
        column = frame[name].drop_nulls()
        if column.dtype.is_float():
            column = column.filter(column.is_finite())
        if column.len() == 0:
            continue
        low, high = float(column.min()), float(column.max())  # type: ignore[arg-type]
        margin = _MARGIN_WIDTHS * (high - low)
        if margin > 0 and math.isfinite(low - margin) and math.isfinite(high + margin):
            checks.append(InRange(name, low - margin, high + margin))
    return checks


def apply_checks(frame: pl.DataFrame, checks: list[Check]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Divide a batch into good rows and rows to put aside, which get a column ``quarantine_reason``.

    Returns:
        Good rows and bad rows, together as many as came in. A check on a column that is not there passes, and so does
        a range for a column that has become another type.
    """
    import polars as pl  # noqa: PLC0415 - see above

    reasons = []
    for check in checks:
        if check.column not in frame.columns:
            continue
        column = pl.col(check.column)
        dtype = frame.schema[check.column]
        absent = column.is_null() | column.is_nan() if dtype.is_float() else column.is_null()
        if isinstance(check, InRange):
            if not dtype.is_numeric():
                continue
            said = f"{check.column} is outside {check.low:g} to {check.high:g}"
            failed = ~column.is_between(check.low, check.high) & ~absent
        else:
            missing = _missing(frame, check.column)
            if missing <= check.max_missing_fraction:
                continue
            said = f"{check.column} is missing in {missing:.0%} of the batch"
            failed = absent
        reasons.append(pl.when(failed.fill_null(value=False)).then(pl.lit(said)))
    if not reasons:
        return frame, frame.clear().with_columns(quarantine_reason=pl.lit("", pl.String))
    judged = frame.with_columns(quarantine_reason=pl.concat_str(reasons, separator="; ", ignore_nulls=True))
    bad = pl.col("quarantine_reason") != ""
    return judged.filter(~bad).drop("quarantine_reason"), judged.filter(bad)


def _missing(frame: pl.DataFrame, name: str) -> float:
    column = frame[name]
    missing = column.null_count() + (int(column.is_nan().sum()) if column.dtype.is_float() else 0)
    return missing / max(frame.height, 1)
