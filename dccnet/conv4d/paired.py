"""Both ways of neighbourhood consensus in one pass, for training on small volumes.

Consensus is ``f(C) + f(Cᵀ)ᵀ``, and a convolution of Cᵀ, swapped back, is a convolution of C with its kernel
swapped. So the two ways are two groups of channels of one volume: half as many slices with twice the
channels, and no transposed copies. What slices need of each other is moved once, forward and backward,
where autograd would pad, stack and reorder; channels come last all the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dccnet.conv4d.stack import Stack
from dccnet.precision import widened

Offsets = Sequence[tuple[int, int]]


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
    out_channels, in_channels, k = weight.shape[:3]
    # Copies are made where channels are few: of inputs, of results, or of one axis each.
    axes_in = 2 if in_channels < out_channels else 0 if out_channels == 1 else 1
    offsets_in = _offsets(*(k if axis < axes_in else 1 for axis in range(2)))
    offsets_out = _offsets(*(1 if axis < axes_in else k for axis in range(2)))
    swapped = weight.permute(0, 1, 4, 5, 2, 3)
    spread: Tensor = _Spread.apply(x.unflatten(-1, (groups, 1, in_channels)), offsets_in)
    y = F.conv2d(
        spread.flatten(5).flatten(0, 2).permute(0, 3, 1, 2),
        torch.cat([_flat(kernel, axes_in) for kernel in (weight, swapped)]),
        padding=k // 2,
        groups=groups,
    )
    y = widened(y).permute(0, 2, 3, 1).unflatten(0, x.shape[:3])
    summed: Tensor = _Sum.apply(y.unflatten(-1, (2, len(offsets_out), out_channels)), offsets_out)
    return summed.flatten(5) + bias.repeat(2)


def _flat(kernel: Tensor, axes_in: int) -> Tensor:
    """``(Tout·Cout, Tin·Cin, k, k)``, with the taps of the first ``axes_in`` axes on the input's side."""
    taps_in, taps_out = range(2, 2 + axes_in), range(2 + axes_in, 4)
    ordered = kernel.permute(*taps_out, 0, *taps_in, 1, 4, 5)
    return ordered.flatten(0, len(taps_out)).flatten(1, axes_in + 1)


def _offsets(*taps: int) -> Offsets:
    """How far each tap reaches from the centre along the first two axes."""
    first, second = (range(-(k // 2), k // 2 + 1) for k in taps)
    return list(product(first, second))


class _Spread(torch.autograd.Function):
    """``(B, D1, D2, D3, D4, G, 1, C)`` -> ``(.., G, taps, C)``: each slice beside its neighbours."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, offsets: Offsets) -> Tensor:
        ctx.offsets = offsets
        return _spread(x, offsets)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _sum(gradients[0], [(-o1, -o2) for o1, o2 in ctx.offsets]), None


class _Sum(torch.autograd.Function):
    """``(B, D1, D2, D3, D4, G, taps, C)`` -> ``(.., G, 1, C)``: shifted slices added up."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, offsets: Offsets) -> Tensor:
        ctx.offsets = offsets
        return _sum(y, offsets)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _spread(gradients[0], [(-o1, -o2) for o1, o2 in ctx.offsets]), None


def _spread(x: Tensor, offsets: Offsets) -> Tensor:
    """``out[:, i, j, .., t, :] = x[:, i + o1, j + o2, .., 0, :]``, zero where that is outside."""
    if len(offsets) == 1:
        return x
    out = x.new_zeros(*x.shape[:6], len(offsets), x.shape[7])
    for tap, offset in enumerate(offsets):
        here, there = _overlap(x.shape[1:3], offset)
        out[:, here[0], here[1], ..., tap, :] = x[:, there[0], there[1], ..., 0, :]
    return out


def _sum(y: Tensor, offsets: Offsets) -> Tensor:
    """``out[:, i, j, .., 0, :]`` is the sum over t of ``y[:, i + o1, j + o2, .., t, :]``."""
    if len(offsets) == 1:
        return y
    out = y.new_zeros(*y.shape[:6], 1, y.shape[7])
    for tap, offset in enumerate(offsets):
        here, there = _overlap(y.shape[1:3], offset)
        out[:, here[0], here[1], ..., 0, :] += y[:, there[0], there[1], ..., tap, :]
    return out


def _overlap(sides: Sequence[int], offset: tuple[int, int]) -> tuple[list[slice], list[slice]]:
    """Where slices lie whose neighbour at ``offset`` exists, and where those neighbours lie."""
    places = [(max(side - abs(o), 0), max(0, -o), max(0, o)) for side, o in zip(sides, offset, strict=True)]
    here = [slice(start, start + length) for length, start, _ in places]
    there = [slice(start, start + length) for length, _, start in places]
    return here, there
