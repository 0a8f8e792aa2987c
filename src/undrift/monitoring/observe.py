"""Closes windows by event time, measures them when labels are due, and turns findings into incidents.

Everything here may be done again: a window is closed once, a measure is written in place, an incident is extended. So a
crash in the middle costs nothing but the time to do the rest.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from undrift.core.context import Context
from undrift.core.errors import NotFound
from undrift.monitoring import records
from undrift.monitoring.incidents import extend_or_open, resolve_cleared
from undrift.monitoring.labels import join_parked
from undrift.monitoring.model import (
    Finding,
    Measure,
    Monitor,
    PerformanceWatch,
    QualityWatch,
    Watch,
    Window,
)
from undrift.monitoring.quality import find_faults
from undrift.registry import FindAlias, FindVersion, ModelVersion, find_alias, find_version
from undrift.serving import FindAccount, FindRoute, account, find_route, read_predictions

if TYPE_CHECKING:
    import polars as pl

    from undrift.profiles import Profile

__all__ = ["Observation", "Observer", "labelled_predictions"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FEW_ROWS = 50
_RECENT_WINDOWS = 28
_RECENT_PROFILES = 7
_CACHED_PROFILES = 40


class Observation(msgspec.Struct, frozen=True):
    """What an observation came to.

    Attributes:
        closed: Windows closed now.
        measured: Windows measured now, for the first time or anew.
        restated: Of those, how many anew.
        touched: Numbers of the incidents opened, extended or resolved.
    """

    closed: int
    measured: int
    restated: int
    touched: tuple[int, ...]


class Observer:
    """Observes one endpoint; keeps the profiles it needs again in memory."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self._profiles: OrderedDict[str, Profile] = OrderedDict()

    def observe(self, ctx: Context, until: datetime) -> Observation:
        """Close, measure and judge everything that is due at a moment of event time.

        Event time stands still when nobody asks the model: no window is closed after that of the last prediction.
        The cost follows the windows that closed and the labels that came since the last time.
        """
        touched: list[int] = []
        closed = 0
        start, last = self._next_start(ctx)
        while start is not None and last is not None and start <= last and start + self._length <= until:
            touched += self._close(ctx, start)
            start += self._length
            closed += 1
        restated = self._restate(ctx)
        due = until - timedelta(seconds=self.monitor.label_wait_s)
        with ctx.read() as tx:
            waiting = records.unmeasured_windows(tx, self.monitor.endpoint, due=due)
        for window in waiting:
            self._measure(ctx, window)
        if waiting or restated:
            touched += self._judge_performance(ctx)
        return Observation(closed, len(waiting) + restated, restated, tuple(dict.fromkeys(touched)))

    @property
    def _length(self) -> timedelta:
        return timedelta(seconds=self.monitor.window_s)

    def _start_of(self, moment: datetime) -> datetime:
        return _EPOCH + (moment - _EPOCH) // self._length * self._length

    def _next_start(self, ctx: Context) -> tuple[datetime | None, datetime | None]:
        try:
            counted = account(ctx, FindAccount(self.monitor.endpoint))
        except NotFound:
            return None, None
        with ctx.read() as tx:
            window = records.last_window(tx, self.monitor.endpoint)
        if window is not None:
            return window.end, counted.last_event_time
        first = counted.first_event_time
        return (None if first is None else self._start_of(first)), counted.last_event_time

    def _watch(self, kind: type[Watch]) -> Watch | None:
        return next((watch for watch in self.monitor.watches if isinstance(watch, kind)), None)

    def _profile(self, ctx: Context, digest: str) -> Profile:
        from undrift.profiles import Profile  # noqa: PLC0415 - the hub lists windows without profiles

        if digest not in self._profiles:
            self._profiles[digest] = Profile.from_bytes(ctx.repository.objects.get(digest))
            while len(self._profiles) > _CACHED_PROFILES:
                self._profiles.popitem(last=False)
        self._profiles.move_to_end(digest)
        return self._profiles[digest]

    def _champion(self, ctx: Context, as_of: datetime) -> ModelVersion:
        route = find_route(ctx, FindRoute(self.monitor.endpoint, as_of=as_of))
        return find_version(ctx, FindVersion(self.monitor.project, self.monitor.model, number=route.champion.number))

    def _close(self, ctx: Context, start: datetime) -> list[int]:
        from undrift.profiles import compare, profile  # noqa: PLC0415 - see above

        monitor, end = self.monitor, start + self._length
        frame = read_predictions(ctx, monitor.endpoint, start, end)
        try:
            champion = self._champion(ctx, end)
        except NotFound:
            champion = None
        reference_digest = None if champion is None else champion.reference_profile
        findings: list[Finding] = []
        drift: dict[str, float] = {}
        digest = None
        missing = {name: frame[name].null_count() / max(frame.height, 1) for name in monitor.sources if name in frame}
        if frame.height:
            reference = None if reference_digest is None else self._profile(ctx, reference_digest)
            current = profile(frame.select(list(missing)), edges=reference)
            digest = ctx.repository.objects.put(current.to_bytes())
            if reference is not None:
                comparison = compare(reference, current, columns=list(missing))
                drift = {
                    name: round(max(0.0, (column.drift_score or 0.0) - (column.chance_score or 0.0)), 6)
                    for name, column in comparison.columns.items()
                    if not column.could_not_compute
                }
                watch = self._watch(QualityWatch)
                if isinstance(watch, QualityWatch) and frame.height >= _FEW_ROWS:
                    with ctx.read() as tx:
                        before = records.list_windows(tx, monitor.endpoint, before=start, limit=_RECENT_WINDOWS)
                    # Windows too small to be judged are no proof that what was missing in them was no fault.
                    judged = [one for one in before if one.predictions >= _FEW_ROWS and one.profile is not None]
                    good = [one for one in judged if not one.suspect]
                    findings = find_faults(
                        watch,
                        comparison,
                        reference=reference,
                        current=current,
                        recent=[self._profile(ctx, one.profile or "") for one in good[:_RECENT_PROFILES]],
                        known_missing=[
                            *(one.missing for one in good),
                            {} if champion is None else champion.training.get("missing_by_window", {}),
                        ],
                        start=start,
                        end=end,
                    )
        window = Window(
            endpoint=monitor.endpoint,
            start=start,
            end=end,
            predictions=frame.height,
            labels=0,
            served=None,
            versions={},
            missing={name: round(value, 6) for name, value in missing.items()},
            drift=drift,
            suspect=tuple(sorted({finding.column for finding in findings})),
            profile=digest,
        )
        with ctx.begin() as tx:
            records.add_window(tx, window)
            ctx.emit(
                "window.closed",
                f"endpoints/{monitor.endpoint}",
                project=monitor.project,
                time=end,
                start=start,
                predictions=window.predictions,
                suspect=window.suspect,
            )
            touched = extend_or_open(ctx, tx, monitor, findings)
            if frame.height >= _FEW_ROWS:
                touched += resolve_cleared(ctx, tx, monitor, window)
        return touched

    def _restate(self, ctx: Context) -> int:
        with ctx.begin() as tx:
            join_parked(tx)
        with ctx.read() as tx:
            moments, revision = records.relabelled_since(tx, self.monitor.endpoint)
            starts = sorted({self._start_of(moment) for moment in moments})
            found = [records.find_window(tx, self.monitor.endpoint, start) for start in starts]
        if not moments:
            return 0
        again = [window for window in found if window is not None and window.measured_at is not None]
        for window in again:
            self._measure(ctx, window)
        with ctx.begin() as tx:
            records.mark_relabelled(tx, self.monitor.endpoint, revision)
        return len(again)

    def _measure(self, ctx: Context, window: Window) -> None:
        frame = labelled_predictions(ctx, window.endpoint, window.start, window.end)
        served, versions = measure(frame, self.monitor.task)
        with ctx.begin() as tx:
            records.measure_window(tx, window, labelled=frame.height, served=served, versions=versions, at=ctx.now())
            if window.measured_at is not None:
                ctx.emit(
                    "window.restated",
                    f"endpoints/{window.endpoint}",
                    project=self.monitor.project,
                    time=window.end,
                    start=window.start,
                    labels=frame.height,
                    labels_before=window.labels,
                )

    def _judge_performance(self, ctx: Context) -> list[int]:
        watch = self._watch(PerformanceWatch)
        if not isinstance(watch, PerformanceWatch):
            return []
        monitor = self.monitor
        standing = find_alias(ctx, FindAlias(monitor.project, monitor.model, "champion"))
        if standing is None:
            return []
        champion = find_version(ctx, FindVersion(monitor.project, monitor.model, number=standing.number))
        with ctx.read() as tx:
            windows = records.list_windows(tx, monitor.endpoint, start=self._start_of(standing.at), limit=1000)
        name = str(champion.number)
        usable = [one for one in windows if one.measured_at and not one.suspect and name in one.versions][: watch.span]
        rows = sum(one.versions[name].rows for one in usable)
        expected = champion.metrics.get(watch.metric)
        findings = []
        if expected is not None and len(usable) >= watch.span and rows >= _FEW_ROWS:
            loss = sum(one.versions[name].loss * one.versions[name].rows for one in usable) / rows
            if loss > expected + watch.drop:
                sentence = (
                    f"Over the last {len(usable)} windows the {watch.metric} of version {name} is {loss:.4f}; "
                    f"{expected:.4f} was expected, and {watch.drop:g} more is allowed."
                )
                evidence = {"expected": expected, "rows": rows, "version": champion.number, "windows": len(usable)}
                findings.append(
                    Finding(
                        "performance drop",
                        "loss above expected",
                        "",
                        usable[-1].start,
                        usable[0].end,
                        loss,
                        expected + watch.drop,
                        sentence,
                        evidence,
                    )
                )
        with ctx.begin() as tx:
            return extend_or_open(ctx, tx, monitor, findings, judged=True, champion_since=standing.at)


def labelled_predictions(ctx: Context, endpoint: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Return the predictions of a stretch of event time whose labels have arrived, with the column ``label``."""
    import polars as pl  # noqa: PLC0415 - the hub lists windows without polars

    with ctx.read() as tx:
        ids, values = records.labels_between(tx, endpoint, start, end)
    labels = pl.DataFrame(
        {"prediction_id": ids, "label": values}, schema={"prediction_id": pl.String, "label": pl.Float64}
    )
    frame = read_predictions(ctx, endpoint, start, end)
    return frame.join(labels, on="prediction_id", how="inner").sort("prediction_id")


def measure(frame: pl.DataFrame, task: str) -> tuple[Measure | None, dict[str, Measure]]:
    """Return how good the answers were, and each version on the rows that every arm scored.

    Rows for which the model gave no number are not measured.

    Args:
        frame: Labelled predictions: ``label``, ``score``, ``version``, ``shadow_score``, ``shadow_version``.
        task: ``classification`` or ``regression``.
    """
    import polars as pl  # noqa: PLC0415 - see above

    frame = frame.filter(pl.col("score").is_not_null())
    if frame.is_empty():
        return None, {}
    served = _measure_rows(frame, "score", task)
    both = frame.filter(pl.col("shadow_score").is_not_null())
    frame = both if both.height else frame
    versions: dict[str, Measure] = {}
    for number in sorted({*frame["version"].unique(), *frame["shadow_version"].drop_nulls().unique()}):
        own = (
            pl.when(pl.col("version") == number)
            .then("score")
            .when(pl.col("shadow_version") == number)
            .then("shadow_score")
        )
        scored = frame.with_columns(own=own).filter(pl.col("own").is_not_null())
        measured = _measure_rows(scored, "own", task) if scored.height else None
        if measured is not None:
            versions[str(number)] = measured
    return served, versions


def _measure_rows(frame: pl.DataFrame, column: str, task: str) -> Measure | None:
    import numpy as np  # noqa: PLC0415 - see above

    from undrift.evaluation import roc_auc, row_losses  # noqa: PLC0415 - brings numpy

    labels, scores = frame["label"].to_numpy(), frame[column].cast(float).to_numpy()
    auc = roc_auc(labels, scores) if task == "classification" else float("nan")
    with np.errstate(over="ignore"):
        losses = row_losses("log_loss" if task == "classification" else "mean_absolute_error", labels, scores)
        if not np.isfinite([losses.mean(), labels.mean(), scores.mean()]).all():
            return None  # numbers too large to add up; what is kept must be a number
    return Measure(
        rows=frame.height,
        loss=float(losses.mean()),
        auc_score=None if auc != auc else auc,  # noqa: PLR0124 - NaN: one class only
        label_mean=float(labels.mean()),
        score_mean=float(scores.mean()),
    )
