"""Points that follow the picture from frame to frame, and return to their match where both part.

Between two frames, little changes, and optical flow (OpenCV's pyramidal Lucas-Kanade, Bouguet 2000) is more
precise than a match with a reference of long ago. But it drifts, and never finds again what it lost: there,
matches take over (measured: docs/video.md).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime import geometry
from dccnet.runtime.arrays import Floats, Image, Points
from dccnet.runtime.geometry import Size
from dccnet.runtime.video.propagation.maps import CarriedPoints, inside

SIDE = 480
"""Longer side of the pictures that points are followed in, in pixels: that of the measurement."""
RETURN = 2.0
"""A point that is followed to the next frame and back ends at most so many of these pixels from its start;
otherwise it is lost."""
PART = 1.0
"""Where a visible match and the followed point are farther apart, in cells, the match is right."""


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """N points in one frame."""

    points: Points  # (N, 2)
    visible: NDArray[np.bool_]  # (N,)
    kept: NDArray[np.bool_]
    """``(N,)``: which were visible in the frame before and were followed to this one."""


class Follower:
    """Follows the points of one reference; those of another start from their matches."""

    def __init__(self) -> None:
        self._owner: object = None
        self._grey: NDArray[np.uint8] | None = None
        self._points: Points | None = None
        self._visible: NDArray[np.bool_] | None = None

    def follow(self, matched: CarriedPoints, image: Image, grid: Size, owner: object) -> CarriedPoints:
        """Where the points are in the frame ``image`` ``(H, W, 3)`` uint8 BGR, the next one.

        ``matched`` is where their matches are in it; ``grid`` is (height, width) in cells, and ``owner``
        the reference. A point is visible if its match is, or if it was visible and is not lost.
        """
        step = self.step(matched.points_b, matched.visible, image, grid, owner)
        return dataclasses.replace(matched, points_b=step.points, visible=step.visible)

    def step(
        self, points: Points, visible: NDArray[np.bool_], image: Image, grid: Size, owner: object
    ) -> Followed:
        """:meth:`follow` for points ``(N, 2)`` by their matches, of which some are ``visible`` ``(N,)``."""
        grey = _small(image)
        size = image.shape[0], image.shape[1]
        step = Followed(points, visible, np.zeros(len(points), np.bool_))
        if self._owner == owner and self._grey is not None and self._grey.shape == grey.shape:
            assert self._points is not None and self._visible is not None
            scale = geometry.extent((grey.shape[0], grey.shape[1])) / geometry.extent(size)
            moved, found = _track(self._grey, grey, self._points * scale)
            moved /= scale
            cell = np.maximum(geometry.pixels_per_cell(size, grid), 1e-9)
            apart = np.linalg.norm((moved - points) / cell, axis=1)
            found &= inside(moved, size)
            by_match = visible & (~found | (apart > PART))
            kept = ~by_match & self._visible & found
            step = Followed(np.where(by_match[:, None], points, moved), visible | kept, kept)
        self._owner, self._grey = owner, grey
        self._points, self._visible = step.points, step.visible
        return step

    def start(self, points: Points, visible: NDArray[np.bool_], image: Image, owner: object) -> None:
        """Go on from points ``(N, 2)`` that are known to be in ``image``, the frame before the next one."""
        self._owner, self._grey = owner, _small(image)
        self._points, self._visible = points, visible


def _small(image: Image) -> NDArray[np.uint8]:
    """Grey, at most :data:`SIDE` pixels long."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    scale = SIDE / max(grey.shape)
    if scale < 1:
        size = [max(round(side * scale), 1) for side in (grey.shape[1], grey.shape[0])]
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)


def _track(
    before: NDArray[np.uint8], after: NDArray[np.uint8], points: Points
) -> tuple[Floats, NDArray[np.bool_]]:
    """Points ``(N, 2)`` in the next frame, and which of them return to where they were."""
    if not len(points):
        return points, np.zeros(0, np.bool_)
    start = points.astype(np.float32)[:, None]
    moved, there, _ = cv2.calcOpticalFlowPyrLK(before, after, start, np.empty_like(start))
    back, home, _ = cv2.calcOpticalFlowPyrLK(after, before, moved, np.empty_like(start))
    tracked = (there[:, 0] == 1) & (home[:, 0] == 1)
    found = tracked & (np.linalg.norm(back - start, axis=2)[:, 0] <= RETURN)
    kept = np.where((there == 1), moved[:, 0], points)
    return np.asarray(kept, np.float64), np.asarray(found, np.bool_)
