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
    maps = _lay_out(index.ravel(), windows.reshape(index.size, -1), grid, side)
    position = np.clip(positions, 0, [width - 1, height - 1])
    lower = np.minimum(position.astype(np.intp), [max(width - 2, 0), max(height - 2, 0)])
    right, down = (position - lower).T
    (x0, y0), (x1, y1) = lower.T, np.minimum(lower + 1, [width - 1, height - 1]).T
    corners = (
        (y0 * width + x0, (1 - right) * (1 - down)),
        (y0 * width + x1, right * (1 - down)),
        (y1 * width + x0, (1 - right) * down),
        (y1 * width + x1, right * down),
    )
    places = np.empty((len(position), 2))
    for start in range(0, len(position), _CHUNK):
        part = slice(start, start + _CHUNK)
        blended = sum(maps[cell[part]] * weight[part, None] for cell, weight in corners)
        places[part] = _mean_places(np.asarray(blended), grid, side)
    return places


def _lay_out(index: NDArray[np.int64], windows: NDArray[np.float32], grid: Size, side: int) -> Floats:
    """``(n, h'·w')``: each cell's window at its place in the other grid, above its lowest score."""
    cells, inside = _windows(index, grid, side)
    above = windows - np.where(inside, windows.astype(np.float64), np.inf).min(axis=1, keepdims=True)
    maps = np.zeros((len(index), grid[0] * grid[1]))
    rows = np.broadcast_to(np.arange(len(index))[:, None], cells.shape)
    maps[rows[inside], cells[inside]] = above[inside]
    # A window without differences still has a centre.
    best = np.arange(len(index)), index
    maps[best] = np.maximum(maps[best], 1e-20)
    return maps


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
