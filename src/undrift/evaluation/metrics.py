"""Measures of predictions; the name carries the direction: when things improve, a loss falls and a score rises."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from undrift.core.errors import Invalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "LOWER_IS_BETTER",
    "METRICS",
    "check_row_metric",
    "log_loss",
    "log_losses",
    "mean_absolute_error",
    "roc_auc",
    "row_losses",
]

_TINY = 1e-6


def log_losses(labels: Floats, scores: Floats) -> Floats:
    """Return the logarithmic loss of every row, in nats; scores are kept 1e-6 away from 0 and 1.

    Args:
        labels: Truth, 0 or 1, of shape (rows,).
        scores: Probability of 1, of shape (rows,).

    >>> log_losses(np.array([1.0, 0.0]), np.array([0.5, 0.0])).round(4).tolist()
    [0.6931, 0.0]
    """
    sure = np.clip(scores, _TINY, 1.0 - _TINY)
    return np.asarray(-(labels * np.log(sure) + (1.0 - labels) * np.log1p(-sure)))


def log_loss(labels: Floats, scores: Floats) -> float:
    """Return the mean logarithmic loss in nats: 0 is perfect, lower is better; NaN without rows."""
    return float(log_losses(labels, scores).mean()) if len(labels) else float("nan")


def roc_auc(labels: Floats, scores: Floats) -> float:
    """Return the chance that a positive row scores higher than a negative one: 0.5 is guessing, higher is better.

    By ranks, ties counted half (Hanley and McNeil 1982, Radiology 143). NaN when only one class is there.

    >>> roc_auc(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    return float((ranks[places][labels == 1].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def mean_absolute_error(labels: Floats, scores: Floats) -> float:
    """Return the mean distance between truth and prediction: lower is better; NaN without rows."""
    return float(np.abs(labels - scores).mean()) if len(labels) else float("nan")


METRICS: dict[str, Callable[[Floats, Floats], float]] = {
    "log_loss": log_loss,
    "roc_auc": roc_auc,
    "mean_absolute_error": mean_absolute_error,
}
"""By name: a function of labels and scores."""

LOWER_IS_BETTER = frozenset({"log_loss", "mean_absolute_error"})


def row_losses(metric: str, labels: Floats, scores: Floats) -> Floats:
    """Return what each row adds to a metric that is a mean over rows.

    Raises:
        Invalid: The metric is not such a mean; a comparison row by row needs one.
    """
    check_row_metric(metric)
    return log_losses(labels, scores) if metric == "log_loss" else np.abs(labels - scores)


def check_row_metric(metric: str) -> None:
    """Return when a metric is a mean over rows.

    Raises:
        Invalid: It is not.
    """
    if metric not in LOWER_IS_BETTER:
        raise Invalid(
            f"{metric!r} is no mean over rows.", next_step=f"Compare models by {' or '.join(sorted(LOWER_IS_BETTER))}."
        )
