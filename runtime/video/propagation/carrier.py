"""From frame to frame: what is carried, and what must be remembered for it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.video.propagation.boxes import CarriedBoxes, carry_boxes
from dccnet.runtime.video.propagation.maps import CarriedPoints, Maps, clipped
from dccnet.runtime.video.propagation.masks import CarriedMask, carry_mask
from dccnet.runtime.video.propagation.one_euro import OneEuroFilter
from dccnet.runtime.video.propagation.settings import Propagation

if TYPE_CHECKING:
    from dccnet.runtime.video.references import Reference


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """A reference's points, mask and boxes in one frame; None for what it does not have."""

    points: CarriedPoints | None
    mask: CarriedMask | None
    boxes: CarriedBoxes | None


class Carrier:
    """Carries what a reference has to every frame.

    Matched with one picture, each frame stands for itself. Matched with the frame before (``chained``
    is what the first one has), it starts from what was found there, and what was lost stays lost.
    """

    def __init__(self, settings: Propagation, chained: Reference | None = None) -> None:
        self._settings = settings
        self._filter = OneEuroFilter(settings.min_cutoff_hz, settings.beta)
        self._filtered: object = None
        self._chain = None if chained is None else _Chain.begin(chained)

    def carry(self, reference: Reference, result: Correspondences, time_s: float) -> Carried | None:
        """``result`` of the reference, A, and the frame at ``time_s``, B; None with nothing to carry."""
        chain = self._chain
        held = _Chain.begin(reference) if chain is None else chain
        if held.empty:
            return None
        maps, settings = Maps(result), self._settings
        points = mask = boxes = None
        if held.points is not None:
            points = maps.carry(clipped(held.points, maps.size_a), settings)
            visible = points.visible & held.points_seen
            points = dataclasses.replace(points, visible=visible, labels=held.labels)
        if held.mask is not None:
            mask = carry_mask(held.mask, maps, settings)
        if held.boxes is not None:
            boxes = carry_boxes(held.boxes, maps, settings)
            boxes = dataclasses.replace(boxes, visible=boxes.visible & held.boxes_seen)
        if chain is not None:
            self._chain = chain.after(points, mask, boxes)
        if points is not None and settings.smooth:
            points = self._smoothed(points, reference if chain is None else self, time_s)
        return Carried(points, mask, boxes)

    def _smoothed(self, points: CarriedPoints, of: object, time_s: float) -> CarriedPoints:
        if self._filtered is not of:  # the points of another reference are other points
            self._filter = OneEuroFilter(self._settings.min_cutoff_hz, self._settings.beta)
            self._filtered = of
        return dataclasses.replace(points, points_b=self._filter(points.points_b, points.visible, time_s))


@dataclass(frozen=True, slots=True, eq=False)
class _Chain:
    """Where things are in the picture that the next one is matched with, and whether they were seen."""

    points: NDArray[np.float64] | None
    points_seen: NDArray[np.bool_]
    labels: tuple[str, ...]
    mask: NDArray[np.uint8] | None
    boxes: NDArray[np.float64] | None
    boxes_seen: NDArray[np.bool_]

    @classmethod
    def begin(cls, reference: Reference) -> _Chain:
        points, boxes = reference.points, reference.boxes
        seen = [np.ones(0 if some is None else len(some), bool) for some in (points, boxes)]
        return cls(points, seen[0], reference.labels, reference.mask, boxes, seen[1])

    @property
    def empty(self) -> bool:
        return self.points is None and self.mask is None and self.boxes is None

    def after(
        self, points: CarriedPoints | None, mask: CarriedMask | None, boxes: CarriedBoxes | None
    ) -> _Chain:
        return _Chain(
            None if points is None else points.points_b,
            self.points_seen if points is None else points.visible,
            self.labels,
            None if mask is None else mask.mask,
            None if boxes is None else boxes.boxes_b,
            self.boxes_seen if boxes is None else boxes.visible,
        )
