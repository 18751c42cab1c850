"""How :mod:`dccnet.network.conv4d.paired` lays volumes out, and how it convolves along their first axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_LINE = 16
"""Numbers to a line of a CPU's cache, in float32."""


class Planes(NamedTuple):
    """Where the cells of a volume ``(C, D1, D2, D3, D4)`` are in an array ``(C, channel)``.

    Every (i, j) is a plane of ``length`` numbers: ``lead`` zeros, then D3 rows of ``row`` numbers, which
    are D4 cells and zeros again. If D1 is odd, there are planes of zeros for one slice more, and one plane
    of zeros is always last. So whatever neighbour within the kernels' reach a cell has along D3 and D4, it
    is a fixed distance away, and zero where it is outside.
    """

    d1: int
    d2: int
    d3: int
    d4: int
    row: int
    lead: int
    length: int

    @classmethod
    def of(cls, grid: Sequence[int], kernels: Sequence[Sequence[int]]) -> Planes:
        """Volumes of a grid, for convolutions with kernels of these sides."""
        d1, d2, d3, d4 = grid
        reach3, reach4 = (max(kernel[axis] for kernel in kernels) // 2 for axis in (2, 3))
        row = d4 + reach4
        lead = _whole_lines(reach3 * row + reach4)
        # The first row begins where a line of the cache does.
        return cls(d1, d2, d3, d4, row, lead, lead + _whole_lines(d3 * row))

    @property
    def pairs(self) -> int:
        """Of slices along D1."""
        return math.ceil(self.d1 / 2)

    @property
    def channel(self) -> int:
        """How many numbers it has."""
        # Without the last plane, channels would often be a multiple of 4096 bytes apart; CPUs take such
        # addresses for the same at first, and wait.
        return (2 * self.pairs * self.d2 + 1) * self.length

    def distances(self, kernel: Sequence[int]) -> NDArray[np.int64]:
        """Of all taps (t3, t4), in order, from the one at the centre."""
        return np.array([
            (t3 - kernel[2] // 2) * self.row + t4 - kernel[3] // 2
            for t3, t4 in product(range(kernel[2]), range(kernel[3]))
        ])  # fmt: skip

    def lay(self, x: Tensor) -> Tensor:
        """``(B, C, D1, D2, D3, D4)`` -> ``(B, C, channel)``."""
        laid = x.new_zeros(*x.shape[:2], self.channel)
        self.cells(laid).copy_(x)
        return laid

    def cells(self, laid: Tensor) -> Tensor:
        """The inverse, as a view."""
        planes = laid[..., : -self.length].unflatten(-1, (-1, self.d2, self.length))[:, :, : self.d1]
        rows = planes[..., self.lead : self.lead + self.d3 * self.row].unflatten(-1, (self.d3, self.row))
        cells: Tensor = rows[..., : self.d4]
        return cells

    def inside(self, dtype: np.dtype[Any]) -> NDArray[np.floating[Any]]:
        """``(1, D3·row)``: 1 for cells, 0 for the zeros behind every row."""
        rows = np.zeros((self.d3, self.row), dtype)
        rows[:, : self.d4] = 1
        return rows.reshape(1, -1)


class Along(NamedTuple):
    """How a convolution along one axis is computed, two results at a time.

    A product is of a sum of what the kernel reaches from the two, and of a sum of its taps. It is added to
    the one result or the other, or to both, or to the one while it is subtracted from the other.
    """

    thin: NDArray[np.floating[Any]]
    """``(products, taps + 1)``: what each product takes of all that the kernel reaches."""
    taps: NDArray[np.floating[Any]]
    """``(products, taps)``: what it takes of the kernel."""
    sides: NDArray[np.int64]
    """``(products,)``: 0 and 1 for the one result and the other, 2 for both, 3 for their difference."""

    @classmethod
    def of(cls, taps: int, dtype: np.dtype[Any]) -> Along:
        """For three taps Winograd's F(2, 3), four products instead of six; else a product a tap."""
        if taps == 3:
            thin = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]], dtype)
            kernel = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], dtype)
            return cls(thin, kernel, np.array([0, 2, 3, 1], np.int64))
        thin = np.concatenate([np.eye(taps, taps + 1, side, dtype) for side in range(2)])
        kernel = np.concatenate([np.eye(taps, dtype=dtype)] * 2)
        return cls(thin, kernel, np.repeat(np.array([0, 1], np.int64), taps))


def _whole_lines(numbers: int) -> int:
    return math.ceil(numbers / _LINE) * _LINE
