"""Carry annotations from frame to frame, with the state that this needs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Boxes, Image, Mask, Points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import UsageError
from dccnet.runtime.video.propagation.boxes import CarriedBoxes, carry_boxes
from dccnet.runtime.video.propagation.following import Follower
from dccnet.runtime.video.propagation.maps import CarriedPoints, clipped, maps_of
from dccnet.runtime.video.propagation.masks import CarriedMask, carry_mask
from dccnet.runtime.video.propagation.one_euro import OneEuroFilter
from dccnet.runtime.video.propagation.settings import Propagation

if TYPE_CHECKING:
    from dccnet.runtime.video.references import Reference


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """A reference's points, mask and boxes in one frame; None where the reference has none."""

    points: CarriedPoints | None
    mask: CarriedMask | None
    boxes: CarriedBoxes | None


class Carrier:
    """Carries the annotations of a reference to every frame.

    If every frame is matched with a given picture, frames are independent of each other. If it is matched
    with the frame before (``chained`` is then the first reference), annotations are carried on from where
    they were found there, and what is lost stays lost.
    """

    def __init__(self, settings: Propagation, chained: Reference | None = None) -> None:
        self._settings = settings
        self._filter = OneEuroFilter(settings.min_cutoff_hz, settings.beta)
        self._filtered: object = None
        self._tracked = None if chained is None else _Tracked.start(chained)
        self._follower = Follower() if settings.follow else None

    def carry(
        self, reference: Reference, result: Correspondences, time_s: float, image: Image | None = None
    ) -> Carried | None:
        """Carry from the reference, A, to the frame at ``time_s``, B; ``result`` is their match.

        Points that follow the picture need the frame itself, ``image`` ``(H, W, 3)`` uint8 BGR; raises
        :class:`UsageError` without it. None where there is nothing to carry.
        """
        tracked = self._tracked
        source = _Tracked.start(reference) if tracked is None else tracked
        if source.empty:
            return None
        settings = self._settings
        maps = maps_of(result, settings)
        points = mask = boxes = None
        if source.points is not None:
            points = maps.carry(clipped(source.points, maps.size_a), settings)
            visible = points.visible & source.points_visible
            points = dataclasses.replace(points, visible=visible, labels=source.labels)
            if self._follower is not None:
                if not isinstance(image, np.ndarray):
                    raise UsageError("points can only follow pictures that are NumPy arrays")
                grid = result.index_b.shape[0], result.index_b.shape[1]
                points = self._follower.follow(points, image, grid, reference)
        if source.mask is not None:
            mask = carry_mask(source.mask, maps, settings)
        if source.boxes is not None:
            boxes = carry_boxes(source.boxes, maps, settings)
            boxes = dataclasses.replace(boxes, visible=boxes.visible & source.boxes_visible)
        if tracked is not None:
            self._tracked = tracked.moved(points, mask, boxes)
        if points is not None and settings.smooth:
            points = self._smoothed(points, reference if tracked is None else self, time_s)
        return Carried(points, mask, boxes)

    def _smoothed(self, points: CarriedPoints, owner: object, time_s: float) -> CarriedPoints:
        if self._filtered is not owner:  # the points of another reference are other points
            self._filter = OneEuroFilter(self._settings.min_cutoff_hz, self._settings.beta)
            self._filtered = owner
        return dataclasses.replace(points, points_b=self._filter(points.points_b, points.visible, time_s))


@dataclass(frozen=True, slots=True, eq=False)
class _Tracked:
    """Where annotations are in the picture that the next frame is matched with, and whether visibly."""

    points: Points | None
    points_visible: NDArray[np.bool_]
    labels: tuple[str, ...]
    mask: Mask | None
    boxes: Boxes | None
    boxes_visible: NDArray[np.bool_]

    @classmethod
    def start(cls, reference: Reference) -> _Tracked:
        points, boxes = reference.points, reference.boxes
        visible = [np.ones(0 if some is None else len(some), bool) for some in (points, boxes)]
        return cls(points, visible[0], reference.labels, reference.mask, boxes, visible[1])

    @property
    def empty(self) -> bool:
        return self.points is None and self.mask is None and self.boxes is None

    def moved(
        self, points: CarriedPoints | None, mask: CarriedMask | None, boxes: CarriedBoxes | None
    ) -> _Tracked:
        """The same annotations in the next picture."""
        return _Tracked(
            None if points is None else points.points_b,
            self.points_visible if points is None else points.visible,
            self.labels,
            None if mask is None else mask.mask,
            None if boxes is None else boxes.boxes_b,
            self.boxes_visible if boxes is None else boxes.visible,
        )
