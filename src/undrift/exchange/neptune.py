"""What ``neptune-exporter`` has written: Parquet with a row for each value, and files beside it.

Read as its README describes it: the columns of "Parquet schema", the types of "Attribute/type mapping", and the two
folders of "Data layout on disk".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from undrift.core.errors import Invalid, NotFound
from undrift.core.ids import derive_id
from undrift.exchange.folders import Folder
from undrift.exchange.mlflow_files import Pieces
from undrift.exchange.model import (
    Report,
    SourceExperiment,
    SourceFile,
    SourceModel,
    SourceRegistered,
    SourceRun,
    SourceVersion,
)
from undrift.tracking import MetricSeries
from undrift.tracking.model import to_ms

__all__ = ["NeptuneExport"]

_COLUMNS = ("project_id", "run_id", "attribute_path", "attribute_type")
_VALUES = {
    "int": "int_value",
    "float": "float_value",
    "string": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
    "string_set": "string_set_value",
}
_KEY = re.compile(r"[^/\w.\- :]")
_PARTS = re.compile(r"(.*?)_?part_\d+")


class NeptuneExport:
    """An export of Neptune.

    Args:
        data: The folder with the Parquet files (``--data-path`` of the exporter), or the one that has ``data`` and
            ``files`` in it.
        report: Takes what cannot be read.
        files: The folder with the files (``--files-path``); ``files`` beside ``data`` when left out.

    Raises:
        NotFound: There are no Parquet files.
    """

    def __init__(self, data: Path, report: Report, files: Path | None = None) -> None:
        inner = data / "data"
        self._data = Folder(inner if inner.is_dir() else data)
        beside = files or self._data.path.parent / "files"
        self._files = Folder(beside) if beside.is_dir() else None
        self._report = report
        self.label = f"Neptune's export {self._data.path}"
        # One run is one or several files; runs of one name belong to one experiment.
        self._parts: dict[tuple[Path, str], list[Path]] = {}
        for _, path, _ in self._data.below(self._data.path, report, "export"):
            if path.suffix == ".parquet":
                found = _PARTS.fullmatch(path.stem)
                self._parts.setdefault((path.parent, found[1] if found else path.stem), []).append(path)
        if not self._parts:
            raise NotFound(
                f"There is no Parquet file in {self._data.path}.",
                next_step="Run `neptune-exporter export`, and name the folder of its --data-path.",
            )
        self._runs: dict[str, list[tuple[SourceRun, list[Path]]]] = {}
        self._paths: dict[str, tuple[str, list[Path]]] = {}
        self._scan()

    def close(self) -> None:
        """Nothing is held open."""

    def _rows(self, paths: list[Path], kinds: set[str] | None = None) -> Iterator[dict[str, Any]]:
        import pyarrow as pa  # noqa: PLC0415 - costs 100 ms that other commands need not pay
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above

        for path in paths:
            try:
                with pq.ParquetFile(path) as file:
                    if missing := set(_COLUMNS) - set(file.schema_arrow.names):
                        raise Invalid(f"{path.name} lacks the columns {', '.join(sorted(missing))}.")
                    for batch in file.iter_batches(16_384):
                        for row in batch.to_pylist():
                            if kinds is None or row["attribute_type"] in kinds:
                                yield row
            except (pa.ArrowException, OSError) as error:
                raise Invalid(f"{path.name} cannot be read: {error}.") from None

    def _scan(self) -> None:
        """Read what is said once of each run; series stay where they are."""
        for paths in self._parts.values():
            paths.sort(key=lambda path: (len(path.name), path.name))
            gathered: dict[tuple[str, str], dict[str, Any]] = {}
            try:
                # Also series: a run may have nothing else.
                for row in self._rows(paths):
                    values = gathered.setdefault((str(row["project_id"]), str(row["run_id"])), {})
                    if (column := _VALUES.get(row["attribute_type"])) is not None:
                        values[str(row["attribute_path"])] = row.get(column)
            except Invalid as error:
                self._report.refuse("run", paths[0].name, error.message)
                continue
            for (project, run), values in gathered.items():
                self._add(project, run, values, paths)

    def _add(self, project: str, run: str, values: dict[str, Any], paths: list[Path]) -> None:
        id_ = derive_id(_moment(values.get("sys/creation_time")) or _LONG_AGO, "neptune", project, run)
        started = _moment(values.get("sys/creation_time")) or _LONG_AGO
        ended = _moment(values.get("sys/modification_time"))
        parameters: dict[str, Any] = {}
        tags = {"neptune.run_id": run, "neptune.project_id": project}
        for path, value in values.items():
            key = _KEY.sub("_", path).strip("/")[:250]
            said = _plain(value)
            if path.startswith("sys/"):
                tags[f"neptune.{key}"] = said if isinstance(said, str) else msgspec.json.encode(said).decode()
            else:
                parameters[key] = said
        name = str(values.get("sys/name") or "")
        experiment = f"{project}/{name}" if name else project
        found = SourceRun(
            id=id_,
            experiment_id=experiment,
            name=str(values.get("sys/custom_run_id") or run),
            status="failed" if values.get("sys/failed") is True else "finished",
            started_ms=to_ms(started),
            ended_ms=None if ended is None else to_ms(ended),
            state="deleted" if values.get("sys/trashed") is True else "active",
            user=str(values.get("sys/owner") or ""),
            parameters=parameters,
            tags=tags,
            location=run,
        )
        self._runs.setdefault(experiment, []).append((found, paths))
        self._paths[id_] = (run, paths)

    def experiments(self) -> Iterator[SourceExperiment]:
        """Give an experiment for each project and name of runs."""
        for name, runs in sorted(self._runs.items()):
            times = [run.started_ms for run, _ in runs]
            yield SourceExperiment(name, name, min(times), max(times))

    def runs(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        """Give the runs of an experiment."""
        yield from (run for run, _ in self._runs[experiment.id])

    def points(self, run: SourceRun) -> Iterator[MetricSeries]:
        """Give the points of the float series of a run; a step that is no whole number is refused."""
        name, paths = self._paths[run.id]
        pieces = Pieces()
        broken: dict[str, int] = {}
        for row in self._rows(paths, {"float_series"}):
            if str(row["run_id"]) != name:
                continue
            key = _KEY.sub("_", str(row["attribute_path"])).strip("/")[:250]
            step = row.get("step")
            value = row.get("float_value")
            if value is None:
                continue
            if step is not None and not _is_whole(step):
                broken[key] = broken.get(key, 0) + 1
                continue
            at = _moment(row.get("timestamp"))
            time_ms = to_ms(at) if at else run.started_ms
            if full := pieces.add((key, "", "", ""), int(step or 0), time_ms, float(value)):
                yield full
        yield from pieces.rest()
        for key, count in broken.items():
            self._report.refuse("metric", f"{name}/{key}", f"{count} of its steps are no whole numbers.")

    def models(self, experiment: SourceExperiment) -> Iterator[SourceModel]:  # noqa: ARG002 - it has none
        """Give nothing: the export has no models."""
        yield from ()

    def registered(self) -> Iterator[SourceRegistered]:
        """Give nothing: the export has no registry."""
        yield from ()

    def files(self, owner: SourceRun | SourceModel | SourceVersion) -> Iterator[SourceFile]:
        """Give the files of a run; series of texts and histograms become files of JSON lines."""
        if not isinstance(owner, SourceRun):
            return
        name, paths = self._paths[owner.id]
        texts: dict[str, list[bytes]] = {}
        for row in self._rows(paths, {"file", "file_series", "string_series", "histogram_series"}):
            if str(row["run_id"]) != name:
                continue
            path = str(row["attribute_path"]).strip("/")
            step = row.get("step")
            if row["attribute_type"] in {"file", "file_series"}:
                yield from self._file(name, path, step, row)
                continue
            value = row.get("string_value") if row["attribute_type"] == "string_series" else row.get("histogram_value")
            at = _moment(row.get("timestamp"))
            line = {"step": None if step is None else float(step), "time": at, "value": value}
            texts.setdefault(f"{path}.jsonl", []).append(msgspec.json.encode(line) + b"\n")
        for path, lines in texts.items():
            yield SourceFile(path, sum(map(len, lines)), owner.started_ms, _given(lines))

    def _file(self, run: str, path: str, step: Any, row: dict[str, Any]) -> Iterator[SourceFile]:
        kept = (row.get("file_value") or {}).get("path")
        if not kept or self._files is None:
            self._report.refuse("file", f"{run}/{path}", "It was not exported, or --files does not name its folder.")
            return
        place = self._files.path / str(kept)
        if not self._files.inside(place) or not place.is_file():
            self._report.refuse("file", f"{run}/{path}", f"{kept} is not among the exported files.")
            return
        inner = path if step is None else f"{path}/{float(step):g}"
        # Neptune's own names have no ending; the file that was written has.
        if place.suffix and not inner.endswith(place.suffix):
            inner += place.suffix
        for found in self._files.files(place, self._report, run):
            yield found._replace(path=inner)


def _given(lines: list[bytes]) -> Any:
    return lambda: iter(lines)


def _is_whole(step: Any) -> bool:
    """Say whether a step is a whole number.

    >>> _is_whole(Decimal("2.000000")), _is_whole(0.5), _is_whole(math.nan)
    (True, False, False)
    """
    number = Decimal(step)
    return number.is_finite() and number == int(number)


_LONG_AGO = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo is not None else value.replace(tzinfo=_LONG_AGO.tzinfo)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple | set):
        return sorted(str(one) for one in value)
    return value
