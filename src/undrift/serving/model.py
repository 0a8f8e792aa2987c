"""Serving's nouns: arm, route, routing table, and the account of the prediction log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from undrift.core.errors import Invalid
from undrift.core.ids import check_name
from undrift.registry import Field, Signature

__all__ = [
    "LOG_COLUMNS",
    "Arm",
    "ArmName",
    "PredictionAccount",
    "Route",
    "RoutingTable",
    "Segment",
    "check_arms",
    "misfits",
]

ArmName = Literal["champion", "canary", "shadow"]

LOG_COLUMNS = (
    "prediction_id",
    "event_time",
    "answered_at",
    "arm",
    "version",
    "score",
    "shadow_version",
    "shadow_score",
    "routing_revision",
)
"""What the log keeps of every prediction, before the columns that were sent; no input can have one of these names."""


class Arm(msgspec.Struct, frozen=True):
    """One model version on a route, and its part of the traffic.

    Attributes:
        name: ``champion`` answers what no other arm takes; ``canary`` answers its share; ``shadow`` never answers.
        number: The model version.
        artifact: Tree in the store with ``model.onnx`` and ``signature.json``.
        share: Part of the keys it answers, 0 to 1; 0 for a shadow.
    """

    name: ArmName
    number: int
    artifact: str
    share: float


class Route(msgspec.Struct, frozen=True):
    """Who answers at an endpoint: one champion, and at most one challenger (a canary or a shadow).

    Attributes:
        endpoint: Its name, unique in the workspace.
        project: Whose it is.
        model: The model whose versions answer.
        revision: Its place in the history of all routes of the workspace: 1, 2, 3 …
        arms: The champion first; the shares sum to 1.
        compare: Every arm scores every row; the assigned arm answers, the other's score is only logged. A shadow
            scores every row anyway.
        at: Since when, in event time.
        actor: Who set it.
        reason: Why, in a sentence.
        evidence: What it was based on.
    """

    endpoint: str
    project: str
    model: str
    revision: int
    arms: tuple[Arm, ...]
    compare: bool
    at: datetime
    actor: str
    reason: str
    evidence: dict[str, Any]

    @property
    def champion(self) -> Arm:
        """The arm that answers what no other arm takes."""
        return self.arms[0]

    @property
    def challenger(self) -> Arm | None:
        """The canary or the shadow, when there is one."""
        return self.arms[1] if len(self.arms) > 1 else None


class RoutingTable(msgspec.Struct, frozen=True):
    """The newest route of every endpoint; a model server holds one and keeps it on disk.

    Attributes:
        revision: The newest revision in it; 0 when there are no endpoints.
        routes: By endpoint.
    """

    revision: int
    routes: dict[str, Route]


class Segment(msgspec.Struct, frozen=True):
    """A piece of the prediction log that was collected: rows of one endpoint from one stretch of one log file.

    Attributes:
        id: Its id.
        endpoint: Where the predictions were made.
        wal: Name of the log file they were read from.
        first_offset: Where the stretch begins in that file, in bytes.
        next_offset: Where it ends.
        rows: Predictions in it.
        duplicates: Rows left out because their prediction id had been there before.
        dropped: Predictions the server answered but could not log, as it said in this stretch.
        first_event_time: Of the earliest prediction; None when it has no rows.
        last_event_time: Of the latest.
        object: The Parquet file in the store; None when it has no rows.
        size_bytes: Of that file.
        collected_at: When it was collected.
    """

    id: str
    endpoint: str
    wal: str
    first_offset: int
    next_offset: int
    rows: int
    duplicates: int
    dropped: int
    first_event_time: datetime | None
    last_event_time: datetime | None
    object: str | None
    size_bytes: int
    collected_at: datetime


class PredictionAccount(msgspec.Struct, frozen=True):
    """What became of the predictions of an endpoint, as far as the log has been collected.

    Attributes:
        endpoint: Where they were made.
        logged: Rows found in the log: collected and duplicates.
        collected: Rows in the segments, each with a prediction id of its own.
        duplicates: Rows left out because their id had been there before.
        dropped: Answered but not logged (the disk was full, or failed), as far as the servers could say so later.
        torn: Log files of the whole workspace that ended in bytes that are no frame: a host that lost power, or damage.
        segments: How many Parquet files hold the rows.
        size_bytes: Of these files.
        first_event_time: Of the earliest prediction; None when there is none.
        last_event_time: Of the latest.
    """

    endpoint: str
    logged: int
    collected: int
    duplicates: int
    dropped: int
    torn: int
    segments: int
    size_bytes: int
    first_event_time: datetime | None
    last_event_time: datetime | None


def check_arms(endpoint: str, arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """Return the arms, champion first, when they make a route.

    Raises:
        Invalid: There is not exactly one champion, more than one challenger, the same version twice, or the shares do
            not sum to 1.
    """
    check_name(endpoint, "endpoint")
    names = [arm.name for arm in arms]
    said = ", ".join(names) or "none"
    if names.count("champion") != 1 or len(arms) > 2:
        raise Invalid(
            f"A route has one champion and at most one challenger, not: {said}.",
            next_step="Name one arm 'champion' and at most one other 'canary' or 'shadow'.",
        )
    if len({arm.number for arm in arms}) != len(arms):
        raise Invalid(
            f"Version {arms[0].number} cannot be its own challenger.",
            next_step="Name another version, or one arm only.",
        )
    for arm in arms:
        if not 0 <= arm.share <= 1 or (arm.name == "shadow" and arm.share != 0):
            raise Invalid(
                f"The {arm.name} cannot have a share of {arm.share:g}.",
                next_step="A share lies between 0 and 1; a shadow answers nothing, so its share is 0.",
            )
    total = sum(arm.share for arm in arms)
    if abs(total - 1) > 1e-9:
        raise Invalid(f"The shares sum to {total:g}, not to 1.", next_step="Give the champion what the canary leaves.")
    return tuple(sorted(arms, key=lambda arm: arm.name != "champion"))


def misfits(champion: Signature, challenger: Signature) -> list[str]:
    """Say, column by column, why a challenger could not score the rows the champion takes; empty when it can.

    It must name the same columns, may not be stricter about missing values, and takes the same types (numbers with a
    fraction where the champion takes whole ones are fine).
    """
    theirs = {field.name: field for field in challenger.inputs}
    ours = {field.name for field in champion.inputs}
    said = [f"it needs {name!r}, which requests do not have" for name in theirs if name not in ours]
    for field in champion.inputs:
        other = theirs.get(field.name)
        if other is None:
            said.append(f"it does not know {field.name!r}")
        elif (problem := _misfit(field, other)) is not None:
            said.append(problem)
    return said


def _misfit(ours: Field, theirs: Field) -> str | None:
    if theirs.type != ours.type and not (ours.type == "int" and theirs.type == "float"):
        return f"it takes {ours.name!r} as {theirs.type}, not {ours.type}"
    if ours.nullable and not theirs.nullable:
        return f"it does not take a missing {ours.name!r}"
    return None
