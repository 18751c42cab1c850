"""Confidence from what speaks for a match: ``runtime/evidence.py`` in ONNX."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np

from dccnet.export.triton.graphs import arrays as op
from dccnet.export.triton.graphs.arrays import Array
from dccnet.export.triton.graphs.indexing import batch_of, pick
from dccnet.export.triton.graphs.neighbours import agreement_of_neighbours, length
from dccnet.export.triton.graphs.windows import Direction, transfer_by_windows
from dccnet.runtime.confidence import ConfidenceModel
from dccnet.runtime.evidence import MOST, TINY
from dccnet.runtime.geometry import Size, cell_pixels
from dccnet.runtime.score_windows import SIDE


def log_odds(model: ConfidenceModel, own: Direction, other: Direction) -> Array:
    """``(B, n)``: logarithm of the odds that the match of each cell of ``own`` is right."""
    features = _evidence(own, other)
    return (
        reduce(add, (features[name] * weight for name, weight in model.weights.items())) + model.intercept
    )


def probability(odds: Array) -> Array:
    """Logarithms of odds -> probabilities, float32."""
    return op.astype(op.apply("Tanh", odds / 2) * 0.5 + 0.5, np.float32)


def mutual_cells(own: Direction, other: Direction) -> Array:
    """``(B, n)``: which cells are the best match of their own best match."""
    return pick(other.best, other.cells, own.best).equals(np.arange(own.cells))


def all_cells(like: Array, grid: Size) -> Array:
    """``(B, n, 2)``: every cell of a grid, (x, y), as often as the batch of ``like`` is long."""
    cells = like.graph.constant(cell_pixels(grid, grid).reshape(-1, 2), np.float64)
    shape = like.graph.constant([grid[0] * grid[1], 2], np.int64)
    return op.broadcast_to(cells, op.concat([batch_of(like), shape], axis=0))


def _evidence(own: Direction, other: Direction) -> dict[str, Array]:
    cells = all_cells(own.best, own.grid)
    targets = transfer_by_windows(cells, own)
    returned = transfer_by_windows(targets, other)
    distance = op.apply("Log", length(returned - cells) + 1)
    mutual = op.astype(mutual_cells(own, other), np.float64)
    around = agreement_of_neighbours(targets, own.grid, own.other, op.apply("Exp", -distance))
    return {
        "score": op.apply("Log", op.astype(own.score, np.float64) + TINY),
        "return": -distance,
        "spread": -_spread(own.window),
        "smoothness": -around.roughness,
        "mutual": op.reduce("Mean", mutual, 1, keepdims=True),
        "support": around.support,
        "deviation": -op.apply("Log", around.deviation + 1),
        "overall": _overall(around.support),
    }


def _overall(support: Array) -> Array:
    """``(B, n)`` -> ``(B, 1)``: the power mean of :data:`MOST`."""
    power = support
    for _ in range(MOST.bit_length() - 1):
        power = power * power
    mean = op.reduce("Mean", power, 1, keepdims=True)
    for _ in range(MOST.bit_length() - 1):
        mean = op.apply("Sqrt", mean)
    return mean


def _spread(window: Array) -> Array:
    """``(B, n)``: root mean square distance of a window's scores from their mean place, in cells."""
    lowest = op.reduce("Min", window, -1, keepdims=True)
    above = op.astype(window, np.float64) - op.astype(lowest, np.float64)
    weights = above + np.where(np.arange(SIDE * SIDE) == SIDE * SIDE // 2, TINY, 0)
    weights = weights / op.reduce("Sum", weights, -1, keepdims=True)
    places = cell_pixels((SIDE, SIDE), (SIDE, SIDE)).reshape(-1, 2)
    mean = op.matmul(weights, places)
    squares = op.reduce("Sum", weights * (places**2).sum(axis=1), -1)
    return op.apply("Sqrt", op.maximum(squares - op.reduce("Sum", mean * mean, -1), 0))
