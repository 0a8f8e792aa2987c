"""What brings in what another system recorded, with its ids and times; and what reads everything to take it along.

Importing adds what is not there and changes nothing that is, so that it can be done again, and gone on with after it
was cut off. One thing that cannot be kept never stops the others: it is named in the answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Invalid, NotFound, TooLarge, UndriftError
from undrift.core.ids import check_id, check_name
from undrift.core.operation import operation
from undrift.tracking import records
from undrift.tracking.artifacts import Artifact, check_artifact_path, owner_of
from undrift.tracking.artifacts import records as artifact_records
from undrift.tracking.model import Experiment, LoggedDataset, LoggedModel, MetricSeries, RunLink, RunStatus, not_finite
from undrift.tracking.operations.words import (
    MAX_NUMBER,
    check_experiment_name,
    check_keys,
    check_links,
    check_series,
    check_tags,
    check_text,
    cleaned,
    find_id,
)
from undrift.tracking.points import Points

__all__ = [
    "ExportArtifacts",
    "ExportModels",
    "ExportPoints",
    "FindOwners",
    "ImportArtifacts",
    "ImportDatasets",
    "ImportExperiment",
    "ImportLogbook",
    "ImportModels",
    "ImportPoints",
    "ImportRuns",
    "Imported",
    "ImportedExperiment",
    "ImportedRun",
    "PointPage",
    "export_artifacts",
    "export_models",
    "export_points",
    "find_owners",
    "import_artifacts",
    "import_datasets",
    "import_experiment",
    "import_logbook",
    "import_models",
    "import_points",
    "import_runs",
]

T = TypeVar("T")

_MOST_RUNS = 1_000
_MOST_POINTS = 200_000
_MOST_FILES = 10_000
_MOST_IDS = 400  # they travel in an address
_MAX_PARAMETER = 6_000
_MAX_PROFILE = 16_777_215
_MODEL = re.compile(r"m-[0-9a-f]{32}")


class Imported(msgspec.Struct, frozen=True):
    """What became of one thing.

    Attributes:
        id: Its id.
        added: Whether it is new here.
        refused: What of it could not be kept, a sentence each.
    """

    id: str
    added: bool
    refused: tuple[str, ...] = ()


class ImportExperiment(msgspec.Struct, frozen=True):
    """An experiment as it was elsewhere.

    Attributes:
        project: Whose it becomes.
        name: Its name; one that is there under this name is taken for the same.
        source: Where it comes from, for the log.
        id: Its number; another one is given when it is not free.
        state: Whether it was deleted.
        created_at: When it was made.
        updated_at: When it last changed.
        created_by: Who made it.
        tags: Words about it.
    """

    project: str
    name: str
    source: str
    created_at: datetime
    id: int | None = None
    state: Literal["active", "deleted"] = "active"
    updated_at: datetime | None = None
    created_by: str = ""
    tags: dict[str, str] = {}


class ImportedExperiment(msgspec.Struct, frozen=True):
    """The experiment that stands for the one elsewhere, whether it is new, and what could not be kept."""

    experiment: Experiment
    added: bool
    refused: tuple[str, ...] = ()


class ImportedRun(msgspec.Struct, frozen=True):
    """A run as it was elsewhere; see `undrift.tracking.Run` for the fields."""

    id: str
    name: str
    started_at: datetime
    kind: str = "training"
    status: RunStatus = "finished"
    state: Literal["active", "deleted"] = "active"
    ended_at: datetime | None = None
    actor: str = ""
    user: str = ""
    parent_id: str | None = None
    error: str = ""
    parameters: dict[str, Any] = {}
    tags: dict[str, str] = {}
    links: tuple[RunLink, ...] = ()


class ImportRuns(msgspec.Struct, frozen=True):
    """Runs of one experiment, at most 1,000 a call."""

    project: str
    experiment_id: int
    source: str
    runs: tuple[ImportedRun, ...]


class ImportDatasets(msgspec.Struct, frozen=True):
    """Datasets as clients described them, for one experiment; the first description of each stays."""

    project: str
    experiment_id: int
    source: str
    datasets: tuple[LoggedDataset, ...]


class ImportPoints(msgspec.Struct, frozen=True):
    """Points of one run, at most 200,000 a call."""

    run_id: str
    source: str
    series: tuple[MetricSeries, ...]


class ImportModels(msgspec.Struct, frozen=True):
    """Logged models, at most 1,000 a call. Their metrics come with the points of runs."""

    project: str
    source: str
    models: tuple[LoggedModel, ...]


class ImportArtifacts(msgspec.Struct, frozen=True):
    """Files of one run or logged model, at most 10,000 a call; the objects are in the store already."""

    source: str
    entries: tuple[Artifact, ...]


class ImportLogbook(msgspec.Struct, frozen=True):
    """The log of another workspace, kept beside this one's.

    Attributes:
        project: Whose.
        source: Where it comes from.
        content: The object with its events, one JSON document a line.
        count: How many there are.
    """

    project: str
    source: str
    content: str
    count: int


class FindOwners(msgspec.Struct, frozen=True):
    """Ids of runs and logged models, at most 400 a call."""

    ids: tuple[str, ...]


class ExportPoints(msgspec.Struct, frozen=True):
    """Of which run, at most about so many points (1 to 200,000), and where the page begins."""

    run_id: str
    limit: int = 50_000
    page_token: str = ""


class PointPage(msgspec.Struct, frozen=True):
    """Points of a run by metric and what was measured, and where the next page begins."""

    series: tuple[MetricSeries, ...]
    next_page_token: str = ""


class ExportModels(msgspec.Struct, frozen=True):
    """Of which experiment, after which id, at most so many (1 to 1,000); deleted ones, too."""

    project: str
    experiment_id: int
    after: str = ""
    limit: int = 500


class ExportArtifacts(msgspec.Struct, frozen=True):
    """Of which run or logged model, after which path, at most so many (1 to 10,000)."""

    root: str
    after: str = ""
    limit: int = 1_000


def _experiment_of(tx: Any, project: str, id_: int) -> Experiment:
    found = records.find_experiment(tx, project=project, id_=id_)
    if found is None:
        raise NotFound(f"No Experiment with id={id_} exists", next_step="Import the experiment first.")
    return found


def _kept(words: Mapping[str, T], what: str, check: Callable[[dict[str, T]], None]) -> tuple[dict[str, T], list[str]]:
    """Return what can be kept, and a sentence for each of the others."""
    try:
        check(dict(words))
    except UndriftError:
        pass
    else:
        return dict(words), []
    kept: dict[str, T] = {}
    refused = []
    for name, value in words.items():
        try:
            check({name: value})
        except UndriftError as error:
            refused.append(f"{what} {name[:80]!r}: {error.message}")
        else:
            kept[name] = value
    return kept, refused


def _check_parameters(parameters: dict[str, Any]) -> None:
    check_keys(parameters, "parameter")
    for name, value in parameters.items():
        check_text(records.text_of(value), f"The value of parameter {name!r}", _MAX_PARAMETER)


def _kept_links(links: Sequence[RunLink]) -> tuple[list[RunLink], list[str]]:
    kept, refused = [], []
    for link in links:
        try:
            check_links([link])
        except UndriftError as error:
            refused.append(f"link {link.name[:80]!r}: {error.message}")
        else:
            kept.append(link)
    return kept, refused


@operation("tracking.import_experiment", permission="tracking:write", emits=("experiment.imported",))
def import_experiment(ctx: Context, request: ImportExperiment) -> ImportedExperiment:
    """Bring in an experiment with its times; one of this name is taken for the same, and keeps what it has.

    Raises:
        Invalid: The name cannot be used.
    """
    check_name(request.project, "project")
    check_experiment_name(request.name)
    tags, refused = _kept(request.tags, "tag", lambda some: check_tags(some, most=20_000))
    with ctx.begin() as tx:
        found = records.find_experiment(tx, project=request.project, name=request.name)
        if found is None and request.id is not None:
            renamed = records.find_experiment(tx, project=request.project, id_=request.id)
            # Renamed here since it was imported: its number and its first moment are what stays.
            found = renamed if renamed is not None and renamed.created_at == request.created_at else None
        added = found is None
        if found is None:
            number = request.id
            if number is not None and not (0 <= number <= MAX_NUMBER and records.is_free(tx, number)):
                tags["undrift.imported_id"] = str(number)
                number = None
            records.add_experiment(
                tx,
                request.project,
                request.name,
                at=request.created_at,
                actor=cleaned(request.created_by or ctx.actor.name, 200),
                id_=number,
            )
            made = records.find_experiment(tx, project=request.project, name=request.name)
            if made is None:
                raise Invalid(f"The experiment {request.name!r} could not be added.", next_step="Try again.")
            records.set_experiment_state(tx, made.id, request.state, request.updated_at or request.created_at)
            found = made
        fresh = {name: value for name, value in tags.items() if name not in found.tags}
        records.add_experiment_tags(tx, found.id, fresh)
        if added or fresh:
            ctx.emit(
                "experiment.imported",
                f"experiments/{found.id}",
                project=found.project,
                name=found.name,
                added=added,
                source=request.source,
            )
        return ImportedExperiment(_experiment_of(tx, request.project, found.id), added, tuple(refused))


@operation("tracking.import_runs", permission="tracking:write", emits=("run.imported",))
def import_runs(ctx: Context, request: ImportRuns) -> tuple[Imported, ...]:
    """Bring in runs with their ids and times; of those that are there, what they lack.

    Raises:
        NotFound: There is no such experiment.
        TooLarge: More than 1,000 runs in one call.
    """
    if len(request.runs) > _MOST_RUNS:
        raise TooLarge(f"{len(request.runs)} runs in one call.", next_step=f"Send at most {_MOST_RUNS} a call.")
    ids = [check_id(run.id) for run in request.runs]
    with ctx.begin() as tx:
        experiment = _experiment_of(tx, request.project, request.experiment_id)
        known = {run.id: run for run in records.find_runs(tx, ids, metrics=())}
        linked = records.linked_to(tx, ids)
        rows: list[dict[str, Any]] = []
        parameters: list[tuple[records.Head, dict[str, Any]]] = []
        tags: list[tuple[records.Head, dict[str, str]]] = []
        answers = []
        for run in request.runs:
            there = known.get(run.id)
            if there is not None and there.project != request.project:
                answers.append(Imported(run.id, added=False, refused=("Another project has a run of this id.",)))
                continue
            head = records.Head(run.id, request.project, there.experiment_id if there else experiment.id, run.state)
            given, not_given = _kept(run.parameters, "parameter", _check_parameters)
            words, not_words = _kept(run.tags, "tag", check_tags)
            links = [link for link in run.links if (run.id, link.role, link.kind, link.name, link.ref) not in linked]
            links, not_links = _kept_links(links)
            refused = [*not_given, *not_words, *not_links]
            if run.parent_id is not None and not _is_id(run.parent_id):
                refused.append(f"parent {run.parent_id[:80]!r}: it is not the id of a run.")
            if there is None:
                rows.append(_row(ctx, run, head))
            else:
                given = {name: value for name, value in given.items() if name not in there.parameters}
                words = {name: value for name, value in words.items() if name not in there.tags}
                if run.status not in {"running", "scheduled"}:
                    error = cleaned(run.error)
                    records.end_run(tx, run.id, status=run.status, ended_at=run.ended_at, error=error)
            parameters.append((head, given))
            tags.append((head, words))
            records.add_links(tx, run.id, links)
            if there is None or given or words or links:
                ctx.emit(
                    "run.imported",
                    f"runs/{run.id}",
                    project=request.project,
                    experiment=experiment.name,
                    added=there is None,
                    source=request.source,
                )
            answers.append(Imported(run.id, there is None, tuple(refused)))
        records.add_run_rows(tx, rows)
        records.add_parameters(tx, parameters)
        records.add_tags(tx, tags)
        return tuple(answers)


def _row(ctx: Context, run: ImportedRun, head: records.Head) -> dict[str, Any]:
    return {
        "id": run.id,
        "project": head.project,
        "experiment_id": head.experiment_id,
        "name": cleaned(run.name, 8000),
        "kind": cleaned(run.kind, 40),
        "status": run.status,
        "state": run.state,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "actor": cleaned(run.actor or ctx.actor.name, 200),
        "user": cleaned(run.user, 256),
        "parent_id": run.parent_id if run.parent_id is not None and _is_id(run.parent_id) else None,
        "error": cleaned(run.error),
        "deleted_at": ctx.now() if run.state == "deleted" else None,
    }


def _is_id(text: str) -> bool:
    try:
        check_id(text)
    except Invalid:
        return False
    return True


@operation("tracking.import_datasets", permission="tracking:write", emits=("datasets.imported",))
def import_datasets(ctx: Context, request: ImportDatasets) -> None:
    """Bring in what clients said about datasets; the first description of a name and digest stays.

    Raises:
        NotFound: There is no such experiment.
        TooLarge: A text is too long.
        Invalid: A text cannot be kept.
    """
    for one in request.datasets:
        check_text(one.name, "The name of a dataset", 500)
        check_text(one.digest, "The digest of a dataset", 64)
        for text in (one.source_type, one.source, one.schema, one.profile):
            check_text(text, f"What is said of dataset {one.name!r}", _MAX_PROFILE)
    with ctx.begin() as tx:
        experiment = _experiment_of(tx, request.project, request.experiment_id)
        records.add_datasets(tx, experiment.id, request.datasets)
        ctx.emit(
            "datasets.imported",
            f"experiments/{experiment.id}",
            project=request.project,
            datasets=len(request.datasets),
            source=request.source,
        )


@operation("tracking.import_points", permission="tracking:write", emits=("run.points_imported",))
def import_points(ctx: Context, request: ImportPoints) -> int:
    """Bring in points of a run, also of a deleted one, and return how many were new.

    Raises:
        NotFound: There is no such run.
        Invalid: Columns differ in length, or a name, step or time cannot be kept.
        TooLarge: More than 200,000 points in one call.
    """
    total = sum(len(one.steps) for one in request.series)
    if total > _MOST_POINTS:
        raise TooLarge(f"{total} points in one call.", next_step=f"Send at most {_MOST_POINTS} a call.")
    check_series(request.series)
    with ctx.begin() as tx:
        head = records.heads(tx, [find_id(request.run_id)]).get(request.run_id)
        if head is None:
            raise NotFound(f"Run with id={request.run_id} not found.", next_step="Import the run first.")
        added = records.add_missing_points(
            tx,
            [
                records.Written(
                    head.id,
                    head.experiment_id,
                    one.name,
                    one.steps,
                    one.times_ms,
                    one.floats(),
                    one.model_id,
                    one.dataset_name,
                    one.dataset_digest,
                )
                for one in request.series
            ],
        )
        if added:
            ctx.emit(
                "run.points_imported", f"runs/{head.id}", project=head.project, points=added, source=request.source
            )
        return added


@operation("tracking.import_models", permission="tracking:write", emits=("logged_model.imported",))
def import_models(ctx: Context, request: ImportModels) -> tuple[Imported, ...]:
    """Bring in logged models with their ids and times; of those that are there, what they lack.

    Raises:
        NotFound: There is no such experiment.
        TooLarge: More than 1,000 models in one call.
    """
    if len(request.models) > _MOST_RUNS:
        raise TooLarge(f"{len(request.models)} models in one call.", next_step=f"Send at most {_MOST_RUNS} a call.")
    answers = []
    with ctx.begin() as tx:
        taken = records.projects_of(tx, [model.id for model in request.models])
        for experiment_id in {model.experiment_id for model in request.models}:
            _experiment_of(tx, request.project, experiment_id)
        for model in request.models:
            if _MODEL.fullmatch(model.id) is None or taken.get(model.id, request.project) != request.project:
                reason = "Its id is not m- and 32 hexadecimal characters, or another project has it."
                answers.append(Imported(model.id, added=False, refused=(reason,)))
                continue
            parameters, not_given = _kept(model.parameters, "parameter", _check_parameters)
            tags, not_tags = _kept(model.tags, "tag", check_tags)
            not_source = []
            if model.source_run_id and not _is_id(model.source_run_id):
                not_source.append(f"source run {model.source_run_id[:80]!r}: it is not the id of a run.")
            kept = msgspec.structs.replace(
                model,
                project=request.project,
                name=cleaned(model.name, 500),
                type=cleaned(model.type, 500),
                source_run_id="" if not_source else model.source_run_id,
                status_message=cleaned(model.status_message),
                parameters=parameters,
                tags=tags,
            )
            added = records.add_model_as_was(tx, kept, ctx.now() if model.state == "deleted" else None)
            if added:
                ctx.emit(
                    "logged_model.imported",
                    f"logged_models/{model.id}",
                    project=request.project,
                    name=kept.name,
                    source=request.source,
                )
            answers.append(Imported(model.id, added, (*not_given, *not_tags, *not_source)))
    return tuple(answers)


@operation("tracking.import_artifacts", permission="tracking:write", emits=("artifacts.imported",))
def import_artifacts(ctx: Context, request: ImportArtifacts) -> int:
    """Bring in files of one run or logged model, also of a deleted one; those that are there stay.

    Returns how many were new.

    Raises:
        NotFound: There is no such run or logged model, or one of the objects is not in the store.
        Invalid: A path cannot be kept, an object has another size, or the files belong to several roots.
        TooLarge: More than 10,000 files in one call.
    """
    entries = request.entries
    if len(entries) > _MOST_FILES:
        raise TooLarge(f"{len(entries)} files in one call.", next_step=f"Send at most {_MOST_FILES} a call.")
    if not entries:
        return 0
    if len({entry.root for entry in entries}) > 1:
        raise Invalid("The files of one call belong to one run or logged model.")
    for entry, size in zip(entries, ctx.repository.objects.sizes([one.digest for one in entries]), strict=True):
        check_artifact_path(entry.path)
        if size is None:
            raise NotFound(
                f"There is no object {entry.digest} for {entry.path!r}.", next_step="Upload its bytes first."
            )
        if size != entry.size_bytes:
            raise Invalid(f"Object {entry.digest} for {entry.path!r} has {size} bytes, not {entry.size_bytes}.")
    with ctx.begin() as tx:
        owner = owner_of(tx, entries[0].root)
        if (clash := artifact_records.clash(tx, entries[0].root, [entry.path for entry in entries])) is not None:
            raise Invalid(f"{clash[0]!r} and {clash[1]!r} cannot both be there: one would be a folder of the other.")
        added = records.add_artifacts_as_of(tx, entries)
        if added:
            root = entries[0].root
            ctx.emit(
                "artifacts.imported",
                f"models/{root}" if root.startswith("m-") else f"runs/{root}",
                project=owner.project,
                files=added,
                source=request.source,
            )
        return added


@operation("tracking.import_logbook", permission="tracking:write", emits=("logbook.imported",))
def import_logbook(ctx: Context, request: ImportLogbook) -> None:
    """Keep the log of another workspace beside this one's, never mixed with what happened here.

    Raises:
        NotFound: The object is not in the store.
    """
    check_name(request.project, "project")
    if ctx.repository.objects.size(request.content) is None:
        raise NotFound(f"There is no object {request.content}.", next_step="Upload the events first.")
    with ctx.begin():
        ctx.emit(
            "logbook.imported",
            f"logbooks/{request.content}",
            project=request.project,
            source=request.source,
            events=request.content,
            count=request.count,
        )


@operation("tracking.find_owners", permission="tracking:read")
def find_owners(ctx: Context, request: FindOwners) -> dict[str, str]:
    """Return which project has the runs and logged models of these ids; those that are not there are left out.

    Raises:
        TooLarge: More than 400 ids in one call.
    """
    if len(request.ids) > _MOST_IDS:
        raise TooLarge(f"{len(request.ids)} ids in one call.", next_step=f"Ask about {_MOST_IDS} at most.")
    with ctx.read() as tx:
        return records.projects_of(tx, request.ids)


@operation("tracking.export_points", permission="tracking:read")
def export_points(ctx: Context, request: ExportPoints) -> PointPage:
    """Return the points of a run by metric and what was measured, each by time, step and value, a page at a time.

    Raises:
        Invalid: The page token cannot be read.
    """
    after = None
    if request.page_token:
        try:
            after = msgspec.json.decode(request.page_token, type=tuple[str, str, str, str, int])
        except msgspec.MsgspecError:
            raise Invalid(f"Invalid page token: {request.page_token[:80]!r}.") from None
    limit = max(1, min(request.limit, _MOST_POINTS))
    with ctx.read() as tx:
        found, following = records.page_of_points(tx, find_id(request.run_id), after, limit)
    token = "" if following is None else msgspec.json.encode(following).decode()
    return PointPage(tuple(_series(key, points) for key, points in found), token)


def _series(key: Sequence[str], points: Points) -> MetricSeries:
    values: list[Any] = [one if math.isfinite(one) else not_finite(one) for one in points["value"].tolist()]
    name, model_id, dataset_name, dataset_digest = key
    return MetricSeries(
        name, points["step"].tolist(), points["time"].tolist(), values, model_id, dataset_name, dataset_digest
    )


@operation("tracking.export_models", permission="tracking:read")
def export_models(ctx: Context, request: ExportModels) -> list[LoggedModel]:
    """Return logged models of an experiment by id, also deleted ones, a page at a time.

    Raises:
        NotFound: There is no such experiment.
    """
    with ctx.read() as tx:
        _experiment_of(tx, request.project, request.experiment_id)
        return records.page_of_models(tx, request.experiment_id, request.after, max(1, min(request.limit, 1_000)))


@operation("tracking.export_artifacts", permission="tracking:read")
def export_artifacts(ctx: Context, request: ExportArtifacts) -> list[Artifact]:
    """Return the files of a run or a logged model by path, a page at a time, with their times.

    Raises:
        NotFound: There is no such run or logged model.
    """
    with ctx.read() as tx:
        owner_of(tx, request.root)
        return records.page_of_artifacts(tx, request.root, request.after, max(1, min(request.limit, _MOST_FILES)))
