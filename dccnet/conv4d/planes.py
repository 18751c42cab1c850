"""Volumes laid flat, so that a tap of a 4D kernel is a distance between cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LINE = 16
"""Numbers to a line of a CPU's cache, in float32."""


class Planes(NamedTuple):
    """Where the cells of a volume ``(C, D1, D2, D3, D4)`` are in a flat buffer.

    Each (c, i, j) is a plane of ``length`` numbers: ``lead`` zeros, then D3 rows of ``row`` numbers, which are
    D4 cells and zeros again. A plane of zeros follows the last one of each channel. So whatever neighbour
    within the kernels' reach a cell has along D3 and D4, it is a fixed distance away, and zero outside.
    """

    d1: int
    d2: int
    d3: int
    d4: int
    row: int
    lead: int
    length: int
    channel: int
    """Numbers of a channel."""

    @classmethod
    def of(cls, grid: Sequence[int], kernels: Sequence[Sequence[int]]) -> Planes:
        """Volumes of a grid, for convolutions with kernels of these sides."""
        d1, d2, d3, d4 = grid
        reach3, reach4 = (max(kernel[axis] for kernel in kernels) // 2 for axis in (2, 3))
        row = d4 + reach4
        # Rows begin where lines do, in the first of a plane. The plane of zeros keeps channels, which are read
        # side by side, from being a multiple of 4096 bytes apart, as far as most CPUs tell addresses apart.
        lead = _whole_lines(reach3 * row + reach4)
        length = lead + _whole_lines(d3 * row)
        return cls(d1, d2, d3, d4, row, lead, length, (d1 * d2 + 1) * length)

    def distances(self, kernel: Sequence[int]) -> NDArray[np.int64]:
        """Of all taps (t3, t4), in order, from the one at the centre."""
        return np.array([
            (t3 - kernel[2] // 2) * self.row + t4 - kernel[3] // 2
            for t3, t4 in product(range(kernel[2]), range(kernel[3]))
        ])  # fmt: skip

    def lay(self, x: Tensor) -> Tensor:
        """``(B, C, D1, D2, D3, D4)`` -> buffers ``(B, C·channel)``."""
        flat = x.new_zeros(len(x), x.shape[1] * self.channel)
        self.cells(flat).copy_(x)
        return flat

    def cells(self, flat: Tensor) -> Tensor:
        """The inverse, as a view."""
        planes = flat.unflatten(1, (-1, self.channel))[..., : -self.length]
        planes = planes.unflatten(-1, (self.d1, self.d2, self.length))
        rows = planes[..., self.lead : self.lead + self.d3 * self.row].unflatten(-1, (self.d3, self.row))
        return rows[..., : self.d4]

    def inside(self, dtype: torch.dtype) -> Tensor:
        """``(D3·row,)``: 1 for cells, 0 for the zeros behind every row."""
        rows = torch.zeros(self.d3, self.row, dtype=dtype)
        rows[:, : self.d4] = 1
        return rows.flatten()


def _whole_lines(numbers: int) -> int:
    return math.ceil(numbers / _LINE) * _LINE
