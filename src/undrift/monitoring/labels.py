"""Labels: recorded by prediction id whenever they come, in whatever order, and never lost."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import sqlalchemy as sa

from undrift.core.context import Context
from undrift.core.errors import Invalid, NotFound, TooLarge
from undrift.core.operation import operation
from undrift.monitoring import records
from undrift.monitoring.model import Label, LabelAccount, LabelCorrection, LabelReport
from undrift.serving import FindRoute, find_route, known_predictions

__all__ = [
    "FindLabelAccount",
    "ListCorrections",
    "RecordLabels",
    "find_label_account",
    "join_parked",
    "list_corrections",
    "record_labels",
]

_MAX_LABELS = 10_000


class RecordLabels(msgspec.Struct, frozen=True):
    """Labels for predictions of an endpoint, at most 10,000 a call."""

    endpoint: str
    labels: tuple[Label, ...]


class FindLabelAccount(msgspec.Struct, frozen=True):
    """Of which endpoint."""

    endpoint: str


class ListCorrections(msgspec.Struct, frozen=True):
    """Of which endpoint, at most so many, newest first."""

    endpoint: str
    limit: int = 100


@operation("monitoring.record_labels", permission="labels:write", emits=("labels.recorded",))
def record_labels(ctx: Context, request: RecordLabels) -> LabelReport:
    """Record what really happened, by prediction id.

    The same label again changes nothing. Another value for the same prediction is a correction: it counts from now on
    and the old one is kept. A label for a prediction nobody knows is parked, and joined when the prediction turns up.

    Raises:
        Invalid: A value is no number, a prediction comes twice with different values, or belongs to another endpoint.
        TooLarge: More than 10,000 labels in one call.
    """
    wanted = _distinct(request.labels)
    with ctx.begin() as tx:
        ids = list(wanted)
        known = known_predictions(tx, ids)
        elsewhere = sorted({known[id_][0] for id_ in ids if id_ in known and known[id_][0] != request.endpoint})
        if elsewhere:
            raise Invalid(
                f"Some of these predictions were made by {', '.join(elsewhere)}, not by {request.endpoint!r}.",
                next_step="Send each endpoint its own labels. Nothing of this call was recorded.",
            )
        there = records.labels_of(tx, ids)
        revision, now = records.next_revision(tx), ctx.now()
        fresh, changed, corrections, parked, unchanged = [], [], [], [], 0
        for id_, label in wanted.items():
            row = {"value": label.value, "known_at": label.known_at or now, "recorded_at": now, "revision": revision}
            if id_ not in there:
                event_time = known[id_][1] if id_ in known else None
                fresh.append(row | {"prediction_id": id_, "endpoint": request.endpoint, "event_time": event_time})
                if event_time is None:
                    parked.append(id_)
            elif there[id_] == label.value:
                unchanged += 1
            else:
                changed.append(row | {"id": id_})
                corrections.append(
                    {
                        "prediction_id": id_,
                        "revision": revision,
                        "endpoint": request.endpoint,
                        "value": there[id_],
                        "replaced_by": label.value,
                        "replaced_at": now,
                        "actor": ctx.actor.name,
                    }
                )
        records.add_labels(tx, fresh)
        records.change_labels(tx, changed)
        records.add_corrections(tx, corrections)
        report = LabelReport(
            recorded=len(fresh) - len(parked),
            unchanged=unchanged,
            corrected=len(changed),
            parked=len(parked),
            parked_ids=tuple(parked[:100]),
            sentence=_sentence(request.endpoint, parked),
        )
        if fresh or changed:
            ctx.emit(
                "labels.recorded",
                f"endpoints/{request.endpoint}",
                project=_project_of(ctx, request.endpoint),
                recorded=report.recorded,
                corrected=report.corrected,
                parked=report.parked,
            )
        return report


@operation("monitoring.find_label_account", permission="monitoring:read")
def find_label_account(ctx: Context, request: FindLabelAccount) -> LabelAccount:
    """Count the labels of an endpoint: joined, corrected, parked."""
    with ctx.read() as tx:
        return records.label_account(tx, request.endpoint)


@operation("monitoring.list_corrections", permission="monitoring:read")
def list_corrections(ctx: Context, request: ListCorrections) -> list[LabelCorrection]:
    """List labels that were taken back, newest first."""
    with ctx.read() as tx:
        return records.list_corrections(tx, request.endpoint, limit=max(1, min(request.limit, 1000)))


def join_parked(tx: sa.Connection) -> int:
    """Join parked labels to predictions that turned up since; returns how many."""
    rows: list[dict[str, Any]] = []
    last = ""
    # All of them are looked at: those whose prediction never turns up must not stand before the others.
    while waiting := records.parked_ids(tx, after=last, limit=_MAX_LABELS):
        last = waiting[-1]
        for id_, (endpoint, event_time) in known_predictions(tx, waiting).items():
            rows.append({"id": id_, "endpoint": endpoint, "event_time": event_time})
    if rows:
        revision = records.next_revision(tx)
        records.unpark(tx, [row | {"revision": revision} for row in rows])
    return len(rows)


def _project_of(ctx: Context, endpoint: str) -> str:
    try:
        return find_route(ctx, FindRoute(endpoint)).project
    except NotFound:
        return ""


def _distinct(labels: tuple[Label, ...]) -> dict[str, Label]:
    if len(labels) > _MAX_LABELS:
        raise TooLarge(f"{len(labels)} labels in one call.", next_step=f"Send at most {_MAX_LABELS:,} a call.")
    wanted: dict[str, Label] = {}
    for label in labels:
        if not math.isfinite(label.value):
            raise Invalid(
                f"The label of {label.prediction_id[:64]!r} is {label.value}, not a number.",
                next_step="Leave labels out that are not known. Nothing of this call was recorded.",
            )
        if wanted.setdefault(label.prediction_id, label).value != label.value:
            raise Invalid(
                f"Prediction {label.prediction_id[:64]!r} has two different labels in one call.",
                next_step="Send the one that counts. Nothing of this call was recorded.",
            )
    return wanted


def _sentence(endpoint: str, parked: list[str]) -> str:
    if not parked:
        return ""
    return (
        f"{len(parked)} labels are for predictions that {endpoint!r} has not logged, such as {parked[0][:64]!r}. "
        "They are kept, and joined when the predictions turn up. If they never do, check the ids."
    )
