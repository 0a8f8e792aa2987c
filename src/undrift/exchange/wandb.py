"""What can be read of runs of Weights & Biases: the files of a run folder, and its history as an export has it.

W&B documents the files that it keeps beside a run (``config.yaml``, ``wandb-summary.json``, ``wandb-metadata.json``,
``output.log``, ``requirements.txt``) and three ways to get a run's history out: ``run.scan_history()`` of its API, CSV,
and the Parquet files of the history artifact. Its own log, the ``.wandb`` file, is not documented, and is not read.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from undrift.core.clock import parse_time
from undrift.core.errors import Invalid, NotFound, UndriftError
from undrift.core.ids import derive_id
from undrift.exchange.folders import Folder, read_yaml
from undrift.exchange.mlflow_files import Pieces, text_of
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

__all__ = ["WandbExport"]

_CONFIG = "config.yaml"
_SUMMARY = "wandb-summary.json"
_METADATA = "wandb-metadata.json"
_HISTORY = ("history.jsonl", "history.csv")
_HOW = (
    "Write the history beside config.yaml: `json.dump` each row of `wandb.Api().run(...).scan_history()` on a line of "
    "history.jsonl, or save the history as history.csv or *.parquet."
)
_LONG_AGO = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class WandbExport:
    """Runs of Weights & Biases as folders.

    Args:
        path: A run's folder, or a folder of them (``./wandb``).
        report: Takes what cannot be read.

    Raises:
        NotFound: There is no run.
        Invalid: There is nothing but W&B's own log.
    """

    def __init__(self, path: Path, report: Report) -> None:
        self._root = Folder(path)
        self._report = report
        self.label = f"W&B's export {self._root.path}"
        self._places: dict[str, Path] = {}
        logs = 0
        if not self._root.path.is_dir():
            raise NotFound(f"There is no folder {path}.", next_step="Name a run's folder, or a folder of them.")
        for folder in [self._root.path, *self._root.folders(self._root.path)]:
            files = folder / "files" if (folder / "files").is_dir() else folder
            logs += any(folder.glob("*.wandb"))
            if any((files / name).is_file() for name in (_CONFIG, _SUMMARY, *_HISTORY)):
                self._places[folder.name] = files
        if not self._places and logs:
            raise Invalid(
                f"{path} has nothing but W&B's own log (.wandb), whose format is not documented.",
                next_step=f"Run `wandb sync` on it, then export. {_HOW}",
            )
        if not self._places:
            raise NotFound(f"There is no run of W&B in {path}.", next_step=_HOW)
        self._runs: dict[str, list[SourceRun]] = {}
        for name, files in sorted(self._places.items()):
            try:
                run = self._run(name, files)
            except UndriftError as error:
                report.refuse("run", name, error.message)
            else:
                self._runs.setdefault(run.experiment_id, []).append(run)

    def close(self) -> None:
        """Nothing is held open."""

    def _json(self, path: Path) -> dict[str, Any]:
        if not path.is_file():
            return {}
        try:
            found = json.loads(self._root.text(path, 64 << 20))
        except (ValueError, RecursionError) as error:
            raise Invalid(f"{path.name} cannot be read: {error}.") from None
        return found if isinstance(found, dict) else {}

    def _run(self, name: str, files: Path) -> SourceRun:
        config = read_yaml(self._root, files / _CONFIG) if (files / _CONFIG).is_file() else {}
        summary, metadata = self._json(files / _SUMMARY), self._json(files / _METADATA)
        parameters: dict[str, Any] = {}
        for key, held in config.items():
            # Each entry is {desc, value}; what begins with an underscore is W&B's own.
            value = held.get("value") if isinstance(held, dict) and "value" in held else held
            if not key.startswith(("_", "wandb_version")):
                parameters[_key(key)] = _plain(value)
        ended = _whole(summary.get("_timestamp"), 1000)
        started = _started(metadata)
        if started is None:
            started = _whole((next(self._history(files), None) or {}).get("_timestamp"), 1000)
        if started is None:
            started = ended or 0
        project = text_of(metadata.get("project") or self._root.path.name)
        # run-20240131_120000-abcd1234, offline-run-…: the last part is W&B's own id.
        own = name.rpartition("-")[2] if "run-" in name else name
        tags = {"wandb.run_id": own}
        tags |= {
            f"wandb.{key}": text_of(metadata[key]) for key in ("program", "host", "python", "os") if key in metadata
        }
        id_ = derive_id(_LONG_AGO, "wandb", project, own)
        self._places[id_] = files
        return SourceRun(
            id=id_,
            experiment_id=project,
            name=text_of(metadata.get("name") or own),
            status="finished",
            started_ms=started,
            ended_ms=ended,
            user=text_of(metadata.get("username")),
            parameters=parameters,
            tags=tags,
            location=name,
        )

    def _history(self, files: Path, name: str = "") -> Iterator[dict[str, Any]]:
        """Give the rows of a run's history, from whatever form it was exported in.

        Args:
            files: Where it lies.
            name: Under which name lines that cannot be read are reported; they are passed over when left out.
        """
        if (path := files / "history.jsonl").is_file():
            bad = 0
            for line in self._root.lines(path):
                try:
                    row = json.loads(line) if line.strip() else {}
                except (ValueError, RecursionError):
                    row = None
                if isinstance(row, dict):
                    if row:
                        yield row
                else:
                    bad += 1
            if bad and name:
                self._report.refuse("history", name, f"{bad} of its lines cannot be read.")
        elif (path := files / "history.csv").is_file():
            try:
                yield from csv.DictReader(self._root.lines(path))
            except csv.Error as error:
                raise Invalid(f"{path.name} cannot be read: {error}.") from None
        else:
            yield from self._parquet(sorted(files.glob("*.parquet")))

    def _parquet(self, paths: list[Path]) -> Iterator[dict[str, Any]]:
        import pyarrow as pa  # noqa: PLC0415 - costs 100 ms that other commands need not pay
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above

        for path in paths:
            if not self._root.inside(path):
                continue
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(16_384):
                        yield from batch.to_pylist()
            except (pa.ArrowException, OSError) as error:
                raise Invalid(f"{path.name} cannot be read: {error}.") from None

    def experiments(self) -> Iterator[SourceExperiment]:
        """Give an experiment for each project."""
        for name, runs in sorted(self._runs.items()):
            times = [run.started_ms for run in runs]
            yield SourceExperiment("", name, min(times), max(times))

    def runs(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        """Give the runs of a project."""
        yield from self._runs[experiment.name]

    def points(self, run: SourceRun) -> Iterator[MetricSeries]:
        """Give the numbers of a run's history; without one, those of its summary as a single point each."""
        files = self._places[run.id]
        pieces = Pieces()
        step = -1
        for step, row in enumerate(self._history(files, run.location)):
            at = _whole(row.get("_timestamp"), 1000)
            time_ms = run.started_ms if at is None else at
            said = _whole(row.get("_step"))
            for name, value in row.items():
                number = _number(value)
                if name is not None and not name.startswith("_") and number is not None:
                    key = (_key(name), "", "", "")
                    if full := pieces.add(key, step if said is None else said, time_ms, number):
                        yield full
        if step < 0:
            self._report.refuse("history", run.location, f"There is none; only its last values came. {_HOW}")
            for name, value in self._json(files / _SUMMARY).items():
                number = _number(value)
                if not name.startswith("_") and number is not None:
                    pieces.add((_key(name), "", "", ""), 0, run.ended_ms or run.started_ms, number)
        yield from pieces.rest()

    def models(self, experiment: SourceExperiment) -> Iterator[SourceModel]:  # noqa: ARG002 - it has none
        """Give nothing: a run's folder has no models."""
        yield from ()

    def registered(self) -> Iterator[SourceRegistered]:
        """Give nothing: a run's folder has no registry."""
        yield from ()

    def files(self, owner: SourceRun | SourceModel | SourceVersion) -> Iterator[SourceFile]:
        """Give the files of a run: its log, its requirements, its media, what it saved."""
        if isinstance(owner, SourceRun):
            yield from self._root.files(self._places[owner.id], self._report, owner.location)


def _key(name: str) -> str:
    return "".join(one if one.isalnum() or one in "_-. :/" else "_" for one in name).strip("/")[:250]


def _number(value: Any) -> float | None:
    """Return a number that JSON, CSV or Parquet holds; W&B writes NaN and the infinities as words."""
    if isinstance(value, bool) or value is None or value == "":
        return None
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None


def _whole(value: Any, times: int = 1) -> int | None:
    """Return a number as a whole one; nothing for what is none, or has no end."""
    number = _number(value)
    return None if number is None or not math.isfinite(number * times) else int(number * times)


def _plain(value: Any) -> Any:
    """Return a value of a YAML file as JSON can say it, or its text."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, ValueError, RecursionError):
        return text_of(value)


def _started(metadata: dict[str, Any]) -> int | None:
    try:
        return to_ms(parse_time(str(metadata["startedAt"])))
    except (KeyError, UndriftError):
        return None
