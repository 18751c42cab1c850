"""The matches that a smooth map is fitted to, in both directions, and how much each counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dccnet.runtime import geometry
from dccnet.runtime.alignment.frame import Frame
from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.checks import Rule, Side
from dccnet.runtime.point_matches import mutual_cells

if TYPE_CHECKING:
    from dccnet.runtime.correspondences import Correspondences

PER_CELL = 2
"""Matches for each cell, along each axis."""
LEAST = 0.3
"""Confidence up to which a match does not count."""


@dataclass(frozen=True, slots=True, eq=False)
class ConfidentMatches:
    """N matches, in pixels (x, y) of the common frame."""

    points_a: Points  # (N, 2)
    points_b: Points
    weights: Floats
    """``(N,)`` in [0, 1]."""


def confident_matches(result: Correspondences, frame: Frame, rule: Rule) -> ConfidentMatches:
    """Places on a lattice in each picture, with their matches in the other."""
    parts = []
    sides: tuple[Side, Side] = ("a", "b")
    for side in sides:
        way, (own, other) = result.one_way(side), frame.sides(side)
        lattice = ((way.grid[0] - 1) * PER_CELL + 1, (way.grid[1] - 1) * PER_CELL + 1)
        points = geometry.cell_pixels(lattice, way.size).reshape(-1, 2)
        pair = own.to_frame(points), other.to_frame(way.move(points, rule))
        parts.append((*(pair if side == "a" else pair[::-1]), _weights(result, points, side)))
    points_a, points_b, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    return ConfidentMatches(points_a, points_b, weights)


def _weights(result: Correspondences, points: Points, side: Side) -> Floats:
    """``(N,)`` in [0, 1]: 0 up to :data:`LEAST`, 1 where confidence is 1. From a bundle without confidence,
    1 where the cells around a point are mutual matches."""
    confidence = result.transfer_confidence(points, side)
    if confidence is None:
        way, back = result.one_way(side), result.one_way("b" if side == "a" else "a")
        agree = mutual_cells(way.index, back.index).reshape(*way.grid, 1).astype(np.float64)
        return geometry.transfer(points, agree, way.size)[:, 0]
    weights = np.clip((confidence.astype(np.float64) - LEAST) / (1 - LEAST), 0, 1)
    if result.least_confidence is not None:
        weights[confidence < result.least_confidence] = 0
    return weights
