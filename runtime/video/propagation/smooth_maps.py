"""Carry points through the smooth maps of a pair, to the other picture and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime import geometry
from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import Size
from dccnet.runtime.video.propagation.moving_least_squares import smooth_targets
from dccnet.runtime.video.propagation.settings import Propagation


@dataclass(frozen=True, slots=True, eq=False)
class CarriedPoints:
    """N points of the reference, A, in the frame, B. Pixels (x, y)."""

    points_a: Points  # (N, 2)
    points_b: Points
    """``(N, 2)``; may lie outside the frame."""
    scores: NDArray[np.float32]
    """``(N,)``: matching probability of the cell of A nearest to each."""
    distances: Floats
    """``(N,)``: forward-backward error, the distance in pixels of A between each point and itself carried
    to B and back (Kalal, Mikolajczyk, Matas, "Forward-Backward Error", ICPR 2010)."""
    visible: NDArray[np.bool_]
    """``(N,)``: inside the frame, with the score and the consistency that :class:`Propagation` requires."""
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)


class SmoothMaps:
    """Both smooth maps of a pair, from A to B and back."""

    def __init__(self, result: Correspondences) -> None:
        self._result = result
        self.size_a, self.size_b = result.size_a, result.size_b
        self.forward = smooth_targets(result, "a")
        """``(hA, wA, 2)``: position of each cell of A, in pixels of B."""
        self.back = smooth_targets(result, "b")
        """``(hB, wB, 2)``: position of each cell of B, in pixels of A."""

    def carry(self, points: Points, settings: Propagation) -> CarriedPoints:
        """Carry points ``(N, 2)`` of A to B."""
        points_b = geometry.transfer(points, self.forward, self.size_a)
        returned = geometry.transfer(clipped(points_b, self.size_b), self.back, self.size_b)
        cell = geometry.pixels_per_cell(self.size_a, self._result.score_a.shape[:2])
        scores = self._result.transfer_scores(points, "a", outside=True)
        visible = np.asarray(
            inside(points_b, self.size_b)
            & (
                np.linalg.norm((returned - points) / np.maximum(cell, 1e-9), axis=1)
                <= settings.max_distance
            )
            & (scores >= settings.min_score * np.median(self._result.score_a))
        )
        distances = np.linalg.norm(returned - points, axis=1)
        return CarriedPoints(points, points_b, scores, distances, visible)

    def confidence(self, settings: Propagation) -> NDArray[np.float32]:
        """``(H, W)`` of B in [0, 1]: how consistent each pixel of B is, carried to A and back.

        1 for a pixel that returns to itself, 1/2 at the largest distance of a visible point, 0 where the
        position in A lies outside A.
        """
        grid = self.back.shape[:2]
        points_b = geometry.cell_pixels((grid[0], grid[1]), self.size_b).reshape(-1, 2)
        points_a = self.back.reshape(-1, 2)
        returned = geometry.transfer(clipped(points_a, self.size_a), self.forward, self.size_a)
        cell = np.maximum(geometry.pixels_per_cell(self.size_b, (grid[0], grid[1])), 1e-9)
        distance = np.linalg.norm((returned - points_b) / cell, axis=1) / settings.max_distance
        confidence = np.exp2(-(distance**2)) * inside(points_a, self.size_a)
        return geometry.resize(confidence.reshape(*grid, 1), self.size_b)[..., 0]


def inside(points: Points, size: Size) -> NDArray[np.bool_]:
    """``(N,)``: whether each point lies in a picture of (height, width) ``size``."""
    within = (points >= 0) & (points <= [size[1] - 1, size[0] - 1])
    return np.asarray(within.all(axis=1), np.bool_)


def clipped(points: Points, size: Size) -> Points:
    """The nearest points inside the picture: maps are defined only there."""
    return np.clip(points, 0, [size[1] - 1, size[0] - 1])
