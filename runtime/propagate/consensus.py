"""Where several references put one point, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.annotations.model import there
from dccnet.runtime.arrays import Floats, Points


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """K points."""

    points: Points
    """``(K, 2)``, NaN for a point that no reference has."""
    confidence: NDArray[np.float32]
    """``(K,)`` in [0, 1], 0 for a point that no reference has."""


def agreed(places: Floats, weights: Floats, near: float, within: float) -> Agreement:
    """The place that most references agree on, for each point, and the confidence in it.

    ``places`` is ``(R, K, 2)``: where each of R references puts each of K points, NaN where it lacks the
    point. ``weights`` ``(R, K)`` is the confidence of each in [0, 1]. ``near`` and ``within`` are pixels:
    votes for a place fade with a Gaussian of the standard deviation ``near``, so that one reference that
    errs far does not move the others; the place is the mean of the votes around the best one.

    Its confidence is that of the most confident reference near it, times the root of the share of all
    confidence that is near: ``within`` is the standard deviation of this nearness. One reference alone
    keeps its own confidence; references that disagree lower it (chosen and measured: docs/propagate.md).
    """
    known = there(places)
    strength = np.where(known, np.maximum(weights, 1e-6), 0.0)
    filled = np.where(known[..., None], places, 0.0)
    apart = np.linalg.norm(filled[:, None] - filled[None], axis=3)  # (R, R, K)
    votes = np.exp(-0.5 * (apart / near) ** 2) * strength[None]
    totals = np.where(known, votes.sum(axis=1), -1.0)  # (R, K)
    best = totals.argmax(axis=0)
    around = votes[best, :, np.arange(places.shape[1])].T  # (R, K): the votes for the best place
    sums = np.maximum(around.sum(axis=0), 1e-12)
    points = (around[..., None] * filled).sum(axis=0) / sums[:, None]
    nearness = np.exp(-0.5 * (np.linalg.norm(filled - points, axis=2) / within) ** 2)
    agreeing = strength * nearness
    share = agreeing.sum(axis=0) / np.maximum(strength.sum(axis=0), 1e-12)
    confidence = agreeing.max(axis=0) * np.sqrt(share)
    nobody = ~known.any(axis=0)
    points[nobody], confidence[nobody] = np.nan, 0.0
    return Agreement(points, np.asarray(confidence, np.float32))
