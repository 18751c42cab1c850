"""Smooth fields: uniform cubic B-splines with a penalty on the second differences of their coefficients.

Eilers, Marx, "Flexible Smoothing with B-splines and Penalties", Statistical Science 1996; here in two
dimensions.
Positions are in knots: knot (column, row) lies at (x, y) = (column, row).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.geometry import Size

_TAPS = 4  # coefficients along each axis that a cubic B-spline blends at one place


def evaluate(coefficients: Floats, rows: Floats, columns: Floats) -> Floats:
    """``(len(rows), len(columns), C)``: the field with ``coefficients`` ``(h, w, C)`` on a lattice."""
    down = _basis_matrix(rows, coefficients.shape[0])
    along = _basis_matrix(columns, coefficients.shape[1])
    return np.asarray(np.einsum("ri,cj,ijk->rck", down, along, coefficients, optimize=True))


class Fit:
    """Weighted least squares of a field on ``grid`` (height, width) knots, for changing weights."""

    def __init__(self, grid: Size, points: Points) -> None:
        """``points`` ``(N, 2)``, in knots, are where values are known."""
        self._grid = grid
        column, wx = _taps(points[:, 0], grid[1])
        row, wy = _taps(points[:, 1], grid[0])
        self._index = (row[:, :, None] * grid[1] + column[:, None, :]).reshape(len(points), -1)  # (N, 16)
        self._taps = (wy[:, :, None] * wx[:, None, :]).reshape(len(points), -1)
        self._products = (self._taps[:, :, None] * self._taps[:, None, :]).reshape(len(points), -1)
        self._pairs = (self._index[:, :, None] * (grid[0] * grid[1]) + self._index[:, None, :]).reshape(
            len(points), -1
        )

    def solve(self, weights: Floats, values: Floats, stiffness: Floats) -> Floats:
        """``(h, w, C)`` coefficients.

        ``weights`` is ``(N,)``, ``values`` ``(N, C)``, and ``stiffness`` ``(h, w)`` the weight of the
        penalty around each knot, above 0.
        """
        count = self._grid[0] * self._grid[1]
        products = (self._products * weights[:, None]).ravel()
        normal = _penalty(self._grid, stiffness)
        normal += np.bincount(self._pairs.ravel(), products, minlength=count * count).reshape(count, count)
        normal += 1e-9 * np.eye(count)  # what neither values nor penalty decide is 0
        right = np.stack(
            [
                np.bincount(
                    self._index.ravel(),
                    (self._taps * (weights * value)[:, None]).ravel(),
                    minlength=count,
                )
                for value in values.T
            ],
            axis=1,
        )
        return np.asarray(np.linalg.solve(normal, right).reshape(*self._grid, -1), np.float64)

    def values(self, coefficients: Floats) -> Floats:
        """``(N, C)``: the field at the points."""
        flat = coefficients.reshape(-1, coefficients.shape[-1])
        return np.asarray(np.einsum("nk,nkc->nc", self._taps, flat[self._index]))


def _penalty(grid: Size, stiffness: Floats) -> Floats:
    """``(n, n)``: the quadratic form of the weighted squares of all second differences."""
    count = grid[0] * grid[1]
    total = np.zeros(count * count)
    for cells, factors, centre in _differences(grid):
        weight = stiffness.ravel()[centre]
        pairs = cells[:, :, None] * count + cells[:, None, :]
        products = weight[:, None, None] * (factors[:, None] * factors)
        total += np.bincount(pairs.ravel(), products.ravel(), minlength=count * count)
    return total.reshape(count, count)


@lru_cache(maxsize=4)
def _differences(grid: Size) -> tuple[tuple[NDArray[np.intp], Floats, NDArray[np.intp]], ...]:
    """For each kind of second difference: knots ``(n, k)``, their factors ``(k,)``, and one knot ``(n,)``
    at which each is."""
    number = np.arange(grid[0] * grid[1]).reshape(grid)
    along = np.stack([number[:, :-2], number[:, 1:-1], number[:, 2:]], axis=-1).reshape(-1, 3)
    down = np.stack([number[:-2], number[1:-1], number[2:]], axis=-1).reshape(-1, 3)
    mixed = np.stack([number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]], axis=-1)
    mixed = mixed.reshape(-1, 4)
    second, twisted = np.array([1.0, -2.0, 1.0]), 2**0.5 * np.array([1.0, -1.0, -1.0, 1.0])
    return (along, second, along[:, 1]), (down, second, down[:, 1]), (mixed, twisted, mixed[:, 0])


def _taps(positions: Floats, knots: int) -> tuple[NDArray[np.intp], Floats]:
    """``(N, 4)`` each: the coefficients that are blended at ``positions``, and their weights.

    Positions from 1 to ``knots`` - 2 have all their coefficients; others are moved there.
    """
    inside = np.clip(positions, 1, knots - 2)
    lower = np.minimum(np.floor(inside), knots - 3)
    t = (inside - lower)[:, None]
    weights = np.concatenate(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    )
    return lower.astype(np.intp)[:, None] + np.arange(-1, _TAPS - 1), weights / 6


def _basis_matrix(positions: Floats, knots: int) -> Floats:
    """``(N, knots)``: the weight of each coefficient at each position along one axis."""
    cells, weights = _taps(positions, knots)
    matrix = np.zeros((len(positions), knots))
    np.put_along_axis(matrix, cells, weights, axis=1)
    return matrix
