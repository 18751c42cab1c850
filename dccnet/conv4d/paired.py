"""Both ways of neighbourhood consensus in one pass, for training on small volumes.

Consensus is ``f(C) + f(Cᵀ)ᵀ``, and a convolution of Cᵀ, swapped back, is a convolution of C with its kernel
swapped. So the two ways are two groups of channels of one volume: half as many slices with twice the
channels, and no transposed copies. What slices need of their neighbours is fetched, and what they give to
them is added up, by convolutions along one axis whose kernels hold ones and zeros: they multiply for
nothing, and are several times as fast as copies and additions of so few channels. Channels come last all
the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dccnet.conv4d.stack import Stack, axes_into_inputs, flat_kernel
from dccnet.precision import float32_island


class Paired(Stack):
    """A single convolution is computed as by :class:`Stack`; consensus asks for :meth:`both_ways`."""

    def both_ways(self, c: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """``f(C) + f(Cᵀ)ᵀ`` for a chain f of 4D convolutions with a ReLU after each.

        ``c`` is ``(B, 1, hA, wA, hB, wB)``, in and out; ``layers`` are kernels ``(Cout, Cin, k, k, k, k)``,
        k odd, and biases ``(Cout,)``.
        """
        x = c.movedim(1, -1)  # (B, D1, D2, D3, D4, channels)
        groups = 1  # the first layer reads one volume, and writes two groups of channels
        for weight, bias in layers:
            x = F.relu(_convolve(x, weight, bias, groups))
            groups = 2
        return x.sum(dim=-1).unsqueeze(1)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    """``(B, D1, D2, D3, D4, groups·Cin)`` -> ``(.., 2·Cout)``: the kernel's way, then its swapped one's."""
    out_channels, _, k = weight.shape[:3]
    axes_in = axes_into_inputs(weight)
    # Channels are in the order (groups, taps of D1, taps of D2, Cin or Cout), of taps those in use.
    for axis in _SLICE_AXES[:axes_in][::-1]:
        x = _along(x, axis, _fetching(k, groups, x.shape[-1] // groups))
    swapped = weight.permute(0, 1, 4, 5, 2, 3)
    taps_out = k ** (2 - axes_in)
    centre = torch.arange(taps_out) == taps_out // 2  # inside everywhere, so it brings the bias
    y = F.conv2d(
        x.flatten(0, 2).permute(0, 3, 1, 2),
        torch.cat([flat_kernel(way, axes_in) for way in (weight, swapped)]),
        (centre.to(bias)[:, None] * bias).flatten().repeat(2),
        padding=k // 2,
        groups=groups,
    )
    y = y.permute(0, 2, 3, 1).unflatten(0, x.shape[:3])
    for axis in _SLICE_AXES[axes_in:][::-1]:
        adding = _fetching(k, y.shape[-1] // (k * out_channels), out_channels).transpose(0, 1)
        y = _added_along(y, axis, adding)
    return y


_SLICE_AXES = (1, 2)


def _fetching(k: int, outer: int, inner: int) -> Tensor:
    """Kernel that puts k neighbours side by side: ``(outer, inner)`` channels to ``(outer, k, inner)``."""
    same = torch.eye(outer * inner).view(outer, 1, inner, outer * inner, 1)
    return (same * torch.eye(k).view(k, 1, 1, k)).flatten(0, 2)


class _Along(torch.autograd.Function):
    """One axis of ``(B, D1, D2, D3, D4, Cin)`` convolved by a fixed kernel ``(Cout, Cin, k)``.

    The gradient is convolved by the kernel transposed, in the same layout; autograd's own way takes longer.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int, kernel: Tensor) -> Tensor:
        ctx.axis, ctx.kernel = axis, kernel
        return _convolve_along(x, axis, kernel)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _convolve_along(gradients[0], ctx.axis, ctx.kernel.transpose(0, 1).flip(2)), None, None


def _convolve_along(x: Tensor, axis: int, kernel: Tensor) -> Tensor:
    rows = x.contiguous().flatten(0, axis - 1).flatten(2, -2)  # (·, D, ·, Cin)
    y = F.conv2d(
        rows.permute(0, 3, 1, 2),
        kernel[..., None].to(x).contiguous(memory_format=torch.channels_last),
        padding=(kernel.shape[-1] // 2, 0),
    )
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def _along(x: Tensor, axis: int, kernel: Tensor) -> Tensor:
    convolved: Tensor = _Along.apply(x, axis, kernel)
    return convolved


_added_along = float32_island(_along)  # sums, where fetching is exact
