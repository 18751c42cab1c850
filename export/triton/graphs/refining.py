"""Places below the cells by the fine features of both pictures: ``runtime/refinement.py`` in ONNX."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccnet.export.triton.graphs import arrays as op
from dccnet.export.triton.graphs.arrays import Array
from dccnet.export.triton.graphs.indexing import pick
from dccnet.runtime.arrays import Floats
from dccnet.runtime.geometry import Size, extent
from dccnet.runtime.manifest import FineGrid
from dccnet.runtime.refinement import COST, PATCH, REACH

_SIDE = 2 * REACH + 1
_DOWN, _RIGHT = (numbers.ravel() - REACH for numbers in np.mgrid[:_SIDE, :_SIDE])


class Fine(NamedTuple):
    """Fine features of pictures, and where they lie in shares (x, y) of the picture."""

    values: Array
    """``(B, h · w, C)`` float32."""
    size: Size
    """(h, w)"""
    first: Floats
    step: Floats


def fine_of(values: Array, shape: tuple[int, int, int], grid: FineGrid, frame: Size) -> Fine:
    """``values`` are ``(B, C, h, w)``, as the encoder returns them, ``shape`` is (C, h, w)."""
    channels, height, width = shape
    rows = op.reshape(op.permute_dims(values, (0, 2, 3, 1)), [-1, height * width, channels])
    distance = extent(frame)
    first: Floats = np.array(grid.first[::-1]) / distance
    step: Floats = grid.stride / distance
    return Fine(op.astype(rows, np.float32), (height, width), first, step)


def refine(places: Array, matches: Array, here: Fine, there: Fine) -> Array:
    """Better ``matches`` of ``places``, both ``(B, N, 2)``: shares (x, y) of the other and of this
    picture."""
    positions = (places - here.first) / here.step
    starts = (matches - there.first) / there.step
    # There are no features along the border: what lies there moves with the nearest one.
    nearest = _within(positions, here.size)
    beyond = positions - nearest
    found = _search(here, there, nearest, _within(starts - beyond, there.size))
    return (found + beyond) * there.step + there.first


def _search(here: Fine, there: Fine, positions: Array, starts: Array) -> Array:
    """Places ``(B, N, 2)`` on the grid of ``there``, near ``starts``, all (x, y) in fine features."""
    patch = _square(here, positions, PATCH // 2)  # (B, N, PATCH², C)
    window = _square(there, starts, REACH + PATCH // 2)  # (B, N, rows², C)
    rows = _SIDE + PATCH - 1
    products = op.matmul(window, op.permute_dims(patch, (0, 1, 3, 2)))  # (B, N, rows², PATCH²)
    parts = [
        op.take(products.last(row * PATCH + column), _block(row, column, _SIDE, _SIDE, rows), axis=2)
        for row in range(PATCH)
        for column in range(PATCH)
    ]
    similarity = op.astype(reduce(add, parts) / PATCH**2, np.float64)
    x, y = starts.last(0, keep=True) + _RIGHT, starts.last(1, keep=True) + _DOWN
    inside = (x >= 0) & (x <= there.size[1] - 1) & (y >= 0) & (y <= there.size[0] - 1)
    cost = COST * (_DOWN**2 + _RIGHT**2)
    return starts - REACH + _peaks(op.where(inside, similarity - cost, -np.inf))


def _peaks(scores: Array) -> Array:
    """``(B, N, side²)`` -> ``(B, N, 2)``: (x, y) of the highest score, between places by parabolas."""
    best = op.argmax(scores)
    row = best // _SIDE
    column = best - row * _SIDE

    def at(down: int, right: int) -> Array:
        y, x = row + down, column + right
        inside = (y >= 0) & (y < _SIDE) & (x >= 0) & (x < _SIDE)
        return op.where(inside, op.take_along_last(scores, op.where(inside, y * _SIDE + x, 0)), -np.inf)

    peak = at(0, 0)
    x = op.astype(column, np.float64) + _vertex(at(0, -1), at(0, 1), peak)
    y = op.astype(row, np.float64) + _vertex(at(-1, 0), at(1, 0), peak)
    return op.concat([x, y], axis=-1)


def _vertex(before: Array, after: Array, peak: Array) -> Array:
    """Where the parabola through three neighbours is highest, from the middle one; 0 at a border."""
    finite = (before > -np.inf) & (after > -np.inf)
    before, after = op.where(finite, before, 0), op.where(finite, after, 0)
    bend = before + after - peak * 2
    usable = finite & (bend < 0)
    return op.where(usable, after - before, 0) * -0.5 / op.where(usable, bend, 1)


def _square(features: Fine, centres: Array, reach: int) -> Array:
    """``(B, N, side², C)``: features around ``centres`` ``(B, N, 2)``, side 2 · ``reach`` + 1, bilinear.

    Outside the grid they are those of the nearest place.
    """
    (height, width), longer = features.size, 2 * reach + 2
    side = longer - 1
    down, right = (numbers.ravel() - reach for numbers in np.mgrid[:longer, :longer])
    lower = op.apply("Floor", centres)
    cells, share = op.astype(lower, np.int64), op.astype(centres - lower, np.float32)
    x = op.minimum(op.maximum(cells.last(0, keep=True) + right, 0), width - 1)
    y = op.minimum(op.maximum(cells.last(1, keep=True) + down, 0), height - 1)
    taken = pick(features.values, height * width, y * width + x, axes=2)  # (B, N, longer², C)
    to_right, to_down = (op.expand_dims(share.last(axis, keep=True), axis=-1) for axis in (0, 1))
    upper, below = (op.take(taken, _block(row, 0, side, longer, longer), axis=2) for row in (0, 1))
    rows = upper + to_down * (below - upper)  # (B, N, side · longer, C)
    left, beside = (op.take(rows, _block(0, column, side, side, longer), axis=2) for column in (0, 1))
    return left + to_right * (beside - left)


def _block(row: int, column: int, rows: int, columns: int, width: int) -> NDArray[np.int64]:
    """Numbers of the places of a block in rows of ``width`` places, row-major."""
    down, right = np.mgrid[row : row + rows, column : column + columns]
    numbers: NDArray[np.int64] = (down * width + right).ravel()
    return numbers


def _within(points: Array, size: Size) -> Array:
    return op.minimum(op.maximum(points, 0), [size[1] - 1, size[0] - 1])
