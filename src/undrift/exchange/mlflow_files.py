"""MLflow's file store (``./mlruns``): folders of small files, read without MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from undrift.core.errors import Invalid, NotFound, UndriftError
from undrift.exchange.folders import Folder, local_path, read_yaml
from undrift.exchange.model import (
    Report,
    SourceExperiment,
    SourceFile,
    SourceModel,
    SourceRegistered,
    SourceRun,
    SourceVersion,
)
from undrift.tracking import DatasetUse, LoggedDataset, MetricSeries
from undrift.tracking.model import not_finite

__all__ = ["FileStore", "Pieces", "files_at", "model_id_of", "number_of", "text_of"]

_META = "meta.yaml"
_TRASH = ".trash"
_AT_ONCE = 50_000
_STATUSES = {1: "running", 2: "scheduled", 3: "finished", 4: "failed", 5: "killed"}
_MODEL_STATUSES: dict[str, Literal["pending", "ready", "upload_failed"]] = {
    "1": "pending",
    "2": "ready",
    "3": "upload_failed",
    "PENDING": "pending",
    "READY": "ready",
    "FAILED": "upload_failed",
    "LOGGED_MODEL_PENDING": "pending",
    "LOGGED_MODEL_READY": "ready",
    "LOGGED_MODEL_UPLOAD_FAILED": "upload_failed",
}
_RUN_PARENT = "mlflow.parentRunId"
_DELETED = "Deleted_Internal"


def number_of(value: Any, otherwise: int = 0) -> int:
    """Return a whole number of milliseconds or the like, as a store wrote it."""
    try:
        found = int(value)
    except (TypeError, ValueError, OverflowError):
        return otherwise
    return found if -(2**63) <= found < 2**63 else otherwise


def text_of(value: Any) -> str:
    """Return what a store wrote as text; nothing is the empty text, and half a sign is shown as ``?``."""
    text = "" if value is None else value if isinstance(value, str) else str(value)
    return text if text.isascii() else text.encode(errors="replace").decode()


def model_id_of(source: str) -> str:
    """Return the id of the logged model that a version says it was made of; empty when it was made of none.

    >>> model_id_of("models:/m-0123/"), model_id_of("runs:/0123/model")
    ('m-0123', '')
    """
    return source.removeprefix("models:/").rstrip("/") if re.fullmatch(r"models:/m-[^/]+/?", source) else ""


class Pieces:
    """Gathers points of metrics into series of at most 50,000."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str, str], MetricSeries] = {}

    def add(self, key: tuple[str, str, str, str], step: int, time_ms: int, value: float) -> MetricSeries | None:
        """Take a point; returns the series when it is full.

        Args:
            key: Metric, model, dataset name, dataset digest.
            step: The step.
            time_ms: Milliseconds since 1970.
            value: The value.
        """
        series = self._series.get(key)
        if series is None:
            name, model, dataset, digest = key
            series = self._series[key] = MetricSeries(name, [], [], [], model, dataset, digest)
        series.steps.append(step)
        series.times_ms.append(time_ms)
        # Only finite numbers are numbers in JSON.
        series.values.append(value if value - value == 0 else not_finite(value))  # type: ignore[arg-type]
        if len(series.steps) < _AT_ONCE:
            return None
        return self._series.pop(key)

    def rest(self) -> Iterator[MetricSeries]:
        """Give what is left."""
        yield from self._series.values()
        self._series = {}


class FileStore:
    """A file store.

    Args:
        path: Its folder, or the folder that holds an ``mlruns``.
        report: Takes what cannot be read.
        artifacts: A folder that may hold artifacts, too.

    Raises:
        NotFound: There is no file store.
    """

    def __init__(self, path: Path, report: Report, artifacts: Path | None = None) -> None:
        self._report = report
        self._root = Folder(_root_of(path))
        self._roots = [self._root, *([Folder(artifacts)] if artifacts else [])]
        self._model_points: dict[tuple[str, str, int, int, str], list[tuple[str, str, str]]] = {}
        self._folders: dict[str, Path] = {}
        self.label = f"MLflow's file store {self._root.path}"

    def close(self) -> None:
        """Nothing is held open."""

    def experiments(self) -> Iterator[SourceExperiment]:
        """Give all experiments, also those in the trash."""
        for parent in (self._root.path, self._root.path / _TRASH):
            for folder in self._root.folders(parent):
                if folder.name in {_TRASH, "models"} or not (folder / _META).exists():
                    continue
                try:
                    yield self._experiment(folder, deleted=parent.name == _TRASH)
                except UndriftError as error:
                    self._report.refuse("experiment", folder.name, error.message)

    def _experiment(self, folder: Path, *, deleted: bool) -> SourceExperiment:
        meta = read_yaml(self._root, folder / _META)
        id_ = text_of(meta.get("experiment_id"))
        if id_ != folder.name:
            raise Invalid(f"Its folder is {folder.name!r}, its {_META} says {id_!r}.")
        self._folders[id_] = folder
        created = number_of(meta.get("creation_time"), int((folder / _META).stat().st_mtime * 1000))
        return SourceExperiment(
            id=id_,
            name=text_of(meta.get("name")),
            created_ms=created,
            updated_ms=number_of(meta.get("last_update_time"), created),
            state="deleted" if deleted or meta.get("lifecycle_stage") == "deleted" else "active",
            tags=self._words(folder / "tags", "tag", id_),
        )

    def _words(self, folder: Path, what: str, name: str) -> dict[str, str]:
        """Return what a folder of small files says: a name a file, also with ``/`` in it."""
        found: dict[str, str] = {}
        for path, file, _ in self._root.below(folder, self._report, name):
            try:
                found[path] = self._root.text(file)
            except UndriftError as error:
                self._report.refuse(what, f"{name}/{path}", error.message)
        return found

    def runs(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        """Give the runs of an experiment, also deleted ones."""
        folder = self._folders[experiment.id]
        self._read_model_points(folder)
        datasets = self._datasets(folder)
        for one in self._root.folders(folder):
            if one.name in {"models", "datasets", "tags", "traces"} or not (one / _META).exists():
                continue
            try:
                yield self._run(one, experiment.id, datasets)
            except UndriftError as error:
                self._report.refuse("run", one.name, error.message)

    def _run(self, folder: Path, experiment_id: str, datasets: Mapping[str, LoggedDataset]) -> SourceRun:
        meta = read_yaml(self._root, folder / _META)
        id_ = text_of(meta.get("run_id") or meta.get("run_uuid"))
        if id_ != folder.name:
            raise Invalid(f"Its folder is {folder.name!r}, its {_META} says {id_!r}.")
        self._folders[id_] = folder
        tags = self._words(folder / "tags", "tag", id_)
        parameters = self._words(folder / "params", "parameter", id_)
        uses, inputs = self._inputs(folder, id_, datasets)
        ended = meta.get("end_time")
        return SourceRun(
            id=id_,
            experiment_id=experiment_id,
            name=text_of(meta.get("run_name") or meta.get("name") or tags.get("mlflow.runName")),
            status=_STATUSES.get(number_of(meta.get("status", 1)), text_of(meta.get("status")).lower()),
            started_ms=number_of(meta.get("start_time")),
            ended_ms=None if ended is None else number_of(ended),
            state="deleted" if meta.get("lifecycle_stage") == "deleted" else "active",
            user=text_of(meta.get("user_id")),
            parent_id=tags.get(_RUN_PARENT),
            parameters=parameters,
            tags=tags,
            datasets=uses,
            model_inputs=inputs,
            model_outputs=self._outputs(folder, id_),
            location=text_of(meta.get("artifact_uri")),
        )

    def _datasets(self, folder: Path) -> dict[str, LoggedDataset]:
        found = {}
        for one in self._root.folders(folder / "datasets"):
            try:
                meta = read_yaml(self._root, one / _META)
            except UndriftError as error:
                self._report.refuse("dataset", one.name, error.message)
                continue
            found[one.name] = LoggedDataset(
                *(text_of(meta.get(name)) for name in ("name", "digest", "source_type", "source", "schema", "profile"))
            )
        return found

    def _inputs(
        self, folder: Path, id_: str, datasets: Mapping[str, LoggedDataset]
    ) -> tuple[tuple[DatasetUse, ...], tuple[str, ...]]:
        uses, models = [], []
        for one in self._root.folders(folder / "inputs"):
            try:
                meta = read_yaml(self._root, one / _META)
            except UndriftError as error:
                self._report.refuse("input", f"{id_}/{one.name}", error.message)
                continue
            source = text_of(meta.get("source_id"))
            if meta.get("source_type") == "MODEL":
                models.append(source)
            elif source in datasets:
                tags = meta.get("tags")
                words = {str(key): text_of(value) for key, value in tags.items()} if isinstance(tags, dict) else {}
                uses.append(DatasetUse(datasets[source], words))
            else:
                self._report.refuse("input", f"{id_}/{one.name}", f"There is no dataset {source!r}.")
        return tuple(uses), tuple(models)

    def _outputs(self, folder: Path, id_: str) -> tuple[tuple[str, int], ...]:
        found = []
        for one in self._root.folders(folder / "outputs"):
            try:
                meta = read_yaml(self._root, one / _META)
            except UndriftError as error:
                self._report.refuse("output", f"{id_}/{one.name}", error.message)
                continue
            # The store writes the model into both ends; the folder is named by it, too.
            found.append((text_of(meta.get("source_id")) or one.name, number_of(meta.get("step"))))
        return tuple(found)

    def points(self, run: SourceRun) -> Iterator[MetricSeries]:
        """Give the points of a run; those that were measured on a model or a dataset say so."""
        pieces = Pieces()
        for name, file, _ in self._root.below(self._folders[run.id] / "metrics", self._report, run.id):
            bad = 0
            for line in self._root.lines(file):
                try:
                    step, time_ms, value, dataset, digest = _read_line(line)
                except ValueError:
                    bad += bool(line.strip())
                    continue
                models = self._model_points.get((run.id, name, step, time_ms, value.hex()), [])
                for model, *measured in models or [("", dataset, digest)]:
                    if full := pieces.add((name, model, *measured), step, time_ms, value):  # type: ignore[arg-type]
                        yield full
            yield from pieces.rest()
            if bad:
                self._report.refuse("metric", f"{run.id}/{name}", f"{bad} of its lines cannot be read.")

    def _read_model_points(self, folder: Path) -> None:
        """Note which points of which runs were measured on models; the runs' own files do not say it."""
        self._model_points = {}
        for model in self._root.folders(folder / "models"):
            for name, file, _ in self._root.below(model / "metrics", self._report, model.name):
                for line in self._root.lines(file):
                    parts = line.split(" ")
                    if len(parts) < 4:
                        continue
                    try:
                        key = (parts[3], name, int(parts[2]), int(parts[0]), float(parts[1]).hex())
                    except ValueError:
                        self._report.refuse("metric", f"{model.name}/{name}", "A line of it cannot be read.")
                        continue
                    measured = (model.name, " ".join(parts[4:-1]), parts[-1] if len(parts) > 5 else "")
                    known = self._model_points.setdefault(key, [])
                    if measured not in known:
                        known.append(measured)

    def models(self, experiment: SourceExperiment) -> Iterator[SourceModel]:
        """Give the logged models of an experiment, also deleted ones."""
        for folder in self._root.folders(self._folders[experiment.id] / "models"):
            try:
                meta = read_yaml(self._root, folder / _META)
            except UndriftError as error:
                self._report.refuse("logged model", folder.name, error.message)
                continue
            self._folders[folder.name] = folder
            created = number_of(meta.get("creation_timestamp"))
            yield SourceModel(
                id=folder.name,
                experiment_id=experiment.id,
                name=text_of(meta.get("name")),
                created_ms=created,
                updated_ms=number_of(meta.get("last_updated_timestamp"), created),
                type=text_of(meta.get("model_type")),
                source_run_id=text_of(meta.get("source_run_id")),
                status=_MODEL_STATUSES.get(text_of(meta.get("status")), "ready"),
                status_message=text_of(meta.get("status_message")),
                state="deleted" if meta.get("lifecycle_stage") == "deleted" else "active",
                parameters=self._words(folder / "params", "parameter", folder.name),
                tags=self._words(folder / "tags", "tag", folder.name),
                location=text_of(meta.get("artifact_location")),
            )

    def registered(self) -> Iterator[SourceRegistered]:
        """Give the registered models."""
        for folder in self._root.folders(self._root.path / "models"):
            try:
                meta = read_yaml(self._root, folder / _META)
            except UndriftError as error:
                self._report.refuse("registered model", folder.name, error.message)
                continue
            aliases = self._words(folder / "aliases", "alias", folder.name)
            created = number_of(meta.get("creation_timestamp"))
            yield SourceRegistered(
                name=folder.name,
                created_ms=created,
                updated_ms=number_of(meta.get("last_updated_timestamp"), created),
                description=text_of(meta.get("description")),
                tags=self._words(folder / "tags", "tag", folder.name),
                aliases={alias: number_of(number) for alias, number in aliases.items()},
                versions=tuple(sorted(self._versions(folder), key=lambda one: one.number)),
            )

    def _versions(self, model: Path) -> Iterator[SourceVersion]:
        for folder in self._root.folders(model):
            if (found := re.fullmatch(r"version-([1-9][0-9]{0,9})", folder.name)) is None:
                continue
            try:
                meta = read_yaml(self._root, folder / _META)
            except UndriftError as error:
                self._report.refuse("version", f"{model.name}/{found[1]}", error.message)
                continue
            created = number_of(meta.get("creation_timestamp"))
            deleted = meta.get("current_stage") == _DELETED
            yield SourceVersion(
                number=int(found[1]),
                created_ms=created,
                updated_ms=number_of(meta.get("last_updated_timestamp"), created),
                source=text_of(meta.get("source")),
                location=text_of(meta.get("storage_location")),
                run_id=text_of(meta.get("run_id")),
                run_link=text_of(meta.get("run_link")),
                model_id=text_of(meta.get("model_id")) or model_id_of(text_of(meta.get("source"))),
                user=text_of(meta.get("user_id")),
                stage="None" if deleted else text_of(meta.get("current_stage")) or "None",
                status=_version_status(meta.get("status")),
                description=text_of(meta.get("description")),
                tags=self._words(folder / "tags", "tag", f"{model.name}/{found[1]}"),
                deleted=deleted,
            )

    def files(self, owner: SourceRun | SourceModel | SourceVersion) -> Iterator[SourceFile]:
        """Give the files of a run, a logged model or a version; nothing outside the store is opened."""
        if isinstance(owner, SourceVersion):
            yield from files_at(
                owner.location or owner.source, [], self._roots, self._report, f"version {owner.number}"
            )
            return
        kept = self._folders[owner.id] / "artifacts"
        yield from files_at(owner.location, [kept], self._roots, self._report, owner.id)


def files_at(uri: str, kept: list[Path], roots: list[Folder], report: Report, name: str) -> Iterator[SourceFile]:
    """Give the files at a local address; one that lies outside the roots is refused, for a store may say anything.

    Args:
        uri: The address as the store says it.
        kept: Where the files are when the store was moved; looked at first.
        roots: Folders that may be read.
        report: Takes what is refused.
        name: Whose files they are.
    """
    path = local_path(uri)
    for place in [*kept, *([path] if path else [])]:
        for root in roots:
            if root.inside(place) and place.exists():
                yield from root.files(place, report, name)
                return
    if path is None and uri:
        report.refuse("files", name, f"They are kept at {uri}, which is not on this machine.")
    elif path is not None and not any(root.inside(path) for root in roots):
        report.refuse("files", name, f"{uri} lies outside the store; name the folder with --artifacts to have it read.")


def _root_of(path: Path) -> Path:
    for root in (path, path / "mlruns"):
        if root.is_dir() and any((one / _META).is_file() for one in (*root.glob("*"), *root.glob(f"{_TRASH}/*"))):
            return root
    raise NotFound(
        f"There is no file store of MLflow at {path}.", next_step="Name the folder that holds 0/meta.yaml, or mlruns."
    )


def _read_line(line: str) -> tuple[int, int, float, str, str]:
    """Return step, time, value, dataset name and digest of a line of a metric's file.

    >>> _read_line("1700000000000 0.5 3 my data abc")
    (3, 1700000000000, 0.5, 'my data', 'abc')
    """
    parts = line.split(" ")
    if len(parts) < 2 or len(parts) == 4:
        raise ValueError(line)
    step = int(parts[2]) if len(parts) > 2 else 0
    dataset, digest = (" ".join(parts[3:-1]), parts[-1]) if len(parts) > 4 else ("", "")
    return step, int(parts[0]), float(parts[1]), dataset, digest


def _version_status(value: Any) -> str:
    known = {"1": "PENDING_REGISTRATION", "2": "FAILED_REGISTRATION", "3": "READY"}
    return known.get(text_of(value), text_of(value)) or "READY"
