"""Diagnose before doing anything: what broke, or what changed?

A broken input is mended upstream and kept out of training; a changed world is learnt from. The two look alike in a loss
curve, so the inputs are asked first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from undrift.loop.model import Diagnosis
from undrift.monitoring import Incident, Measure, Window

__all__ = ["diagnose_fault", "diagnose_performance"]

_LABEL_SHIFT = 0.25
_MISCALIBRATED = 0.03
_SKILL_LOST = 0.15


def diagnose_fault(incident: Incident) -> Diagnosis:
    """Say what is wrong with the data, from what was noticed."""
    said = dict.fromkeys(finding.sentence for finding in incident.findings[:3])
    where = f"dataset {incident.dataset!r}" if incident.dataset else "the caller"
    return Diagnosis(
        cause="data fault",
        sentence=(
            f"{' '.join(said)} The values come from {where}. A world that changes does not do this: it is a fault "
            f"upstream, and {incident.owner} can mend it. Retraining would bake it in."
        ),
        action="quarantine",
        evidence={
            "detectors": sorted({finding.detector for finding in incident.findings}),
            "columns": incident.columns,
            "dataset": incident.dataset,
        },
    )


def diagnose_performance(
    reference: Measure, recent: Sequence[Window], version: int, drifted: Sequence[str] = ()
) -> Diagnosis:
    """Say why the loss is higher than expected, given that no input is broken.

    The loss of a forecaster has two parts: how uncertain the labels are by themselves (the entropy of their rate), and
    what the model makes of it. The label rate tells the first; calibration and the share of the entropy that the model
    explains (its skill) tell the second.

    Args:
        reference: What the version reached on held-out rows before it went live.
        recent: The windows of the incident, measured, without data faults.
        version: The version that answers.
        drifted: Inputs that moved, over all these windows together.
    """
    measures = [window.versions[str(version)] for window in recent if str(version) in window.versions]
    rows = sum(measure.rows for measure in measures)
    if not rows:
        return Diagnosis("unclear", "No labelled rows are left to explain the drop.", "nothing", {})

    def mean(name: str) -> float:
        return sum(float(getattr(measure, name)) * measure.rows for measure in measures) / rows

    rate, score, loss = mean("label_mean"), mean("score_mean"), mean("loss")
    skill_before = _skill(reference.loss, reference.label_mean)
    skill = _skill(loss, rate)
    evidence = {
        "label_rate": rate,
        "label_rate_before": reference.label_mean,
        "score_mean": score,
        "loss": loss,
        "loss_before": reference.loss,
        "skill": skill,
        "skill_before": skill_before,
        "drifted": list(drifted),
        "rows": rows,
    }
    moved = abs(rate - reference.label_mean) > _LABEL_SHIFT * max(reference.label_mean, 1e-9)
    numbers = f"the label rate went from {reference.label_mean:.3f} to {rate:.3f}, the mean score is {score:.3f}"
    inputs = f" Inputs that moved: {', '.join(drifted)}." if drifted else " No input moved much."
    if skill < skill_before - _SKILL_LOST:
        cause, why = "concept shift", "the model explains less of the labels than it did"
    elif moved and abs(score - rate) > _MISCALIBRATED:
        cause, why = "label shift", "there are more or fewer positives, and the scores did not follow"
    else:
        cause, why = "harder period", "the labels are less certain by themselves, and the model keeps its skill"
    return Diagnosis(
        cause=cause,
        sentence=(
            f"No input is broken. {why.capitalize()}: {numbers}.{inputs} A model that has seen this may do better."
        ),
        action="retrain",
        evidence=evidence,
    )


def _skill(loss: float, rate: float) -> float:
    """Return the share of the labels' entropy that the model explains; 1 is all, 0 is none, below 0 is worse."""
    if not 0 < rate < 1:
        return 0.0
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    return 1.0 - loss / entropy
