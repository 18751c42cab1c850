"""A smooth map between two pictures, fitted to their mutual matches by moving least squares.

Matches have the resolution of the grid, so a point that is carried by them jumps from cell to cell. Around
every cell, an affine map is fitted to the mutual matches near it by weighted least squares (Schaefer,
McPhail, Warren, "Image Deformation Using Moving Least Squares", SIGGRAPH 2006). A second fit gives less
weight to matches far from the first map (Cauchy's weights). Both fits are regularised towards a shift.
Measured against the benchmarks' transfer: see benchmarks/propagation.py.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dccnet.runtime import geometry
from dccnet.runtime.arrays import Floats
from dccnet.runtime.checks import Side
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import Size
from dccnet.runtime.point_matches import mutual_cells

RADIUS = 2.0
"""Standard deviation of the neighbourhood's Gaussian, in cells."""

_FAR = 1e-2  # added weight, so that distant matches decide where there are no near ones
_OUTLIER = 0.5  # distance from the first map, in cells, at which a match's weight is halved
_TOWARDS_SHIFT = 0.3  # regularisation in cells², added to the covariance of the matches


def smooth_targets(result: Correspondences, from_: Side) -> Floats:
    """``(h, w, 2)``: the position of each cell of ``from_`` in the other picture, in pixels.

    Positions may lie outside that picture. For :func:`dccnet.runtime.geometry.transfer` and
    :func:`dccnet.runtime.geometry.resize`.
    """
    forward, back = (result.index_a, result.index_b) if from_ == "a" else (result.index_b, result.index_a)
    scores = result.score_a if from_ == "a" else result.score_b
    here, there = forward.shape, back.shape
    mutual = mutual_cells(forward, back)
    weights = np.where(mutual, scores.ravel(), 0.0).astype(np.float64)
    if not mutual.any():
        weights[:] = scores.ravel()
    cells = geometry.cell_pixels((here[0], here[1]), (here[0], here[1])).reshape(-1, 2)  # in cells
    targets = np.stack(np.divmod(forward.ravel(), there[1])[::-1], axis=-1).astype(np.float64)
    fitted = _fit(weights, cells, targets, (here[0], here[1]))
    distance = np.linalg.norm(fitted - targets, axis=1)
    fitted = _fit(weights / (1 + (distance / _OUTLIER) ** 2), cells, targets, (here[0], here[1]))
    size = result.size_b if from_ == "a" else result.size_a
    pixels: Floats = fitted * geometry.pixels_per_cell(size, (there[0], there[1]))
    return pixels.reshape(*here, 2)


def _fit(weights: Floats, cells: Floats, targets: Floats, grid: Size) -> Floats:
    """``(n, 2)``: the position of every cell under the map of its neighbourhood; all in cells."""
    products = [cells[:, i] * values for i in (0, 1) for values in (*cells.T, *targets.T)]
    columns = np.stack([np.ones(len(cells)), *cells.T, *targets.T, *products], axis=1)
    sums = _blur(columns * weights[:, None], grid)
    mean = sums[:, 1:] / sums[:, :1]
    centre, goal = mean[:, 0:2], mean[:, 2:4]
    second = mean[:, 4:].reshape(-1, 2, 4) - centre[:, :, None] * mean[:, None, 0:4]
    pull = _TOWARDS_SHIFT * np.eye(2)
    linear = np.linalg.solve(second[..., :2] + pull, second[..., 2:] + pull)  # (n, 2, 2)
    fitted: Floats = goal + np.einsum("ni,nij->nj", cells - centre, linear)
    return fitted


def _blur(values: Floats, grid: Size) -> Floats:
    """Neighbourhood sums ``(n, c)``. Not by BLAS, whose threads would compete with the engine's."""
    rows, columns = _gaussian(grid[0]), _gaussian(grid[1])
    along = np.einsum("ij,jkc->ikc", rows, values.reshape(*grid, -1))
    blurred: Floats = np.einsum("kl,ilc->ikc", columns, along)
    return blurred.reshape(len(values), -1)


@lru_cache(maxsize=8)
def _gaussian(side: int) -> Floats:
    """``(side, side)``: the weight of each row (or column) in the neighbourhood of each other one."""
    distance = np.arange(side)[:, None] - np.arange(side)
    return np.exp(-(distance**2) / (2 * RADIUS**2)) + _FAR
