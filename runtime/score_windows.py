"""Transfer of points to places between cells, by the scores around the best matches (docs/graphs.md).

A bundle's matcher returns, for each cell, the scores of a small window around its best match. A point lies
between four cells: their windows are laid onto the grid of the other picture and added, each with its
bilinear weight, and the point moves to the weighted mean place of a window around the best cell of the sum.
Scores count as far as they exceed the lowest of their window. Measured in docs/tiny.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.geometry import Size

SIDE = 5
"""Side of windows in cells, as exported."""
_CHUNK = 256  # points at once: they take 8 bytes for each cell of the other grid


def cut_windows(
    heatmap: NDArray[np.float32], index: NDArray[np.int64], side: int = SIDE
) -> NDArray[np.float32]:
    """The windows that a bundle's matcher returns, from all scores.

    ``heatmap`` is ``(h, w, h', w')``, ``index`` ``(h, w)`` the best match of each cell. Returns
    ``(h, w, side²)``, row-major, 0 outside the grid; ``side`` is odd.
    """
    cells, inside = _windows(index.ravel(), (heatmap.shape[2], heatmap.shape[3]), side)
    scores = np.take_along_axis(heatmap.reshape(index.size, -1), cells, axis=1)
    cut: NDArray[np.float32] = np.where(inside, scores, 0).astype(np.float32)
    return cut.reshape(*index.shape, -1)


def transfer_by_windows(
    positions: Points, index: NDArray[np.int64], windows: NDArray[np.float32], grid: Size
) -> Floats:
    """Places ``(N, 2)`` of ``positions`` ``(N, 2)``, both (x, y) in cells of their grids.

    ``index`` is ``(h, w)``, the best match of each cell among those of ``grid``, the other picture's;
    ``windows`` is ``(h, w, side²)``. Positions outside their grid are moved to its border.
    """
    height, width = index.shape
    side = round(windows.shape[2] ** 0.5)
    position = np.clip(positions, 0, [width - 1, height - 1])
    lower = position.astype(np.intp)
    right, down = (position - lower).T
    (x0, y0), (x1, y1) = lower.T, np.minimum(lower + 1, [width - 1, height - 1]).T
    corners = np.stack([y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1])
    weights = np.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down])
    used = weights.any(axis=1)  # of points on cells, their own cells alone
    # Each window is needed once, and of few points few are.
    corners, weights = corners[used], weights[used]
    needed, numbers = np.unique(corners, return_inverse=True)
    numbers = numbers.reshape(corners.shape)  # NumPy 1 makes them flat
    cells, above = _above(index.ravel()[needed], windows.reshape(index.size, -1)[needed], grid, side)
    places = np.empty((len(position), 2))
    for start in range(0, len(position), _CHUNK):
        part = slice(start, start + _CHUNK)
        maps = _add(cells, above, numbers[:, part], weights[:, part], grid)
        places[part] = _mean_places(maps, grid, side)
    return places


def _above(
    index: NDArray[np.int64], windows: NDArray[np.float32], grid: Size, side: int
) -> tuple[NDArray[np.intp], Floats]:
    """``(n, side²)`` each: the cells of each window in the other grid, and its scores above its lowest.

    Cells outside the grid are clamped to it, with scores of 0.
    """
    cells, inside = _windows(index, grid, side)
    above = windows - np.where(inside, windows.astype(np.float64), np.inf).min(axis=1, keepdims=True)
    above[~inside] = 0
    # A window without differences still has a centre.
    centre = above[:, side * side // 2]
    np.maximum(centre, 1e-20, out=centre)
    return cells, above


def _add(
    cells: NDArray[np.intp], above: Floats, numbers: NDArray[np.intp], weights: Floats, grid: Size
) -> Floats:
    """``(N, h'·w')``: for each point the sum of its windows, each at its place in the other grid.

    ``numbers`` and ``weights`` are ``(up to 4, N)``: which windows, and how much they count.
    """
    count, size = numbers.shape[1], grid[0] * grid[1]
    bins = cells[numbers] + np.arange(0, count * size, size)[:, None]  # (up to 4, N, side²)
    scores = above[numbers] * weights[:, :, None]
    maps = np.bincount(bins.ravel(), scores.ravel(), minlength=count * size)
    return np.asarray(maps.reshape(count, size), np.float64)


def _mean_places(maps: Floats, grid: Size, side: int) -> Floats:
    """``(N, h'·w')`` -> ``(N, 2)``: mean (x, y) in the window around the best cell of each map."""
    cells, inside = _windows(maps.argmax(axis=1), grid, side)
    scores = np.take_along_axis(maps, cells, axis=1)
    lowest = np.where(inside, scores, np.inf).min(axis=1, keepdims=True)
    weights = np.where(inside, scores - lowest, 0)
    total = weights.sum(axis=1)
    weights[total == 0, side * side // 2] = 1  # one cell, or all alike
    row, column = np.divmod(cells, grid[1])
    places = np.stack([(weights * column).sum(axis=1), (weights * row).sum(axis=1)], axis=1)
    places /= weights.sum(axis=1, keepdims=True)
    return places


def _windows(
    index: NDArray[np.integer[Any]], grid: Size, side: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Cells ``(n,)`` -> the cells of their windows ``(n, side²)``, and which of them lie in the grid.

    The former are clamped to the grid.
    """
    steps = np.arange(side) - side // 2
    row = (index // grid[1])[:, None] + np.repeat(steps, side)
    column = (index % grid[1])[:, None] + np.tile(steps, side)
    inside_row, inside_column = np.clip(row, 0, grid[0] - 1), np.clip(column, 0, grid[1] - 1)
    return inside_row * grid[1] + inside_column, (inside_row == row) & (inside_column == column)
