"""Carry points by the matches of a pair, to the other picture and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime import geometry
from dccnet.runtime.arrays import Floats, Mask, Points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import Size
from dccnet.runtime.one_way import LATTICE
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
    """``(N,)``: inside the frame, with the consistency and the confidence (or, without it, the score)
    that :class:`Propagation` requires."""
    labels: tuple[str, ...] = ()
    confidence: NDArray[np.float32] | None = None
    """``(N,)`` in [0, 1]; None from a bundle without confidence."""

    def __len__(self) -> int:
        return len(self.scores)


class Maps(ABC):
    """Both ways of a pair's points: from the reference, A, to the frame, B, and back."""

    def __init__(self, result: Correspondences) -> None:
        self.result = result
        self.size_a, self.size_b = result.size_a, result.size_b

    @abstractmethod
    def to_frame(self, points: Points) -> Points:
        """Points of A, ``(N, 2)`` inside it -> ``(N, 2)`` in pixels of B, perhaps outside it."""

    @abstractmethod
    def to_reference(self, points: Points) -> Points:
        """Points of B, ``(N, 2)`` inside it -> ``(N, 2)`` in pixels of A, perhaps outside it."""

    @abstractmethod
    def places(self, mask: Mask) -> NDArray[np.float32]:
        """``(H, W, 2)``: for every pixel of B, where it lies in A, to take its value in ``mask``, A's."""

    def carry(self, points: Points, settings: Propagation) -> CarriedPoints:
        """Carry points ``(N, 2)`` of A to B."""
        points_b = self.to_frame(points)
        returned = self.to_reference(clipped(points_b, self.size_b))
        cell = geometry.pixels_per_cell(self.size_a, self.result.score_a.shape[:2])
        scores = self.result.transfer_scores(points, "a", outside=True)
        confidence = self.result.transfer_confidence(points, "a", outside=True)
        if confidence is None:
            trusted = scores >= settings.min_score * np.median(self.result.score_a)
        else:
            trusted = confidence >= settings.min_confidence
        apart = np.linalg.norm((returned - points) / np.maximum(cell, 1e-9), axis=1)
        visible = np.asarray(inside(points_b, self.size_b) & (apart <= settings.max_distance) & trusted)
        distances = np.linalg.norm(returned - points, axis=1)
        return CarriedPoints(points, points_b, scores, distances, visible, confidence=confidence)

    def confidence(self, settings: Propagation) -> NDArray[np.float32]:
        """``(H, W)`` of B in [0, 1]: the bundle's confidence in the place of each pixel of B in A.

        From a bundle without, how consistent each pixel of B is, carried to A and back: 1 for a pixel that
        returns to itself, 1/2 at the largest distance of a visible point, 0 where the position in A lies
        outside A.
        """
        confident = self.result.confidence_map("b")
        if confident is not None:
            return confident
        grid = self.result.score_b.shape[:2]
        points_b = geometry.cell_pixels((grid[0], grid[1]), self.size_b).reshape(-1, 2)
        points_a = self.to_reference(points_b)
        returned = self.to_frame(clipped(points_a, self.size_a))
        cell = np.maximum(geometry.pixels_per_cell(self.size_b, (grid[0], grid[1])), 1e-9)
        distance = np.linalg.norm((returned - points_b) / cell, axis=1) / settings.max_distance
        confidence = np.exp2(-(distance**2)) * inside(points_a, self.size_a)
        return geometry.resize(confidence.reshape(*grid, 1), self.size_b)[..., 0]


class SingleMatches(Maps):
    """By the matches around each point, as ``dcc match --points`` carries points.

    Results lie inside the pictures: a point that leaves the frame ends at its border, and is lost because
    it does not return from there.
    """

    def to_frame(self, points: Points) -> Points:
        return self.result.transfer(points, "a")

    def to_reference(self, points: Points) -> Points:
        return self.result.transfer(points, "b")

    def places(self, mask: Mask) -> NDArray[np.float32]:
        way, rule = self.result.one_way("b"), self.result.rule
        if rule != "refined":
            return way.dense_targets(rule)
        # Refining every place of a picture takes longer than matching it, and changes nothing where the
        # mask has one value all around. A quarter of a cell more, because pixels lie between the places.
        cell = geometry.pixels_per_cell(self.size_a, way.other_grid)
        return way.dense_targets_refined(_varies(mask, way.farthest_refined() + cell / LATTICE))


class SmoothMaps(Maps):
    """By smooth maps through the mutual matches of the whole picture, for two views of one rigid thing."""

    def __init__(self, result: Correspondences) -> None:
        super().__init__(result)
        self.forward = smooth_targets(result, "a")
        """``(hA, wA, 2)``: position of each cell of A, in pixels of B."""
        self.back = smooth_targets(result, "b")
        """``(hB, wB, 2)``: position of each cell of B, in pixels of A."""

    def to_frame(self, points: Points) -> Points:
        return geometry.transfer(points, self.forward, self.size_a)

    def to_reference(self, points: Points) -> Points:
        return geometry.transfer(points, self.back, self.size_b)

    def places(self, mask: Mask) -> NDArray[np.float32]:
        return geometry.resize(self.back, self.size_b)


def maps_of(result: Correspondences, settings: Propagation) -> Maps:
    """The maps of a pair that ``settings`` choose."""
    return SmoothMaps(result) if settings.map == "smooth" else SingleMatches(result)


def _varies(mask: Mask, reach: Points) -> NDArray[np.bool_]:
    """``(H, W)``: whether the mask has several values within ``reach``, (x, y) in pixels, of each pixel."""
    columns, rows = 2 * np.ceil(reach).astype(int) + 1
    around = np.ones((rows, columns), np.uint8)
    differs = np.asarray(cv2.dilate(mask, around) != cv2.erode(mask, around))
    return np.asarray(differs if differs.ndim == 2 else differs.any(axis=2), np.bool_)


def inside(points: Points, size: Size) -> NDArray[np.bool_]:
    """``(N,)``: whether each point lies in a picture of (height, width) ``size``."""
    within = (points >= 0) & (points <= [size[1] - 1, size[0] - 1])
    return np.asarray(within.all(axis=1), np.bool_)


def clipped(points: Points, size: Size) -> Points:
    """The nearest points inside the picture: maps are defined only there."""
    return np.clip(points, 0, [size[1] - 1, size[0] - 1])
