"""The archive: a folder of open formats with everything that a project has recorded (see ``docs/moving.md``).

The same project always gives the same bytes: every file is in a fixed order, and nothing says when it was written. The
manifest comes last, so that a folder without one is an export that was cut off.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from undrift.core.errors import Conflict, Invalid, NotFound, UndriftError
from undrift.data import (
    Dataset,
    DatasetVersion,
    ExportDataset,
    ImportDataset,
    ListDatasets,
    export_dataset,
    import_dataset,
    list_datasets,
)
from undrift.exchange.folders import Folder
from undrift.exchange.model import Report, Tell, batches
from undrift.exchange.points import PointFile, read_points
from undrift.exchange.target import Here
from undrift.registry import (
    AliasMove,
    ApprovalPolicy,
    ApprovalRequest,
    ExportHistory,
    ExportVersions,
    ImportHistory,
    ImportModel,
    ImportVersions,
    ListModels,
    ListPolicies,
    Model,
    ModelVersion,
    StageMove,
    Trust,
    export_history,
    export_versions,
    import_history,
    import_model,
    import_versions,
    list_approval_policies,
    list_models,
)
from undrift.tracking import (
    Experiment,
    ExportArtifacts,
    ExportModels,
    ExportPoints,
    ImportArtifacts,
    ImportDatasets,
    ImportedRun,
    ImportExperiment,
    ImportLogbook,
    ImportModels,
    ImportPoints,
    ImportRuns,
    LoggedDataset,
    LoggedModel,
    MetricSeries,
    Run,
    RunLink,
    RunsDatasets,
    SearchExperiments,
    SearchRuns,
    export_artifacts,
    export_models,
    export_points,
    import_artifacts,
    import_datasets,
    import_experiment,
    import_logbook,
    import_models,
    import_points,
    import_runs,
    runs_datasets,
    search_experiments,
    search_runs,
)
from undrift.tracking.artifacts import Artifact

__all__ = ["FORMAT", "Manifest", "export_project", "import_archive", "read_manifest"]

FORMAT = 1
_NAME = "undrift archive"
_MANIFEST = "manifest.json"
_FILES = (
    "experiments",
    "runs",
    "datasets",
    "logged_models",
    "artifacts",
    "models",
    "versions",
    "version_files",
    "alias_moves",
    "stage_moves",
    "approval_policies",
    "approval_requests",
    "tables",
    "table_versions",
    "events",
)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PAGE = 500
_LINE = 64 << 20
_POINTS_AT_ONCE = 50_000
_FILES_AT_ONCE = 1_000
_SMALL_BYTES = 1 << 20
_HELD_BYTES = 16 << 20
_MARK = "archive "
"""How the source of an import from an archive begins: what such an import did to the log is not exported again."""

T = TypeVar("T")
_encode = msgspec.json.Encoder(order="sorted").encode


class FileFacts(msgspec.Struct, frozen=True):
    """What the manifest says of a file: its lines or rows, its bytes, their SHA-256."""

    rows: int
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """The table of contents.

    Attributes:
        format: The words "undrift archive".
        version: Of the format.
        project: Whose archive it is.
        objects: How many objects there are.
        objects_bytes: How many bytes these are.
        files: Every other file, by its path.
    """

    format: str
    version: int
    project: str
    objects: int
    objects_bytes: int
    files: dict[str, FileFacts]


# --- Out ---


def export_project(here: Here, folder: Path, tell: Tell) -> Manifest:
    """Write everything that a project has recorded into a new folder.

    Args:
        here: The project.
        folder: Where to; it must be empty, or not be there.
        tell: Takes lines about how far it is.

    Raises:
        Conflict: There is something in the folder.
        NotFound: The project has recorded nothing.
        Corrupt: An object is damaged or missing.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty.", next_step="Name a new folder, or remove what is there.")
    folder.mkdir(parents=True, exist_ok=True)
    return _Export(here, folder, tell).everything()


class _Lines:
    """A file of JSON documents, one a line, that knows its own facts."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("xb")
        self._hash = hashlib.sha256()
        self.rows = 0

    def add(self, document: dict[str, Any]) -> None:
        """Append a document, its names in order."""
        self.add_line(_encode(document))

    def add_line(self, line: bytes) -> None:
        """Append a document that is JSON already."""
        self._hash.update(line + b"\n")
        self._file.write(line + b"\n")
        self.rows += 1

    def close(self) -> FileFacts:
        """Close the file."""
        size = self._file.tell()
        self._file.close()
        return FileFacts(self.rows, size, self._hash.hexdigest())


class _Export:
    def __init__(self, here: Here, folder: Path, tell: Tell) -> None:
        self._here = here
        self._folder = folder
        self._tell = tell
        self._lines: dict[str, _Lines] = {}
        self._facts: dict[str, FileFacts] = {}
        self._objects = 0
        self._object_bytes = 0

    def everything(self) -> Manifest:
        for name in _FILES:
            self._lines[name] = _Lines(self._folder / f"{name}.jsonl")
        self._experiments()
        self._models()
        self._tables()
        self._events()
        facts = {f"{name}.jsonl": lines.close() for name, lines in self._lines.items()} | self._facts
        # The parts of one project, by name: nothing here depends on when or where it was written.
        manifest = Manifest(
            _NAME, FORMAT, self._here.project, self._objects, self._object_bytes, dict(sorted(facts.items()))
        )
        temporary = self._folder / f"{_MANIFEST}.part"
        temporary.write_bytes(msgspec.json.format(_encode(manifest)) + b"\n")
        temporary.replace(self._folder / _MANIFEST)
        return manifest

    def _add(self, name: str, thing: msgspec.Struct, *without: str, **more: Any) -> None:
        fields = msgspec.to_builtins(thing)
        # In every line it would be the same; and an archive may come into a project of another name.
        for field in ("project", *without):
            fields.pop(field, None)
        self._lines[name].add(fields | more)

    def _experiments(self) -> None:
        token = ""
        found: list[Experiment] = []
        while True:
            asked = SearchExperiments(self._here.project, view="all", limit=_PAGE, page_token=token)
            page = self._here.call(search_experiments, asked)
            found.extend(page.experiments)
            token = page.next_page_token
            if not token:
                break
        for experiment in sorted(found, key=lambda one: one.id):
            self._add("experiments", experiment)
            self._runs(experiment)
            self._logged_models(experiment)
            self._tell(f"Experiment {experiment.name!r} is written.")

    def _runs(self, experiment: Experiment) -> None:
        points = PointFile(self._folder / "metrics" / f"{experiment.id}.parquet")
        datasets: dict[tuple[str, str], LoggedDataset] = {}
        token = ""
        while True:
            # The oldest first: what is added meanwhile comes last and moves nothing.
            asked = SearchRuns(
                self._here.project,
                (experiment.id,),
                order_by=("attributes.start_time ASC",),
                view="all",
                limit=_PAGE,
                page_token=token,
            )
            page = self._here.call(search_runs, asked)
            ids = tuple(run.id for run in page.runs)
            for one in self._here.call(runs_datasets, RunsDatasets(ids)) if ids else ():
                datasets.setdefault((one.use.dataset.name, one.use.dataset.digest), one.use.dataset)
            for run in page.runs:
                self._run(run, points)
            token = page.next_page_token
            if not token:
                break
        for key in sorted(datasets):
            self._add("datasets", datasets[key], experiment_id=experiment.id)
        if (facts := points.close()) is not None:
            self._facts[f"metrics/{experiment.id}.parquet"] = FileFacts(*facts)

    def _run(self, run: Run, points: PointFile) -> None:
        # Engines order text each in their own way.
        links = sorted(run.links, key=lambda link: (link.role, link.kind, link.name, link.ref))
        self._add("runs", run, "latest", "links", links=msgspec.to_builtins(links))
        token = ""
        while True:
            page = self._here.call(export_points, ExportPoints(run.id, _POINTS_AT_ONCE, token))
            for series in page.series:
                points.add(run.id, series)
            token = page.next_page_token
            if not token:
                break
        self._artifacts(run.id)
        for link in links:
            if link.kind not in {"dataset", "dataset_version", "model"} and _DIGEST.fullmatch(link.ref):
                self._closure(link.ref, tree=link.kind in {"tree", "code"})

    def _logged_models(self, experiment: Experiment) -> None:
        after = ""
        while page := self._here.call(export_models, ExportModels(self._here.project, experiment.id, after, _PAGE)):
            for model in page:
                # Their metrics are among the points of runs.
                self._add("logged_models", model, "metrics")
                self._artifacts(model.id)
            after = page[-1].id

    def _artifacts(self, root: str) -> None:
        after = ""
        while page := self._here.call(export_artifacts, ExportArtifacts(root, after, _FILES_AT_ONCE)):
            for one in page:
                self._add("artifacts", one)
                self._object(one.digest)
            after = page[-1].path

    def _object(self, digest: str) -> None:
        path = self._folder / "objects" / digest[:2] / digest[2:]
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for piece in self._here.read(digest):
                file.write(piece)
                self._object_bytes += len(piece)
        self._objects += 1

    def _closure(self, digest: str, *, tree: bool) -> None:
        if self._here.sizes([digest])[0] is None:
            return
        if tree:
            try:
                for inner, _ in self._here.objects_of_tree(digest):
                    self._object(inner)
            except Invalid:  # no tree after all
                pass
            else:
                return
        self._object(digest)

    def _models(self) -> None:
        said = self._here.call(list_approval_policies, ListPolicies(self._here.project, limit=1_000))
        policies = [policy for policy in said if policy.model is None]
        listed = self._here.call(list_models, ListModels(self._here.project))
        found = sorted(listed, key=lambda one: one.model.name)
        for summary in found:
            self._add("models", summary.model)
            name = summary.model.name
            after = 0
            while page := self._here.call(export_versions, ExportVersions(self._here.project, name, after)):
                for version in page:
                    self._version(version)
                after = page[-1].number
            history = self._here.call(export_history, ExportHistory(self._here.project, name))
            for move in sorted(history.alias_moves, key=lambda one: (one.at, one.alias)):
                self._add("alias_moves", move)
            for staged in sorted(history.stage_moves, key=lambda one: (one.at, one.number)):
                self._add("stage_moves", staged)
            policies.extend(history.policies)
            for asked in sorted(history.requests, key=lambda one: (one.at, one.id)):
                decisions = sorted(asked.decisions, key=lambda one: (one.at, one.actor))
                self._add("approval_requests", asked, "decisions", decisions=msgspec.to_builtins(decisions))
        for policy in sorted(policies, key=lambda one: (one.model or "", one.at, one.id)):
            self._add("approval_policies", policy)

    def _version(self, version: ModelVersion) -> None:
        # Aliases and stages are in their histories.
        self._add("versions", version, "aliases", "stage")
        if version.artifact is not None and self._here.sizes([version.artifact])[0] is not None:
            for digest, path in self._here.objects_of_tree(version.artifact):
                self._object(digest)
                if path:
                    files = {"model": version.model, "number": version.number, "path": path, "digest": digest}
                    self._lines["version_files"].add(files)
        if version.reference_profile is not None:
            self._closure(version.reference_profile, tree=False)

    def _tables(self) -> None:
        found = self._here.call(list_datasets, ListDatasets(self._here.project))
        for summary in sorted(found, key=lambda one: one.dataset.name):
            self._add("tables", summary.dataset)
            after = 0
            name = summary.dataset.name
            while page := self._here.call(export_dataset, ExportDataset(self._here.project, name, after)):
                for version in page:
                    # Its id here; the name says the same wherever it goes.
                    self._add("table_versions", version, "dataset_id", dataset=name)
                    for digest in self._here.objects_of_commit(version.id):
                        self._object(digest)
                    self._closure(version.profile, tree=False)
                after = page[-1].number

    def _events(self) -> None:
        lines = self._lines["events"]
        for event in self._here.events():
            if event.type == "logbook.imported":
                for line in _split(self._here.read(event.data["events"])):
                    lines.add_line(line)
            elif not str(event.data.get("source", "")).startswith(_MARK):
                self._add("events", event)


def _split(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Give the lines of bytes that come in pieces."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest


# --- In ---


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an archive.

    Raises:
        NotFound: There is no archive.
        Invalid: It is none that can be read here.
    """
    try:
        text = Folder(folder).text(folder / _MANIFEST, 64 << 20)
    except FileNotFoundError:
        raise NotFound(
            f"There is no archive at {folder}.",
            next_step=f"Name the folder with {_MANIFEST}; an export writes it last.",
        ) from None
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        raise Invalid(f"{folder / _MANIFEST} is no manifest: {error}.") from None
    if manifest.format != _NAME or manifest.version != FORMAT:
        raise Invalid(
            f"{folder} is {manifest.format!r} of version {manifest.version}; this undrift reads version {FORMAT}.",
            next_step="Install the undrift that wrote it, or a newer one.",
        )
    return manifest


def import_archive(here: Here, folder: Path, report: Report, tell: Tell) -> Report:
    """Bring everything in an archive into a project; doing it again adds only what is missing.

    Args:
        here: The project; its name may be another than the archive's.
        folder: The archive.
        report: Takes the counts, and what could not be brought in.
        tell: Takes lines about how far it is.

    Raises:
        NotFound: There is no archive.
        Invalid: It is none that can be read, or a file in it is not what its manifest says.
    """
    _Import(here, Folder(folder), read_manifest(folder), report, tell).everything()
    return report


class _RunLine(ImportedRun, frozen=True):
    experiment_id: int = 0


class _DatasetLine(LoggedDataset, frozen=True):
    experiment_id: int = 0


class _VersionLine(DatasetVersion, frozen=True):
    dataset: str = ""


class _Import:
    def __init__(self, here: Here, folder: Folder, manifest: Manifest, report: Report, tell: Tell) -> None:
        self._here = here
        self._folder = folder
        self._manifest = manifest
        self._report = report
        self._tell = tell
        self._numbers: dict[int, int] = {}
        self._source = _MARK + hashlib.sha256(folder.text(folder.path / _MANIFEST, 64 << 20).encode()).hexdigest()

    def everything(self) -> None:
        self._verify()
        self._objects()
        for experiment in self._structs("experiments", Experiment, project=self._here.project):
            self._experiment(experiment)
        # An export writes the runs of an experiment one after the other.
        for experiment_id, mine in groupby(self._read("runs", _RunLine), key=lambda run: run.experiment_id):
            if experiment_id in self._numbers:
                self._runs(self._numbers[experiment_id], mine)
        for datasets in batches(self._read("datasets", _DatasetLine), 20):
            self._datasets(datasets)
        self._logged_models()
        for experiment_id in sorted(self._numbers):
            self._points(experiment_id)
        self._artifacts()
        self._registry()
        self._tables()
        self._events()

    def _verify(self) -> None:
        """Look whether every file is what the manifest says, before anything is brought in."""
        for name, facts in self._manifest.files.items():
            digest = hashlib.sha256()
            try:
                for piece in self._folder.pieces(self._folder.path / name):
                    digest.update(piece)
            except FileNotFoundError:
                raise Invalid(f"{name} is missing from the archive.", next_step="Copy it whole.") from None
            if digest.hexdigest() != facts.sha256:
                raise Invalid(
                    f"{name} is not what the manifest says: it was changed or cut off.", next_step="Copy it anew."
                )

    def _read(self, name: str, kind: type[T]) -> Iterator[T]:
        if f"{name}.jsonl" not in self._manifest.files:
            return
        decode = msgspec.json.Decoder(kind).decode
        for line in _split(self._folder.pieces(self._folder.path / f"{name}.jsonl")):
            if len(line) > _LINE:
                raise Invalid(f"A line of {name}.jsonl has {len(line)} bytes.")
            try:
                yield decode(line)
            except msgspec.MsgspecError as error:
                self._report.refuse(name, line[:80].decode(errors="replace"), f"It cannot be read: {error}.")

    def _structs(self, name: str, kind: type[T], **more: Any) -> Iterator[T]:
        for line in self._read(name, dict[str, Any]):
            try:
                yield msgspec.convert(line | more, kind)
            except msgspec.ValidationError as error:
                self._report.refuse(name, str(line.get("id", ""))[:80], f"It cannot be read: {error}.")

    def _try(self, what: str, name: str, do: Callable[[], T]) -> T | None:
        try:
            return do()
        except UndriftError as error:
            self._report.refuse(what, name, error.message)
            return None

    def _objects(self) -> None:
        held: list[bytes] = []
        wanted: list[str] = []
        held_bytes = 0
        top = self._folder.path / "objects"
        for files in batches(self._folder.below(top, self._report, "objects"), _FILES_AT_ONCE):
            digests = [inner.replace("/", "") for inner, _, _ in files]
            known = self._here.sizes([digest if _DIGEST.fullmatch(digest) else "0" * 64 for digest in digests])
            for (inner, file, found), digest, size in zip(files, digests, known, strict=True):
                if not _DIGEST.fullmatch(digest):
                    self._report.refuse("object", inner, "It is not named by a digest.")
                elif size == found.st_size:
                    self._report.count("objects", 1, 0)
                elif found.st_size <= _SMALL_BYTES:
                    held.append(b"".join(self._folder.pieces(file)))
                    wanted.append(digest)
                    held_bytes += len(held[-1])
                    if held_bytes >= _HELD_BYTES or len(held) >= _FILES_AT_ONCE:
                        self._keep_small(held, wanted)
                        held, wanted, held_bytes = [], [], 0
                else:
                    self._try("object", inner, lambda file=file, digest=digest: self._keep(file, digest))  # type: ignore[misc]
        self._keep_small(held, wanted)

    def _keep(self, file: Path, digest: str) -> None:
        self._here.keep_stream(self._folder.pieces(file), digest)
        self._report.count("objects", 1, 1)

    def _keep_small(self, held: list[bytes], wanted: list[str]) -> None:
        for (digest, _), asked in zip(self._here.keep(held), wanted, strict=True):
            if digest == asked:
                self._report.count("objects", 1, 1)
            else:
                # Kept under its own name, which nothing asks for.
                self._report.refuse("object", asked, "Its bytes are not those that its name says.")

    def _experiment(self, given: Experiment) -> None:
        answer = self._try(
            "experiment",
            given.name,
            lambda: self._here.call(
                import_experiment,
                ImportExperiment(
                    self._here.project,
                    given.name,
                    self._source,
                    given.created_at,
                    given.id,
                    given.state,
                    given.updated_at,
                    given.created_by,
                    given.tags,
                ),
            ),
        )
        if answer is not None:
            self._numbers[given.id] = answer.experiment.id
            self._report.count("experiments", 1, int(answer.added))
            for reason in answer.refused:
                self._report.refuse("experiment", given.name, reason)

    def _runs(self, number: int, mine: Iterator[_RunLine]) -> None:
        for runs in batches(mine, _PAGE):
            self._here.resolve(id_ for run in runs for id_ in (run.id, run.parent_id or ""))
            given = tuple(self._as_run(run) for run in runs)
            request = ImportRuns(self._here.project, number, self._source, given)
            answers = self._here.call(import_runs, request)
            self._report.count("runs", len(runs), sum(one.added for one in answers))
            for one in answers:
                for reason in one.refused:
                    self._report.refuse("run", one.id, reason)
        self._tell(f"The runs of experiment {number} are in.")

    def _as_run(self, run: _RunLine) -> ImportedRun:
        fields = {name: getattr(run, name) for name in ImportedRun.__struct_fields__}
        fields["id"] = self._here.run_id(run.id)
        fields["parent_id"] = self._here.run_id(run.parent_id) if run.parent_id else None
        if fields["id"] != run.id:
            fields["tags"] = run.tags | {"undrift.imported_id": run.id}
        fields["links"] = tuple(self._as_link(link) for link in run.links)
        return ImportedRun(**fields)

    def _as_link(self, link: RunLink) -> RunLink:
        if link.kind != "model" or not link.ref.startswith("m-"):
            return link
        kept = self._here.model_id(link.ref)
        return msgspec.structs.replace(link, ref=kept, name=kept if link.name == link.ref else link.name)

    def _datasets(self, some: list[_DatasetLine]) -> None:
        for number in sorted({self._numbers[one.experiment_id] for one in some if one.experiment_id in self._numbers}):
            given = tuple(
                LoggedDataset(*(getattr(one, name) for name in LoggedDataset.__struct_fields__))
                for one in some
                if self._numbers.get(one.experiment_id) == number
            )
            request = ImportDatasets(self._here.project, number, self._source, given)
            self._try("dataset", given[0].name, lambda request=request: self._here.call(import_datasets, request))  # type: ignore[misc]

    def _logged_models(self) -> None:
        for models in batches(self._structs("logged_models", LoggedModel, project=self._here.project), _PAGE):
            self._here.resolve(id_ for model in models for id_ in (model.id, model.source_run_id))
            given = tuple(
                msgspec.structs.replace(
                    model,
                    id=self._here.model_id(model.id),
                    experiment_id=self._numbers[model.experiment_id],
                    source_run_id=self._here.run_id(model.source_run_id) if model.source_run_id else "",
                )
                for model in models
                if model.experiment_id in self._numbers
            )
            answers = self._here.call(import_models, ImportModels(self._here.project, self._source, given))
            self._report.count("logged models", len(models), sum(one.added for one in answers))
            for one in answers:
                for reason in one.refused:
                    self._report.refuse("logged model", one.id, reason)

    def _points(self, experiment_id: int) -> None:
        name = f"metrics/{experiment_id}.parquet"
        if name not in self._manifest.files:
            return
        path = self._folder.path / name
        waiting: dict[str, list[MetricSeries]] = {}
        count = 0
        for run_id, series in read_points(path):
            given = series
            if series.model_id:
                given = msgspec.structs.replace(series, model_id=self._here.model_id(series.model_id))
            waiting.setdefault(run_id, []).append(given)
            count += len(series.steps)
            if count >= _POINTS_AT_ONCE:
                self._write_points(waiting)
                waiting, count = {}, 0
        self._write_points(waiting)
        self._tell(f"The points of experiment {self._numbers[experiment_id]} are in.")

    def _write_points(self, waiting: dict[str, list[MetricSeries]]) -> None:
        for run_id, series in waiting.items():
            request = ImportPoints(self._here.run_id(run_id), self._source, tuple(series))
            added = self._try("points", run_id, lambda request=request: self._here.call(import_points, request))  # type: ignore[misc]
            if added is not None:
                self._report.count("points", sum(len(one.steps) for one in series), added)

    def _artifacts(self) -> None:
        root = ""
        held: list[Artifact] = []
        for one in self._structs("artifacts", Artifact):
            if held and (one.root != root or len(held) >= _FILES_AT_ONCE):
                self._put(held)
                held = []
            root = one.root
            held.append(one)
        self._put(held)

    def _put(self, held: list[Artifact]) -> None:
        if not held:
            return
        old = held[0].root
        root = self._here.model_id(old) if old.startswith("m-") else self._here.run_id(old)
        entries = tuple(msgspec.structs.replace(one, root=root) for one in held)
        request = ImportArtifacts(self._source, entries)
        added = self._try("files", old, lambda: self._here.call(import_artifacts, request))
        if added is not None:
            self._report.count("files", len(held), added)

    def _registry(self) -> None:
        project = self._here.project
        for model in self._structs("models", Model, project=project):
            brought = self._try(
                "model",
                model.name,
                lambda model=model: self._here.call(import_model, ImportModel(project, model, self._source)),  # type: ignore[misc]
            )
            if brought is not None:
                self._report.count("models", 1, int(brought.added))
                for reason in brought.refused:
                    self._report.refuse("model", model.name, reason)
        trusts: dict[str, dict[int, Trust]] = {}
        for versions in batches(self._structs("versions", ModelVersion, project=project), 100):
            self._here.resolve(id_ for one in versions for id_ in (one.run_id or "", one.logged_model_id or ""))
            for name in sorted({one.model for one in versions}):
                mine = [one for one in versions if one.model == name]
                for one in mine:
                    if one.trust is not None:
                        trusts.setdefault(name, {})[one.number] = one.trust
                given = tuple(
                    msgspec.structs.replace(
                        one,
                        run_id=self._here.run_id(one.run_id) if one.run_id else None,
                        logged_model_id=self._here.model_id(one.logged_model_id) if one.logged_model_id else None,
                    )
                    for one in mine
                )
                request = ImportVersions(project, name, self._source, given)
                answers = self._try("model", name, lambda request=request: self._here.call(import_versions, request))  # type: ignore[misc]
                for answer in answers or ():
                    self._report.count("versions", 1, int(answer.added))
                    for reason in answer.refused:
                        self._report.refuse("version", f"{name}/{answer.number}", reason)
        self._histories(trusts)

    def _histories(self, trusts: dict[str, dict[int, Trust]]) -> None:
        project = self._here.project
        moves = list(self._structs("alias_moves", AliasMove, project=project))
        staged = list(self._structs("stage_moves", StageMove, project=project))
        policies = list(self._structs("approval_policies", ApprovalPolicy, project=project))
        requests = list(self._structs("approval_requests", ApprovalRequest, project=project))
        names: set[str | None] = {one.model for some in (moves, staged, policies, requests) for one in some}
        for name in sorted(names | set(trusts), key=lambda one: one or ""):
            request = ImportHistory(
                project,
                self._source,
                name,
                tuple(one for one in moves if one.model == name),
                tuple(one for one in staged if one.model == name),
                tuple(one for one in policies if one.model == name),
                tuple(one for one in requests if one.model == name),
                {} if name is None else trusts.get(name, {}),
            )
            added = self._try(
                "history",
                name or "",
                lambda request=request: self._here.call(import_history, request),  # type: ignore[misc]
            )
            found = sum(map(len, (request.alias_moves, request.stage_moves, request.policies, request.requests)))
            self._report.count("decisions", found, added or 0)

    def _tables(self) -> None:
        project = self._here.project
        tables = {one.name: one for one in self._structs("tables", Dataset, project=project)}
        grouped: dict[str, list[DatasetVersion]] = {name: [] for name in tables}
        for line in self._structs("table_versions", _VersionLine, dataset_id=""):
            if line.dataset in tables:
                fields = {name: getattr(line, name) for name in DatasetVersion.__struct_fields__}
                grouped[line.dataset].append(DatasetVersion(**fields | {"dataset_id": tables[line.dataset].id}))
        for name, dataset in tables.items():
            for some in [*batches(grouped[name], _PAGE)] or [[]]:
                request = ImportDataset(dataset, self._source, tuple(some))
                added = self._try("table", name, lambda request=request: self._here.call(import_dataset, request))  # type: ignore[misc]
                self._report.count("table versions", len(some), added or 0)

    def _events(self) -> None:
        facts = self._manifest.files.get("events.jsonl")
        if facts is None or facts.rows == 0:
            return
        digest, _ = self._here.keep_stream(self._folder.pieces(self._folder.path / "events.jsonl"))
        if any(
            event.type == "logbook.imported" and event.data.get("events") == digest for event in self._here.events()
        ):
            self._report.count("events", facts.rows, 0)
            return
        self._here.call(import_logbook, ImportLogbook(self._here.project, self._source, digest, facts.rows))
        self._report.count("events", facts.rows, facts.rows)
