"""Points through a pair's smooth maps, there and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime import geometry
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import Size
from dccnet.runtime.video.propagation.field import smooth_targets
from dccnet.runtime.video.propagation.settings import Propagation

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CarriedPoints:
    """N points of the reference, A, in the frame, B. Pixels (x, y)."""

    points_a: Floats  # (N, 2)
    points_b: Floats
    """``(N, 2)``; outside the frame where a point has left it."""
    scores: NDArray[np.float32]
    """``(N,)``: matching probability of the cell of A nearest to each."""
    distances: Floats
    """``(N,)``: pixels of A from each point to itself, carried to B and back (Kalal, Mikolajczyk, Matas,
    "Forward-Backward Error", ICPR 2010)."""
    visible: NDArray[np.bool_]
    """``(N,)``: in the frame, scored and consistent as :class:`Propagation` demands."""
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)


class Maps:
    """Both smooth maps of a pair."""

    def __init__(self, result: Correspondences) -> None:
        self._result = result
        self.size_a, self.size_b = result.size_a, result.size_b
        self.forward = smooth_targets(result, "a")
        """``(hA, wA, 2)``: pixels of B for each cell of A."""
        self.back = smooth_targets(result, "b")
        """``(hB, wB, 2)``: pixels of A for each cell of B."""

    def carry(self, points: Floats, settings: Propagation) -> CarriedPoints:
        """Points ``(N, 2)`` of A to B."""
        there = geometry.transfer(points, self.forward, self.size_a)
        again = geometry.transfer(clipped(there, self.size_b), self.back, self.size_b)
        cell = geometry.pixels_per_cell(self.size_a, self._result.score_a.shape[:2])
        scores = self._result.transfer_scores(points, "a")
        visible = np.asarray(
            inside(there, self.size_b)
            & (np.linalg.norm((again - points) / np.maximum(cell, 1e-9), axis=1) <= settings.max_distance)
            & (scores >= settings.min_score * np.median(self._result.score_a))
        )
        distances = np.linalg.norm(again - points, axis=1)
        return CarriedPoints(points, there, scores, distances, visible)

    def confidence(self, settings: Propagation) -> NDArray[np.float32]:
        """``(H, W)`` of B in [0, 1]: how near to itself a pixel comes, carried to A and back; 1/2 at the
        largest distance of a seen point, 0 where it comes from outside A."""
        grid = self.back.shape[:2]
        here = geometry.cell_pixels((grid[0], grid[1]), self.size_b).reshape(-1, 2)
        there = self.back.reshape(-1, 2)
        again = geometry.transfer(clipped(there, self.size_a), self.forward, self.size_a)
        cell = np.maximum(geometry.pixels_per_cell(self.size_b, (grid[0], grid[1])), 1e-9)
        distance = np.linalg.norm((again - here) / cell, axis=1) / settings.max_distance
        confident = np.exp2(-(distance**2)) * inside(there, self.size_a)
        return geometry.resize(confident.reshape(*grid, 1), self.size_b)[..., 0]


def inside(points: Floats, size: Size) -> NDArray[np.bool_]:
    """``(N,)``: whether each point lies in a picture of (height, width) ``size``."""
    within = (points >= 0) & (points <= [size[1] - 1, size[0] - 1])
    return np.asarray(within.all(axis=1), np.bool_)


def clipped(points: Floats, size: Size) -> Floats:
    """The nearest points in the picture: a map says nothing of what lies outside."""
    return np.clip(points, 0, [size[1] - 1, size[0] - 1])
