"""Follow points through the frames of one video: by motion from frame to frame, corrected by matches.

Lucas-Kanade (Bouguet 2000) follows motion that is smaller than a cell of the network, but drifts, and does
not find again what it lost. A match with the reference does not drift, but trembles by a part of a cell.
Every point has a Kalman filter (Kalman 1960) with one variance: frame to frame it is moved by Lucas-Kanade,
which adds a little variance, and much where the way back does not return to the point (forward-backward
error, Kalal et al. 2010); then it is corrected by the match, whose variance grows as its confidence falls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.annotations.model import there
from dccnet.runtime.arrays import Floats, Image, Points

_DRIFT = 0.02
"""Standard deviation that a frame adds to a point that is followed well, as a share of a cell."""
_LOST = 1.0
"""The same for a point that Lucas-Kanade does not follow."""
_MATCH = 0.5
"""Standard deviation of a match that is certainly right, as a share of a cell."""
_RETURN = 1.0
"""Pixels from the point to where it returns, beyond which it is not followed."""
_OUTLIER = 3.0
"""Standard deviations beyond which a match counts as wrong, and corrects less."""
_WINDOW = (21, 21)
_LEVELS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """K points in the frame before."""

    points: Points  # (K, 2), NaN for points that were never placed
    variance: Floats  # (K,), in square pixels
    confidence: Floats  # (K,)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without NaN."""
        rows = [[None if np.isnan(v) else float(v) for v in row] for row in self.points]
        return {
            "points": rows,
            "variance": self.variance.tolist(),
            "confidence": self.confidence.tolist(),
        }

    @classmethod
    def of_dict(cls, values: dict[str, Any]) -> Tracks:
        """Raises ``KeyError`` or ``ValueError`` for other values."""
        rows = [[np.nan if v is None else v for v in row] for row in values["points"]]
        variance, confidence = (np.asarray(values[k], np.float64) for k in ("variance", "confidence"))
        return cls(np.asarray(rows, np.float64).reshape(-1, 2), variance, confidence)


def started(points: Points, cell: float) -> Tracks:
    """Points ``(K, 2)`` that a person placed."""
    return Tracks(points, np.full(len(points), (_DRIFT * cell) ** 2), np.ones(len(points)))


def grey(image: Image) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


def followed(tracks: Tracks, before: NDArray[np.uint8], after: NDArray[np.uint8], cell: float) -> Tracks:
    """The tracks in the next frame by Lucas-Kanade; what it loses moves as the other points do."""
    points = tracks.points.copy()
    placed = there(points)
    variance = tracks.variance + (_LOST * cell) ** 2
    if placed.any() and before.shape == after.shape:
        start = points[placed]
        moved, found = _flow(before, after, start)
        back, returned = _flow(after, before, moved)
        good = found & returned & (np.linalg.norm(back - start, axis=1) <= _RETURN)
        shift = np.median((moved - start)[good], axis=0) if good.any() else np.zeros(2)
        points[placed] = np.where(good[:, None], moved, start + shift)
        kept = np.flatnonzero(placed)[good]
        variance[kept] = tracks.variance[kept] + (_DRIFT * cell) ** 2
    return Tracks(points, variance, tracks.confidence)


def _flow(
    before: NDArray[np.uint8], after: NDArray[np.uint8], points: Points
) -> tuple[Points, NDArray[np.bool_]]:
    start = points.astype(np.float32)[:, None]
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        before, after, start, np.empty_like(start), winSize=_WINDOW, maxLevel=_LEVELS
    )
    return np.asarray(moved, np.float64)[:, 0], np.asarray(status)[:, 0] == 1


def corrected(tracks: Tracks, places: Points, confidence: Floats, cell: float) -> Tracks:
    """The tracks after a match has put them at ``places`` ``(K, 2)`` with a ``confidence`` ``(K,)``.

    A match far from the track corrects less (the weight of Cauchy's loss), unless the track is unsure.
    The confidence is the match's where it agrees with the track; where it does not, it is what the track
    keeps of its own, which falls as its variance grows.
    """
    told = there(places)
    new = told & ~there(tracks.points)
    points = np.where(new[:, None], places, tracks.points)
    variance = np.where(new, (_MATCH * cell) ** 2, tracks.variance)
    sure = np.clip(confidence, 0.02, 1.0)
    noise = (_MATCH * cell / sure) ** 2
    apart = np.where(told, np.linalg.norm(np.where(told[:, None], places - points, 0.0), axis=1), 0.0)
    noise = noise * (1 + (apart**2) / (_OUTLIER**2 * (variance + noise)))
    gain = np.where(told & ~new, variance / (variance + noise), 0.0)
    moved = points + gain[:, None] * np.where(told[:, None], places - points, 0.0)
    variance = (1 - gain) * variance
    near = np.exp(-0.5 * (apart * (1 - gain) / cell) ** 2)
    own = tracks.confidence * np.exp(-0.5 * variance / cell**2)
    agreed = near * np.maximum(confidence, own) + (1 - near) * np.minimum(confidence, own)
    belief = np.where(told, agreed, own)
    belief = np.where(new, confidence, belief)
    return Tracks(moved, variance, belief)
