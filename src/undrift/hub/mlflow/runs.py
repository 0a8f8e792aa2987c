"""Runs and what they log, as MLflow's clients send it. Logging is hot: see `undrift.hub.mlflow.writes`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.hub.mlflow.errors import Refused, renamed
from undrift.hub.mlflow.messages import KeyValue, Message, loads, missing, wrong
from undrift.hub.mlflow.routes import Answer, Request, Route, threaded
from undrift.hub.mlflow.words import (
    DEFAULT_PROJECT,
    PARENT_RUN,
    RUN_NAME,
    RUN_STATUS,
    RunStatus,
    View,
    experiment_number,
    experiment_numbers,
    from_pairs,
    run_as_json,
    run_info,
    runs_as_json,
    to_time,
    view_of,
)
from undrift.tracking import (
    DatasetUse,
    DeleteRun,
    FindRun,
    LogDatasets,
    LoggedDataset,
    LogRun,
    MetricSeries,
    RestoreRun,
    Run,
    RunLink,
    SearchRuns,
    StartRun,
    UntagRun,
    UpdateRun,
    delete_run,
    find_run,
    log_datasets,
    log_run,
    restore_run,
    search_runs,
    start_run,
    untag_run,
    update_run,
)

__all__ = ["ROUTES", "Get", "Search", "find", "search"]

M = TypeVar("M", bound=Message)

_READ = "tracking:read"
_WRITE = "tracking:write"
_MOST_PARAMETER = 6_000
_MOST_TAG = 8_000
_MOST_KEY = 250
_MOST_METRICS = 1_000
_MOST_WORDS = 100
_MOST_RUNS = 50_000
_MODEL_HISTORY = "mlflow.log-model.history"
_ID = re.compile(r"[0-9a-f]{32}")
_RUN_ID = re.compile(r"[a-zA-Z0-9][\w-]{0,255}")
_KEY = re.compile(r"[/\w.\- :]*\Z")


class Create(Message, forbid_unknown_fields=True):
    """A run to begin."""

    experiment_id: str = ""
    user_id: str = ""
    run_name: str = ""
    start_time: int = 0
    tags: tuple[KeyValue, ...] = ()


class Update(Message):
    """What is to change about a run."""

    run_id: str
    status: RunStatus | None = None
    end_time: int | None = None
    run_name: str = ""


class Get(Message):
    """Which run."""

    run_id: str


class Search(Message):
    """Which runs."""

    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    run_view_type: View = View.ACTIVE_ONLY
    max_results: int = 1_000
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class Point(Message, forbid_unknown_fields=True, gc=False):
    """A point of a metric."""

    key: str
    value: float
    timestamp: int
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LogMetric(Message, forbid_unknown_fields=True):
    """A point of a metric of a run."""

    run_id: str
    key: str
    value: float
    timestamp: int
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""
    run_uuid: str = ""


class LogParameter(Message, forbid_unknown_fields=True):
    """A parameter of a run."""

    run_id: str
    key: str
    value: str = ""
    run_uuid: str = ""


class SetTag(Message, forbid_unknown_fields=True):
    """A tag of a run."""

    run_id: str
    key: str
    value: str = ""
    run_uuid: str = ""


class DeleteTag(Message):
    """A tag to remove from a run."""

    run_id: str
    key: str


class LogBatch(Message, forbid_unknown_fields=True):
    """Much of a run at once."""

    run_id: str
    metrics: tuple[Point, ...] = ()
    params: tuple[KeyValue, ...] = ()
    tags: tuple[KeyValue, ...] = ()
    run_uuid: str = ""


class Dataset(Message):
    """A dataset, as the client describes it."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""


class DatasetInput(Message):
    """A dataset that a run reads."""

    dataset: Dataset
    tags: tuple[KeyValue, ...] = ()


class ModelInput(Message):
    """A logged model that a run reads."""

    model_id: str


class ModelOutput(Message):
    """A logged model that a run made, and at which step."""

    model_id: str
    step: int = 0


class LogInputs(Message):
    """What a run reads."""

    run_id: str
    datasets: tuple[DatasetInput, ...] = ()
    models: tuple[ModelInput, ...] = ()


class LogOutputs(Message):
    """What a run made."""

    run_id: str
    models: tuple[ModelOutput, ...]


class LogModel(Message):
    """A model, as old clients tell of it."""

    run_id: str
    model_json: str


# -- reading what is hot ----------------------------------------------------------------------------------------------

_DECODERS: dict[type[Message], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (Create, LogBatch, LogMetric, LogParameter, SetTag)
}


def _quickly(request: Request, kind: type[M], body: bytes) -> M:
    """Read a body in the spelling that MLflow's own client uses; every other spelling takes the long way."""
    # Text that is escaped may hold what no text can have: the long way looks.
    if b"\\" not in body or b"\\u" not in body:
        with suppress(msgspec.DecodeError, ValueError, RecursionError):
            message: M = _DECODERS[kind].decode(body)
            return message
    return request.read(kind, body)


@lru_cache(maxsize=4096)
def _fault(key: str) -> str:
    """Return what keeps a key from naming a metric, a parameter or a tag."""
    if _KEY.match(key) is None:
        return (
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and "
            "slashes (/)."
        )
    normal = posixpath.normpath(key)
    if normal != key or key in {".", ".."} or key.startswith(("/", "../")):
        return (
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. "
            f"This name would resolve to {normal!r}"
        )
    return ""


def _check_key(key: str, path: str, name: str) -> None:
    if not key:
        raise missing(f"{path}key")
    if len(key) > _MOST_KEY:
        raise Invalid(f"'{path}{name}' exceeds the maximum length of {_MOST_KEY} characters")
    if fault := _fault(key):
        raise wrong(f"{path}{name}", key, fault)


def _check_pairs(pairs: Sequence[KeyValue], path: str) -> None:
    for place, pair in enumerate(pairs):
        _check_key(pair.key, f"{path}[{place}].", "key")


def _series_of(points: Sequence[Point]) -> tuple[MetricSeries, ...]:
    """Gather points by their metric, as columns; each name is looked at once."""
    gathered: dict[Any, tuple[list[int], list[int], list[Any]]] = {}
    for point in points:
        key: Any = point.key
        if point.model_id or point.dataset_name or point.dataset_digest:
            key = point.key, point.model_id, point.dataset_name, point.dataset_digest
        columns = gathered.get(key)
        if columns is None:
            columns = gathered[key] = [], [], []
        columns[0].append(point.step)
        columns[1].append(point.timestamp)
        columns[2].append(point.value)
    series = []
    for key, columns in gathered.items():
        name, *source = (key,) if isinstance(key, str) else key
        if not name or len(name) > _MOST_KEY or _fault(name):
            place = next(place for place, point in enumerate(points) if point.key == name)
            _check_key(name, f"metrics[{place}].", "name")
        series.append(MetricSeries(name, *columns, *source))
    return tuple(series)


# -- logging ----------------------------------------------------------------------------------------------------------


async def _write(request: Request, entry: LogRun, points: int = 0) -> Answer:
    if not entry.run_id:
        raise missing("run_id")
    try:
        if request.idempotency_key is None:
            await request.writes.log(entry, points=points, trace_id=request.scope["undrift.trace_id"])
        else:
            await request.run(lambda ctx: log_run(ctx, entry))
    except Conflict as error:
        raise Refused(error.message, "INVALID_PARAMETER_VALUE", next_step=error.next_step) from error
    return Answer()


async def _write_with_name(request: Request, entry: LogRun, name: str) -> Answer:
    """Write an entry, and the name of the run, which is no tag here."""

    def work(ctx: Context) -> None:
        # Doing it again changes nothing, and one key cannot name two operations.
        ctx.idempotency_key = None
        with renamed(Conflict, "INVALID_PARAMETER_VALUE"), ctx.begin():
            log_run(ctx, entry)
            update_run(ctx, UpdateRun(entry.run_id, name=name, project=entry.project))

    await request.run(work)
    return Answer()


async def _log_metric(request: Request) -> Answer:
    asked = _quickly(request, LogMetric, await request.body())
    _check_key(asked.key, "", "name")
    series = MetricSeries(
        asked.key,
        [asked.step],
        [asked.timestamp],
        [asked.value],
        asked.model_id,
        asked.dataset_name,
        asked.dataset_digest,
    )
    return await _write(request, LogRun(asked.run_id, series=(series,), project=request.project), 1)


async def _log_parameter(request: Request) -> Answer:
    asked = _quickly(request, LogParameter, await request.body())
    _check_key(asked.key, "", "key")
    parameters = {asked.key: asked.value[:_MOST_PARAMETER]}
    return await _write(request, LogRun(asked.run_id, parameters=parameters, project=request.project))


async def _set_tag(request: Request) -> Answer:
    asked = _quickly(request, SetTag, await request.body())
    _check_key(asked.key, "", "key")
    value = asked.value[:_MOST_TAG]
    if asked.key == RUN_NAME:
        return await _write_with_name(request, LogRun(asked.run_id, project=request.project), value)
    return await _write(request, LogRun(asked.run_id, tags={asked.key: value}, project=request.project))


async def _log_batch(request: Request) -> Answer:
    asked = _quickly(request, LogBatch, await request.body())
    _check_limits(asked)
    if not asked.run_id:
        raise missing("run_id")
    _check_run_id(asked.run_id)
    series = _series_of(asked.metrics)
    _check_pairs(asked.params, "params")
    _check_pairs(asked.tags, "tags")
    parameters = from_pairs(asked.params, _MOST_PARAMETER)
    if len(parameters) < len(asked.params):
        raise Invalid(
            f"Duplicate parameter keys have been submitted: {sorted(pair.key for pair in asked.params)[:20]}. Please "
            "ensure the request contains only one param value per param key."
        )
    tags = from_pairs(asked.tags, _MOST_TAG)
    name = tags.pop(RUN_NAME, "")
    entry = LogRun(asked.run_id, parameters=parameters, tags=tags, series=series, project=request.project)
    try:
        if name:
            return await _write_with_name(request, entry, name)
        return await _write(request, entry, len(asked.metrics))
    except Invalid as error:
        conflicts = error.details.get("conflicts")
        if not conflicts:
            raise
        raise Invalid(
            f"Changing param values is not allowed. Params were already logged='{conflicts}' for run "
            f"ID='{asked.run_id}'.",
            next_step=error.next_step,
        ) from error


def _check_limits(asked: LogBatch) -> None:
    counts = {"metrics": len(asked.metrics), "params": len(asked.params), "tags": len(asked.tags)}
    limits = {"metrics": _MOST_METRICS, "params": _MOST_WORDS, "tags": _MOST_WORDS}
    for what, count in counts.items():
        if count > limits[what]:
            raise Invalid(
                f"A batch logging request can contain at most {limits[what]} {what}. Got {count} {what}. Please split "
                f"up {what} across multiple requests and try again."
            )
    total = sum(counts.values())
    if total > _MOST_METRICS:
        raise Invalid(
            f"A batch logging request can contain at most {_MOST_METRICS} metrics, params, and tags in total. Got "
            f"{total} metrics, params, and tags. Please split them up across multiple requests and try again."
        )


# -- runs -------------------------------------------------------------------------------------------------------------


async def _create(request: Request) -> Answer:
    asked = _quickly(request, Create, await request.body())
    project = request.project
    return Answer(await request.run(lambda ctx: msgspec.json.encode(_begin(ctx, project, asked))))


def _begin(ctx: Context, project: str, asked: Create) -> Any:
    tags = from_pairs(asked.tags, _MOST_TAG)
    named = tags.pop(RUN_NAME, "")
    if named and asked.run_name and named != asked.run_name:
        raise Invalid(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
            f"(run_name='{asked.run_name}', mlflow.runName='{named}')."
        )
    _check_pairs(asked.tags, "tags")
    parent = tags.get(PARENT_RUN, "")
    request = StartRun(
        project,
        name=asked.run_name or named,
        parent_id=parent if _ID.fullmatch(parent) else None,
        tags=tags,
        experiment_id=0,
        started_at=to_time(asked.start_time) if asked.start_time else None,
        user=asked.user_id,
    )
    with renamed(Conflict, "INVALID_PARAMETER_VALUE"):
        return {"run": run_as_json(_started(ctx, project, asked.experiment_id or "0", request))}


def _started(ctx: Context, project: str, experiment: str, request: StartRun) -> Run:
    if experiment == "0":
        with suppress(NotFound):
            if project == DEFAULT_PROJECT:
                return start_run(ctx, request)
    number = experiment_number(ctx, project, experiment)
    return start_run(ctx, msgspec.structs.replace(request, experiment_id=number))


def _update(ctx: Context, project: str, asked: Update) -> Any:
    with renamed(Conflict, "INVALID_PARAMETER_VALUE"):
        run = update_run(
            ctx,
            UpdateRun(
                asked.run_id,
                name=asked.run_name or None,
                status=None if asked.status is None else RUN_STATUS[asked.status],
                ended_at=to_time(asked.end_time) if asked.end_time else None,
                project=project,
            ),
        )
    return {"run_info": run_info(run)}


def find(ctx: Context, project: str, asked: Get) -> dict[str, Any]:
    """Return a run with everything it logged, also a deleted one."""
    run = find_run(ctx, FindRun(asked.run_id, latest=True, project=project))
    return {"run": runs_as_json(ctx, [run])[0]}


def _delete(ctx: Context, project: str, asked: Get) -> None:
    delete_run(ctx, DeleteRun(asked.run_id, project))


def _restore(ctx: Context, project: str, asked: Get) -> None:
    restore_run(ctx, RestoreRun(asked.run_id, project))


def search(ctx: Context, project: str, asked: Search) -> dict[str, Any]:
    """Return runs that match, with everything they logged."""
    if not 1 <= asked.max_results <= _MOST_RUNS:
        raise Invalid(
            f"Invalid value {asked.max_results} for parameter 'max_results' supplied: It must be at most {_MOST_RUNS} "
            "and at least 1."
        )
    experiments = experiment_numbers(ctx, project, asked.experiment_ids)
    if not experiments:
        return {}
    page = search_runs(
        ctx,
        SearchRuns(
            project,
            experiment_ids=experiments,
            filter=asked.filter,
            order_by=tuple(asked.order_by),
            view=view_of(asked.run_view_type),
            limit=asked.max_results,
            page_token=asked.page_token,
            latest=True,
        ),
    )
    said: dict[str, Any] = {}
    if page.runs:
        said["runs"] = runs_as_json(ctx, page.runs)
    if page.next_page_token:
        said["next_page_token"] = page.next_page_token
    return said


def _delete_tag(ctx: Context, project: str, asked: DeleteTag) -> None:
    if asked.key == RUN_NAME:
        raise Invalid("A run keeps its name.", next_step="Set the tag to another one.")
    with renamed(Conflict, "INVALID_PARAMETER_VALUE"):
        untag_run(ctx, UntagRun(asked.run_id, asked.key, project))


def _log_inputs(ctx: Context, project: str, asked: LogInputs) -> None:
    _check_run_id(asked.run_id)
    uses = tuple(
        DatasetUse(
            LoggedDataset(
                one.dataset.name,
                one.dataset.digest,
                one.dataset.source_type,
                one.dataset.source,
                one.dataset.schema,
                one.dataset.profile,
            ),
            from_pairs(one.tags),
        )
        for one in asked.datasets
    )
    links = tuple(RunLink("input", "model", one.model_id, one.model_id) for one in asked.models)
    _link(ctx, project, asked.run_id, uses, links)


def _log_outputs(ctx: Context, project: str, asked: LogOutputs) -> None:
    _check_run_id(asked.run_id)
    links = tuple(
        RunLink("output", "model", one.model_id, one.model_id, details={"step": one.step}) for one in asked.models
    )
    _link(ctx, project, asked.run_id, (), links)


def _check_run_id(run_id: str) -> None:
    if _RUN_ID.fullmatch(run_id) is None:
        raise wrong("run_id", run_id, "It is not the id of a run.")


def _link(ctx: Context, project: str, run_id: str, uses: tuple[DatasetUse, ...], links: tuple[RunLink, ...]) -> None:
    # Doing it again changes nothing, and one key cannot name two operations.
    ctx.idempotency_key = None
    with renamed(Conflict, "INVALID_PARAMETER_VALUE"), ctx.begin():
        if uses:
            log_datasets(ctx, LogDatasets(run_id, uses, project))
        log_run(ctx, LogRun(run_id, links=links, project=project))


_MODEL_FIELDS = frozenset({"artifact_path", "flavors", "utc_time_created", "run_id"})


def _log_model(ctx: Context, project: str, asked: LogModel) -> None:
    model = loads(asked.model_json.encode())
    if not isinstance(model, dict):
        raise Invalid(f"Malformed model info. \n {asked.model_json[:200]} \n is not a valid JSON.")
    absent = sorted(_MODEL_FIELDS - model.keys())
    if absent:
        raise Invalid(f"Model json is missing mandatory fields: {absent}")
    ctx.idempotency_key = None
    with renamed(Conflict, "INVALID_PARAMETER_VALUE"), ctx.begin():
        known = loads(find_run(ctx, FindRun(asked.run_id, project=project)).tags.get(_MODEL_HISTORY, "[]").encode())
        told = known if isinstance(known, list) else []
        if model not in told:
            told = [*told, model]
        log_run(ctx, LogRun(asked.run_id, tags={_MODEL_HISTORY: msgspec.json.encode(told).decode()}, project=project))


_AT = "2.0/mlflow/runs"
ROUTES = (
    Route(("POST",), f"{_AT}/create", _WRITE, _create),
    Route(("POST",), f"{_AT}/update", _WRITE, threaded(Update, _update)),
    Route(("GET",), f"{_AT}/get", _READ, threaded(Get, find)),
    Route(("POST",), f"{_AT}/delete", _WRITE, threaded(Get, _delete)),
    Route(("POST",), f"{_AT}/restore", _WRITE, threaded(Get, _restore)),
    Route(("POST",), f"{_AT}/search", _READ, threaded(Search, search)),
    Route(("POST",), f"{_AT}/log-metric", _WRITE, _log_metric),
    Route(("POST",), f"{_AT}/log-parameter", _WRITE, _log_parameter),
    Route(("POST",), f"{_AT}/set-tag", _WRITE, _set_tag),
    Route(("POST",), f"{_AT}/delete-tag", _WRITE, threaded(DeleteTag, _delete_tag)),
    Route(("POST",), f"{_AT}/log-batch", _WRITE, _log_batch),
    Route(("POST",), f"{_AT}/log-inputs", _WRITE, threaded(LogInputs, _log_inputs)),
    Route(("POST",), f"{_AT}/outputs", _WRITE, threaded(LogOutputs, _log_outputs)),
    Route(("POST",), f"{_AT}/log-model", _WRITE, threaded(LogModel, _log_model)),
)
