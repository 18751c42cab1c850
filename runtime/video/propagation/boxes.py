"""Carry boxes of the reference to the frame by the median motion of the points in them.

Kalal, Mikolajczyk, Matas, "Forward-Backward Error: Automatic Detection of Tracking Failures", ICPR 2010:
from the visible points of a lattice in the box, shift and scale are medians.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Boxes, Floats, Points
from dccnet.runtime.video.propagation.maps import Maps
from dccnet.runtime.video.propagation.settings import Propagation

LATTICE = 8
"""Points along each side of a box."""

_VISIBLE_SHARE = 0.5  # of a box's points, for the box to be visible


@dataclass(frozen=True, slots=True, eq=False)
class CarriedBoxes:
    """M boxes of the reference, A, in the frame, B."""

    boxes_a: Boxes  # (M, 4)
    boxes_b: Boxes
    """``(M, 4)``; may extend beyond the frame."""
    scores: Floats
    """``(M,)``: the share of each box's points that are visible in the frame."""
    visible: NDArray[np.bool_]
    """``(M,)``: whether at least half of a box's points are visible."""

    def __len__(self) -> int:
        return len(self.scores)


def carry_boxes(boxes: Boxes, maps: Maps, settings: Propagation) -> CarriedBoxes:
    """Carry boxes ``(M, 4)`` of A to B."""
    carried, shares = np.empty_like(boxes), np.empty(len(boxes))
    for number, box in enumerate(boxes):
        lattice = _lattice(box)
        points = maps.carry(lattice, settings)
        shares[number] = points.visible.mean()
        used = points.visible if points.visible.sum() >= 3 else np.ones(len(points), bool)
        carried[number] = _moved(box, lattice[used], points.points_b[used])
    return CarriedBoxes(boxes, carried, shares, shares >= _VISIBLE_SHARE)


def _lattice(box: Boxes) -> Points:
    """``(LATTICE², 2)``: a regular lattice of points in one box ``(4,)``."""
    fractions = (np.arange(LATTICE) + 0.5) / LATTICE
    y, x = np.meshgrid(fractions, fractions, indexing="ij")
    return box[:2] + np.stack([x, y], axis=-1).reshape(-1, 2) * box[2:]


def _moved(box: Boxes, before: Points, after: Points) -> Boxes:
    """One box ``(4,)``, shifted and scaled as its points moved."""
    first, second = np.triu_indices(len(before), 1)
    distances = np.linalg.norm(before[first] - before[second], axis=1)
    scale = np.median(np.linalg.norm(after[first] - after[second], axis=1) / np.maximum(distances, 1e-9))
    centre = box[:2] + box[2:] / 2
    moved = np.median(after - scale * (before - centre), axis=0)
    return np.concatenate([moved - scale * box[2:] / 2, scale * box[2:]])
