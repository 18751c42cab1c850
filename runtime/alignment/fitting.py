"""Fit a smooth map to the matches of a pair.

Matches of single cells disagree with their neighbours, so that a picture that is warped by them tears. Here
one smooth field of displacements is fitted to all matches of both directions. Each match counts by its
confidence, and less the farther it lies from the field (weights of Geman and McClure, "Statistical Methods
for Tomographic Image Reconstruction", 1987), first within a wide, then within a narrow distance (Black and
Rangarajan, "On the Unification of Line Processes, Outlier Rejection, and Robust Statistics", IJCV 1996).
Where the field would fold, it is stiffened until it does not. Where no match is confident, it returns to no
displacement. Measured in docs/align-and-morph.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime import geometry
from dccnet.runtime.alignment.confident_matches import confident_matches
from dccnet.runtime.alignment.folds import folded
from dccnet.runtime.alignment.frame import Frame
from dccnet.runtime.alignment.smooth_map import SmoothMap
from dccnet.runtime.alignment.splines import Fit, evaluate
from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.checks import Rule
from dccnet.runtime.geometry import Size

if TYPE_CHECKING:
    from dccnet.runtime.correspondences import Correspondences

KNOTS = 18
"""Knots along the longer side of the frame."""
MARGIN = 3
"""Knots beyond each border: places half-way between the pictures may lie outside the frame."""
FINE = 6
"""Places of the field for each knot, along each axis."""
STIFFNESS = 0.02
"""Weight of a squared second difference, relative to a confident match for each knot."""
ROUNDS = ((64, 4.0), (16, 3.0), (4, 2.0), (2, 1.5), (1, 1.0), (1, 1.0))
"""Rounds of the fit: the factor of the stiffness, and the distance in knots at which a match counts a
quarter."""

_TO_REST, _BORDER_TO_REST = 0.002, 0.3  # weight of no displacement at a knot without confident matches
_STIFFER = 4.0
_STIFFENINGS = 12


def fit_smooth_map(result: Correspondences, rule: Rule, frame: Frame) -> SmoothMap:
    """The smooth map of a pair, through matches by ``rule``, in ``frame``. It does not fold anywhere."""
    knot = max(frame.size) / KNOTS  # in pixels
    rows, columns = (int(np.ceil((side - 1) / knot)) + 1 + 2 * MARGIN for side in frame.size)
    grid = (rows, columns)
    matches = confident_matches(result, frame, rule)
    middle = (matches.points_a + matches.points_b) / (2 * knot) + MARGIN
    shifts = (matches.points_b - matches.points_a) / knot
    knots, border = _knots(grid, frame.size, knot)
    fit = Fit(grid, np.concatenate([middle, knots]))
    values = np.concatenate([shifts, np.zeros_like(knots)])
    # As many confident matches as knots have the weight 1 for each knot.
    share = frame.size[0] * frame.size[1] / knot**2 / max(len(middle), 1)
    counted = matches.weights.copy()

    def weights() -> Floats:
        support = _sampled(_local_mean(middle, counted, grid), knots)
        to_rest = np.where(border, _BORDER_TO_REST, _TO_REST) * (1 - support) ** 2
        return np.concatenate([counted * share, to_rest])

    even = np.ones(grid)
    for factor, distance in ROUNDS:
        field = fit.solve(weights(), values, STIFFNESS * factor * even)
        apart = ((fit.values(field)[: len(shifts)] - shifts) ** 2).sum(axis=1) / distance**2
        counted = matches.weights / (1 + apart) ** 2
    displacement = _without_folds(fit, weights(), values, grid) * knot
    support = _local_mean(middle, counted, grid)[1:-1, 1:-1, None]
    fine = geometry.resize(support, displacement.shape[:2])[..., 0].astype(np.float64)
    return SmoothMap(frame, (1 - MARGIN) * knot, knot / FINE, displacement, fine)


def _without_folds(fit: Fit, weights: Floats, values: Floats, grid: Size) -> Floats:
    """``(h, w, 2)``: the fitted field at the places between the outermost knots, in knots."""
    places = tuple(np.linspace(1, side - 2, (side - 3) * FINE + 1) for side in grid)
    stiffness = np.full(grid, STIFFNESS)
    for _ in range(_STIFFENINGS):
        field = evaluate(fit.solve(weights, values, stiffness), *places)
        bad = folded(field * FINE)
        if not bad.any():
            return field
        near = cv2.dilate(np.pad(bad, (0, 1), mode="edge").astype(np.uint8), np.ones((2 * FINE + 1,) * 2))
        stiffness = np.where(np.pad(near[::FINE, ::FINE], 1, mode="edge"), _STIFFER, 1) * stiffness
    while folded(field * FINE).any():  # ends: no displacement does not fold
        field = field * 0.9
    return field


def _knots(grid: Size, frame: Size, knot: float) -> tuple[Points, NDArray[np.bool_]]:
    """``(n, 2)``: the knots but the outermost ones, in knots; ``(n,)``: those on or beyond the frame's
    border."""
    rows, columns = np.mgrid[1 : grid[0] - 1, 1 : grid[1] - 1]
    knots = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float64)
    last = (np.array(frame[::-1]) - 1) / knot
    inside = knots - MARGIN
    return knots, np.asarray(((inside <= 0.5) | (inside >= last - 0.5)).any(axis=1), np.bool_)


def _local_mean(middle: Points, weights: Floats, grid: Size) -> Floats:
    """``grid``: the mean of the ``weights`` ``(N,)`` of the matches around each knot; 0 where there are
    none."""
    column, row = np.clip(np.rint(middle), 0, [grid[1] - 1, grid[0] - 1]).astype(np.intp).T
    knot, count = row * grid[1] + column, grid[0] * grid[1]
    total, number = (
        cv2.GaussianBlur(
            np.bincount(knot, w, minlength=count).reshape(grid), (0, 0), 1, borderType=cv2.BORDER_CONSTANT
        )
        for w in (weights, np.ones(len(weights)))
    )
    mean: Floats = total / (number + 0.1 * len(weights) / count)
    return mean


def _sampled(values: Floats, places: Points) -> Floats:
    """``(n,)``: ``values`` at knots ``places`` ``(n, 2)``."""
    column, row = places.astype(np.intp).T
    sampled: Floats = values[row, column]
    return sampled
