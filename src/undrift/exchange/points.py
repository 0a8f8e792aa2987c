"""Points of metrics as Parquet: one file an experiment, readable with anything that reads Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from undrift.core.errors import Invalid
from undrift.tracking import MetricSeries
from undrift.tracking.model import not_finite

__all__ = ["PointFile", "read_points"]

_COLUMNS = ("run_id", "name", "step", "time_ms", "value", "model_id", "dataset_name", "dataset_digest")
_GROUP = 131_072


def _schema() -> Any:
    import pyarrow as pa  # noqa: PLC0415 - costs 100 ms that other commands need not pay

    text, whole = pa.string(), pa.int64()
    kinds = (text, text, whole, whole, pa.float64(), text, text, text)
    optional = {"model_id", "dataset_name", "dataset_digest"}
    return pa.schema(
        [pa.field(name, kind, nullable=name in optional) for name, kind in zip(_COLUMNS, kinds, strict=True)]
    )


class PointFile:
    """A Parquet file that is written in groups of 131,072 rows: the same points always give the same bytes.

    Args:
        path: The file; it is made with the first point.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._file: Any = None
        self._waiting: list[Any] = []
        self._count = 0
        self._rows = 0

    def add(self, run_id: str, series: MetricSeries) -> None:
        """Append points of a run."""
        import pyarrow as pa  # noqa: PLC0415 - as above

        length = len(series.steps)

        def same(text: str) -> Any:
            return pa.repeat(pa.scalar(text or None, pa.string()), length)

        columns = [
            pa.repeat(pa.scalar(run_id, pa.string()), length),
            pa.repeat(pa.scalar(series.name, pa.string()), length),
            pa.array(series.steps, pa.int64()),
            pa.array(series.times_ms, pa.int64()),
            pa.array(series.floats(), pa.float64(), from_pandas=False),
            same(series.model_id),
            same(series.dataset_name),
            same(series.dataset_digest),
        ]
        self._waiting.append(pa.Table.from_arrays(columns, schema=_schema()))
        self._count += length
        while self._count >= _GROUP:
            self._write(_GROUP)

    def _write(self, rows: int) -> None:
        import pyarrow as pa  # noqa: PLC0415 - as above
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above

        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("xb")
            # Everything that another release might choose otherwise is said.
            self._writer = pq.ParquetWriter(
                self._file,
                _schema(),
                version="2.6",
                data_page_version="1.0",
                compression="zstd",
                compression_level=3,
                use_dictionary=["run_id", "name", "model_id", "dataset_name", "dataset_digest"],
                write_statistics=True,
                store_schema=False,
            )
        table = pa.concat_tables(self._waiting).combine_chunks()
        self._writer.write_table(table.slice(0, rows).combine_chunks(), row_group_size=_GROUP)
        rest = table.slice(rows)
        self._waiting = [rest] if len(rest) else []
        self._count -= rows
        self._rows += rows

    def close(self) -> tuple[int, int, str] | None:
        """Close the file and return its rows, its bytes and their SHA-256; None when there was no point."""
        if self._count:
            self._write(self._count)
        if self._writer is None:
            return None
        self._writer.close()
        self._file.close()
        with self._path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        return self._rows, self._path.stat().st_size, digest.hexdigest()


def read_points(path: Path) -> Iterator[tuple[str, MetricSeries]]:
    """Give the points of a file by run and series, a row group at a time.

    Raises:
        Invalid: It is no Parquet file with the columns of points.
    """
    import pyarrow as pa  # noqa: PLC0415 - as above
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    try:
        with pq.ParquetFile(path) as file:
            if missing := set(_COLUMNS) - set(file.schema_arrow.names):
                raise Invalid(f"{path.name} lacks the columns {', '.join(sorted(missing))}.")
            for batch in file.iter_batches(_GROUP, columns=list(_COLUMNS)):
                yield from _series_of(pa.Table.from_batches([batch]).cast(_schema()))
    except (pa.ArrowException, OSError) as error:
        raise Invalid(f"{path.name} cannot be read: {error}.", next_step="Copy it anew.") from None


def _series_of(table: Any) -> Iterator[tuple[str, MetricSeries]]:
    columns = {name: table[name].to_pylist() for name in _COLUMNS}
    keys = list(
        zip(*(columns[name] for name in ("run_id", "name", "model_id", "dataset_name", "dataset_digest")), strict=True)
    )
    start = 0
    for end in range(1, len(keys) + 1):
        if end < len(keys) and keys[end] == keys[start]:
            continue
        run_id, name, *source = keys[start]
        values: list[Any] = [one if one - one == 0 else not_finite(one) for one in columns["value"][start:end]]
        yield (
            run_id,
            MetricSeries(
                name,
                columns["step"][start:end],
                columns["time_ms"][start:end],
                values,
                *(one or "" for one in source),
            ),
        )
        start = end
