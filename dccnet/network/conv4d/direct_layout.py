"""How ``direct`` stores volumes and kernels in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Sides = tuple[int, int, int, int]
Whole = NDArray[np.int64]

FEWEST_CHANNELS = 16
"""Fewest channels that tensor cores multiply."""
MOST_SPREAD = 64
"""Most channels that taps are turned into."""


class Layout(NamedTuple):
    """Volumes ``(B, P1, P2, P3, P4, C)``: along each axis ``before`` zeros, the cells, and zeros again.

    With the zeros, every tap of a kernel is at a fixed distance from its cell, and needs no bounds.
    """

    batch: int
    cells: Sides
    before: Sides
    padded: Sides
    channels: int

    @classmethod
    def of(
        cls, batch: int, cells: Sequence[int], taps: Sequence[int], block: Sequence[int], channels: int
    ) -> Layout:
        """The layout with zeros wherever a kernel reaches beyond the cells from any whole block."""
        reach = [k // 2 for k in taps]
        whole = [math.ceil(n / r) * r for n, r in zip(cells, (*block, 1), strict=True)]
        padded = [n + 2 * r for n, r in zip(whole, reach, strict=True)]
        return cls(batch, four(cells), four(reach), four(padded), channels)

    @property
    def strides(self) -> tuple[int, int, int, int, int]:
        """Strides of the batch and of the four axes, in numbers."""
        sides = (*self.padded, self.channels)
        return tuple(math.prod(sides[axis:]) for axis in range(5))  # type: ignore[return-value]

    @property
    def volume(self) -> int:
        """Numbers of one volume of the batch."""
        return math.prod(self.padded) * self.channels

    def offset(self, distance: Sequence[int] = (0, 0, 0, 0)) -> int:
        """Offset of the first cell, or of the place at a distance from it."""
        steps = zip(self.before, distance, self.strides[1:], strict=True)
        return sum((before + d) * stride for before, d, stride in steps)

    def has_room_for(self, taps: Sequence[int], block: Sequence[int]) -> bool:
        """Whether it has at least the zeros of :meth:`of`."""
        least = Layout.of(self.batch, self.cells, taps, block, self.channels)
        sides = zip(self.before, self.padded, least.before, least.padded, strict=True)
        return all(b >= lb and p - b >= lp - lb for b, p, lb, lp in sides)

    def allocate(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Memory on the device of ``like``: zeros around the cells, which have yet to be written."""
        sides = (self.batch, *self.padded, self.channels)
        return (like.new_empty if self.padded == self.cells else like.new_zeros)(sides, dtype=dtype)


class Core(NamedTuple):
    """A layer as the product sees it: after taps have become channels."""

    taps: Sides
    channels_in: int
    """Padded to a power of two, like ``channels_out``."""
    channels_out: int
    spread: tuple[int, int]
    """Taps of the last two axes that have become input channels; (1, 1) for none."""
    fold: tuple[int, int]
    """Taps of the last two axes that have become output channels; (1, 1) for none."""

    @classmethod
    def of(cls, shape: Sequence[int], first: bool, last: bool) -> Core:
        """The core of a layer with the kernel shape ``(Cout, Cin, k1, k2, k3, k4)``.

        ``first`` and ``last`` give its place in the chain: only its ends may be spread and folded.
        """
        cout, cin, *taps = shape
        near = taps[2] * taps[3]
        spread = first and cin < FEWEST_CHANNELS and cin * near <= MOST_SPREAD
        fold = last and not spread and cout < FEWEST_CHANNELS and cout * near <= MOST_SPREAD
        kept = (*taps[:2], 1, 1) if spread or fold else taps
        return cls(
            four(kept),
            _padded(cin * near if spread else cin),
            _padded(cout * near if fold else cout),
            (taps[2], taps[3]) if spread else (1, 1),
            (taps[2], taps[3]) if fold else (1, 1),
        )

    @property
    def folds(self) -> bool:
        """Whether the results are still to be folded."""
        return self.fold != (1, 1)

    @property
    def kind(self) -> str:
        """``spread``, ``folded`` or ``plain``: a key of the measured configurations."""
        if self.spread != (1, 1):
            return "spread"
        return "folded" if self.folds else "plain"

    def transposed(self) -> Core:
        """The core of the transposed convolution, through which gradients flow back."""
        return Core(self.taps, self.channels_out, self.channels_in, self.fold, self.spread)

    def rearranged(self, kernel: Whole) -> Whole:
        """A kernel ``(Cout, Cin, k1, k2, k3, k4)`` as the product's, with channels padded with zeros."""
        cout, cin, k1, k2, k3, k4 = kernel.shape
        if self.spread != (1, 1):  # input channels (t3, t4, channel)
            kernel = kernel.transpose(0, 2, 3, 4, 5, 1).reshape(cout, k1, k2, k3 * k4 * cin)
            kernel = kernel.transpose(0, 3, 1, 2)[..., None, None]
        elif self.folds:  # output channels (t3, t4, channel)
            kernel = kernel.transpose(4, 5, 0, 1, 2, 3).reshape(k3 * k4 * cout, cin, k1, k2)
            kernel = kernel[..., None, None]
        missing = (self.channels_out - kernel.shape[0], self.channels_in - kernel.shape[1])
        return np.pad(kernel, [(0, missing[0]), (0, missing[1])] + [(0, 0)] * 4)


class Gather(NamedTuple):
    """Which number of a kernel ``(Cout, Cin, k1, k2, k3, k4)`` is where in the product's matrix."""

    places: Tensor
    """``(columns, steps x deep)``: the place in the flattened kernel plus one; 0 for a zero."""
    back: Tensor
    """``(numbers of the kernel, results of a block)``: all places of each number."""

    def factors(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """The product's matrix, ``(columns, steps x deep)``."""
        flat = torch.nn.functional.pad(weight.detach().reshape(-1), (1, 0))
        return flat.to(dtype)[self.places]


@lru_cache(maxsize=256)
def gather(
    shape: tuple[int, ...],
    core: Core,
    block: tuple[int, int, int],
    deep: int,
    transposed: bool,
    device: str,
) -> Gather:
    """The matrix for a kernel of this shape. ``core`` is the layer's own even for its transpose."""
    numbers: Whole = np.arange(1, math.prod(shape) + 1).reshape(shape)
    kernel = core.rearranged(numbers)
    if transposed:
        kernel = np.flip(kernel.swapaxes(0, 1), (2, 3, 4, 5))
    cout, cin, k1, k2, k3, k4 = kernel.shape
    seen = [k + r - 1 for k, r in zip((k1, k2, k3), block, strict=True)]
    of_block: Whole = np.zeros((*block, cout, *seen, k4, cin), np.int64)
    taps_first = kernel.transpose(0, 2, 3, 4, 5, 1)
    for r1, r2, r3 in product(*map(range, block)):
        of_block[r1, r2, r3, :, r1 : r1 + k1, r2 : r2 + k2, r3 : r3 + k3] = taps_first
    flat = of_block.reshape(math.prod(block) * cout, -1)
    flat = np.pad(flat, [(0, 0), (0, -flat.shape[1] % deep)])
    order = np.argsort(flat, axis=None, kind="stable")
    back = order[-math.prod(shape) * math.prod(block) :].reshape(-1, math.prod(block))
    return Gather(torch.from_numpy(flat.copy()).to(device), torch.from_numpy(back.copy()).to(device))


def four(numbers: Sequence[int]) -> Sides:
    one, two, three, last = (int(n) for n in numbers)
    return one, two, three, last


def _padded(channels: int) -> int:
    return max(FEWEST_CHANNELS, 1 << (channels - 1).bit_length())
