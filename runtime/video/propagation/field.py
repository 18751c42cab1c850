"""A smooth map between two pictures through their mutual matches.

Matches of cells are whole cells: a point carried by them jumps. Around every cell an affine map is fitted
to the mutual matches near it by weighted least squares (Schaefer, McPhail, Warren, "Image Deformation
Using Moving Least Squares", SIGGRAPH 2006), once more with matches that lie far from their neighbours'
map weighted down (Cauchy's weights), and pulled a little towards a shift. Measured against the
benchmarks' transfer: see benchmarks/propagation.py.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime import geometry
from dccnet.runtime.correspondences import Correspondences, Side
from dccnet.runtime.geometry import Size

Floats = NDArray[np.float64]

RADIUS = 2.0
"""Of the neighbourhood, in cells: the standard deviation of its Gaussian."""

_FAR = 1e-2  # weight of matches far along one axis, which decide only where there are no others
_OUTLIER = 0.5  # cells from the neighbours' map at which a match counts half
_TOWARDS_SHIFT = 0.3  # cells², beside the spread of the matches


def smooth_targets(result: Correspondences, from_: Side) -> Floats:
    """``(h, w, 2)``: where each cell of the picture ``from_`` goes, in pixels of the other, which it may
    leave. For :func:`dccnet.runtime.geometry.transfer` and :func:`dccnet.runtime.geometry.resize`."""
    forward, back = (result.index_a, result.index_b) if from_ == "a" else (result.index_b, result.index_a)
    scores = result.score_a if from_ == "a" else result.score_b
    here, there = forward.shape, back.shape
    mutual = back.ravel()[forward.ravel()] == np.arange(forward.size)
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
    """``(n, 2)``: the image of every cell under the map of its neighbourhood; all in cells."""
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
    """Neighbourhood sums ``(n, c)``. Not by BLAS, whose threads would fight with the engine's."""
    rows, columns = _gaussian(grid[0]), _gaussian(grid[1])
    along = np.einsum("ij,jkc->ikc", rows, values.reshape(*grid, -1))
    blurred: Floats = np.einsum("kl,ilc->ikc", columns, along)
    return blurred.reshape(len(values), -1)


@lru_cache(maxsize=8)
def _gaussian(side: int) -> Floats:
    """``(side, side)``: the weight of each row, or column, for each."""
    distance = np.arange(side)[:, None] - np.arange(side)
    return np.exp(-(distance**2) / (2 * RADIUS**2)) + _FAR
