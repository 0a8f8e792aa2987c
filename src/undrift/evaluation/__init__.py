"""Evaluation: how good a model is, whether another is better on the same rows, and whether that is enough to go on.

Words: *metric* (a loss falls, a score rises), *block* (rows that share their fate, such as a day), *paired
comparison*, *confidence sequence* (valid at every look), *gate*, *verdict* (pass, fail, not enough evidence). Pure
functions of arrays.
"""

from undrift.evaluation.gates import (
    AtLeast,
    BeatsChampion,
    Evidence,
    Gate,
    GateResult,
    NoSegmentWorseThan,
    Verdict,
    judge,
    summary,
)
from undrift.evaluation.metrics import LOWER_IS_BETTER, METRICS, log_loss, log_losses, roc_auc, row_losses
from undrift.evaluation.paired import PairedComparison, block_means, compare_paired
from undrift.evaluation.sequential import ConfidenceSequence, confidence_sequence

__all__ = [
    "LOWER_IS_BETTER",
    "METRICS",
    "AtLeast",
    "BeatsChampion",
    "ConfidenceSequence",
    "Evidence",
    "Gate",
    "GateResult",
    "NoSegmentWorseThan",
    "PairedComparison",
    "Verdict",
    "block_means",
    "compare_paired",
    "confidence_sequence",
    "judge",
    "log_loss",
    "log_losses",
    "roc_auc",
    "row_losses",
    "summary",
]
