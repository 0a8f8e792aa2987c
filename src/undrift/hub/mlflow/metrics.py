"""Histories of metrics, as MLflow's clients and its page ask for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Invalid, NotFound
from undrift.hub.mlflow.messages import Message, missing
from undrift.hub.mlflow.routes import Route, threaded
from undrift.tracking import History, MetricHistory, SampleHistories, metric_history, sample_histories

__all__ = ["ROUTES", "Interval", "sampled_points"]

_READ = "tracking:read"
_MOST_RUNS = 100
_MOST_POINTS = 25_000
_MOST_SAMPLED = 2_500
_PIECE = 20_000


class GetHistory(Message):
    """Which metric of which run."""

    run_id: str
    metric_key: str
    page_token: str = ""
    max_results: int | None = None


class Bulk(Message):
    """Which metric of which runs."""

    run_id: tuple[str, ...] = ()
    metric_key: str = ""
    max_results: int = _MOST_POINTS


class Interval(Message):
    """Which metric of which runs, between which steps, and at most how many points of each."""

    run_ids: tuple[str, ...]
    metric_key: str
    start_step: int | None = None
    end_step: int | None = None
    max_results: int = _MOST_SAMPLED


class _Point(msgspec.Struct, omit_defaults=True, gc=False):
    key: str
    value: float | str
    timestamp: int
    step: int | None
    run_id: str = ""


def _points(history: History, *, with_run: bool) -> Iterator[_Point]:
    run_id = history.run_id if with_run else ""
    for step, time, value in zip(history.steps, history.times_ms, history.values, strict=True):
        yield _Point(history.name, value, time, step, run_id)


def _as_json(points: Iterable[_Point], token: str = "", *, bare: bool = False) -> bytes:
    """Return points as JSON; a few at a time, for a history may have millions.

    Args:
        points: The points.
        token: Where the next page begins.
        bare: Whether NaN is to stand without quotes, as Python writes it.
    """
    pieces: list[bytes] = []
    held: list[_Point] = []
    for point in points:
        held.append(point)
        if len(held) == _PIECE:
            pieces.append(msgspec.json.encode(held)[1:-1])
            held = []
    if held:
        pieces.append(msgspec.json.encode(held)[1:-1])
    if not pieces and not bare:
        return b"{}"
    body = b",".join(pieces)
    if bare:
        for word in (b"NaN", b"-Infinity", b"Infinity"):
            body = body.replace(b'"value":"' + word + b'"', b'"value":' + word)
    after = b"]}" if not token else b'],"next_page_token":' + msgspec.json.encode(token) + b"}"
    return b'{"metrics":[' + body + after


def _history(ctx: Context, project: str, asked: GetHistory) -> bytes:
    if asked.max_results is not None and asked.max_results <= 0:
        raise Invalid(
            f"Invalid value {asked.max_results} for parameter 'max_results' supplied. It must be a positive integer."
        )
    request = MetricHistory(asked.run_id, asked.metric_key, asked.max_results, asked.page_token, project)
    try:
        found = metric_history(ctx, request)
    except NotFound:
        return b"{}"
    return _as_json(_points(found, with_run=False), found.next_page_token)


def _bulk(ctx: Context, project: str, asked: Bulk) -> bytes:
    if not asked.run_id:
        raise Invalid("GetMetricHistoryBulk request must specify at least one run_id.")
    if len(asked.run_id) > _MOST_RUNS:
        raise Invalid(
            f"GetMetricHistoryBulk request cannot specify more than {_MOST_RUNS} run_ids. Received "
            f"{len(asked.run_id)} run_ids."
        )
    if not asked.metric_key:
        raise Invalid("GetMetricHistoryBulk request must specify a metric_key.")
    left = max(0, min(asked.max_results, _MOST_POINTS))
    points: list[_Point] = []
    for run_id in sorted(set(asked.run_id)):
        if left <= 0:
            break
        try:
            found = metric_history(ctx, MetricHistory(run_id, asked.metric_key, left, project=project))
        except NotFound:
            continue
        points.extend(_points(found, with_run=True))
        left -= len(found.steps)
    return _as_json(points, bare=True)


def sampled_points(ctx: Context, project: str, asked: Interval) -> list[dict[str, Any]]:
    """Return sampled points of several runs, as clients know them."""
    return [
        msgspec.structs.asdict(point)
        for found in _sampled(ctx, project, asked)
        for point in _points(found, with_run=True)
    ]


def _sampled(ctx: Context, project: str, asked: Interval) -> list[History]:
    if not asked.run_ids:
        raise missing("run_ids")
    if len(asked.run_ids) > _MOST_RUNS:
        raise Invalid(
            f"GetMetricHistoryBulkInterval request must specify at most {_MOST_RUNS} run_ids. Received "
            f"{len(asked.run_ids)} run_ids."
        )
    if not 1 <= asked.max_results <= _MOST_SAMPLED:
        raise Invalid(f"max_results must be between 1 and {_MOST_SAMPLED}.")
    if (asked.start_step is None) != (asked.end_step is None):
        raise Invalid("If either start step or end step are specified, both must be specified.")
    if asked.start_step is not None and asked.end_step is not None and asked.start_step > asked.end_step:
        raise Invalid(
            f"end_step must be greater than start_step. Found start_step={asked.start_step} and "
            f"end_step={asked.end_step}."
        )
    return sample_histories(
        ctx,
        SampleHistories(
            tuple(dict.fromkeys(asked.run_ids)),
            asked.metric_key,
            asked.max_results,
            asked.start_step,
            asked.end_step,
            project,
        ),
    )


def _interval(ctx: Context, project: str, asked: Interval) -> bytes:
    found = _sampled(ctx, project, asked)
    return _as_json(point for history in found for point in _points(history, with_run=True))


_AT = "2.0/mlflow/metrics"
ROUTES = (
    Route(("GET",), f"{_AT}/get-history", _READ, threaded(GetHistory, _history)),
    Route(("GET",), f"{_AT}/get-history-bulk", _READ, threaded(Bulk, _bulk), page_only=True),
    Route(("GET",), f"{_AT}/get-history-bulk-interval", _READ, threaded(Interval, _interval)),
)
