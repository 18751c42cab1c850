"""Both ways of neighbourhood consensus in one pass, for training on small volumes.

Consensus is ``f(C) + f(Cᵀ)ᵀ``, and a convolution of Cᵀ, swapped back, is a convolution of C with its kernel
swapped. So the two ways are two groups of channels of one volume: half as many slices with twice the
channels, and no transposed copies. What slices need of each other is moved once, forward and backward,
where autograd would pad, stack and reorder; channels come last all the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dccnet.conv4d.stack import Offsets, Stack, axes_into_inputs, flat_kernel, tap_offsets
from dccnet.precision import widened

_Move = Callable[[Tensor, Offsets], Tensor]


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
    axes_in = axes_into_inputs(weight)
    offsets_in, offsets_out = tap_offsets(weight, axes_in)
    swapped = weight.permute(0, 1, 4, 5, 2, 3)
    spread: Tensor = _Moved.apply(x.unflatten(-1, (groups, 1, in_channels)), offsets_in, _spread, _sum)
    y = F.conv2d(
        spread.flatten(5).flatten(0, 2).permute(0, 3, 1, 2),
        torch.cat([flat_kernel(kernel, axes_in) for kernel in (weight, swapped)]),
        padding=k // 2,
        groups=groups,
    )
    y = widened(y).permute(0, 2, 3, 1).unflatten(0, x.shape[:3])
    y = y.unflatten(-1, (2, len(offsets_out), out_channels))
    summed: Tensor = _Moved.apply(y, offsets_out, _sum, _spread)
    return summed.flatten(5) + bias.repeat(2)


class _Moved(torch.autograd.Function):
    """:func:`_spread` or :func:`_sum`; each is the other's gradient, the offsets reversed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, offsets: Offsets, move: _Move, back: _Move) -> Tensor:
        ctx.offsets, ctx.back = offsets, back
        return move(x, offsets)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        reverse = [(-o1, -o2) for o1, o2 in ctx.offsets]
        return ctx.back(gradients[0], reverse), None, None, None


def _spread(x: Tensor, offsets: Offsets) -> Tensor:
    """Each slice beside its shifted neighbours: ``(B, D1, D2, D3, D4, G, 1, C)`` -> ``(.., G, taps, C)``.

    ``out[:, i, j, .., t, :] = x[:, i + o1, j + o2, .., 0, :]``, zero where that is outside.
    """
    if len(offsets) == 1:
        return x
    out = x.new_zeros(*x.shape[:6], len(offsets), x.shape[7])
    for tap, offset in enumerate(offsets):
        here, there = _overlap(x.shape[1:3], offset)
        out[:, here[0], here[1], ..., tap, :] = x[:, there[0], there[1], ..., 0, :]
    return out


def _sum(y: Tensor, offsets: Offsets) -> Tensor:
    """Shifted slices added up: ``(B, D1, D2, D3, D4, G, taps, C)`` -> ``(.., G, 1, C)``.

    ``out[:, i, j, .., 0, :]`` is the sum over t of ``y[:, i + o1, j + o2, .., t, :]``.
    """
    if len(offsets) == 1:
        return y
    out = y.new_zeros(*y.shape[:6], 1, y.shape[7])
    for tap, offset in enumerate(offsets):
        here, there = _overlap(y.shape[1:3], offset)
        out[:, here[0], here[1], ..., 0, :] += y[:, there[0], there[1], ..., tap, :]
    return out


def _overlap(sides: Sequence[int], offset: tuple[int, ...]) -> tuple[list[slice], list[slice]]:
    """Where slices lie whose neighbour at ``offset`` exists, and where those neighbours lie."""
    places = [(max(side - abs(o), 0), max(0, -o), max(0, o)) for side, o in zip(sides, offset, strict=True)]
    here = [slice(start, start + length) for length, start, _ in places]
    there = [slice(start, start + length) for length, _, start in places]
    return here, there
