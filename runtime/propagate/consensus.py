"""Where several references put one point, and how sure that is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.annotations.model import there
from dccnet.runtime.arrays import Floats, Points


def agreed(places: Floats, weights: Floats, near: float) -> tuple[Points, NDArray[np.float32]]:
    """The place that most references agree on, for each point, and the confidence in it.

    ``places`` is ``(R, K, 2)``: where each of R references puts each of K points, NaN where it lacks the
    point. ``weights`` ``(R, K)`` is the confidence of each in [0, 1]. ``near`` is a distance in pixels:
    votes for a place fade with a Gaussian of this standard deviation, so that one reference that errs far
    does not move the others.

    Returns ``(K, 2)`` and ``(K,)``; NaN and 0 for a point that no reference has. Around the place with the
    most votes, votes are averaged. The confidence is the mean of the references', each weighted by itself,
    and each multiplied by how near its place is: references that disagree lower it, and one alone keeps its
    own.
    """
    known = there(places)
    strength = np.where(known, np.maximum(weights, 1e-6), 0.0)
    filled = np.where(known[..., None], places, 0.0)
    apart = np.linalg.norm(filled[:, None] - filled[None], axis=3)  # (R, R, K)
    votes = np.exp(-0.5 * (apart / near) ** 2) * strength[None]
    totals = np.where(known, votes.sum(axis=1), -1.0)  # (R, K)
    best = totals.argmax(axis=0)
    columns = np.arange(places.shape[1])
    around = votes[best, :, columns].T  # (R, K): the votes for the best place
    sums = around.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        points = (around[..., None] * filled).sum(axis=0) / sums[:, None]
        nearness = np.exp(-0.5 * (np.linalg.norm(filled - points[None], axis=2) / near) ** 2)
        confidence = (strength * strength * nearness).sum(axis=0) / strength.sum(axis=0)
    nobody = ~known.any(axis=0)
    points[nobody], confidence[nobody] = np.nan, 0.0
    return points, np.asarray(confidence, np.float32)
