"""The pictures that frames are matched with, and their annotations that are carried to the frames."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from dccnet.runtime.arrays import Boxes, Mask, Points
from dccnet.runtime.checks import (
    as_boxes,
    as_labels,
    as_mask,
    as_points,
    check_boxes_inside,
    check_inside,
)
from dccnet.runtime.errors import UsageError
from dccnet.runtime.features import check_image
from dccnet.runtime.given_pictures import GivenPicture, as_image
from dccnet.runtime.one_line import OneLine
from dccnet.runtime.video.annotations import Annotations

PREVIOUS = "previous"
"""Stands for the frame before."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reference(OneLine):
    """A picture to match frames with; its points, mask and boxes are carried to every frame.

    Raises :class:`UsageError` where these have another shape or do not lie in the picture, and
    :class:`ImageError` for what is no picture.
    """

    image: Any
    """``(H, W, 3)`` uint8 BGR."""
    name: str = "reference"
    """Its name in results and files."""
    points: Points | None = None
    labels: tuple[str, ...] = ()
    """One for each point, or none at all."""
    mask: Mask | None = None
    boxes: Boxes | None = None

    def __post_init__(self) -> None:
        check_image(self.image)
        checks = (("points", as_points), ("mask", as_mask), ("boxes", as_boxes))
        for name, check in checks:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check(getattr(self, name)))
        object.__setattr__(self, "labels", as_labels(self.labels))
        size = height, width = self.image.shape[:2]
        if self.points is not None:
            check_inside(self.points, size, self.name)
        number = 0 if self.points is None else len(self.points)
        if self.labels and len(self.labels) != number:
            raise UsageError(f"{len(self.labels)} labels for {number} points: give one each")
        if self.mask is not None and self.mask.shape[:2] != size:
            drawn = f"{self.mask.shape[1]}x{self.mask.shape[0]}"
            raise UsageError(
                f"the mask is {drawn} and does not fit the {width}x{height} picture {self.name}: draw it "
                "on that picture"
            )
        if self.boxes is not None:
            check_boxes_inside(self.boxes, size, self.name)

    @property
    def carries(self) -> bool:
        """Whether there is anything to carry to the frames."""
        return not (self.points is None and self.mask is None and self.boxes is None)

    def annotated(self, annotations: Annotations) -> Reference:
        """This picture with ``annotations`` in place of its own, as far as they are given."""
        given = annotations.given()
        return dataclasses.replace(self, **given) if given else self


ReferenceLike = Union[Reference, GivenPicture]  # noqa: UP007 (Python 3.10 evaluates it)
"""A picture with or without annotations: an array, the path of a picture, or a picture of PIL."""


def as_references(pictures: ReferenceLike | Sequence[ReferenceLike]) -> list[Reference]:
    """One reference or several.

    Raises :class:`UsageError` where there is none, or two have one name, and :class:`ImageError` for what
    is no picture.
    """
    one = isinstance(pictures, (Reference, np.ndarray, str, os.PathLike))
    several = list(pictures) if isinstance(pictures, Iterable) and not one else [pictures]
    if not several:
        raise UsageError("a stream needs a reference: a picture, several, 'frame:0' or 'previous'")
    references = [_as_reference(picture, number) for number, picture in enumerate(several)]
    names = [one.name for one in references]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"two references are called {twice}, so that results could not tell them apart")
    return references


def frame_number(name: object) -> int | None:
    """``"frame:12"`` -> 12; None for anything else."""
    match = re.fullmatch(r"frame:(\d+)", name) if isinstance(name, str) else None
    return None if match is None else int(match[1])


def is_own_frame(name: str) -> bool:
    """Whether a reference's name stands for a frame of the source itself, or for the frame before."""
    return name == PREVIOUS or frame_number(name) is not None


def _as_reference(picture: ReferenceLike, number: int) -> Reference:
    if isinstance(picture, Reference):
        return picture
    if isinstance(picture, (str, os.PathLike)):
        return Reference(as_image(picture), os.fspath(picture))
    return Reference(as_image(picture), f"reference {number}")
