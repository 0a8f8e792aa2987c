"""Champion against challenger on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from undrift.core.errors import Invalid
from undrift.evaluation.metrics import row_losses

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PairedComparison", "block_means", "compare_paired"]


class PairedComparison(msgspec.Struct, frozen=True):
    """How much lower the challenger's loss is on the same rows.

    Attributes:
        metric: Of which loss.
        rows: How many rows.
        blocks: How many blocks of rows that share their fate, such as days.
        champion_loss: Mean loss of the champion; lower is better.
        challenger_loss: Mean loss of the challenger; lower is better.
        gain: Champion's minus challenger's: above 0 the challenger is better.
        lower: Of the gain, from the block bootstrap; minus infinity where there is one block only.
        upper: Of the gain; infinity where there is one block only.
        confidence: Of the interval.
    """

    metric: str
    rows: int
    blocks: int
    champion_loss: float
    challenger_loss: float
    gain: float
    lower: float
    upper: float
    confidence: float


def block_means(values: NDArray[np.float64], blocks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of the values in each block, in the order of the blocks.

    >>> block_means(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1])).tolist()
    [2.0, 5.0]
    """
    _, places = np.unique(blocks, return_inverse=True)
    return np.asarray(np.bincount(places, weights=values) / np.bincount(places))


def compare_paired(
    metric: str,
    labels: NDArray[np.float64],
    champion: NDArray[np.float64],
    challenger: NDArray[np.float64],
    blocks: NDArray[np.int64],
    *,
    confidence: float = 0.9,
    draws: int = 2000,
    seed: int = 0,
) -> PairedComparison:
    """Compare two models' scores for the same rows, resampling whole blocks because rows within one share their fate.

    Args:
        metric: ``log_loss`` or ``mean_absolute_error``.
        labels: Truth, of shape (rows,).
        champion: Scores of the champion, of shape (rows,).
        challenger: Scores of the challenger, of shape (rows,).
        blocks: The block of each row, of shape (rows,).
        confidence: Of the interval of the gain.
        draws: Bootstrap draws (Efron's percentile interval over blocks).
        seed: Makes the interval the same every time.

    Raises:
        Invalid: There are no rows, or their numbers differ.
    """
    if not len(labels) or not len(labels) == len(champion) == len(challenger) == len(blocks):
        raise Invalid("A paired comparison needs the same rows, at least one, for both models.")
    before, after = row_losses(metric, labels, champion), row_losses(metric, labels, challenger)
    names, places = np.unique(blocks, return_inverse=True)
    sums = np.bincount(places, weights=before - after)
    sizes = np.bincount(places).astype(np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(names), size=(draws, len(names)))
    gains = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(gains, [(1 - confidence) / 2, (1 + confidence) / 2])
    if len(names) == 1:
        # Drawn again and again it is always the same: that says nothing about how much blocks differ.
        low, high = -np.inf, np.inf
    return PairedComparison(
        metric=metric,
        rows=len(labels),
        blocks=len(names),
        champion_loss=float(before.mean()),
        challenger_loss=float(after.mean()),
        gain=float((before - after).mean()),
        lower=float(low),
        upper=float(high),
        confidence=confidence,
    )
