"""Reads the rows of a file as a dataset wants them: times in UTC, and the types its last version has."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import polars as pl

from undrift.core.clock import parse_time
from undrift.core.errors import Invalid, NotFound
from undrift.data import Column

__all__ = ["Described", "latest", "read_rows"]

_UTC = pl.Datetime("us", "UTC")
_TEXT = ("String", "Utf8")


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
            text = [column.name for column in columns if column.type in _TEXT]
            header = pl.read_csv(file, n_rows=0).columns
            overrides = {name: pl.String for name in (*text, dataset.time, dataset.known_at) if name in header}
            frame = _as_before(pl.read_csv(file, infer_schema_length=None, schema_overrides=overrides), columns)
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


def _as_before(frame: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    before = {column.name: column.type for column in columns}
    changed = []
    for name, dtype in frame.schema.items():
        if before.get(name) == "Float64" and dtype == pl.Int64:
            changed.append(frame[name].cast(pl.Float64))
        elif name in before and frame[name].is_null().all():
            changed.append(frame[name].cast(pl.Null))
    return frame.with_columns(changed)


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
