"""Brings in what a source tells of: the same steps for every source, each safe to do again."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import get_args

import msgspec

from undrift.core.errors import NotFound, Unavailable, UndriftError
from undrift.exchange.model import (
    Report,
    Source,
    SourceExperiment,
    SourceFile,
    SourceModel,
    SourceRegistered,
    SourceRun,
    SourceVersion,
    Tell,
    batches,
)
from undrift.exchange.target import Here
from undrift.registry import (
    FindModel,
    ImportModel,
    ImportVersions,
    Model,
    ModelVersion,
    MoveAlias,
    MoveStage,
    find_model,
    import_model,
    import_versions,
    move_alias,
    move_stage,
)
from undrift.tracking import (
    ImportArtifacts,
    ImportDatasets,
    ImportedRun,
    ImportExperiment,
    ImportModels,
    ImportPoints,
    ImportRuns,
    LoggedModel,
    MetricSeries,
    RunLink,
    import_artifacts,
    import_datasets,
    import_experiment,
    import_models,
    import_points,
    import_runs,
)
from undrift.tracking.artifacts import Artifact, ArtifactTreeOf, artifact_tree, check_artifact_path
from undrift.tracking.model import RunStatus, to_time
from undrift.tracking.operations.imports import ExportArtifacts, export_artifacts

__all__ = ["bring_in"]

_IMPORTED_ID = "undrift.imported_id"
_RUNS_AT_ONCE = 100
_POINTS_AT_ONCE = 50_000
_SMALL_BYTES = 1 << 20
_HELD_BYTES = 16 << 20
_FILES_AT_ONCE = 1_000
_STATUSES = frozenset(get_args(RunStatus))
_TELL_EVERY_S = 1.0


def bring_in(source: Source, target: Here, report: Report, tell: Tell) -> Report:
    """Bring everything a source tells of into a project; doing it again adds only what is new.

    Args:
        source: Where it comes from.
        target: Where it goes.
        report: Takes the counts, and what could not be brought in.
        tell: Takes lines about how far it is.

    Returns:
        The report.
    """
    _Bringing(source, target, report, tell).everything()
    return report


class _Bringing:
    def __init__(self, source: Source, target: Here, report: Report, tell: Tell) -> None:
        self._source = source
        self._target = target
        self._report = report
        self._tell = tell
        self._told_at = 0.0
        self._experiments: dict[str, int] = {}

    def everything(self) -> None:
        for experiment in self._source.experiments():
            self._experiment(experiment)
        for registered in self._source.registered():
            try:
                self._registered(registered)
            except UndriftError as error:
                self._report.refuse("registered model", registered.name, error.message)

    def _progress(self, text: str, *, now: bool = False) -> None:
        if now or time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self._told_at = time.monotonic()
            counts = self._report.counts
            said = ", ".join(f"{counts[what].found} {what}" for what in ("runs", "points", "files") if what in counts)
            self._tell(f"{text}{f' ({said} so far)' if said else ''}")

    # --- Tracking ---

    def _experiment(self, given: SourceExperiment) -> None:
        try:
            answer = self._target.call(
                import_experiment,
                ImportExperiment(
                    self._target.project,
                    given.name,
                    self._source.label,
                    to_time(given.created_ms),
                    id=int(given.id) if given.id.isdecimal() and int(given.id) < 2**63 else None,
                    state=given.state,
                    updated_at=to_time(given.updated_ms),
                    tags=given.tags if given.id.isdecimal() or not given.id else given.tags | {_IMPORTED_ID: given.id},
                ),
            )
        except UndriftError as error:
            self._report.refuse("experiment", f"{given.id} {given.name}", error.message)
            return
        self._report.count("experiments", 1, int(answer.added))
        for reason in answer.refused:
            self._report.refuse("experiment", given.id, reason)
        number = self._experiments[given.id] = answer.experiment.id
        models = list(self._source.models(given))
        for some in batches(models, _RUNS_AT_ONCE):
            self._models(number, some)
        for runs in batches(self._source.runs(given), _RUNS_AT_ONCE):
            self._runs(number, runs)
        # Last: a model's files may be among those of its run.
        for model in models:
            try:
                self._files(self._target.model_id(model.id), model.id, model)
            except Unavailable:
                raise
            except UndriftError as error:
                self._report.refuse("files", model.id, error.message)
        self._progress(f"Experiment {given.name!r} is in.", now=True)

    def _runs(self, number: int, runs: Sequence[SourceRun]) -> None:
        self._target.resolve([id_ for run in runs for id_ in (run.id, run.parent_id or "", *run.model_inputs)])
        self._target.resolve([id_ for run in runs for id_, _ in run.model_outputs])
        answers = self._target.call(
            import_runs,
            ImportRuns(self._target.project, number, self._source.label, tuple(self._imported(run) for run in runs)),
        )
        self._report.count("runs", len(runs), sum(answer.added for answer in answers))
        for run, answer in zip(runs, answers, strict=True):
            for reason in answer.refused:
                self._report.refuse("run", run.id, reason)
        # By name and digest: the first description stays, here as there.
        datasets = {(use.dataset.name, use.dataset.digest): use.dataset for run in runs for use in run.datasets}
        for some in batches(datasets.values(), 20):
            try:
                self._target.call(
                    import_datasets, ImportDatasets(self._target.project, number, self._source.label, tuple(some))
                )
            except UndriftError as error:
                self._report.refuse("dataset", some[0].name, error.message)
        for run in runs:
            for what, bring in (("metrics", self._points), ("files", self._files_of)):
                try:
                    bring(run)
                except Unavailable:
                    raise
                except UndriftError as error:
                    # What the source cannot tell of one run does not keep the others back.
                    self._report.refuse(what, run.id, error.message)
            self._progress("Importing …")

    def _imported(self, run: SourceRun) -> ImportedRun:
        tags = dict(run.tags)
        if self._target.run_id(run.id) != run.id:
            tags[_IMPORTED_ID] = run.id
        links = [
            RunLink(
                "input",
                "dataset",
                use.dataset.name,
                use.dataset.digest,
                use.tags.get("mlflow.data.context", ""),
                dict(use.tags),
            )
            for use in run.datasets
        ]
        inputs = [self._target.model_id(id_) for id_ in run.model_inputs]
        links += [RunLink("input", "model", id_, id_) for id_ in inputs]
        outputs = [(self._target.model_id(id_), step) for id_, step in run.model_outputs]
        links += [RunLink("output", "model", id_, id_, details={"step": step}) for id_, step in outputs]
        status: RunStatus = "finished"
        if run.status in _STATUSES:
            status = run.status  # type: ignore[assignment]  # it is one of them
        else:
            self._report.refuse("run", run.id, f"Its status {run.status[:80]!r} is unknown; it counts as finished.")
        return ImportedRun(
            id=self._target.run_id(run.id),
            name=run.name or run.id,
            started_at=to_time(run.started_ms),
            status=status,
            state=run.state,
            ended_at=None if run.ended_ms is None else to_time(run.ended_ms),
            user=run.user,
            parent_id=self._target.run_id(run.parent_id) if run.parent_id else None,
            parameters=run.parameters,
            tags=tags,
            links=tuple(links),
        )

    def _points(self, run: SourceRun) -> None:
        waiting: list[MetricSeries] = []
        count = 0
        for series in self._source.points(run):
            if series.model_id:
                series = msgspec.structs.replace(series, model_id=self._target.model_id(series.model_id))  # noqa: PLW2901
            waiting.append(series)
            count += len(series.steps)
            if count >= _POINTS_AT_ONCE:
                self._write_points(run, waiting)
                waiting, count = [], 0
        self._write_points(run, waiting)

    def _write_points(self, run: SourceRun, series: list[MetricSeries]) -> None:
        if not series:
            return
        found = sum(len(one.steps) for one in series)
        request = ImportPoints(self._target.run_id(run.id), self._source.label, tuple(series))
        try:
            added = self._target.call(import_points, request)
        except UndriftError as error:
            if len(series) == 1:
                self._report.refuse("metric", f"{run.id}/{series[0].name}", error.message)
                return
            for one in series:
                self._write_points(run, [one])
            return
        self._report.count("points", found, added)
        self._progress("Importing …")

    def _models(self, number: int, models: Sequence[SourceModel]) -> None:
        self._target.resolve([id_ for model in models for id_ in (model.id, model.source_run_id)])
        given = []
        for model in models:
            id_ = self._target.model_id(model.id)
            given.append(
                LoggedModel(
                    id=id_,
                    project=self._target.project,
                    experiment_id=number,
                    name=model.name,
                    type=model.type,
                    source_run_id=self._target.run_id(model.source_run_id) if model.source_run_id else "",
                    status=model.status,
                    state=model.state,
                    created_at=to_time(model.created_ms),
                    updated_at=to_time(model.updated_ms),
                    status_message=model.status_message,
                    parameters=model.parameters,
                    tags=model.tags if id_ == model.id else model.tags | {_IMPORTED_ID: model.id},
                )
            )
        answers = self._target.call(import_models, ImportModels(self._target.project, self._source.label, tuple(given)))
        self._report.count("logged models", len(models), sum(answer.added for answer in answers))
        for model, answer in zip(models, answers, strict=True):
            for reason in answer.refused:
                self._report.refuse("logged model", model.id, reason)

    # --- Files ---

    def _files_of(self, run: SourceRun) -> None:
        self._files(self._target.run_id(run.id), run.id, run)

    def _files(self, root: str, name: str, owner: SourceRun | SourceModel) -> None:
        there: dict[str, int] | None = None
        held: list[tuple[SourceFile, str, bytes]] = []
        held_bytes = 0
        for file in self._source.files(owner):
            path = unicodedata.normalize("NFC", file.path)
            try:
                check_artifact_path(path)
                if there is None:
                    there = self._there(root)
                if path in there:
                    self._report.count("files", 1, 0)
                    if file.size_bytes is not None and file.size_bytes != there[path]:
                        self._report.refuse("file", f"{name}/{path}", "It is here already, with other bytes.")
                    continue
                first, rest = _begin(file)
                if rest is None:
                    held.append((file, path, first))
                    held_bytes += len(first)
                else:
                    digest, size = self._target.keep_stream(rest)
                    self._put(name, [Artifact(root, path, digest, size, self._at(file))])
            except UndriftError as error:
                self._report.refuse("file", f"{name}/{path}", error.message)
            except OSError as error:
                self._report.refuse("file", f"{name}/{path}", f"It cannot be read: {error.strerror or error}.")
            if held_bytes >= _HELD_BYTES or len(held) >= _FILES_AT_ONCE:
                self._keep(root, name, held)
                held, held_bytes = [], 0
        self._keep(root, name, held)

    def _there(self, root: str) -> dict[str, int]:
        found: dict[str, int] = {}
        after = ""
        try:
            while page := self._target.call(export_artifacts, ExportArtifacts(root, after, 10_000)):
                found |= {one.path: one.size_bytes for one in page}
                after = page[-1].path
        except NotFound:
            pass
        return found

    def _at(self, file: SourceFile) -> datetime:
        return to_time(file.at_ms or 0)

    def _keep(self, root: str, name: str, held: list[tuple[SourceFile, str, bytes]]) -> None:
        if not held:
            return
        stored = self._target.keep([data for _, _, data in held])
        self._put(
            name,
            [
                Artifact(root, path, digest, size, self._at(file))
                for (file, path, _), (digest, size) in zip(held, stored, strict=True)
            ],
        )

    def _put(self, name: str, entries: list[Artifact]) -> None:
        try:
            added = self._target.call(import_artifacts, ImportArtifacts(self._source.label, tuple(entries)))
        except UndriftError as error:
            if len(entries) == 1:
                self._report.refuse("file", f"{name}/{entries[0].path}", error.message)
                return
            for entry in entries:
                self._put(name, [entry])
            return
        self._report.count("files", len(entries), added)
        self._progress("Importing …")

    # --- Registry ---

    def _registered(self, given: SourceRegistered) -> None:
        project = self._target.project
        model = Model(
            "",
            project,
            given.name,
            "",
            to_time(given.created_ms),
            given.description,
            given.tags,
            to_time(given.updated_ms),
        )
        answer = self._target.call(import_model, ImportModel(project, model, self._source.label))
        self._report.count("registered models", 1, int(answer.added))
        for reason in answer.refused:
            self._report.refuse("registered model", given.name, reason)
        name = answer.model.name
        self._target.resolve([id_ for version in given.versions for id_ in (version.run_id, version.model_id)])
        for some in batches(given.versions, _RUNS_AT_ONCE):
            made = tuple(self._version(name, version) for version in some)
            answers = self._target.call(import_versions, ImportVersions(project, name, self._source.label, made))
            self._report.count("versions", len(some), sum(one.added for one in answers))
            for one in answers:
                for reason in one.refused:
                    self._report.refuse("version", f"{name}/{one.number}", reason)
        self._pointers(name, given)
        self._progress(f"Registered model {name!r} is in.", now=True)

    def _version(self, name: str, given: SourceVersion) -> ModelVersion:
        tags = given.tags if given.status == "READY" else given.tags | {"undrift.imported_status": given.status}
        return ModelVersion(
            id="",
            project=self._target.project,
            model=name,
            number=given.number,
            run_id=self._target.run_id(given.run_id) if given.run_id else None,
            artifact=None if given.deleted else self._tree_of(name, given),
            format=None,
            signature=None,
            training={},
            metrics={},
            reference_profile=None,
            created_at=to_time(given.created_ms),
            created_by=given.user,
            state="deleted" if given.deleted else "registered",
            state_reason=f"Deleted before it was imported from {self._source.label}." if given.deleted else "",
            source=given.source,
            run_link=given.run_link,
            logged_model_id=self._target.model_id(given.model_id) if given.model_id else None,
            description=given.description,
            tags=tags,
            updated_at=to_time(given.updated_ms),
        )

    def _tree_of(self, name: str, given: SourceVersion) -> str | None:
        """Return the tree with the files of a version: of what came with its run or logged model, or read for it."""
        for root, path in _places(given):
            self._target.resolve([root])
            kept = self._target.model_id(root) if root.startswith("m-") else self._target.run_id(root)
            try:
                return self._target.call(artifact_tree, ArtifactTreeOf(kept, path)).digest
            except UndriftError:
                continue
        entries: dict[str, tuple[str, int]] = {}
        try:
            for file in self._source.files(given):
                path = check_artifact_path(unicodedata.normalize("NFC", file.path))
                entries[path] = self._target.keep_stream(file.pieces())
            if entries:
                return self._target.keep_tree(entries)
        except UndriftError as error:
            self._report.refuse("version", f"{name}/{given.number}", error.message)
            return None
        except OSError as error:
            self._report.refuse("version", f"{name}/{given.number}", f"Its files cannot be read: {error.strerror}.")
            return None
        self._report.refuse(
            "version", f"{name}/{given.number}", f"Its files are not there: {given.location or given.source}."
        )
        return None

    def _pointers(self, name: str, given: SourceRegistered) -> None:
        project = self._target.project
        summary = self._target.call(find_model, FindModel(project, name))
        reason = f"Imported from {self._source.label}, which does not say since when."
        for alias, number in sorted(given.aliases.items()):
            self._report.count("aliases", 1, 0)
            if summary.aliases.get(alias) == number:
                continue
            if alias in summary.aliases:
                here = summary.aliases[alias]
                self._report.refuse("alias", f"{name}@{alias}", f"It points to {here} here, and to {number} there.")
                continue
            try:
                self._target.call(move_alias, MoveAlias(project, name, alias, number, reason))
                self._report.count("aliases", 0, 1)
            except UndriftError as error:
                self._report.refuse("alias", f"{name}@{alias}", error.message)
        for version in given.versions:
            if version.stage in {"", "None"} or version.deleted:
                continue
            try:
                self._target.call(move_stage, MoveStage(project, name, version.number, version.stage, reason=reason))
            except UndriftError as error:
                self._report.refuse("stage", f"{name}/{version.number}", error.message)


def _begin(file: SourceFile) -> tuple[bytes, Iterator[bytes] | None]:
    """Read the beginning of a file: all of a small one; for a large one also everything as a stream."""
    pieces = file.pieces()
    read: list[bytes] = []
    size = 0
    for piece in pieces:
        read.append(piece)
        size += len(piece)
        if size > _SMALL_BYTES:
            return b"", _joined(read, pieces)
    return b"".join(read), None


def _joined(read: list[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    while read:
        yield read.pop(0)
    yield from rest


def _places(given: SourceVersion) -> Iterator[tuple[str, str]]:
    """Give the runs and logged models that may have the files of a version, each with the path there."""
    for text in (given.source, given.location):
        if found := re.fullmatch(r"models:/(m-[^/]+)/?(.*)", text):
            yield found[1], found[2]
        elif found := re.fullmatch(r"runs:/([^/]+)/(.*)", text):
            yield found[1], found[2].strip("/")
        elif found := re.search(r"/models/(m-[0-9a-f]{32})/artifacts(?:/(.*))?\Z", text):
            yield found[1], (found[2] or "").strip("/")
        elif given.run_id and (found := re.search(rf"/{re.escape(given.run_id)}/artifacts(?:/(.*))?\Z", text)):
            yield given.run_id, (found[1] or "").strip("/")
    if given.model_id:
        yield given.model_id, ""
