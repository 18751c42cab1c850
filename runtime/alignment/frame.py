"""The common frame: both pictures, each as large as fits and centred, on one canvas."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from dccnet.runtime.arrays import Floats, Image, Points
from dccnet.runtime.checks import Side
from dccnet.runtime.geometry import Size, mirror


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where a picture lies in the frame."""

    size: Size
    """(height, width) of the picture."""
    scale: float
    """Pixels of the frame for one pixel of the picture."""
    offset: Floats
    """``(2,)``: position in the frame of the picture's first pixel or, if it is mirrored, of its mirror
    image's."""
    mirrored: bool = False
    """Whether the picture lies there mirrored left to right."""

    @classmethod
    def centred(cls, size: Size, frame: Size) -> Placement:
        """A picture of (height, width) ``size``, as large as fits into a frame of such a size."""
        own, whole = np.array(size[::-1], np.float64), np.array(frame[::-1], np.float64)
        scale = float((whole / own).min())
        # The edges of pixels are aligned, not their centres, as when OpenCV resizes a picture.
        return cls(size, scale, (whole - own * scale) / 2 + (scale - 1) / 2)

    def to_frame(self, points: Points) -> Points:
        """Pixels (x, y) of the picture -> of the frame."""
        return self._turned(points) * self.scale + self.offset

    def to_picture(self, points: Points) -> Points:
        """Pixels (x, y) of the frame -> of the picture."""
        return self._turned((points - self.offset) / self.scale)

    def shown(self, image: Image) -> Image:
        """The picture as it lies in the frame, not scaled."""
        return mirror(image) if self.mirrored else image

    def _turned(self, points: Points) -> Points:
        return points * [-1, 1] + [self.size[1] - 1, 0] if self.mirrored else points


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A canvas with both pictures."""

    size: Size
    """(height, width) in pixels."""
    a: Placement
    b: Placement

    @classmethod
    def around(cls, size_a: Size, size_b: Size, longest: int | None = None) -> Frame:
        """Of the mean shape of both pictures and the area of the larger, or with ``longest`` pixels along
        its longer side."""
        shape = (size_a[1] / size_a[0] * size_b[1] / size_b[0]) ** 0.5  # width / height
        height = (max(size_a[0] * size_a[1], size_b[0] * size_b[1]) / shape) ** 0.5
        if longest is not None:
            height = longest / max(shape, 1)
        size = max(round(height), 2), max(round(height * shape), 2)
        return cls(size, Placement.centred(size_a, size), Placement.centred(size_b, size))

    def mirrored(self, mirrored: bool) -> Frame:
        """The same with A mirrored left to right, or as it is."""
        return dataclasses.replace(self, a=dataclasses.replace(self.a, mirrored=mirrored))

    def sides(self, side: Side) -> tuple[Placement, Placement]:
        """The picture ``side``, and the other."""
        return (self.a, self.b) if side == "a" else (self.b, self.a)
