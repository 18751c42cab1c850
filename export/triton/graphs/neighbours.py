"""How neighbouring matches move: ``runtime/neighbours.py`` in ONNX."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dccnet.export.triton.graphs import arrays as op
from dccnet.export.triton.graphs.arrays import Array
from dccnet.runtime.geometry import Size
from dccnet.runtime.neighbours import (
    ADJACENT,
    FARTHEST,
    NEARNESS,
    ORIENTATIONS,
    OUTLIER,
    PRIOR,
    STEPS,
    TOLERANCE,
    extent,
)


class Agreement(NamedTuple):
    """``(B, n)`` each."""

    roughness: Array
    support: Array
    deviation: Array


def agreement_of_neighbours(targets: Array, own: Size, other: Size, trust: Array) -> Agreement:
    """``targets`` ``(B, n, 2)`` are where the cells of the grid ``own`` lie in ``other``; ``trust`` is
    ``(B, n)``."""
    row, column = np.divmod(np.arange(own[0] * own[1]), own[1])
    y, x = row + STEPS[:, 1:], column + STEPS[:, :1]
    inside = (y >= 0) & (y < own[0]) & (x >= 0) & (x < own[1])  # (24, n)
    cells = np.where(inside, y * own[1] + x, 0)
    scaled = targets / extent(other) * extent(own)
    motion = op.take(scaled, cells, axis=1) - op.expand_dims(scaled, 1)  # (B, 24, n, 2)
    apart = [(motion - (STEPS * way)[:, None]) * inside[..., None] for way in ORIENTATIONS]
    rough = [
        _roughness(op.take(each, np.flatnonzero(ADJACENT), axis=1), inside[ADJACENT]) for each in apart
    ]
    seen, mirrored = (
        op.reduce("Sum", trust * op.apply("Exp", -(each * each)), 1, keepdims=True) for each in rough
    )
    turned = mirrored > seen  # (B, 1)
    best = op.where(op.expand_dims(op.expand_dims(turned, -1), -1), apart[1], apart[0])
    trusted = op.take(trust, cells, axis=1) * inside
    squared = op.reduce("Sum", best * best, -1)
    alike = op.reduce("Sum", trusted * op.apply("Exp", -squared / TOLERANCE**2), 1)
    return Agreement(
        op.where(turned, rough[1], rough[0]),
        alike / np.maximum(inside.sum(axis=0), 1),
        _deviation(best, trusted * NEARNESS[:, None]),
    )


def length(vectors: Array) -> Array:
    """``(…, 2)`` -> ``(…)``."""
    return op.apply("Sqrt", op.reduce("Sum", vectors * vectors, -1))


def _roughness(apart: Array, inside: np.ndarray) -> Array:
    """``(B, n)``: mean length, at most :data:`FARTHEST`, of ``apart`` ``(B, 8, n, 2)``, 0 outside."""
    mean: Array = op.reduce("Sum", op.minimum(length(apart), FARTHEST), 1)
    mean /= np.maximum(inside.sum(axis=0), 1)
    return mean


def _deviation(apart: Array, weights: Array) -> Array:
    first = op.expand_dims(_mean(apart, weights), 1)
    off = op.reduce("Sum", (apart - first) * (apart - first), -1)
    less = off / OUTLIER**2 + 1
    return length(_mean(apart, weights / (less * less)))


def _mean(apart: Array, weights: Array) -> Array:
    """``(B, n, 2)``: weighted mean of ``apart`` ``(B, 24, n, 2)`` over the neighbours."""
    total = op.reduce("Sum", op.expand_dims(weights, -1) * apart, 1)
    return total / op.expand_dims(op.reduce("Sum", weights, 1) + PRIOR, -1)
