"""The nouns of tracking: experiment, run, metric, link, logged model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from undrift.core.clock import in_utc
from undrift.core.errors import Invalid

__all__ = [
    "Experiment",
    "History",
    "LatestMetric",
    "LoggedDataset",
    "LoggedModel",
    "LoggedModelMetric",
    "MetricPoint",
    "MetricSeries",
    "Run",
    "RunLink",
    "RunPage",
    "RunStatus",
    "State",
    "not_finite",
    "to_ms",
    "to_time",
]

RunStatus = Literal["running", "scheduled", "finished", "failed", "killed"]
State = Literal["active", "deleted"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_ms(at: datetime) -> int:
    """Return whole milliseconds since 1970.

    >>> to_ms(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000
    """
    return (in_utc(at) - _EPOCH) // timedelta(milliseconds=1)


def to_time(ms: int) -> datetime:
    """Return the moment so many milliseconds after 1970.

    Raises:
        Invalid: It lies outside the years 1 to 9999.
    """
    try:
        return _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        raise Invalid(f"{ms} is no time in milliseconds since 1970: it lies after the year 9999.") from None


def not_finite(value: float) -> str:
    """Return the word for a number that JSON does not have: ``NaN``, ``Infinity`` or ``-Infinity``."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


class Experiment(msgspec.Struct, frozen=True):
    """Where comparable runs gather.

    Attributes:
        id: Its number.
        project: Whose it is.
        name: Its name, of any characters; unique in the project.
        state: ``active``, or ``deleted``: hidden, and kept until storage is freed.
        created_at: When it was made.
        updated_at: When it was renamed, tagged, deleted or restored last.
        created_by: Who made it.
        tags: Words about it.
    """

    id: int
    project: str
    name: str
    state: State
    created_at: datetime
    updated_at: datetime
    created_by: str
    tags: dict[str, str] = {}


class RunLink(msgspec.Struct, frozen=True):
    """Something a run read or made; lineage is the graph of these.

    Attributes:
        role: ``input`` or ``output``.
        kind: What it is: ``dataset_version``, ``dataset``, ``model``, ``object``, ``tree``, ``code``, ``environment``.
        name: What the run calls it.
        ref: Its content address, or another id that never changes.
        context: What for, such as ``training``.
        details: More about it, JSON-able: a step, tags.
    """

    role: Literal["input", "output"]
    kind: str
    name: str
    ref: str
    context: str = ""
    details: dict[str, Any] | None = None


class MetricPoint(msgspec.Struct, frozen=True):
    """One value of a metric.

    Attributes:
        name: Of which metric; ``_loss`` falls and ``_score`` rises when things get better.
        value: The value; in JSON the words ``NaN``, ``Infinity`` and ``-Infinity`` stand for what it has not.
        step: Which step of the run.
        time: When, in UTC, kept to the millisecond.
    """

    name: str
    value: float | Literal["NaN", "Infinity", "-Infinity"]
    step: int
    time: datetime


class MetricSeries(msgspec.Struct, frozen=True):
    """Many values of one metric, as columns of one length: what is quick to send.

    Attributes:
        name: Of which metric.
        steps: Which step of the run.
        times_ms: When, in milliseconds since 1970.
        values: The values; in JSON the words ``NaN``, ``Infinity`` and ``-Infinity`` stand for what it has not.
        model_id: The logged model that was measured.
        dataset_name: The dataset it was measured on.
        dataset_digest: The digest of that dataset.
    """

    name: str
    steps: list[int]
    times_ms: list[int]
    values: list[float | Literal["NaN", "Infinity", "-Infinity"]]
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""

    @staticmethod
    def of(points: Iterable[MetricPoint]) -> tuple[MetricSeries, ...]:
        """Gather points by their metric, in words that JSON can carry."""
        gathered: dict[str, MetricSeries] = {}
        for point in points:
            series = gathered.get(point.name)
            if series is None:
                series = gathered[point.name] = MetricSeries(point.name, [], [], [])
            value = point.value
            if isinstance(value, float) and not math.isfinite(value):
                value = not_finite(value)  # type: ignore[assignment]  # one of the three words
            series.steps.append(point.step)
            series.times_ms.append(to_ms(point.time))
            series.values.append(value)
        return tuple(gathered.values())

    def floats(self) -> list[float]:
        """Return the values as numbers."""
        if str not in set(map(type, self.values)):
            return self.values  # type: ignore[return-value]  # no words among them
        return [_WORDS[value] if isinstance(value, str) else value for value in self.values]


class LatestMetric(msgspec.Struct, frozen=True):
    """The newest point of a metric: the greatest by step, time and value.

    Attributes:
        name: Of which metric.
        value: Its value; any float.
        step: Its step.
        time_ms: Its time, in milliseconds since 1970.
        model_id: The logged model that was measured.
        dataset_name: The dataset it was measured on.
        dataset_digest: The digest of that dataset.
    """

    name: str
    value: float
    step: int
    time_ms: int
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class Run(msgspec.Struct, frozen=True):
    """One execution: what went in, with what parameters, what came out.

    Attributes:
        id: Its id; a client may make it.
        project: Whose it is.
        experiment: The name under which comparable runs gather.
        name: A name for people.
        kind: ``training``, ``evaluation``, ``batch`` …
        status: ``running``, ``scheduled``, ``finished``, ``failed`` or ``killed``.
        started_at: When it began.
        ended_at: When it ended.
        actor: Who started it, as the hub knows them.
        parent_id: The run it is part of.
        error: Why it failed.
        parameters: Its parameters, JSON-able; written once.
        tags: Words about it.
        metrics: The newest value of each metric; none for what JSON has no number for.
        links: What it read and made.
        experiment_id: The number of the experiment.
        state: ``active``, or ``deleted``: hidden, and kept until storage is freed.
        user: Who started it, as the client said.
        latest: The newest point of each metric with its step and time, where they were asked for.
    """

    id: str
    project: str
    experiment: str
    name: str
    kind: str
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None
    actor: str
    parent_id: str | None = None
    error: str = ""
    parameters: dict[str, Any] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, float | None] = {}
    links: tuple[RunLink, ...] = ()
    experiment_id: int = 0
    state: State = "active"
    user: str = ""
    latest: tuple[LatestMetric, ...] = ()


class RunPage(msgspec.Struct, frozen=True):
    """Some of the runs that were asked for, and the way to the next ones."""

    runs: tuple[Run, ...]
    next_page_token: str = ""


class History(msgspec.Struct, frozen=True):
    """Points of one metric of one run, ordered by time, step and value, as columns of one length.

    Attributes:
        run_id: The run.
        name: The metric.
        steps: The steps.
        times_ms: Milliseconds since 1970.
        values: The values; the words ``NaN``, ``Infinity`` and ``-Infinity`` stand for what JSON has no number for.
        next_page_token: Where the next page begins; empty on the last.
    """

    run_id: str
    name: str
    steps: list[int]
    times_ms: list[int]
    values: list[float | Literal["NaN", "Infinity", "-Infinity"]]
    next_page_token: str = ""


class LoggedDataset(msgspec.Struct, frozen=True):
    """A dataset as a client described it; in an experiment one for each name and digest, and the first one stays."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""


class LoggedModelMetric(msgspec.Struct, frozen=True):
    """The newest point of a metric of a logged model, by the run and the dataset it was measured on."""

    name: str
    value: float
    step: int
    time_ms: int
    run_id: str
    dataset_name: str = ""
    dataset_digest: str = ""


class LoggedModel(msgspec.Struct, frozen=True):
    """A model that a run has made and that nobody has registered yet; its bytes are artifacts under its id.

    Attributes:
        id: ``m-`` and 32 hexadecimal characters.
        project: Whose it is.
        experiment_id: The experiment of its run.
        name: A name for people.
        type: What it is, in the client's words.
        source_run_id: The run that made it.
        status: ``pending`` until all its bytes are there; then ``ready`` or ``upload_failed``.
        state: ``active``, or ``deleted``: hidden, and kept until storage is freed.
        created_at: When it was made.
        updated_at: When it changed last.
        status_message: More about the status.
        parameters: Its parameters.
        tags: Words about it.
        metrics: Its newest points.
    """

    id: str
    project: str
    experiment_id: int
    name: str
    type: str
    source_run_id: str
    status: Literal["pending", "ready", "upload_failed"]
    state: State
    created_at: datetime
    updated_at: datetime
    status_message: str = ""
    parameters: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: tuple[LoggedModelMetric, ...] = ()
