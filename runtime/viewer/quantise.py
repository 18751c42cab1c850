"""Scores as bytes: what a screen can show, and how far that is from the truth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Steps(NamedTuple):
    """Scores of every cell over the other picture's cells, in steps between each cell's extremes."""

    steps: NDArray[np.uint8]  # (cells, others), 0 to levels
    lowest: NDArray[np.float32]  # (cells,)
    highest: NDArray[np.float32]  # (cells,)
    largest_error: float
    """Of all scores that :func:`restore` gives back."""


def quantise(scores: NDArray[np.float32], levels: int) -> Steps:
    """``(cells, others)`` probabilities -> steps from 0 (the cell's lowest) to ``levels`` (its highest).

    Steps are equal in the square root, so that weak alternatives beside a sharp best match are seen. A
    score is then off by at most ``1 / levels`` of the span between its cell's extremes.
    """
    lowest, highest = scores.min(axis=1), scores.max(axis=1)
    span = np.maximum(highest - lowest, np.finfo(np.float32).tiny)
    steps = np.rint(np.sqrt((scores - lowest[:, None]) / span[:, None]) * levels).astype(np.uint8)
    error = np.abs(restore(steps, lowest, highest, levels) - scores).max()
    return Steps(steps, lowest, highest, float(error))


def restore(
    steps: NDArray[np.uint8], lowest: NDArray[np.float32], highest: NDArray[np.float32], levels: int
) -> NDArray[np.float32]:
    """What the page computes from the steps: ``(cells, others)``."""
    share = (steps.astype(np.float32) / np.float32(levels)) ** 2
    restored: NDArray[np.float32] = lowest[:, None] + share * (highest - lowest)[:, None]
    return restored
