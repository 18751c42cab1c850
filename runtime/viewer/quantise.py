"""Quantising scores to bytes, which is precise enough for a screen, and measuring the error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Bytes


class QuantisedScores(NamedTuple):
    """Scores of each cell for the other picture's cells, as steps between the cell's extremes."""

    steps: Bytes  # (cells, others), 0 to levels
    lowest: NDArray[np.float32]  # (cells,)
    highest: NDArray[np.float32]  # (cells,)
    largest_error: float
    """Largest difference between a score and what :func:`restore` returns for it."""


def quantise(scores: NDArray[np.float32], levels: int) -> QuantisedScores:
    """Probabilities ``(cells, others)`` -> steps from 0 (a cell's lowest) to ``levels`` (its highest).

    Steps are uniform in the square root, so that weak alternatives beside a sharp best match stay visible.
    The error of a score is then at most ``1 / levels`` of the range between its cell's extremes.
    """
    lowest, highest = scores.min(axis=1), scores.max(axis=1)
    span = np.maximum(highest - lowest, np.finfo(np.float32).tiny)
    steps = np.rint(np.sqrt((scores - lowest[:, None]) / span[:, None]) * levels).astype(np.uint8)
    error = np.abs(restore(steps, lowest, highest, levels) - scores).max()
    return QuantisedScores(steps, lowest, highest, float(error))


def restore(
    steps: Bytes, lowest: NDArray[np.float32], highest: NDArray[np.float32], levels: int
) -> NDArray[np.float32]:
    """Scores ``(cells, others)`` as the page computes them from the steps."""
    share = (steps.astype(np.float32) / np.float32(levels)) ** 2
    restored: NDArray[np.float32] = lowest[:, None] + share * (highest - lowest)[:, None]
    return restored
