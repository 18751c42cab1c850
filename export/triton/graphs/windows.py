"""Places between cells by the scores around the best matches: ``runtime/score_windows.py`` in ONNX.

The runtime adds four windows on the whole grid of the other picture. Here only the cells that lie in one of
the four windows are looked at, in the same order of additions: that is the same sum, with less memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dccnet.export.triton.graphs import arrays as op
from dccnet.export.triton.graphs.arrays import Array
from dccnet.export.triton.graphs.indexing import pick
from dccnet.runtime.geometry import Size
from dccnet.runtime.score_windows import SIDE

_REACH = SIDE // 2
_DOWN, _RIGHT = (numbers.ravel() - _REACH for numbers in np.mgrid[:SIDE, :SIDE])
_IS_CENTRE = (_DOWN == 0) & (_RIGHT == 0)


class Direction(NamedTuple):
    """The matches of one picture's cells in the other picture, for a batch of pairs."""

    grid: Size
    """Of the picture whose cells are matched: n cells."""
    other: Size
    """Of the other picture."""
    best: Array
    """``(B, n)`` int64: best matches."""
    score: Array
    """``(B, n)`` float32"""
    window: Array
    """``(B, n, 25)``"""

    @property
    def cells(self) -> int:
        return self.grid[0] * self.grid[1]


class _Place(NamedTuple):
    """A window in the other grid, laid around a best match."""

    row: Array
    """``(B, N, 1)``: of the best match."""
    column: Array
    above: Array
    """``(B, N, 25)``: scores above the lowest of the window."""
    weight: Array
    """``(B, N, 1)``: what the window counts at the position."""


def transfer_by_windows(positions: Array, way: Direction) -> Array:
    """Places ``(B, N, 2)`` of ``positions`` ``(B, N, 2)``, both (x, y) in cells of their grids."""
    above = _above_lowest(way)
    windows = []
    for cell, weight in _corners(positions, way.grid):
        row, column = _row_and_column(pick(way.best, way.cells, cell), way.other)
        values = pick(above, way.cells, cell)
        windows.append(_Place(row, column, values, op.expand_dims(weight, axis=-1)))
    row = op.concat([window.row + _DOWN for window in windows], axis=-1)
    column = op.concat([window.column + _RIGHT for window in windows], axis=-1)
    sums = op.where(_inside(row, column, way.other), _blended(windows, row, column), -np.inf)
    highest = op.reduce("Max", sums, -1, keepdims=True)
    height, width = way.other
    # Of equal sums, the first cell of the grid.
    first = op.reduce("Min", op.where(sums.equals(highest), row * width + column, height * width), -1)
    row, column = _row_and_column(first, way.other)
    row, column = row + _DOWN, column + _RIGHT
    return _mean_place(row, column, _blended(windows, row, column), _inside(row, column, way.other))


def _blended(windows: list[_Place], row: Array, column: Array) -> Array:
    """``(B, N, m)``: the sum of the four windows, each with its weight, at m cells of the other grid."""
    total: Array | None = None
    for window in windows:
        down, right = row - window.row + _REACH, column - window.column + _REACH
        inside = _inside(down, right, (SIDE, SIDE))
        number = op.where(inside, down * SIDE + right, 0)
        part = op.where(inside, op.take_along_last(window.above, number), 0.0) * window.weight
        total = part if total is None else total + part
    assert total is not None
    return total


def _corners(positions: Array, grid: Size) -> list[tuple[Array, Array]]:
    """The four cells of ``grid`` around ``positions`` ``(B, N, 2)`` and their weights, ``(B, N)`` each.

    Positions outside the grid are moved to its border.
    """
    height, width = grid
    position = op.minimum(op.maximum(positions, 0), [width - 1, height - 1])
    lower = op.minimum(op.astype(position, np.int64), [max(width - 2, 0), max(height - 2, 0)])
    upper = op.minimum(lower + 1, [width - 1, height - 1])
    share = position - op.astype(lower, np.float64)
    (x0, y0), (x1, y1), (right, down) = ((xy.last(0), xy.last(1)) for xy in (lower, upper, share))
    return [
        (y0 * width + x0, (1 - right) * (1 - down)),
        (y0 * width + x1, right * (1 - down)),
        (y1 * width + x0, (1 - right) * down),
        (y1 * width + x1, right * down),
    ]


def _above_lowest(way: Direction) -> Array:
    """``(B, n, 25)`` float64: scores above the lowest of their window, and something at the centre."""
    windows = op.astype(way.window, np.float64)
    row, column = _row_and_column(way.best, way.other)
    inside = _inside(row + _DOWN, column + _RIGHT, way.other)
    above = windows - op.reduce("Min", op.where(inside, windows, np.inf), -1, keepdims=True)
    centre = way.best.graph.constant(_IS_CENTRE, np.bool_)
    return op.where(centre, op.maximum(above, 1e-20), op.where(inside, above, 0))


def _mean_place(row: Array, column: Array, sums: Array, inside: Array) -> Array:
    """``(B, N, 25)`` each -> ``(B, N, 2)``: mean (x, y) of the cells, by their sums above the lowest."""
    lowest = op.reduce("Min", op.where(inside, sums, np.inf), -1, keepdims=True)
    weights = op.where(inside, sums - lowest, 0)
    none = op.reduce("Sum", weights, -1, keepdims=True).equals(0)  # one cell, or all alike
    weights = op.where(none & _IS_CENTRE, 1, weights)
    total = op.reduce("Sum", weights, -1, keepdims=True)
    means = [
        op.reduce("Sum", weights * op.astype(numbers, np.float64), -1, keepdims=True) / total
        for numbers in (column, row)
    ]
    return op.concat(means, axis=-1)


def _row_and_column(cell: Array, grid: Size) -> tuple[Array, Array]:
    """``(…)`` -> ``(…, 1)`` each."""
    cell = op.expand_dims(cell, axis=-1)
    row = cell // grid[1]
    return row, cell - row * grid[1]


def _inside(row: Array, column: Array, grid: Size) -> Array:
    return (row >= 0) & (row < grid[0]) & (column >= 0) & (column < grid[1])
