"""What undrift's nouns are called in MLflow's protocol, and back."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.hub.mlflow.messages import KeyValue
from undrift.tracking import (
    CreateExperiment,
    DatasetUse,
    Experiment,
    FindExperiment,
    LoggedModel,
    Run,
    RunsDatasets,
    create_experiment,
    find_experiment,
    runs_datasets,
)

__all__ = [
    "DEFAULT_PROJECT",
    "MODEL_STATUS",
    "PARENT_RUN",
    "ROOT",
    "RUN_NAME",
    "RUN_STATUS",
    "ModelStatus",
    "RunStatus",
    "View",
    "as_pairs",
    "default_experiment",
    "experiment_as_json",
    "experiment_number",
    "experiment_numbers",
    "from_pairs",
    "metric_as_json",
    "model_as_json",
    "number",
    "run_as_json",
    "run_info",
    "runs_as_json",
    "to_ms",
    "to_time",
    "view_of",
]

DEFAULT_PROJECT = "default"
"""The project of all addresses that name none."""

ROOT = "mlflow-artifacts:/"
"""Where all artifacts of this hub are; the only location that clients may name."""

RUN_NAME = "mlflow.runName"
PARENT_RUN = "mlflow.parentRunId"
_CONTEXT = "mlflow.data.context"
_DEFAULT = "Default"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_WHOLE = 2**63


class View(enum.IntEnum):
    """Which of what there is."""

    ACTIVE_ONLY = 1
    DELETED_ONLY = 2
    ALL = 3


class RunStatus(enum.IntEnum):
    """How a run stands."""

    RUNNING = 1
    SCHEDULED = 2
    FINISHED = 3
    FAILED = 4
    KILLED = 5


class ModelStatus(enum.IntEnum):
    """How a logged model stands."""

    LOGGED_MODEL_STATUS_UNSPECIFIED = 0
    LOGGED_MODEL_PENDING = 1
    LOGGED_MODEL_READY = 2
    LOGGED_MODEL_UPLOAD_FAILED = 3


RUN_STATUS: dict[RunStatus, Literal["running", "scheduled", "finished", "failed", "killed"]] = {
    RunStatus.RUNNING: "running",
    RunStatus.SCHEDULED: "scheduled",
    RunStatus.FINISHED: "finished",
    RunStatus.FAILED: "failed",
    RunStatus.KILLED: "killed",
}
MODEL_STATUS: dict[ModelStatus, Literal["pending", "ready", "upload_failed"]] = {
    ModelStatus.LOGGED_MODEL_PENDING: "pending",
    ModelStatus.LOGGED_MODEL_READY: "ready",
    ModelStatus.LOGGED_MODEL_UPLOAD_FAILED: "upload_failed",
}
_MODEL_WORDS = {word: status.name for status, word in MODEL_STATUS.items()}
_VIEWS: dict[View, Literal["active", "deleted", "all"]] = {
    View.ACTIVE_ONLY: "active",
    View.DELETED_ONLY: "deleted",
    View.ALL: "all",
}


def view_of(view: View) -> Literal["active", "deleted", "all"]:
    """Return undrift's word for what is to be shown."""
    return _VIEWS[view]


def to_ms(at: datetime) -> int:
    """Return whole milliseconds since 1970.

    >>> to_ms(to_time(1_700_000_000_123))
    1700000000123
    """
    return (at - _EPOCH) // _MILLISECOND


def to_time(ms: int) -> datetime:
    """Return the moment so many milliseconds after 1970.

    Raises:
        Invalid: It lies before 1970 or after the year 9999.
    """
    if ms >= 0:
        try:
            return _EPOCH + ms * _MILLISECOND
        except OverflowError:
            pass
    raise Invalid(f"{ms} is no time in milliseconds since 1970.")


def number(value: float) -> float | str:
    """Return a number as JSON of protocol buffers has it: with words for what JSON has not."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def as_pairs(values: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return tags or parameters as a list of keys and values."""
    return [
        {"key": key, "value": value if isinstance(value, str) else msgspec.json.encode(value, order="sorted").decode()}
        for key, value in values.items()
    ]


def from_pairs(pairs: Iterable[KeyValue], most: int | None = None) -> dict[str, str]:
    """Return keys and values as a mapping; the last of a key counts, and what is longer than most is cut off."""
    return {pair.key: pair.value if most is None else pair.value[:most] for pair in pairs}


def default_experiment(ctx: Context, project: str) -> Experiment:
    """Return the experiment that every project has, which is made when it is asked for first.

    In the default project it is number 0, whatever it is called by now. In other projects, where clients may call it
    number 0 as well, and where an import took that number for another project, it is the one named Default.
    """
    named = FindExperiment(project, name=_DEFAULT)
    numbers = (0, None) if project == DEFAULT_PROJECT else (None,)
    for asked in (FindExperiment(project, 0), named) if 0 in numbers else (named,):
        with suppress(NotFound):
            return find_experiment(ctx, asked)
    # The caller's key names what they asked for, and not this.
    key, ctx.idempotency_key = ctx.idempotency_key, None
    try:
        for number_ in numbers:
            with suppress(Conflict):
                return create_experiment(ctx, CreateExperiment(project, _DEFAULT, id=number_))
        return find_experiment(ctx, named)  # somebody else made it meanwhile
    finally:
        ctx.idempotency_key = key


def experiment_number(ctx: Context, project: str, text: str) -> int:
    """Return the number of an experiment, by the text in which clients write it.

    Raises:
        Invalid: It is no whole number.
    """
    try:
        found = int(text) if text.isascii() and len(text) <= 20 else None
    except ValueError:
        found = None
    if found is None:
        raise Invalid(f"Invalid experiment ID: '{text[:80]}'. It must be a whole number.")
    return default_experiment(ctx, project).id if found == 0 else found


def experiment_numbers(ctx: Context, project: str, texts: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of the experiments of a search, each once; those that no experiment can have are left out.

    Raises:
        Invalid: One of them is no whole number.
    """
    found = (experiment_number(ctx, project, text) for text in dict.fromkeys(texts))
    return tuple(dict.fromkeys(number_ for number_ in found if 0 <= number_ < _WHOLE))


def _without_empty(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value not in (None, [], {})}


def experiment_as_json(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment as clients know it."""
    return _without_empty(
        {
            "experiment_id": str(experiment.id),
            "name": experiment.name,
            "artifact_location": f"{ROOT}{experiment.id}",
            "lifecycle_stage": experiment.state,
            "last_update_time": to_ms(experiment.updated_at),
            "creation_time": to_ms(experiment.created_at),
            "tags": as_pairs(experiment.tags),
        }
    )


def run_info(run: Run) -> dict[str, Any]:
    """Return what clients call the info of a run."""
    info: dict[str, Any] = {
        "run_id": run.id,
        "run_uuid": run.id,
        "run_name": run.name,
        "experiment_id": str(run.experiment_id),
        "user_id": run.user,
        "status": run.status.upper(),
        "start_time": to_ms(run.started_at),
        "artifact_uri": f"{ROOT}{run.experiment_id}/{run.id}/artifacts",
        "lifecycle_stage": run.state,
    }
    if run.ended_at is not None:
        info["end_time"] = to_ms(run.ended_at)
    return info


def metric_as_json(metric: Any, **more: str) -> dict[str, Any]:
    """Return the newest point of a metric as clients know it."""
    said: dict[str, Any] = {
        "key": metric.name,
        "value": number(metric.value),
        "timestamp": metric.time_ms,
        "step": metric.step,
    }
    if metric.dataset_name or metric.dataset_digest:
        said |= {"dataset_name": metric.dataset_name, "dataset_digest": metric.dataset_digest}
    return said | {name: value for name, value in more.items() if value}


def run_as_json(run: Run, uses: Sequence[DatasetUse] = ()) -> dict[str, Any]:
    """Return a run as clients know it.

    Args:
        run: The run, with the newest points of its metrics.
        uses: The datasets it read.
    """
    tags = {RUN_NAME: run.name, **run.tags} if run.name else run.tags
    if run.parent_id and PARENT_RUN not in tags:
        tags = {**tags, PARENT_RUN: run.parent_id}
    data = {
        "metrics": [metric_as_json(one, model_id=one.model_id) for one in run.latest],
        "params": as_pairs(run.parameters),
        "tags": as_pairs(tags),
    }
    models = [link for link in run.links if link.kind == "model"]
    inputs = {
        "dataset_inputs": [_use_as_json(use) for use in uses],
        "model_inputs": [{"model_id": link.ref} for link in models if link.role == "input"],
    }
    outputs = {
        "model_outputs": [
            {"model_id": link.ref, "step": (link.details or {}).get("step", 0)}
            for link in models
            if link.role == "output"
        ]
    }
    return {
        "info": run_info(run),
        "data": _without_empty(data),
        "inputs": _without_empty(inputs),
        "outputs": _without_empty(outputs),
    }


def _use_as_json(use: DatasetUse) -> dict[str, Any]:
    dataset = {name: value for name, value in msgspec.structs.asdict(use.dataset).items() if value}
    return _without_empty({"tags": as_pairs(use.tags), "dataset": dataset})


def runs_as_json(ctx: Context, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return runs as clients know them, with the datasets that they read."""
    readers = tuple(run.id for run in runs if any(link.kind == "dataset" for link in run.links))
    uses: dict[str, list[DatasetUse]] = {}
    if readers:
        for one in runs_datasets(ctx, RunsDatasets(readers)):
            uses.setdefault(one.run_id, []).append(one.use)
    return [run_as_json(run, uses.get(run.id, ())) for run in runs]


def model_as_json(model: LoggedModel) -> dict[str, Any]:
    """Return a logged model as clients know it."""
    info = {
        "model_id": model.id,
        "experiment_id": str(model.experiment_id),
        "name": model.name,
        "creation_timestamp_ms": to_ms(model.created_at),
        "last_updated_timestamp_ms": to_ms(model.updated_at),
        "artifact_uri": f"{ROOT}{model.experiment_id}/models/{model.id}/artifacts",
        "status": _MODEL_WORDS[model.status],
        "model_type": model.type,
        "source_run_id": model.source_run_id,
        "status_message": model.status_message or None,
        "tags": as_pairs(model.tags),
    }
    data = {
        "params": as_pairs(model.parameters),
        "metrics": [metric_as_json(one, model_id=model.id, run_id=one.run_id) for one in model.metrics],
    }
    return {"info": _without_empty(info), "data": _without_empty(data)}
