"""4D convolution, exactly, from one 3D convolution a layer.

A 4D convolution over (hA, wA, hB, wB) is, along its first axis, a sum over k taps of 3D convolutions
of shifted slices. The slices fold into the batch and the taps into channels, so a layer is a single
call of Conv3d and no loop runs over slices or positions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv4d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Cross-correlation with zero padding that keeps the size ("same").

    ``x`` is ``(B, Cin, D1, D2, D3, D4)``, ``weight`` ``(Cout, Cin, k1, k2, k3, k4)`` with odd sides
    and ``bias`` ``(Cout,)``; returns ``(B, Cout, D1, D2, D3, D4)``. Any sizes, cubic or not.
    """
    # The k1 copies go where the channels are fewer: less to move, and a fuller matrix product.
    if weight.shape[0] < weight.shape[1]:
        return _taps_as_output_channels(x, weight, bias)
    return _taps_as_input_channels(x, weight, bias)


def _taps_as_input_channels(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Stack each slice's k1 neighbours into its channels, then convolve once."""
    _, _, d1, d2, d3, d4 = x.shape
    cout, cin, k1, *k234 = weight.shape
    slices = _padded_slices(x, k1)
    stacked = torch.cat([slices[:, tap : tap + d1] for tap in range(k1)], dim=2)
    kernel = weight.transpose(1, 2).reshape(cout, k1 * cin, *k234)
    y = F.conv3d(_fold(stacked), kernel, bias, padding=_same(k234))  # (B·D1, Cout, D2, D3, D4)
    return y.reshape(-1, d1, cout, d2, d3, d4).transpose(1, 2)


def _taps_as_output_channels(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve once into k1 times the channels, then add the taps, each shifted to its slice."""
    _, _, d1, d2, d3, d4 = x.shape
    cout, cin, k1, *k234 = weight.shape
    slices = _padded_slices(x, k1)
    kernel = weight.permute(2, 0, 1, 3, 4, 5).reshape(k1 * cout, cin, *k234)
    y = F.conv3d(_fold(slices), kernel, padding=_same(k234))
    y = y.reshape(-1, d1 + k1 - 1, k1, cout, d2, d3, d4)
    total = y[:, :d1, 0]
    for tap in range(1, k1):
        total = total + y[:, tap : tap + d1, tap]
    if bias is not None:
        total = total + bias.view(cout, 1, 1, 1)
    return total.transpose(1, 2)


def _padded_slices(x: Tensor, k1: int) -> Tensor:
    """(B, C, D1, ...) -> (B, D1 + k1 - 1, C, ...), zeros at both ends of the slice axis."""
    return F.pad(x, (0, 0, 0, 0, 0, 0, k1 // 2, k1 // 2)).transpose(1, 2)


def _fold(slices: Tensor) -> Tensor:
    """(B, D1, C, D2, D3, D4) -> (B·D1, C, D2, D3, D4)."""
    return slices.reshape(-1, *slices.shape[2:])


def _same(kernel: list[int]) -> list[int]:
    return [k // 2 for k in kernel]


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
