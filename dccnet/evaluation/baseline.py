"""The baselines that a network has to beat: the same relative place, and nearest neighbours of features."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Array
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import Size

SAME_PLACE = "same relative place"
NEAREST_NEIGHBOUR = "nearest neighbour"


def same_place(size_a: Size, size_b: Size) -> Correspondences:
    """Every point moves to the same relative place, whatever the pictures show.

    ``size_a`` and ``size_b`` are the (height, width) of the pictures in pixels.
    """
    corners = np.arange(4).reshape(2, 2)
    scores = np.ones((2, 2), np.float32)
    return Correspondences(size_a, size_b, corners, scores, corners, scores)


def nearest_neighbour(
    za: Array, zb: Array, size_a: Size, size_b: Size, *, heatmaps: bool = True
) -> Correspondences:
    """The most similar cell in both directions, from features Z ``(1, d, h, w)``; scores are cosines.

    ``size_a`` and ``size_b`` are the (height, width) of the pictures in pixels. Without ``heatmaps``, the
    result has only the rule ``cells``, and is there sooner.
    """
    a, b = (_cells(z) for z in (za, zb))
    products: NDArray[np.float32] = a.T @ b  # (cells of A, cells of B)
    grid_a, grid_b = za.shape[2:], zb.shape[2:]
    found = Correspondences(
        size_a,
        size_b,
        index_a=products.argmax(axis=1).reshape(grid_a),
        score_a=products.max(axis=1).reshape(grid_a),
        index_b=products.argmax(axis=0).reshape(grid_b),
        score_b=products.max(axis=0).reshape(grid_b),
    )
    if not heatmaps:
        return found
    return dataclasses.replace(
        found,
        heatmap_a=products.reshape(*grid_a, *grid_b),
        heatmap_b=np.ascontiguousarray(products.T).reshape(*grid_b, *grid_a),
    )


def _cells(features: Array) -> NDArray[np.float32]:
    """``(d, h·w)``, of unit length: features of a network in half precision or INT8 are only nearly so."""
    flat = features.astype(np.float32).reshape(features.shape[1], -1)
    unit: NDArray[np.float32] = flat / np.maximum(np.linalg.norm(flat, axis=0), 1e-12)
    return unit
