"""Picking cells from arrays with a batch axis."""

from __future__ import annotations

import numpy as np

from dccnet.export.triton.graphs import arrays as op
from dccnet.export.triton.graphs.arrays import Array

TINY = float(np.finfo(np.float64).tiny)


def batch_of(array: Array) -> Array:
    """``(1,)`` int64: the length of the first axis."""
    return op.take(op.shape_of(array), [0], axis=0)


def pick(values: Array, count: int, cells: Array, axes: int = 1) -> Array:
    """``values`` ``(B, count, …)`` at ``cells`` ``(B, …)`` int64, with ``axes`` axes after the batch."""
    batch = op.take(op.shape_of(values), 0, axis=0)
    bounds = [values.graph.constant(0, np.int64), batch, values.graph.constant(1, np.int64)]
    first = values.graph.add("Range", bounds, np.int64) * count
    numbers = op.reshape(first, [-1, *[1] * axes]) + cells
    flat = values.graph.add("Shape", [values], np.int64, start=2)
    flat = op.concat([values.graph.constant([-1], np.int64), flat], axis=0)
    return op.take(op.reshape(values, flat), numbers, axis=0)
