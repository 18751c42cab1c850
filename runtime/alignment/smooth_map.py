"""A smooth map between two pictures that never folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.alignment.frame import Frame
from dccnet.runtime.alignment.lattice import block_centres, spread
from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.checks import Side

_ITERATIONS = 30  # of Newton's method; four or five are usual
_PRECISION = 1e-3  # pixels of the frame
_LONGEST_STEP = 4.0  # of Newton's method, in steps of the field's lattice


@dataclass(frozen=True, slots=True, eq=False)
class SmoothMap:
    """A field of displacements half-way between two pictures A and B, in the frame that both lie in.

    At m, it takes m - u(m) / 2 in A to m + u(m) / 2 in B. The map from A to B and the one back are
    therefore each other's inverse, and a picture can be taken any part of the way (:meth:`middle`).
    """

    frame: Frame
    first: float
    """Position of the field's first place along each axis, in pixels of the frame."""
    step: float
    """Distance between its places, in pixels of the frame."""
    field: Floats
    """``(h, w, 2)``: u in pixels of the frame, bilinear between places, constant beyond the last ones."""
    support: Floats
    """``(h, w)`` in [0, 1]: how confident the matches are that the field agrees with."""

    def carry(self, points: Points, from_: Side) -> Points:
        """``(N, 2)`` pixels (x, y) of the picture ``from_`` -> ``(N, 2)`` pixels of the other, perhaps
        outside it."""
        own, other = self.frame.sides(from_)
        middle = self.middle(own.to_frame(points), _time(from_))
        return other.to_picture(self.at(middle, 1 - _time(from_)))

    def dense_targets(self, from_: Side) -> NDArray[np.float32]:
        """``(H, W, 2)``: :meth:`carry` of every pixel of ``from_``; linear between places of the field."""
        own, _ = self.frame.sides(from_)
        block = max(int(self.step / own.scale), 1)
        centres = block_centres(own.size, block)
        return spread(self.carry(centres.reshape(-1, 2), from_).reshape(centres.shape), own.size, block)

    def dense_support(self, from_: Side) -> NDArray[np.float32]:
        """``(H, W)`` in [0, 1]: :attr:`support` at every pixel of ``from_``."""
        own, _ = self.frame.sides(from_)
        block = max(int(self.step / own.scale), 1)
        centres = block_centres(own.size, block)
        middle = self.middle(own.to_frame(centres.reshape(-1, 2)), _time(from_))
        support = self._blend(self.support[..., None], middle)[0]
        return spread(support.reshape(*centres.shape[:2], 1), own.size, block)[..., 0]

    def at(self, middle: Points, time: float) -> Points:
        """Where the places ``middle`` ``(N, 2)`` are at ``time``, 0 in A to 1 in B; all in the frame."""
        places: Points = middle + (time - 0.5) * self._blend(self.field, middle)[0]
        return places

    def middle(self, places: Points, time: float, start: Points | None = None) -> Points:
        """The inverse of :meth:`at`, by Newton's method from ``start``, by default the places."""
        middle, share = places if start is None else start, time - 0.5
        for _ in range(_ITERATIONS):
            value, gradient = self._blend(self.field, middle)
            missing = places - middle - share * value
            if np.abs(missing).max(initial=0) < _PRECISION:
                break
            step = np.linalg.solve(np.eye(2) + share * gradient, missing[..., None])[..., 0]
            length = np.linalg.norm(step, axis=1, keepdims=True)
            middle = middle + step * np.minimum(1, _LONGEST_STEP * self.step / np.maximum(length, 1e-9))
        return middle

    def _blend(self, values: Floats, places: Points) -> tuple[Floats, Floats]:
        """``(N, C)`` and ``(N, C, 2)``: ``values`` ``(h, w, C)`` of the lattice at ``places`` ``(N, 2)`` of
        the frame, and their derivatives by x and y."""
        height, width = values.shape[:2]
        position = (places - self.first) / self.step
        inside = np.clip(position, 0, [width - 1, height - 1])
        lower = np.minimum(inside.astype(np.intp), [width - 2, height - 2])
        (x, y), (right, down) = lower.T, (inside - lower).T[..., None]
        start, along = values[y, x], values[y, x + 1] - values[y, x]
        below = values[y + 1, x]
        along_below = values[y + 1, x + 1] - below
        value = start + right * along + down * (below + right * along_below - start - right * along)
        by_x = along + down * (along_below - along)
        by_y = below - start + right * (along_below - along)
        gradient = np.stack([by_x, by_y], axis=-1) * (position == inside)[:, None, :] / self.step
        return value, gradient


def _time(side: Side) -> float:
    return 0.0 if side == "a" else 1.0
