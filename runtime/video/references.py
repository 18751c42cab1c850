"""Pictures that frames are matched with, and what is to be carried from them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import UsageError
from dccnet.runtime.images import read_image

PREVIOUS = "previous"

Points = NDArray[np.float64]
"""``(N, 2)`` pixels (x, y)."""

Mask = NDArray[np.uint8]
"""``(H, W)`` or ``(H, W, 3)`` uint8; 0 is background, any other value is kept as it is."""

Boxes = NDArray[np.float64]
"""``(M, 4)`` pixels: x, y of the upper left corner, width, height."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A picture to match frames with; its points, mask and boxes are carried to every frame.

    Raises :class:`UsageError` where these do not lie in the picture.
    """

    image: Any
    """``(H, W, 3)`` uint8 BGR."""
    name: str = "reference"
    """What results and files call it."""
    points: Points | None = None
    labels: tuple[str, ...] = ()
    """Of the points: none, or one each."""
    mask: Mask | None = None
    boxes: Boxes | None = None

    def __post_init__(self) -> None:
        height, width = self.image.shape[:2]
        where = f"the {width}x{height} picture {self.name}"
        if self.points is not None:
            check_inside(self.points, (height, width), self.name)
            if self.labels and len(self.labels) != len(self.points):
                raise UsageError(f"{len(self.labels)} labels for {len(self.points)} points: give one each")
        if self.mask is not None and self.mask.shape[:2] != (height, width):
            size = f"{self.mask.shape[1]}x{self.mask.shape[0]}"
            raise UsageError(f"the mask is {size} and does not fit {where}: draw it on that picture")
        for x, y, w, h in () if self.boxes is None else self.boxes:
            if not (x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= width and y + h <= height):
                box = f"{x:g},{y:g},{w:g},{h:g} (x, y, width, height)"
                raise UsageError(f"the box {box} lies outside {where}")

    @property
    def carries(self) -> bool:
        """Whether there is anything to carry to the frames."""
        return not (self.points is None and self.mask is None and self.boxes is None)


def check_inside(points: Points, size: tuple[int, int], name: str) -> None:
    """Raises :class:`UsageError` for a point outside a picture of (height, width) ``size``."""
    height, width = size
    outside = ~((points >= 0) & (points <= [width - 1, height - 1])).all(axis=1)
    if outside.any():
        x, y = points[outside][0]
        raise UsageError(f"the point {x:g},{y:g} lies outside the {width}x{height} picture {name}")


ReferenceLike = Union[Reference, Image, str, "os.PathLike[str]"]
"""A picture, a file that holds one, or one with something to carry."""


def as_references(given: ReferenceLike | Sequence[ReferenceLike]) -> list[Reference]:
    """One or several. Raises :class:`UsageError` where there is none."""
    several = [given] if isinstance(given, (Reference, np.ndarray, str, os.PathLike)) else list(given)
    if not several:
        raise UsageError("a stream needs a reference: a picture, several, 'frame:0' or 'previous'")
    return [_as_reference(one, number) for number, one in enumerate(several)]


def frame_number(given: object) -> int | None:
    """``"frame:12"`` -> 12; None for anything else."""
    match = re.fullmatch(r"frame:(\d+)", given) if isinstance(given, str) else None
    return None if match is None else int(match[1])


def _as_reference(given: ReferenceLike, number: int) -> Reference:
    if isinstance(given, Reference):
        return given
    if isinstance(given, (str, os.PathLike)):
        return Reference(read_image(Path(given)), os.fspath(given))
    return Reference(given, f"reference {number}")
