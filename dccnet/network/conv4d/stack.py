"""4D convolution as one Conv2d a layer.

Along an axis, a convolution is a sum over k taps of shifted slices, each weighted by its part of the
kernel. The slices of the first two axes fold into the batch. Their taps become input channels, where the
inputs are shifted, or output channels, where the results are. So a layer is one call: no loop runs over
slices or positions, and every backend has a fast implementation of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from dccnet.network.conv4d.lowering import Convolution, LayoutLowering

Offsets = Sequence[tuple[int, ...]]
"""Shifts along the two slice axes, in cells."""
BLOCK = 16
"""Channels must be a multiple of this, or ONNX Runtime falls back to slower kernels."""


class Stack(LayoutLowering):
    """The reference lowering. Its layout is ``(B, D1, D2, C, D3, D4)``."""

    def enter(self, c: Tensor) -> Tensor:
        return c.movedim(1, 3)

    def leave(self, x: Tensor) -> Tensor:
        return x.movedim(3, 1)

    def convolution(self, weight: Tensor, bias: Tensor | None, grid: Sequence[int]) -> Convolution:
        return partial(_convolve, weight=weight, bias=bias, axes_in=_axes_into_inputs(weight))


STACK = Stack()


def _axes_into_inputs(weight: Tensor) -> int:
    """Number of slice axes whose taps become input channels; those of the others become output channels."""
    out_channels, in_channels = weight.shape[:2]
    if in_channels < out_channels:
        return 2  # copies are shifted where there are fewer channels
    # k copies on either side; both axes on the same side would make k² copies.
    return 0 if out_channels == 1 else 1


def _flat_kernel(weight: Tensor, axes_in: int) -> Tensor:
    """Kernel of the Conv2d: ``(Tout·Cout, Tin·Cin, k3, k4)``."""
    taps_in, taps_out = range(2, 2 + axes_in), range(2 + axes_in, 4)
    kernel = weight.permute(*taps_out, 0, *taps_in, 1, 4, 5)
    return kernel.flatten(0, len(taps_out)).flatten(1, len(taps_in) + 1)


def _tap_offsets(weight: Tensor, axes_in: int) -> tuple[Offsets, Offsets]:
    """Shift of each tap among the input channels, and of each among the output channels."""
    sides = weight.shape[2:4]
    return (
        _offsets(*(k if axis < axes_in else 1 for axis, k in enumerate(sides))),
        _offsets(*(1 if axis < axes_in else k for axis, k in enumerate(sides))),
    )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, axes_in: int) -> Tensor:
    flat = _flat_kernel(weight, axes_in)
    offsets_in, offsets_out = _tap_offsets(weight, axes_in)
    taps_out = axes_in < 2
    shifted = [_shift(x, offset) for offset in offsets_in]
    if axes_in == 2 and (missing := -flat.shape[1] % BLOCK):
        shifted.append(torch.zeros_like(x[:, :, :, :1]).expand(-1, -1, -1, missing, -1, -1))
        flat = F.pad(flat, (0, 0, 0, 0, 0, missing))
    stacked = torch.cat(shifted, dim=3)
    y: Tensor = F.conv2d(
        # Channels last: with so few channels oneDNN is two to three times as fast, backward included.
        stacked.flatten(0, 2).contiguous(memory_format=torch.channels_last),
        flat,
        None if taps_out else bias,
        padding=[k // 2 for k in weight.shape[4:]],
    )
    y = torch.unflatten(y, 0, (-1, *x.shape[1:3]))
    if not taps_out:
        return y
    total = x.new_zeros(()) if bias is None else bias.view(-1, 1, 1)
    for part, offset in zip(y.chunk(len(offsets_out), dim=3), offsets_out, strict=True):
        total = total + _shift(part, offset)
    return total


def _offsets(*taps: int) -> Offsets:
    """Distance of each tap from the centre, along every slice axis."""
    return list(product(*(range(-(k // 2), k // 2 + 1) for k in taps)))


def _shift(x: Tensor, offset: tuple[int, ...]) -> Tensor:
    """``y[:, i, j] = x[:, i + offset[0], j + offset[1]]``, zero where that is outside."""
    if not any(offset):
        return x
    if any(abs(o) >= side for o, side in zip(offset, x.shape[1:3], strict=True)):
        return torch.zeros_like(x)  # a kernel wider than the grid
    (o1, o2) = offset
    return F.pad(x, (0, 0, 0, 0, 0, 0, -o2, o2, -o1, o1))  # a negative amount crops
