"""4D convolution in the frequency domain of its first axes: exact, with a tenth of the multiplications.

The discrete Fourier transform turns convolution along an axis into a product. Along the first two (or
three) axes that replaces k² (k³) taps by one complex product for each frequency; along the others an
ordinary convolution remains, one group of channels for each frequency. docs/conv4d.md has the
mathematics, the cost and the measurements. What makes it fast:

* A "same" convolution of n cells with k taps needs a circular length of only n + k//2: values that wrap
  around meet padding, or fall on outputs that are cut off. So the transforms are small and dense, and run
  as matrix products; a real volume needs half of the first axis' frequencies.
* Complex numbers are pairs of reals, an axis of length 2 directly before the channels. With the
  transformed axes before the channels and the others after them, every transform is a matrix product from
  the left whose result has the layout that the next step reads: nothing is ever transposed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dccnet.network.conv4d.fourier import AxisTransform, axis_transform, to_cells, to_frequencies
from dccnet.network.conv4d.lowering import LayoutLowering


class Spectral(LayoutLowering):
    """Frequencies along the first ``axes`` axes (2 or 3), an ordinary convolution along the others.

    The layout is ``(B, D1, D2, C, D3, D4)`` for two axes and ``(1, D1, D2, D3, C, B, D4)`` for three:
    channels and two axes last, as a 2D convolution wants them.
    """

    def __init__(self, axes: int) -> None:
        self._axes = axes
        self.batched = axes == 3  # its kernels outweigh a volume, and are read once for a batch

    def enter(self, c: Tensor) -> Tensor:
        if self._axes == 2:
            return c.permute(0, 2, 3, 1, 4, 5)
        return c.permute(2, 3, 4, 1, 0, 5).unsqueeze(0)

    def leave(self, x: Tensor) -> Tensor:
        if self._axes == 2:
            return x.permute(0, 3, 1, 2, 4, 5)
        return x.squeeze(0).permute(4, 3, 0, 1, 2, 5)

    def convolution(self, weight: Tensor, bias: Tensor | None, grid: Sequence[int]) -> SpectralConvolution:
        kernel = weight.movedim((0, 1), (self._axes, self._axes + 1))  # (k.., Cout, Cin, ..k)
        if self._axes == 3:
            kernel = kernel.unsqueeze(-2)  # nothing mixes along the batch
        # Few output channels use a convolution over all inputs badly. If that makes no more outputs than
        # inputs, the taps of the last axis become output channels, which are added up at the end.
        outer_taps = weight.shape[-1] if weight.shape[0] * weight.shape[-1] <= weight.shape[1] else 1
        if outer_taps > 1:
            kernel = kernel.movedim(-1, -4).flatten(-4, -3).unsqueeze(-1)
        # The first axis first: its transform makes a real volume complex.
        axes = [
            axis_transform(n, k, first=i == 0)
            for i, (n, k) in enumerate(zip(grid, kernel.shape[: self._axes], strict=False))
        ]
        first, *others = (axis.taps_to_frequencies for axis in axes)
        frequencies = axes[0].frequencies
        spectrum = to_frequencies([first], kernel, rows=1)
        pairs = _on_pairs(spectrum.reshape(frequencies, 2, *kernel.shape[1:]))
        filters = to_frequencies(others, pairs, rows=frequencies)
        filters = filters.reshape(-1, 2 * kernel.shape[-3], *kernel.shape[-2:])
        constant = None
        if bias is not None and outer_taps == 1:
            # A constant volume is a single number at frequency zero, which is the first.
            zero = bias * math.prod(axis.length * axis.scale for axis in axes)
            constant = F.pad(zero, (0, len(filters) - len(bias)))
        return SpectralConvolution(axes, filters, constant, outer_taps, bias)


@dataclass(frozen=True, slots=True)
class SpectralConvolution:
    """One layer with its transformed kernel; takes and returns the layout of :class:`Spectral`."""

    axes: Sequence[AxisTransform]
    filters: Tensor
    """``(frequencies·2·Cout, 2·Cin, kH, kW)``, re/im before channels."""
    constant: Tensor | None
    """The bias at frequency zero."""
    outer_taps: int
    """Taps of the last axis that are output channels, still to be added up; 1 for none."""
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        batch, *cells, _, height, width = x.shape
        frequencies = math.prod(axis.frequencies for axis in self.axes)
        spectrum = to_frequencies([axis.to_frequencies for axis in self.axes], x, rows=batch)
        y = F.conv2d(
            spectrum.reshape(batch, -1, height, width),
            self.filters,
            self.constant,
            padding=[k // 2 for k in self.filters.shape[-2:]],
            groups=frequencies,
        )
        y = to_cells([axis.to_cells for axis in reversed(self.axes)], y, rows=batch * frequencies)
        y = y.reshape(batch, *cells, -1, height, width)
        return y if self.outer_taps == 1 else _add_taps(y, self.outer_taps, self.bias)


def _on_pairs(spectrum: Tensor) -> Tensor:
    """Kernels for inputs that are pairs of reals: the imaginary part of an input meets i times the kernel.

    ``(F, re/im, .., Cin, kH, kW)`` -> ``(F, re/im, .., 2·Cin, kH, kW)``.
    """
    real, imaginary = spectrum.unbind(1)
    return torch.cat([spectrum, torch.stack([-imaginary, real], 1)], -3)


def _add_taps(x: Tensor, taps: int, bias: Tensor | None) -> Tensor:
    """``(.., taps·C, H, W)`` -> ``(.., C, H, W)``: the sum over taps, each shifted along the last axis."""
    total = x.new_zeros(()) if bias is None else bias.view(-1, 1, 1)
    for tap, part in enumerate(x.chunk(taps, dim=-3)):
        offset = tap - taps // 2
        if abs(offset) < part.shape[-1]:  # else the kernel is wider than the grid
            total = total + (F.pad(part, (-offset, offset)) if offset else part)  # negative: crops
    return total
