"""What speaks for a match: features for confidence, from the outputs of a bundle's matcher alone.

None is new: NC-Net's score and mutual agreement, forward-backward distance (Kalal, Mikolajczyk, Matas,
"Forward-Backward Error", ICPR 2010), how peaked the scores are, and how alike neighbouring matches move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Floats
from dccnet.runtime.geometry import cell_pixels
from dccnet.runtime.point_matches import mutual_cells
from dccnet.runtime.score_windows import transfer_by_windows

TINY = 1e-12
FARTHEST = 4.0
"""Neighbouring matches count as so far apart at most, in cells: how wrong an outlier is does not matter."""
ORIENTATIONS = (np.array([1.0, 1.0]), np.array([-1.0, 1.0]))
"""Things seen as they are, and mirrored left to right: neighbours then move the other way in x."""

NEIGHBOURS = np.array([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if x or y], np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """The matches of one picture's cells in the other picture."""

    index: NDArray[np.int64]
    """``(h, w)``: best matches, row-major cells of the other picture."""
    score: NDArray[np.float32]
    """``(h, w)``"""
    window: NDArray[np.float32]
    """``(h, w, side²)``: scores around each best match, 0 outside the grid."""


def match_evidence(own: Direction, other: Direction) -> Floats:
    """``(h, w, F)``: the features of each match of ``own``, in the order of ``confidence.FEATURES``.

    ``other`` is the opposite direction. All values are finite; the larger, the likelier a match is right.
    """
    grid = own.index.shape[0], own.index.shape[1]
    other_grid = other.index.shape[0], other.index.shape[1]
    cells = cell_pixels(grid, grid).reshape(-1, 2)
    targets = transfer_by_windows(cells, own.index, own.window, other_grid)
    returned = transfer_by_windows(targets, other.index, other.window, grid)
    distance = np.log1p(np.linalg.norm(returned - cells, axis=1)).reshape(grid)
    mutual = mutual_cells(own.index, other.index)
    return np.stack(
        [
            np.log(own.score.astype(np.float64) + TINY),
            -distance,
            -_spread(own.window),
            -_roughness(targets.reshape(*grid, 2), other_grid, np.exp(-distance)),
            np.full(grid, mutual.mean()),
        ],
        axis=-1,
    )


def unlike_neighbours(targets: Floats, grid: tuple[int, int]) -> Floats:
    """``(h, w)``: how differently a cell and its neighbours move, mean over neighbours, in cells.

    ``targets`` ``(h, w, 2)`` are where cells lie, (x, y) in cells of the other ``grid``. Things that face
    opposite ways move differently: nothing is mirrored here.
    """
    return _unlikeness(_motion_of_neighbours(targets, grid), ORIENTATIONS[0])


def _spread(window: NDArray[np.float32]) -> Floats:
    """``(h, w)``: root mean square distance of a window's scores from their mean place, in cells.

    Scores count as far as they exceed the lowest, as in the transfer.
    """
    side = round(window.shape[-1] ** 0.5)
    weights = window - window.min(axis=-1, keepdims=True).astype(np.float64)
    weights[..., side * side // 2] += TINY  # a window without differences still has a centre
    weights /= weights.sum(axis=-1, keepdims=True)
    places = cell_pixels((side, side), (side, side)).reshape(-1, 2)
    mean = weights @ places
    variance = weights @ (places**2).sum(axis=1) - (mean**2).sum(axis=-1)
    spread: Floats = np.sqrt(np.maximum(variance, 0))
    return spread


def _roughness(targets: Floats, grid: tuple[int, int], trust: Floats) -> Floats:
    """``(h, w)``: how differently a cell and its neighbours move, mean over neighbours, in cells.

    ``targets`` ``(h, w, 2)`` are (x, y) in cells of the other ``grid``; ``trust`` ``(h, w)`` weighs cells.
    Motion is compared with that of things seen as they are, or else mirrored: by whichever more of the
    picture agrees.
    """
    motion = _motion_of_neighbours(targets, grid)
    candidates = [_unlikeness(motion, orientation) for orientation in ORIENTATIONS]
    roughness: Floats = max(candidates, key=lambda unlike: float((trust * np.exp(-(unlike**2))).sum()))
    return roughness


def _extent(grid: tuple[int, int]) -> Floats:
    """``(2,)``: the number of steps between cells along x and y, at least 1."""
    extent: Floats = np.maximum(np.array([grid[1], grid[0]], np.float64) - 1, 1)
    return extent


def _motion_of_neighbours(targets: Floats, grid: tuple[int, int]) -> Floats:
    """``(2, 8, h, w)``: from each cell's match to those of its neighbours, in the order of
    :data:`NEIGHBOURS`, in cells of their own grid; NaN for those outside it."""
    height, width = targets.shape[:2]
    targets = targets / _extent(grid) * _extent((height, width))
    padded = np.pad(np.moveaxis(targets, -1, 0), ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    own = padded[:, 1:-1, 1:-1]
    return np.stack(
        [padded[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width] - own for x, y in NEIGHBOURS], 1
    )


def _unlikeness(motion: Floats, orientation: Floats) -> Floats:
    """``(h, w)``: mean distance, at most :data:`FARTHEST`, of the 8 neighbours' matches from where they
    would lie if they moved as the cell does."""
    x, y = motion - (NEIGHBOURS * orientation).T[:, :, None, None]
    apart = np.sqrt(x * x + y * y)  # (8, h, w)
    inside = ~np.isnan(apart)
    total = np.where(inside, np.minimum(apart, FARTHEST), 0).sum(axis=0)
    unlikeness: Floats = total / np.maximum(inside.sum(axis=0), 1)
    return unlikeness
