"""Both ways of neighbourhood consensus in one pass, for training on small volumes.

Consensus is ``f(C) + f(Cᵀ)ᵀ``, and a convolution of Cᵀ, swapped back, is a convolution of C with its kernel
swapped. So the two ways are two groups of channels of one volume: half as many slices with twice the
channels, and no transposed copies. Channels come last all the way.

A layer is computed as is fastest for few channels on a CPU, by which side has fewer. *Widening*, the taps
of D1 become input channels of a 3D convolution over the other axes; *narrowing*, those of D1 and D2 become
output channels of a 2D convolution, and are added up. Each is the other's gradient, so the backward pass
is written here, and keeps nothing but what the layers give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dccnet.conv4d.stack import Stack

_D1, _D2 = 1, 2


class Paired(Stack):
    """A single convolution is computed as by :class:`Stack`; consensus asks for :meth:`both_ways`."""

    def both_ways(self, c: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """``f(C) + f(Cᵀ)ᵀ`` for a chain f of 4D convolutions with a ReLU after each.

        ``c`` is ``(B, 1, hA, wA, hB, wB)``, in and out; ``layers`` are kernels ``(Cout, Cin, k, k, k, k)``,
        k odd, and biases ``(Cout,)``, of which the last layer's has one channel. In autocast, convolutions
        are computed in its type, and sums in float32.
        """
        device = c.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else c.dtype
        parameters: list[Tensor] = []
        for number, (weight, bias) in enumerate(layers):
            swapped = weight.permute(0, 1, 4, 5, 2, 3)
            # All ways of the first layer read the one volume.
            kernel = _side_by_side(weight, swapped) if number else torch.cat([weight, swapped])
            parameters += [kernel.to(dtype), bias.repeat(2).to(dtype)]
        with torch.autocast(device, enabled=False):
            both: Tensor = _Chain.apply(c.movedim(1, -1), *parameters)
        return both.unsqueeze(1)


class _Chain(torch.autograd.Function):
    """Convolutions of ``(B, D1, D2, D3, D4, C)`` with a ReLU after each, and the sum of the last one's two
    channels. All but the first have two groups of channels, and kernels ``(Cout, Cin, k, k, k, k)`` that
    are zero between them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        kernels, biases = parameters[::2], parameters[1::2]
        volumes = [x]
        for groups, kernel, bias in zip(_groups(kernels), kernels, biases, strict=True):
            volumes.append(_convolved(volumes[-1], kernel, groups, bias).relu_())
        ctx.save_for_backward(*volumes, *kernels)
        one, other = volumes[-1].unbind(dim=-1)
        return one + other

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        layers = len(saved) // 2
        volumes, kernels = saved[: layers + 1], saved[layers + 1 :]
        groups = _groups(kernels)
        g: Tensor | None = torch.stack([gradients[0]] * 2, dim=-1)
        found: list[Tensor] = []
        for layer in reversed(range(layers)):
            x, y, kernel = volumes[layer], volumes[layer + 1], kernels[layer]
            assert g is not None
            g = g.to(y.dtype)
            torch.ops.aten.threshold_backward.grad_input(g, y, 0, grad_input=g)  # of the ReLU, in place
            g, *of_parameters = _gradients(
                x, g, kernel, groups[layer], layer > 0 or ctx.needs_input_grad[0]
            )
            found[:0] = of_parameters
        return g, *found


def _groups(kernels: Sequence[Tensor]) -> list[int]:
    return [1] + [2] * (len(kernels) - 1)


def _side_by_side(one: Tensor, other: Tensor) -> Tensor:
    """``(Cout, Cin, ·)`` twice -> ``(2·Cout, 2·Cin, ·)``, zero where groups would mix."""
    zero = torch.zeros_like(one)
    return torch.cat([torch.cat([one, zero], dim=1), torch.cat([zero, other], dim=1)])


def _of_groups(kernel: Tensor, groups: int) -> Tensor:
    """The inverse: ``(Cout, Cin, ·)`` -> ``(Cout, Cin/groups, ·)``, as grouped convolutions take them."""
    rows = kernel.chunk(groups)
    return torch.cat([row.chunk(groups, dim=1)[group] for group, row in enumerate(rows)])


def _adjoint(kernel: Tensor) -> Tensor:
    """Kernel of the convolution's transpose."""
    return kernel.transpose(0, 1).flip(2, 3, 4, 5)


def _widens(kernel: Tensor) -> bool:
    return kernel.shape[0] >= kernel.shape[1]


def _convolved(x: Tensor, kernel: Tensor, groups: int, bias: Tensor | None = None) -> Tensor:
    """``(B, D1, D2, D3, D4, Cin)`` -> ``(.., Cout)``; sums of narrowing are float32 at least."""
    if _widens(kernel):
        return _widened(_fetched(x, kernel), kernel, groups, bias)
    return _narrowed(x, kernel, groups, bias)


def _gradients(
    x: Tensor, g: Tensor, kernel: Tensor, groups: int, of_x: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Of what a layer reads, ``x``, if asked for, of its kernel and its bias; ``g`` is of what it gives."""
    adjoint = _adjoint(kernel)
    if _widens(kernel):
        of_kernel, of_bias = _widened_gradients(_fetched(x, kernel), g, kernel)
        return _convolved(g, adjoint, groups) if of_x else None, of_kernel, of_bias
    taps = _fetched(g, kernel)
    of_adjoint, _ = _widened_gradients(taps, x, adjoint)  # in which x and g change places
    of_bias = g.sum(dim=tuple(range(g.dim() - 1)))
    return _widened(taps, adjoint, groups) if of_x else None, _adjoint(of_adjoint), of_bias


def _fetched(x: Tensor, kernel: Tensor) -> Tensor:
    """``(B, D1, D2, D3, D4, C)`` -> ``(.., C·k)``: k neighbours along D1 side by side, for the kernel."""
    k = kernel.shape[-1]
    taps = x.new_empty(*x.shape, k, dtype=kernel.dtype)
    for tap in range(k):
        here, there = _inside(x.shape[_D1], tap - k // 2)
        taps[:, here, ..., tap] = x[:, there]
        taps[:, : here.start, ..., tap] = 0
        taps[:, here.stop :, ..., tap] = 0
    return taps.flatten(-2)


def _widened(taps: Tensor, kernel: Tensor, groups: int, bias: Tensor | None = None) -> Tensor:
    # As a transposed convolution, because oneDNN's are quicker for groups of so few channels.
    by_input = _of_groups(kernel.transpose(0, 1), groups).movedim(2, 1).flatten(0, 1)
    y: Tensor = F.conv_transpose3d(
        _as_images(taps), by_input.flip(2, 3, 4), bias, padding=kernel.shape[-1] // 2, groups=groups
    )
    return torch.unflatten(y.movedim(1, -1), 0, taps.shape[:2])


def _widened_gradients(taps: Tensor, g: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Of kernel and bias of :func:`_widened`; for so few channels, groups are quicker together."""
    flat = kernel.flatten(1, 2)
    of_kernel: Tensor
    _, of_kernel, of_bias = torch.ops.aten.convolution_backward(
        _as_images(g.to(taps.dtype)),
        _as_images(taps),
        flat,
        bias_sizes=[len(flat)],
        stride=[1] * 3,
        padding=[kernel.shape[-1] // 2] * 3,
        dilation=[1] * 3,
        transposed=False,
        output_padding=[0] * 3,
        groups=1,
        output_mask=[False, True, True],
    )
    return of_kernel.view_as(kernel), of_bias


def _as_images(x: Tensor) -> Tensor:
    """``(B, D1, D2, D3, D4, C)`` -> ``(B·D1, C, D2, D3, D4)``, a view."""
    return x.flatten(0, 1).movedim(-1, 1)


def _narrowed(x: Tensor, kernel: Tensor, groups: int, bias: Tensor | None) -> Tensor:
    k = kernel.shape[-1]
    flat = _of_groups(kernel, groups).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    if bias is not None:  # with the taps at the centre, which are inside everywhere
        bias = F.pad(bias[:, None], (k * k // 2, k * k // 2)).flatten()
    images = x.to(kernel.dtype).flatten(0, 2).movedim(-1, 1)
    y = F.conv2d(images, flat, bias, padding=k // 2, groups=groups)
    y = y.movedim(1, -1).unflatten(0, x.shape[:3]).unflatten(-1, (-1, k, k))
    return _added(_added(y, _D2), _D1)


def _added(y: Tensor, axis: int) -> Tensor:
    """``(.., k)`` -> ``(..)``: what slices give to their k neighbours along the axis, added up there."""
    side, k = y.shape[axis], y.shape[-1]
    total = y[..., k // 2].to(torch.promote_types(y.dtype, torch.float32), copy=True)
    for tap in range(k):
        here, there = _inside(side, tap - k // 2)
        if tap != k // 2:
            total.movedim(axis, 0)[here] += y[..., tap].movedim(axis, 0)[there]
    return total


def _inside(side: int, shift: int) -> tuple[slice, slice]:
    """Cells of an axis whose neighbour so far away is inside, and these neighbours."""
    start, stop = max(-shift, 0), max(min(side - shift, side), 0)
    return slice(start, stop), slice(start + shift, max(stop + shift, 0))
