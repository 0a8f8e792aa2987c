"""Gates: what a model version must show before it may go on; the same in CI, in retraining and in a rollout.

Each gate gives one of three verdicts. *Not enough evidence* is an answer of its own: it neither lets a model pass nor
says that the model is bad.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from undrift.core.errors import Invalid
from undrift.evaluation.metrics import LOWER_IS_BETTER, METRICS, check_row_metric, row_losses
from undrift.evaluation.paired import compare_paired

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "AtLeast",
    "BeatsChampion",
    "Evidence",
    "Gate",
    "GateResult",
    "NoSegmentWorseThan",
    "Verdict",
    "judge",
    "summary",
]

Verdict = Literal["pass", "fail", "not enough evidence"]

_MIN_ROWS = 200
_MIN_SEGMENT_ROWS = 100
_MIN_BLOCKS = 5


class AtLeast(msgspec.Struct, frozen=True, tag="at_least"):
    """A metric must reach a value: at least, or at most where lower is better."""

    metric: str
    value: float

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise Invalid(f"There is no metric {self.metric!r}.", next_step=f"There are {', '.join(METRICS)}.")


class BeatsChampion(msgspec.Struct, frozen=True, tag="beats_champion"):
    """On the same recent rows the loss must be lower than the champion's, by more than ``by``; a first model passes."""

    metric: str
    by: float = 0.0

    def __post_init__(self) -> None:
        check_row_metric(self.metric)


class NoSegmentWorseThan(msgspec.Struct, frozen=True, tag="no_segment_worse_than"):
    """In no segment may the loss be higher than the champion's by more than ``by``, as far as rows can tell."""

    column: str
    metric: str
    by: float

    def __post_init__(self) -> None:
        check_row_metric(self.metric)


Gate = AtLeast | BeatsChampion | NoSegmentWorseThan


class Evidence(msgspec.Struct, frozen=True):
    """What the gates look at: held-out rows that neither model was trained on.

    Attributes:
        labels: Truth, of shape (rows,).
        challenger: Scores of the model to judge, of shape (rows,).
        champion: Scores of the champion for the same rows; None for a first model.
        blocks: The block of each row, such as its day, of shape (rows,).
        segments: By column: the segment of each row.
    """

    labels: NDArray[np.float64]
    challenger: NDArray[np.float64]
    champion: NDArray[np.float64] | None
    blocks: NDArray[np.int64]
    segments: Mapping[str, NDArray[np.object_]] = {}


class GateResult(msgspec.Struct, frozen=True):
    """What a gate found.

    Attributes:
        gate: What was asked, in words.
        verdict: ``pass``, ``fail`` or ``not enough evidence``.
        value: What was measured.
        sentence: The finding, for people.
    """

    gate: str
    verdict: Verdict
    value: float | None
    sentence: str


def judge(gates: Sequence[Gate], evidence: Evidence) -> list[GateResult]:
    """Put the evidence before each gate."""
    return [_judge(gate, evidence) for gate in gates]


def summary(results: Sequence[GateResult]) -> Verdict:
    """Return the verdict over all gates: one failure fails, else one doubt is a doubt.

    >>> summary([GateResult("a", "pass", None, ""), GateResult("b", "not enough evidence", None, "")])
    'not enough evidence'
    """
    verdicts = {result.verdict for result in results}
    if "fail" in verdicts:
        return "fail"
    return "not enough evidence" if "not enough evidence" in verdicts else "pass"


def _judge(gate: Gate, evidence: Evidence) -> GateResult:
    if isinstance(gate, AtLeast):
        return _at_least(gate, evidence)
    if isinstance(gate, BeatsChampion):
        return _beats_champion(gate, evidence)
    return _no_segment_worse(gate, evidence)


def _at_least(gate: AtLeast, evidence: Evidence) -> GateResult:
    lower = gate.metric in LOWER_IS_BETTER
    asked = f"{gate.metric} {'at most' if lower else 'at least'} {gate.value:g}"
    value = METRICS[gate.metric](evidence.labels, evidence.challenger)
    if math.isnan(value) or len(evidence.labels) < _MIN_ROWS:
        rows = len(evidence.labels)
        return GateResult(asked, "not enough evidence", None, f"{rows} rows are too few to measure {gate.metric}.")
    good = value <= gate.value if lower else value >= gate.value
    return GateResult(asked, "pass" if good else "fail", value, f"{gate.metric} is {value:.4f}; asked {asked}.")


def _beats_champion(gate: BeatsChampion, evidence: Evidence) -> GateResult:
    asked = f"{gate.metric} lower than the champion's" + (f" by {gate.by:g}" if gate.by else "")
    if evidence.champion is None:
        return GateResult(asked, "pass", None, "There is no champion yet.")
    if len(evidence.labels) < _MIN_ROWS or len(np.unique(evidence.blocks)) < _MIN_BLOCKS:
        sentence = f"{len(evidence.labels)} rows in {len(np.unique(evidence.blocks))} blocks decide nothing."
        return GateResult(asked, "not enough evidence", None, sentence)
    found = compare_paired(gate.metric, evidence.labels, evidence.champion, evidence.challenger, evidence.blocks)
    sentence = (
        f"On the same {found.rows} rows the loss is {found.challenger_loss:.4f}, the champion's "
        f"{found.champion_loss:.4f}: gain {found.gain:+.4f} [{found.lower:+.4f}, {found.upper:+.4f}]."
    )
    return GateResult(asked, "pass" if found.gain > gate.by else "fail", found.gain, sentence)


def _no_segment_worse(gate: NoSegmentWorseThan, evidence: Evidence) -> GateResult:
    asked = f"no {gate.column} worse than the champion by {gate.by:g} {gate.metric}"
    if evidence.champion is None:
        return GateResult(asked, "pass", None, "There is no champion yet.")
    if gate.column not in evidence.segments:
        raise Invalid(
            f"The gate on {gate.column!r} needs that column.",
            next_step=f"The evidence has {', '.join(evidence.segments) or 'no segments'}.",
        )
    segments = evidence.segments[gate.column]
    loss = row_losses(gate.metric, evidence.labels, evidence.challenger)
    loss_before = row_losses(gate.metric, evidence.labels, evidence.champion)
    worst, looked_at = None, 0
    for name in np.unique(segments.astype(str)):
        rows = segments.astype(str) == name
        if rows.sum() < _MIN_SEGMENT_ROWS:
            continue
        looked_at += 1
        worse = loss[rows] - loss_before[rows]
        # Only what the rows can show counts: the lower end of a one-sided 95 % interval.
        sure = float(worse.mean() - 1.645 * worse.std(ddof=1) / math.sqrt(rows.sum()))
        if worst is None or sure > worst[1]:
            worst = (str(name), sure, float(worse.mean()))
    if worst is None:
        return GateResult(asked, "not enough evidence", None, f"No {gate.column} has {_MIN_SEGMENT_ROWS} rows.")
    name, sure, mean = worst
    sentence = f"Of {looked_at} segments {gate.column} = {name} changed worst: {mean:+.4f}, surely above {sure:+.4f}."
    return GateResult(asked, "fail" if sure > gate.by else "pass", mean, sentence)
