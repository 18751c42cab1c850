"""Views of a picture, and which of them are matched with each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dccnet.runtime.arrays import Array, Floats, Image, Points
from dccnet.runtime.frames import FrameFormat
from dccnet.runtime.geometry import Size, mirror


@dataclass(frozen=True, slots=True)
class View:
    """A picture as it is, mirrored, zoomed or turned; the middle stays where it is.

    Frames of all views have the size of the picture's own frame: what a zoomed picture shows beyond it is
    cut off, and where it shows less, the pixels at its border are repeated.
    """

    zoom: float = 1.0
    """How many times as large things are."""
    degrees: float = 0.0
    """By how much things are turned, counter-clockwise."""
    mirrored: bool = False
    """Whether the picture is mirrored left to right, before all else."""

    @property
    def turned_over(self) -> View:
        """The same view of the mirrored picture."""
        return replace(self, mirrored=not self.mirrored)

    def frame(self, image: Image, frames: FrameFormat) -> Array:
        """What the encoder takes, of a picture ``(H, W, 3)`` uint8 BGR."""
        image = mirror(image) if self.mirrored else image
        inner = self._inner(frames.size)
        frame = replace(frames, size=inner).of(image)
        for axis, (size, whole) in enumerate(zip(inner, frames.size, strict=True)):
            frame = _cut_or_padded(frame, axis, (size - whole) // 2)
        if self.degrees:
            height, width = frames.size
            turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), self.degrees, 1.0)
            # OpenCV's width comes first.
            frame = cv2.warpAffine(frame, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
        return np.ascontiguousarray(frame)

    def places(self, points: Points, frame: Size, grid: Size) -> Points:
        """Where points ``(..., 2)`` of the picture lie in this view, both (x, y) in cells of ``grid``.

        ``frame`` is the (height, width) of frames in pixels. The result may lie outside the grid.
        """
        middle = _middle(grid)
        apart = points - middle
        if self.mirrored:
            apart = apart * [-1, 1]
        places: Points = apart @ self._linear(frame, grid).T + middle
        return places

    def places_back(self, points: Points, frame: Size, grid: Size) -> Points:
        """The opposite of :meth:`places`."""
        middle = _middle(grid)
        apart = (points - middle) @ np.linalg.inv(self._linear(frame, grid)).T
        if self.mirrored:
            apart = apart * [-1, 1]
        places: Points = apart + middle
        return places

    def _inner(self, frame: Size) -> Size:
        """(height, width) of the whole picture at this zoom; it differs from ``frame`` by even numbers, so
        that the middle stays."""
        height, width = (size + 2 * round((self.zoom - 1) * size / 2) for size in frame)
        return height, width

    def _linear(self, frame: Size, grid: Size) -> Floats:
        """``(2, 2)``: steps (x, y) in cells of the picture -> steps in cells of this view."""
        (height, width), (inner_height, inner_width) = frame, self._inner(frame)
        # Frames have aligned corners: the first and the last pixel are those of the picture.
        zoom = np.diag([(inner_width - 1) / max(width - 1, 1), (inner_height - 1) / max(height - 1, 1)])
        angle = math.radians(self.degrees)
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        pixels = np.diag([(width - 1) / max(grid[1] - 1, 1), (height - 1) / max(grid[0] - 1, 1)])
        linear: Floats = np.linalg.inv(pixels) @ turn @ zoom @ pixels
        return linear


AS_IT_IS, MIRRORED = View(), View(mirrored=True)
_NEARER, _FARTHER, _TURNED = View(zoom=1.25), View(zoom=0.8), View(degrees=12)
PAIRS: dict[int, tuple[tuple[View, View], ...]] = {
    1: ((AS_IT_IS, AS_IT_IS),),
    3: ((AS_IT_IS, AS_IT_IS), (AS_IT_IS, _NEARER), (_NEARER, AS_IT_IS)),
    8: (
        (AS_IT_IS, AS_IT_IS),
        (MIRRORED, MIRRORED),
        *(pair for view in (_NEARER, _FARTHER, _TURNED) for pair in ((AS_IT_IS, view), (view, AS_IT_IS))),
    ),
}
"""For each of :data:`~dccnet.runtime.views.choices.VIEWS`, the views of A and B that are matched; A and B
can be swapped. Chosen by measurement (docs/views.md)."""


def views_of_target(count: int) -> tuple[View, ...]:
    """The views of B that ``count`` matches need, the picture as it is first."""
    return tuple(dict.fromkeys(view for pair in PAIRS[count] for view in pair))


def views_of_source(count: int, mirrored: bool) -> tuple[View, ...]:
    """The same of A, and with ``mirrored`` those of its mirror image, too."""
    views = views_of_target(count)
    turned = (view.turned_over for view in views) if mirrored else ()
    return tuple(dict.fromkeys((*views, *turned)))


def _middle(grid: Size) -> Floats:
    return np.array([(grid[1] - 1) / 2, (grid[0] - 1) / 2])


def _cut_or_padded(frame: Array, axis: int, margin: int) -> Array:
    """Without ``margin`` pixels at both ends of an axis or, where it is negative, with so many more."""
    if margin < 0:
        around = [(0, 0)] * frame.ndim
        around[axis] = (-margin, -margin)
        return np.pad(frame, around, mode="edge")
    return frame.take(range(margin, frame.shape[axis] - margin), axis=axis) if margin else frame
