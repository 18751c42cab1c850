"""Masks as the lengths of their runs, down the columns, as COCO has them: small, and never changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Boxes, Points
from dccnet.runtime.geometry import Size
from dccnet.runtime.pixel_limit import max_pixels


def check_size(size: Size) -> None:
    """Raises ``ValueError`` for a picture of more pixels than may be, before they take memory."""
    if size[0] * size[1] > max_pixels():
        raise ValueError(f"a mask of {size[1]}x{size[0]} has more pixels than --max-pixels")


@dataclass(frozen=True, slots=True)
class RunLengths:
    """A mask of (height, width) ``size``: lengths of runs of 0 and 1 in turn, the first of 0.

    Raises ``ValueError`` where the lengths do not fill the picture.
    """

    size: Size
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if min(self.counts, default=0) < 0 or sum(self.counts) != self.size[0] * self.size[1]:
            raise ValueError(
                f"the runs of a mask have {sum(self.counts)} pixels, "
                f"its picture {self.size[1]}x{self.size[0]}"
            )
        check_size(self.size)

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> RunLengths:
        """From ``(H, W)``, by what is not 0."""
        pixels = np.asarray(mask != 0).ravel(order="F")
        changes = np.flatnonzero(np.diff(pixels)) + 1
        counts = np.diff([0, *changes, len(pixels)]).tolist()
        if len(pixels) and pixels[0]:
            counts.insert(0, 0)
        return cls((mask.shape[0], mask.shape[1]), tuple(counts))

    @classmethod
    def of_polygons(cls, polygons: Sequence[Sequence[float]], size: Size) -> RunLengths:
        """From polygons ``x, y, x, y, …`` whose integers are the corners of pixels, as COCO's are.

        Raises ``ValueError`` for a polygon that is none.
        """
        check_size(size)
        mask = np.zeros(size, bool)
        for polygon in polygons:
            corners = np.asarray(polygon, np.float64).reshape(-1, 2)
            if len(corners) < 3 or not np.isfinite(corners).all():
                raise ValueError("a polygon has at least three corners, all of finite numbers")
            _fill(mask, corners)
        return cls.of(mask)

    @classmethod
    def of_text(cls, text: str, size: Size) -> RunLengths:
        """From COCO's compressed counts: six bits a character, differences from two runs before."""
        counts: list[int] = []
        value = shift = 0
        for character in text:
            bits = ord(character) - 48
            if not 0 <= bits < 64 or shift > 40:
                raise ValueError("the counts of a mask are no text of COCO's run lengths")
            value |= (bits & 31) << shift
            shift += 5
            if bits & 32:
                continue
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
        return cls(size, tuple(counts))

    def array(self) -> NDArray[np.bool_]:
        """``(H, W)``."""
        values = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(values, self.counts).reshape(self.size, order="F")

    @property
    def area(self) -> int:
        """Pixels in the mask."""
        return sum(self.counts[1::2])

    def box(self) -> Boxes:
        """``(4,)``: x, y, width, height of the pixels in the mask."""
        x, y, width, height = cv2.boundingRect(self.array().astype(np.uint8))
        return np.array([x, y, width, height], np.float64)


def _fill(mask: NDArray[np.bool_], corners: Points) -> None:
    """Set the pixels of ``(H, W)`` whose centres are in a polygon ``(N, 2)``, by crossings of its edges.

    Not by OpenCV, which also fills pixels that the outline touches.
    """
    ends = np.roll(corners, -1, axis=0)
    height, width = mask.shape
    first = max(0, math.ceil(corners[:, 1].min() - 0.5))
    for row in range(first, min(height, math.ceil(corners[:, 1].max() - 0.5))):
        at = row + 0.5
        crossing = (corners[:, 1] <= at) != (ends[:, 1] <= at)
        (x1, y1), (x2, y2) = corners[crossing].T, ends[crossing].T
        places = np.sort(x1 + (at - y1) / (y2 - y1) * (x2 - x1))
        edges = np.clip(np.ceil(places - 0.5), 0, width).astype(int).tolist()
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            mask[row, start:end] = True
