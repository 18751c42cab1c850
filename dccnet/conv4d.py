"""4D convolution, exactly, from one Conv3d or Conv2d a layer.

A 4D convolution over (hA, wA, hB, wB) is, along its first axis, a sum over k taps of 3D convolutions
of shifted slices. The slices fold into the batch and the taps into channels, so that a layer is one
call; no loop runs over slices or positions. Where one channel comes out, the same trick on the second
axis as well leaves a 2D convolution, which every backend runs faster.
"""

from __future__ import annotations

import math
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv4d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Cross-correlation with zero padding that keeps the size ("same").

    ``x`` is ``(B, Cin, D1, D2, D3, D4)``, ``weight`` ``(Cout, Cin, k1, k2, k3, k4)`` with odd sides
    and ``bias`` ``(Cout,)``; returns ``(B, Cout, D1, D2, D3, D4)``. Any sizes, cubic or not.
    """
    out_channels, in_channels = weight.shape[:2]
    # The copies that taps need are made where the channels are fewer.
    if in_channels < out_channels:
        return _taps_as_input_channels(x, weight, bias, axes=1)
    return _taps_as_output_channels(x, weight, bias, axes=2 if out_channels == 1 else 1)


def _taps_as_input_channels(x: Tensor, weight: Tensor, bias: Tensor | None, axes: int) -> Tensor:
    """Stack every slice's neighbours along the first ``axes`` axes into its channels; convolve once."""
    taps, kernel = weight.shape[2 : 2 + axes], weight.shape[2 + axes :]
    slices = x.movedim(1, 1 + axes)  # (B, D.., Cin, ..D), slice axes first
    stacked = torch.cat([_shift(slices, offset) for offset in _offsets(taps)], dim=1 + axes)
    flat = weight.movedim(1, 1 + axes).reshape(weight.shape[0], -1, *kernel)  # taps, then Cin
    y = _convolve(stacked.flatten(0, axes), flat, bias)  # (B·D.., Cout, ..D)
    y = torch.unflatten(y, 0, (-1, *slices.shape[1 : 1 + axes]))  # (B, D.., Cout, ..D)
    return y.movedim(1 + axes, 1)


def _taps_as_output_channels(x: Tensor, weight: Tensor, bias: Tensor | None, axes: int) -> Tensor:
    """Convolve once into all taps' outputs, then add them up, each shifted to its slice."""
    taps, kernel = weight.shape[2 : 2 + axes], weight.shape[2 + axes :]
    slices = x.movedim(1, 1 + axes)  # (B, D.., Cin, ..D)
    flat = weight.movedim((0, 1), (axes, 1 + axes)).reshape(-1, weight.shape[1], *kernel)
    y = _convolve(slices.flatten(0, axes), flat, None)  # (B·D.., taps·Cout, ..D)
    y = torch.unflatten(y, 0, (-1, *slices.shape[1 : 1 + axes]))
    total = torch.zeros(()) if bias is None else bias.view(-1, *[1] * len(kernel))
    for part, offset in zip(y.chunk(math.prod(taps), dim=1 + axes), _offsets(taps), strict=True):
        total = total + _shift(part, offset)
    return total.movedim(1 + axes, 1)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    padding = [k // 2 for k in weight.shape[2:]]
    # Channels last: oneDNN runs these few channels two to three times as fast, backward included.
    if weight.ndim == 5:
        return F.conv3d(x.contiguous(memory_format=torch.channels_last_3d), weight, bias, 1, padding)
    return F.conv2d(x.contiguous(memory_format=torch.channels_last), weight, bias, 1, padding)


def _offsets(taps: torch.Size) -> list[tuple[int, ...]]:
    """How far each tap reaches from the centre, along every slice axis."""
    return list(product(*(range(-(k // 2), k // 2 + 1) for k in taps)))


def _shift(slices: Tensor, offset: tuple[int, ...]) -> Tensor:
    """``y[i] = slices[i + offset]`` along the axes after the batch, zero where that is outside."""
    if any(abs(o) >= side for o, side in zip(offset, slices.shape[1:], strict=False)):
        return torch.zeros_like(slices)  # a kernel wider than the grid
    amounts = [0] * (2 * (slices.ndim - 1 - len(offset)))
    for o in reversed(offset):
        amounts += [-o, o]  # a negative amount crops
    return F.pad(slices, amounts) if any(offset) else slices


class Conv4d(nn.Module):
    """A 4D convolution layer, "same" size, whose parameters are the 4D kernel and its bias.

    The kernel is kept in natural order ``(Cout, Cin, k_hA, k_wA, k_hB, k_wB)``; the authors' files
    store it permuted, see :mod:`dccnet.official`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int, int, int]
    ) -> None:
        super().__init__()
        sides = (kernel_size,) * 4 if isinstance(kernel_size, int) else tuple(kernel_size)
        if len(sides) != 4 or any(k < 1 or k % 2 == 0 for k in sides):
            raise ValueError(f"a 4D kernel needs four odd sides, got {kernel_size}")
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *sides))
        self.bias = nn.Parameter(torch.empty(out_channels))
        # torch's own default for convolutions, which the authors' layer inherits.
        bound = 1 / math.sqrt(in_channels * math.prod(sides))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, *, swapped: bool = False) -> Tensor:
        """``swapped`` exchanges the roles of A and B: ``conv(xᵀ)ᵀ``, without moving ``x``."""
        weight = self.weight.permute(0, 1, 4, 5, 2, 3) if swapped else self.weight
        return conv4d(x, weight, self.bias)

    def extra_repr(self) -> str:
        out_channels, in_channels, *sides = self.weight.shape
        return f"{in_channels}, {out_channels}, kernel_size={tuple(sides)}"
