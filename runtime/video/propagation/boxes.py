"""Boxes of the reference in the frame, by the median motion of the points in them.

Kalal, Mikolajczyk, Matas, "Forward-Backward Error: Automatic Detection of Tracking Failures", ICPR 2010:
of a lattice in the box, the points that are seen; shift and scale are medians.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.video.propagation.maps import Maps
from dccnet.runtime.video.propagation.settings import Propagation

Floats = NDArray[np.float64]

LATTICE = 8
"""Points along each side."""

_VISIBLE_SHARE = 0.5  # of a box's points, for the box to be seen


@dataclass(frozen=True, slots=True, eq=False)
class CarriedBoxes:
    """M boxes: x, y of the upper left corner, width, height, in pixels."""

    boxes_a: Floats  # (M, 4)
    boxes_b: Floats
    """``(M, 4)``; may reach beyond the frame."""
    scores: Floats
    """``(M,)``: the share of each box's points that are seen in the frame."""
    visible: NDArray[np.bool_]
    """``(M,)``: whether that is half of them."""

    def __len__(self) -> int:
        return len(self.scores)


def carry_boxes(boxes: Floats, maps: Maps, settings: Propagation) -> CarriedBoxes:
    """Boxes ``(M, 4)`` of A in B."""
    carried, shares = np.empty_like(boxes), np.empty(len(boxes))
    for number, box in enumerate(boxes):
        lattice = _lattice(box)
        points = maps.carry(lattice, settings)
        shares[number] = points.visible.mean()
        used = points.visible if points.visible.sum() >= 3 else np.ones(len(points), bool)
        carried[number] = _moved(box, lattice[used], points.points_b[used])
    return CarriedBoxes(boxes, carried, shares, shares >= _VISIBLE_SHARE)


def _lattice(box: Floats) -> Floats:
    fractions = (np.arange(LATTICE) + 0.5) / LATTICE
    y, x = np.meshgrid(fractions, fractions, indexing="ij")
    return box[:2] + np.stack([x, y], axis=-1).reshape(-1, 2) * box[2:]


def _moved(box: Floats, before: Floats, after: Floats) -> Floats:
    first, second = np.triu_indices(len(before), 1)
    apart = np.linalg.norm(before[first] - before[second], axis=1)
    scale = np.median(np.linalg.norm(after[first] - after[second], axis=1) / np.maximum(apart, 1e-9))
    centre = box[:2] + box[2:] / 2
    moved = np.median(after - scale * (before - centre), axis=0)
    return np.concatenate([moved - scale * box[2:] / 2, scale * box[2:]])
