"""Matched points in pixels of the original pictures: ``Correspondences`` in ONNX."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np

from dccnet.export.triton.graphs import arrays as op
from dccnet.export.triton.graphs.arrays import Array
from dccnet.export.triton.graphs.evidence import all_cells, log_odds, mutual_cells, probability
from dccnet.export.triton.graphs.indexing import TINY, pick
from dccnet.export.triton.graphs.refining import Fine, refine
from dccnet.export.triton.graphs.windows import Direction, transfer_by_windows
from dccnet.runtime.confidence import ConfidenceModel
from dccnet.runtime.geometry import Size


class Pair(NamedTuple):
    """What the network found in a batch of pairs of pictures."""

    a: Direction
    b: Direction
    size_a: Array
    """``(B, 2)`` int64: (height, width) in pixels."""
    size_b: Array
    fine: tuple[Fine, Fine] | None
    """Of A and of B; None: matches are not refined."""
    confidence: ConfidenceModel | None


def matches(pair: Pair) -> dict[str, Array]:
    """The match in B of each of the n cells of A, as ``Correspondences.matches()`` and ``mutual()``.

    ``points_a`` and ``points_b`` ``(B, n, 2)`` float64 are (x, y) in pixels, ``scores`` ``(B, n)`` those of
    ``matches()``, ``mutual`` ``(B, n)`` says whether both directions agree, ``mutual_scores`` is the lower
    of both scores, and ``confidence``, if there is any, is ``(B, n)`` float32.
    """
    points = all_cells(pair.size_a, pair.a.grid) * _pixels_per_cell(pair.size_a, pair.a.grid)
    there = pick(pair.b.score, pair.b.cells, pair.a.best)
    found = {
        "points_a": points,
        "points_b": _move(pair, points),
        "scores": pair.a.score,
        "mutual": mutual_cells(pair.a, pair.b),
        "mutual_scores": op.minimum(pair.a.score, there),
    }
    if pair.confidence is not None:
        found["confidence"] = probability(log_odds(pair.confidence, pair.a, pair.b))
    return found


def carried(pair: Pair, points: Array) -> dict[str, Array]:
    """Where points of A lie in B, as ``Correspondences.carry(points, "a")``.

    ``points`` ``(B, N, 2)`` float64 are (x, y) in pixels of A. Returns ``points_b`` ``(B, N, 2)`` float64,
    ``scores`` ``(B, N)`` and, if there is any, ``confidence`` ``(B, N)``, both float32.
    """
    height, width = pair.a.grid
    positions = op.apply("Round", _cells_of(points, pair.size_a, pair.a.grid))
    nearest = op.astype(op.minimum(op.maximum(positions, 0), [width - 1, height - 1]), np.int64)
    cell = nearest.last(1) * width + nearest.last(0)
    found = {"points_b": _move(pair, points), "scores": pick(pair.a.score, pair.a.cells, cell)}
    if pair.confidence is not None:
        inside = op.minimum(op.maximum(points, 0), _as_xy(pair.size_a) - 1)
        odds = log_odds(pair.confidence, pair.a, pair.b)
        found["confidence"] = probability(
            _blended(odds, _cells_of(inside, pair.size_a, pair.a.grid), pair.a.grid)
        )
    return found


def _move(pair: Pair, points: Array) -> Array:
    """Where points ``(B, N, 2)`` of A lie in B, both in pixels."""
    cells = transfer_by_windows(_cells_of(points, pair.size_a, pair.a.grid), pair.a)
    places = cells * _pixels_per_cell(pair.size_b, pair.b.grid)
    if pair.fine is None:
        return places
    here, there = _extent(pair.size_a), _extent(pair.size_b)
    refined = refine(points / here, places / there, *pair.fine)
    return op.minimum(op.maximum(refined, 0), 1) * there


def _blended(values: Array, positions: Array, grid: Size) -> Array:
    """``values`` ``(B, n)`` of cells at ``positions`` ``(B, N, 2)``, by the rule of the benchmarks'
    transfer (:func:`dccnet.runtime.geometry.transfer`)."""
    height, width = grid
    last = [max(width - 2, 0), max(height - 2, 0)]
    lower = op.minimum(op.maximum(op.apply("Ceil", positions) - 1, 0), last)
    first = op.astype(lower, np.int64)
    second = op.minimum(first + 1, [width - 1, height - 1])
    shares = abs(positions - lower), abs(positions - (lower + 1))
    (x0, y0), (x1, y1), (wx1, wy1), (wx0, wy0) = (
        (xy.last(0), xy.last(1)) for xy in (first, second, *shares)
    )
    weights = [wx0 * wy0, wx1 * wy0, wx0 * wy1, wx1 * wy1]
    cells = [y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1]
    parts = [
        weight * pick(values, height * width, cell) for weight, cell in zip(weights, cells, strict=True)
    ]
    return reduce(add, parts) / reduce(add, weights)


def _cells_of(points: Array, size: Array, grid: Size) -> Array:
    return points / op.maximum(_pixels_per_cell(size, grid), TINY)


def _pixels_per_cell(size: Array, grid: Size) -> Array:
    return (_as_xy(size) - 1) / [max(grid[1] - 1, 1), max(grid[0] - 1, 1)]


def _extent(size: Array) -> Array:
    return op.maximum(_as_xy(size) - 1, TINY)


def _as_xy(size: Array) -> Array:
    """(height, width) ``(B, 2)`` -> (x, y) ``(B, 1, 2)`` float64."""
    return op.astype(op.expand_dims(op.take(size, [1, 0], axis=1), axis=1), np.float64)
