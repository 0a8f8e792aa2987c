"""Reads the rows of a file as a dataset wants them: times in UTC, and the types its last version has."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

import polars as pl

from undrift.core.clock import parse_time
from undrift.core.errors import Invalid, NotFound
from undrift.data import Column

__all__ = ["Described", "latest", "read_rows"]

_UTC = pl.Datetime("us", "UTC")
_KINDS: tuple[type[pl.DataType], ...] = (pl.Int64, pl.Float64, pl.Boolean)


class Described(Protocol):
    """What is known of a dataset before its rows are read."""

    @property
    def key(self) -> str:
        """Column that names a row."""

    @property
    def time(self) -> str:
        """Column that says when a row's facts held."""

    @property
    def known_at(self) -> str:
        """Column that says when they became known."""


def latest(frame: pl.DataFrame, dataset: Described) -> datetime:
    """Return the moment at which the newest of these rows became known."""
    moment = frame[dataset.known_at].max()
    assert isinstance(moment, datetime)  # noqa: S101 - `read_rows` has seen to it
    return moment


def read_rows(file: Path, dataset: Described, columns: Sequence[Column]) -> pl.DataFrame:
    """Read a CSV or Parquet file.

    Args:
        file: The file; one whose name ends in ``.parquet`` is Parquet, any other is CSV.
        dataset: What it is for.
        columns: The schema of its last version. A CSV file does not say of what type its columns are: where its
            values fit the type from before, they are of that type.

    Raises:
        NotFound: There is no such file.
        Invalid: It cannot be read, has no rows, lacks key or times, or a time in it is none.
    """
    if not file.is_file():
        raise NotFound(f"There is no file {file}.", next_step="Check its name.")
    try:
        if file.suffix == ".parquet":
            frame = pl.read_parquet(file)
        else:
            before = {column.name: column.type for column in columns}
            raw = pl.read_csv(file, infer_schema=False)
            times = (dataset.time, dataset.known_at)
            frame = raw.with_columns(_typed(raw[name], before.get(name)) for name in raw.columns if name not in times)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Invalid(f"{file} cannot be read: {said}", next_step="Give a CSV file in UTF-8, or Parquet.") from None
    if frame.is_empty():
        raise Invalid(f"{file} has no rows.", next_step="Nothing was added.")
    missing = [name for name in (dataset.key, dataset.time, dataset.known_at) if name not in frame.columns]
    if missing:
        raise Invalid(
            f"{file} has no column {', '.join(dict.fromkeys(missing))}.",
            next_step=f"It has {', '.join(frame.columns)}. Nothing was added.",
        )
    for name in dict.fromkeys((dataset.time, dataset.known_at)):
        frame = frame.with_columns(_moments(file, frame[name]))
        if frame[name].is_null().all():
            raise Invalid(f"No row of {file} has a {name}.", next_step="Nothing was added.")
    return frame


def _typed(column: pl.Series, before: str | None) -> pl.Series:
    """Return a column of text as the type it had before if all of it fits, else as the first that fits."""
    if column.is_null().all():
        return column if before is None else column.cast(pl.Null)
    if before == "String":
        return column
    kinds = [kind for kind in _KINDS if str(kind()) == before]
    # Postcodes and long numbers are codes: as a number a code would lose its zeros or its last digits.
    if kinds or not column.str.contains("^[+-]?(0[0-9]|[0-9]{19})").any():
        kinds.extend(_KINDS)
    for kind in kinds:
        with suppress(pl.exceptions.PolarsError):
            if kind is pl.Boolean:
                return column.replace_strict({"true": True, "false": False}, return_dtype=kind)
            return column.cast(kind)
    return column


def _moments(file: Path, column: pl.Series) -> pl.Series:
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if isinstance(column.dtype, pl.Datetime):
        if column.dtype.time_zone is None:
            return column.dt.replace_time_zone("UTC").cast(_UTC)
        return column.dt.convert_time_zone("UTC").cast(_UTC)
    if column.dtype != pl.String:
        raise Invalid(
            f"Column {column.name!r} of {file} holds {column.dtype}, not times.",
            next_step="Write them as 2013-04-01T12:00:00Z.",
        )
    moments = []
    for row, text in enumerate(column, start=1):
        try:
            moments.append(parse_time(text) if text else None)
        except Invalid as error:
            raise Invalid(
                f"Row {row} of {file}, column {column.name!r}: {error.message} Nothing was added.",
                next_step=error.next_step,
            ) from None
    return pl.Series(column.name, moments, dtype=_UTC)
