"""Monitoring's nouns: label, watch, window, finding, incident."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from undrift.core.errors import Invalid

__all__ = [
    "Cause",
    "DriftWatch",
    "Finding",
    "Incident",
    "IncidentState",
    "Label",
    "LabelAccount",
    "LabelCorrection",
    "LabelReport",
    "Measure",
    "Monitor",
    "PerformanceWatch",
    "QualityWatch",
    "Source",
    "Watch",
    "Window",
]


class Label(msgspec.Struct, frozen=True):
    """What really happened, for one prediction.

    Attributes:
        prediction_id: Which prediction it answers.
        value: The truth: 0 or 1 for a classification, a number for a regression.
        known_at: When it became known; now, when left out.
    """

    prediction_id: str
    value: float
    known_at: datetime | None = None


class LabelReport(msgspec.Struct, frozen=True):
    """What became of a batch of labels; nothing is ever lost.

    Attributes:
        recorded: Written for the first time.
        unchanged: There already, with the same value.
        corrected: There already with another value: the new one counts, the old one is kept as history.
        parked: For predictions nobody knows: kept, and joined when the prediction turns up.
        parked_ids: The first hundred of those.
        sentence: What to do about it, when there is something to do.
    """

    recorded: int
    unchanged: int
    corrected: int
    parked: int
    parked_ids: tuple[str, ...] = ()
    sentence: str = ""


class LabelCorrection(msgspec.Struct, frozen=True):
    """An answer that was taken back."""

    prediction_id: str
    value: float
    replaced_by: float
    replaced_at: datetime
    actor: str


class LabelAccount(msgspec.Struct, frozen=True):
    """The labels of an endpoint, to the last one.

    Attributes:
        endpoint: Of which endpoint.
        labelled: Predictions with a label.
        corrected: Of those, how many were corrected at least once.
        parked: Labels that wait for a prediction nobody knows (of the whole workspace).
    """

    endpoint: str
    labelled: int
    corrected: int
    parked: int


class PerformanceWatch(msgspec.Struct, frozen=True, tag="performance"):
    """Watches a loss: an incident when its mean over ``span`` windows is more than ``drop`` above the expected.

    What is expected is the version's own loss on the rows it was held out from before it went live.
    """

    metric: str = "log_loss"
    drop: float = 0.03
    span: int = 14

    def __post_init__(self) -> None:
        if self.metric not in {"log_loss", "mean_absolute_error"}:
            raise Invalid(
                f"A performance watch cannot watch {self.metric!r}: it is no loss.",
                next_step="Use log_loss for a classification, mean_absolute_error for a regression.",
            )
        if self.drop <= 0 or self.span < 1:
            raise Invalid("A performance watch needs a drop above 0 and a span of at least one window.")


class QualityWatch(msgspec.Struct, frozen=True, tag="quality"):
    """Watches the inputs for what no world does: values that vanish, another unit, unheard-of categories.

    Attributes:
        missing: How much more may be missing than ever before lately (0.2: a fifth of the rows).
        unseen: How many rows may have a category that training never saw.
    """

    missing: float = 0.2
    unseen: float = 0.05


class DriftWatch(msgspec.Struct, frozen=True, tag="drift"):
    """Watches the inputs for a changed world; drift alone is shown, and weighed in a diagnosis, but alarms nobody.

    Attributes:
        score: From which drift score on (0 to 1, chance taken off) a column counts as drifted.
    """

    score: float = 0.2


Watch = PerformanceWatch | QualityWatch | DriftWatch


class Source(msgspec.Struct, frozen=True):
    """Where an input column comes from, and who owns it."""

    dataset: str
    owner: str


class Monitor(msgspec.Struct, frozen=True, kw_only=True):
    """What is watched at an endpoint.

    Attributes:
        endpoint: Where.
        project: Whose.
        model: Whose versions answer.
        owner: Who hears of a performance drop.
        task: ``classification`` or ``regression``.
        window_s: Length of a window in seconds of event time.
        label_wait_s: Seconds after a window's end until its labels are due.
        watches: What to look for.
        sources: By input column: where it comes from.
    """

    endpoint: str
    project: str
    model: str
    owner: str
    task: str = "classification"
    window_s: float = 86_400.0
    label_wait_s: float = 86_400.0
    watches: tuple[Watch, ...] = ()
    sources: dict[str, Source] = {}


class Measure(msgspec.Struct, frozen=True):
    """How good predictions were on the rows of a window whose labels have arrived.

    Attributes:
        rows: Labelled rows.
        loss: Mean loss; lower is better.
        auc_score: Chance that a positive scores above a negative; None with one class only.
        label_mean: Mean of the labels.
        score_mean: Mean of the scores.
    """

    rows: int
    loss: float
    auc_score: float | None
    label_mean: float
    score_mean: float


class Window(msgspec.Struct, frozen=True):
    """A stretch of event time of one endpoint, closed.

    Attributes:
        endpoint: Whose.
        start: From this event time on.
        end: Up to, but without, this one.
        predictions: How many were made in it.
        labels: How many of them have a label.
        served: How good the answers were that were given; None until the labels are due.
        versions: By version number: how good each was on the rows that every arm scored.
        missing: By column: the fraction of rows without a value.
        drift: By column: the drift score against the reference, chance taken off.
        suspect: Columns with a data fault in this window; such a window says nothing about the model.
        profile: Object with its profile.
        measured_at: When its performance was measured first.
        restated: How often it was measured anew because labels came later.
    """

    endpoint: str
    start: datetime
    end: datetime
    predictions: int
    labels: int
    served: Measure | None
    versions: dict[str, Measure]
    missing: dict[str, float]
    drift: dict[str, float]
    suspect: tuple[str, ...]
    profile: str | None
    measured_at: datetime | None = None
    restated: int = 0

    @property
    def maturity(self) -> float:
        """Share of the predictions whose labels have arrived."""
        return self.labels / self.predictions if self.predictions else 0.0


Cause = Literal["data fault", "performance drop"]
IncidentState = Literal["open", "acknowledged", "resolved"]


class Finding(msgspec.Struct, frozen=True):
    """One thing a watch noticed in one window.

    Attributes:
        cause: Which kind of trouble it speaks for.
        detector: What noticed it: ``missing values``, ``unit change``, ``unseen categories``, ``loss above expected``.
        column: In which column, when in one.
        start: The window it was noticed in.
        end: Its end.
        value: What was measured.
        limit: What was allowed.
        sentence: The finding, for people.
        evidence: Numbers behind it.
    """

    cause: Cause
    detector: str
    column: str
    start: datetime
    end: datetime
    value: float
    limit: float
    sentence: str
    evidence: dict[str, Any] = {}


class Incident(msgspec.Struct, frozen=True):
    """Something is wrong with a model: since when, why, whose it is, what was done.

    Attributes:
        id: Its id.
        number: 1, 2, 3 … in the workspace, for people.
        project: Whose.
        endpoint: Where it shows.
        cause: What kind of trouble.
        title: One line.
        columns: The columns in which it shows.
        dataset: The dataset it comes from, when it comes from one.
        owner: Who is to act.
        opened_at: Since when undrift knows, in event time.
        started_at: Since when it is wrong.
        last_seen_at: Until when it was seen.
        resolved_at: When it was over.
        state: ``open``, ``acknowledged`` by a person, or ``resolved``.
        findings: What was noticed; the first and the latest ones.
        diagnosis: Why, in a sentence; empty until diagnosed.
        action: What was done about it.
        acknowledged_by: Who has seen it.
        useful: Whether a person found it worth the interruption; the precision of alarms is measured by it.
    """

    id: str
    number: int
    project: str
    endpoint: str
    cause: Cause
    title: str
    columns: tuple[str, ...]
    dataset: str | None
    owner: str
    opened_at: datetime
    started_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None
    state: IncidentState
    findings: tuple[Finding, ...]
    diagnosis: str = ""
    action: str = ""
    acknowledged_by: str | None = None
    useful: bool | None = None
