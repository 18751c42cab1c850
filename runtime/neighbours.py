"""How neighbouring matches move: what they say for a match, from where matches lie alone.

Things move alike in neighbouring cells: a match counts for its neighbours as far as it returns (Kalal,
Mikolajczyk, Matas, "Forward-Backward Error", ICPR 2010) and moves as they do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dccnet.runtime.arrays import Floats

FARTHEST = 4.0
"""Neighbouring matches count as so far apart at most, in cells: how wrong an outlier is does not matter."""
ORIENTATIONS = (np.array([1.0, 1.0]), np.array([-1.0, 1.0]))
"""Things seen as they are, and mirrored left to right: neighbours then move the other way in x."""
STEPS = np.array([(x, y) for y in range(-2, 3) for x in range(-2, 3) if x or y], np.intp)
"""``(24, 2)``: from a cell to its neighbours, (x, y) in cells."""
ADJACENT = np.abs(STEPS).max(axis=1) == 1
"""``(24,)``: which of :data:`STEPS` lead to the 8 cells next to it."""
TOLERANCE = 2.0
"""Of support, in cells: a neighbour that moves so differently counts by exp(−1)."""
NEARNESS = np.exp(-(STEPS**2).sum(axis=1) / 4.5)
"""``(24,)``: how much neighbours count for deviation; a Gaussian of 1.5 cells."""
OUTLIER = 1.5
"""Of deviation, in cells: a neighbour so far from the first mean counts a quarter."""
PRIOR = 1e-2
"""What counts for no deviation, where nothing around is trusted."""


class Agreement(NamedTuple):
    """What the neighbours say of each match: ``(h, w)`` each."""

    roughness: Floats
    """How differently the 8 adjacent cells move: mean over them, at most :data:`FARTHEST`, in cells."""
    support: Floats
    """Mean over the 24 neighbours of their trust, less the more differently they move; 0 to 1."""
    deviation: Floats
    """Distance in cells from where the neighbours would put the match: their mean, for which they count
    less the farther they are from a first mean of all."""


def agreement_of_neighbours(targets: Floats, grid: tuple[int, int], trust: Floats) -> Agreement:
    """``targets`` ``(h, w, 2)`` are where cells lie, (x, y) in cells of the other ``grid``; ``trust``
    ``(h, w)``, 0 to 1, weighs cells.

    Motion is compared with that of things seen as they are, or else mirrored: by whichever more of the
    picture agrees. Distances are in cells of the own grid.
    """
    motion = _motion_of_neighbours(targets, grid, STEPS)
    adjacent = [_unlikeness(motion[:, ADJACENT], STEPS[ADJACENT], o) for o in ORIENTATIONS]
    agreeing = [float((trust * np.exp(-(unlike**2))).sum()) for unlike in adjacent]
    best = int(np.argmax(agreeing))
    apart = motion - (STEPS * ORIENTATIONS[best]).T[:, :, None, None]
    trusted = _of_neighbours(trust[..., None], STEPS)[0]
    inside = ~np.isnan(trusted)
    apart, trusted = np.where(inside, apart, 0), np.where(inside, trusted, 0)
    alike = trusted * np.exp(-(apart**2).sum(axis=0) / TOLERANCE**2)
    support = alike.sum(axis=0) / np.maximum(inside.sum(axis=0), 1)
    return Agreement(adjacent[best], support, _deviation(apart, trusted * NEARNESS[:, None, None]))


def unlike_neighbours(targets: Floats, grid: tuple[int, int]) -> Floats:
    """``(h, w)``: how differently a cell and its 8 neighbours move, mean over neighbours, in cells.

    ``targets`` ``(h, w, 2)`` are where cells lie, (x, y) in cells of the other ``grid``. Things that face
    opposite ways move differently: nothing is mirrored here.
    """
    steps = STEPS[ADJACENT]
    return _unlikeness(_motion_of_neighbours(targets, grid, steps), steps, ORIENTATIONS[0])


def extent(grid: tuple[int, int]) -> Floats:
    """``(2,)``: the number of steps between cells along x and y, at least 1."""
    steps: Floats = np.maximum(np.array([grid[1], grid[0]], np.float64) - 1, 1)
    return steps


def _motion_of_neighbours(targets: Floats, grid: tuple[int, int], steps: np.ndarray) -> Floats:
    """``(2, n, h, w)``: from each cell's match to those of its neighbours at n ``steps``, in cells of their
    own grid; NaN for those outside it."""
    targets = targets / extent(grid) * extent((targets.shape[0], targets.shape[1]))
    motion: Floats = _of_neighbours(targets, steps) - np.moveaxis(targets, -1, 0)[:, None]
    return motion


def _of_neighbours(values: Floats, steps: np.ndarray) -> Floats:
    """``(h, w, c)`` -> ``(c, n, h, w)``: the values of each cell's neighbours, NaN outside the grid."""
    height, width = values.shape[:2]
    reach = int(np.abs(steps).max())
    around = ((0, 0), (reach, reach), (reach, reach))
    padded = np.pad(np.moveaxis(values, -1, 0), around, constant_values=np.nan)
    return np.stack(
        [padded[:, reach + y : reach + y + height, reach + x : reach + x + width] for x, y in steps], 1
    )


def _unlikeness(motion: Floats, steps: np.ndarray, orientation: Floats) -> Floats:
    """``(h, w)``: mean distance, at most :data:`FARTHEST`, of the neighbours' matches from where they would
    lie if they moved as the cell does."""
    x, y = motion - (steps * orientation).T[:, :, None, None]
    apart = np.sqrt(x * x + y * y)  # (n, h, w)
    inside = ~np.isnan(apart)
    total = np.where(inside, np.minimum(apart, FARTHEST), 0).sum(axis=0)
    unlikeness: Floats = total / np.maximum(inside.sum(axis=0), 1)
    return unlikeness


def _deviation(apart: Floats, weights: Floats) -> Floats:
    """``(h, w)``: length of the mean of ``apart`` ``(2, n, h, w)``, where ``weights`` ``(n, h, w)`` count
    less the farther a neighbour is from the first such mean."""
    mean = (weights * apart).sum(axis=1) / (weights.sum(axis=0) + PRIOR)
    off = ((apart - mean[:, None]) ** 2).sum(axis=0)
    weights = weights / (1 + off / OUTLIER**2) ** 2
    mean = (weights * apart).sum(axis=1) / (weights.sum(axis=0) + PRIOR)
    length: Floats = np.linalg.norm(mean, axis=0)
    return length
