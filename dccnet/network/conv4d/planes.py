"""The memory layout of volumes in ``paired.py``, and its arithmetic along their first axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_LINE = 16
"""float32 numbers in a cache line of a CPU."""


class Planes(NamedTuple):
    """Where the cells of a volume ``(C, D1, D2, D3, D4)`` lie in an array ``(C, channel)``.

    Each pair of indices (i, j) along D1 and D2 has a plane of ``length`` numbers: ``lead`` zeros, then D3
    rows of ``row`` numbers, each of them D4 cells followed by zeros. If D1 is odd, planes of zeros for one
    more slice follow; one plane of zeros is always last. So every neighbour along D3 and D4 within reach of
    a kernel lies a fixed distance away from its cell, and is zero where it is outside of the volume.
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
        """The layout for volumes of a grid that meet kernels of these sides."""
        d1, d2, d3, d4 = grid
        reach3, reach4 = (max(kernel[axis] for kernel in kernels) // 2 for axis in (2, 3))
        row = d4 + reach4
        lead = _whole_lines(reach3 * row + reach4)
        # The first row is aligned to a cache line.
        return cls(d1, d2, d3, d4, row, lead, lead + _whole_lines(d3 * row))

    @property
    def pairs(self) -> int:
        """Number of pairs of slices along D1."""
        return math.ceil(self.d1 / 2)

    @property
    def channel(self) -> int:
        """Numbers in a channel."""
        # Without the last plane, channels would often be a multiple of 4096 bytes apart, and CPUs would
        # stall because they take such addresses for the same at first (4K aliasing).
        return (2 * self.pairs * self.d2 + 1) * self.length

    def distances(self, kernel: Sequence[int]) -> NDArray[np.int64]:
        """Distance of each tap (t3, t4), in order, from the tap at the centre, in numbers."""
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
        """The inverse of :meth:`lay`, as a view."""
        planes = laid[..., : -self.length].unflatten(-1, (-1, self.d2, self.length))[:, :, : self.d1]
        rows = planes[..., self.lead : self.lead + self.d3 * self.row].unflatten(-1, (self.d3, self.row))
        cells: Tensor = rows[..., : self.d4]
        return cells

    def inside(self, dtype: np.dtype[Any]) -> NDArray[np.floating[Any]]:
        """``(1, D3·row)``: 1 for cells, 0 for the zeros behind every row."""
        rows = np.zeros((self.d3, self.row), dtype)
        rows[:, : self.d4] = 1
        return rows.reshape(1, -1)


class AxisProducts(NamedTuple):
    """How a convolution along one axis is computed, two neighbouring outputs at a time.

    Each product has two factors: a weighted sum of the inputs that the kernel reaches from the two outputs,
    and a weighted sum of the kernel's taps. It is added to the first output, to the second or to both, or
    added to the first and subtracted from the second.
    """

    narrow_side: NDArray[np.floating[Any]]
    """``(products, taps + 1)``: weight of each input in each product."""
    taps: NDArray[np.floating[Any]]
    """``(products, taps)``: weight of each tap in each product."""
    sides: NDArray[np.int64]
    """``(products,)``: 0: first output, 1: second, 2: added to both, 3: added to the first, subtracted."""

    @classmethod
    def of(cls, taps: int, dtype: np.dtype[Any]) -> AxisProducts:
        """Winograd's F(2, 3) for three taps, four products instead of six; else a product for each tap."""
        if taps == 3:
            narrow_side = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]], dtype)
            kernel = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], dtype)
            return cls(narrow_side, kernel, np.array([0, 2, 3, 1], np.int64))
        narrow_side = np.concatenate([np.eye(taps, taps + 1, side, dtype) for side in range(2)])
        kernel = np.concatenate([np.eye(taps, dtype=dtype)] * 2)
        return cls(narrow_side, kernel, np.repeat(np.array([0, 1], np.int64), taps))


def _whole_lines(numbers: int) -> int:
    return math.ceil(numbers / _LINE) * _LINE
