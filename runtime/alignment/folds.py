"""Where a field of displacements folds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Floats

LEAST_STRETCH = 0.25
"""Half-way, no direction shrinks to less than this share. From picture to picture, no direction therefore
shrinks or grows more than sevenfold."""


def jacobians(field: Floats) -> Floats:
    """``(h - 1, w - 1, 4, 2, 2)``: derivatives of a field ``(h, w, 2)``, in steps of its lattice, at the
    four corners of each of its squares.

    Between its places a field is bilinear, its determinant therefore lies between those at the corners.
    """
    along, down = np.diff(field, axis=1), np.diff(field, axis=0)
    upper_lower, left_right = (along[:-1], along[1:]), (down[:, :-1], down[:, 1:])
    corners = [np.stack([by_x, by_y], axis=-1) for by_x in upper_lower for by_y in left_right]
    return np.stack(corners, axis=2)


def folded(field: Floats) -> NDArray[np.bool_]:
    """``(h - 1, w - 1)``: squares in which a map half the ``field`` on, or half of it back, folds or nearly
    does (:data:`LEAST_STRETCH`), or turns by more than a right angle.

    Where neither is, nothing between folds either: both eigenvalues keep a positive real part.
    """
    gradient = jacobians(field) / 2
    bad = np.zeros(gradient.shape[:2], bool)
    for sign in (1, -1):
        whole = np.eye(2) + sign * gradient
        area = whole[..., 0, 0] * whole[..., 1, 1] - whole[..., 0, 1] * whole[..., 1, 0]
        turned = whole[..., 0, 0] + whole[..., 1, 1] <= 0
        # The singular values s >= t of a 2x2 matrix: s² + t² is the sum of its squares, s t its area.
        sum_of_squares = (whole**2).sum(axis=(-2, -1))
        root = np.sqrt(np.maximum(sum_of_squares**2 - 4 * area**2, 0))
        least = np.sqrt(np.maximum(sum_of_squares - root, 0) / 2)
        bad |= ((area <= 0) | (least < LEAST_STRETCH) | turned).any(axis=-1)
    return bad
