"""What can be asked about the histories of metrics."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Invalid, TooLarge
from undrift.core.operation import operation
from undrift.tracking import records
from undrift.tracking.model import History, not_finite
from undrift.tracking.operations.words import find_id
from undrift.tracking.points import Points, sampled

__all__ = [
    "ListMetrics",
    "MetricHistory",
    "SampleHistories",
    "list_metrics",
    "metric_history",
    "sample_histories",
]

_MAX_RUNS = 100
_MAX_SAMPLE = 25_000


class MetricHistory(msgspec.Struct, frozen=True):
    """Which metric of which run, at most so many points (all when left out), and where the page begins.

    Attributes:
        project: Whose the run has to be; any when left out.
    """

    run_id: str
    name: str
    limit: int | None = None
    page_token: str = ""
    project: str = ""


class SampleHistories(msgspec.Struct, frozen=True):
    """Which metric of which runs (at most 100), how many points of each, and between which steps.

    Attributes:
        project: Whose the runs have to be; any when left out.
    """

    run_ids: tuple[str, ...]
    name: str
    limit: int = 1_000
    start_step: int | None = None
    end_step: int | None = None
    project: str = ""


class ListMetrics(msgspec.Struct, frozen=True):
    """Of which experiment, which part of the name, and how many at most (1 to 10,000)."""

    experiment_id: int
    contains: str = ""
    limit: int = 100


@operation("tracking.metric_history", permission="tracking:read")
def metric_history(ctx: Context, request: MetricHistory) -> History:
    """Return the points of a metric by time, step and value; a run or metric that is not there has none.

    The cost of a page follows its length, not that of the history.
    """
    after = None if not request.page_token else _read_token(request.page_token)
    find_id(request.run_id)
    with ctx.read() as tx:
        if request.project and not _mine(tx, [request.run_id], request.project):
            return History(request.run_id, request.name, [], [], [])
        if request.limit is None and after is None:
            return _history(request.run_id, request.name, records.read_history(tx, request.run_id, request.name))
        limit = 2**31 if request.limit is None else max(1, request.limit)
        points, more = records.page_of_history(tx, request.run_id, request.name, after=after, limit=limit)
    return _history(request.run_id, request.name, points, _token(points) if more else "")


@operation("tracking.sample_histories", permission="tracking:read")
def sample_histories(ctx: Context, request: SampleHistories) -> list[History]:
    """Return a metric of several runs for a chart: of each at most so many points, and always the last.

    Raises:
        TooLarge: More than 100 runs.
        Invalid: Only one of the two steps was said.
    """
    if len(request.run_ids) > _MAX_RUNS:
        raise TooLarge(f"{len(request.run_ids)} runs in one call.", next_step=f"Ask for at most {_MAX_RUNS}.")
    if (request.start_step is None) != (request.end_step is None):
        raise Invalid("Say both the first and the last step, or neither.")
    found = []
    with ctx.read() as tx:
        for run_id in _mine(tx, request.run_ids, request.project) if request.project else request.run_ids:
            points = records.read_history(tx, run_id, request.name)
            if request.start_step is not None and request.end_step is not None:
                steps = points["step"]
                points = points[(steps >= request.start_step) & (steps <= request.end_step)]
            found.append(_history(run_id, request.name, sampled(points, max(1, min(request.limit, _MAX_SAMPLE)))))
    return found


@operation("tracking.list_metrics", permission="tracking:read")
def list_metrics(ctx: Context, request: ListMetrics) -> list[str]:
    """List the names of the metrics of an experiment; the cost follows the names, not the runs."""
    if not 0 <= request.experiment_id < 2**63:
        return []
    with ctx.read() as tx:
        return records.list_metric_names(
            tx, request.experiment_id, contains=request.contains, limit=max(1, min(request.limit, 10_000))
        )


def _mine(tx: Any, run_ids: Sequence[str], project: str) -> list[str]:
    heads = records.heads(tx, list(run_ids))
    return [run_id for run_id in run_ids if run_id in heads and heads[run_id].project == project]


def _history(run_id: str, name: str, points: Points, token: str = "") -> History:
    values = points["value"].tolist()
    if not all(map(math.isfinite, values)):
        values = [value if math.isfinite(value) else not_finite(value) for value in values]
    return History(run_id, name, points["step"].tolist(), points["time"].tolist(), values, token)


def _token(points: Points) -> str:
    time, step, value = points[-1].tolist()
    return base64.urlsafe_b64encode(struct.pack("<qqd", time, step, value)).decode()


def _read_token(token: str) -> tuple[int, int, float]:
    try:
        time, step, value = struct.unpack("<qqd", base64.urlsafe_b64decode(token))
    except (binascii.Error, struct.error, ValueError):
        raise Invalid(
            f"Invalid page token: {token[:80]!r}.", next_step="Give the one that the page before had, unchanged."
        ) from None
    return time, step, value
