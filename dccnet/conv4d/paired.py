"""Neighbourhood consensus in loops of our own, for training on a CPU with small kernels.

Libraries put channels into a CPU's lanes. Consensus goes from one channel to a few and back to one, so most
lanes stay empty; :mod:`dccnet.conv4d.kernels` puts cells there. And a chain of layers is computed volume by
volume, on as many threads as PyTorch has: what one layer gives is still in a cache when the next reads it.

A layer either *widens*, to at least as many channels as it reads, or *narrows*. Each is the other's gradient
with respect to what it reads; the gradient with respect to the kernel is the third loop, and the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from dccnet.conv4d.planes import Planes
from dccnet.conv4d.stack import Stack

_CHANNELS, _TAPS = 4, 3
"""That the innermost loops take at a time."""

Array = NDArray[np.floating[Any]]
Layers = Sequence[tuple[Tensor, Tensor]]
"""Kernels ``(Cout, Cin, k1, k2, k3, k4)`` with odd sides, and biases ``(Cout,)``."""
_Result = TypeVar("_Result")


class Paired(Stack):
    """A single convolution is computed as by :class:`Stack`; consensus asks for :meth:`both_ways`."""

    def both_ways(self, maps: Sequence[Tensor], layers: Layers) -> list[Tensor]:
        """``f(C) + f(Cᵀ)ᵀ`` of each map C, for a chain f of 4D convolutions with a ReLU after each.

        Maps are ``(B, 1, hA, wA, hB, wB)``, in and out, on a CPU; the last layer has one channel. Anything but
        float64 is computed in float32, in autocast too.
        """
        dtype = torch.float64 if maps[0].dtype == torch.float64 else torch.float32
        parameters: list[Tensor] = []
        channels = 1
        for number, (weight, bias) in enumerate(layers, start=1):
            narrows = number == len(layers) and channels > 1
            missing_in, missing_out = channels - weight.shape[1], 0 if narrows else -len(weight) % _CHANNELS
            parameters.append(F.pad(weight, (0,) * 9 + (missing_in, 0, missing_out)).to(dtype))
            parameters.append(F.pad(bias, (0, missing_out)).to(dtype))
            channels = len(weight) + missing_out
        found = _BothWays.apply(len(maps), *(c.to(dtype) for c in maps), *parameters)
        return [y.to(c.dtype) for y, c in zip(found, maps, strict=True)]


class _BothWays(torch.autograd.Function):
    """Of so many maps, and kernels and biases in turn; wide sides have whole blocks of channels.

    Every map has two ``sides``, as it is and swapped.
    """

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        sides, parameters = _sides(tensors[:count]), tensors[count:]
        ways = _ways(sides, parameters)
        kept = [way.room(side) for way, side in zip(ways, sides, strict=True)]
        _at_once([
            partial(way.forward, row)
            for way, volumes in zip(ways, kept, strict=True) for row in _rows(volumes)
        ])  # fmt: skip
        ctx.count = count
        ctx.save_for_backward(*parameters, *(volume for volumes in kept for volume in volumes))
        return _merged([way.first_channel(volumes[-1]) for way, volumes in zip(ways, kept, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        _, *needed = ctx.needs_input_grad
        parameters, kept = _unpacked(ctx.saved_tensors, len(needed) - ctx.count, 2 * ctx.count)
        sides = _sides(gradients)
        ways = _ways(sides, parameters)
        above = [way.gradient(g, volumes[-1]) for way, g, volumes in zip(ways, sides, kept, strict=True)]
        below = [torch.empty_like(volumes[0]) for volumes in kept]
        found = _at_once([
            partial(way.backward, volumes, g, of_x if needed[side // 2] else None)
            for side, way in enumerate(ways)
            for g, of_x, *volumes in _rows([above[side], below[side], *kept[side]])
        ])  # fmt: skip
        of_maps = _merged([way.first_channel(of_x) for way, of_x in zip(ways, below, strict=True)])
        return None, *of_maps, *ways[0].of_parameters(found)


class _OfLayer(NamedTuple):
    """Gradients, summed over one volume."""

    kernel: Array
    bias: Array


class _Way:
    """The chain for volumes of one grid. Volumes ``(B, size)`` are laid out by ``planes``, one row each."""

    def __init__(self, layers: Layers, grid: Sequence[int]) -> None:
        self.planes = Planes.of(grid, [weight.shape[2:] for weight, _ in layers])
        self.layers = [_Convolution(weight, bias, self.planes) for weight, bias in layers]
        self.inside = self.planes.inside(layers[0][0].dtype).numpy()
        self._parameters = layers

    @cached_property
    def adjoints(self) -> list[_Convolution]:
        """With which gradients go down."""
        return [
            _Convolution(_adjoint(weight), bias.new_zeros(weight.shape[1]), self.planes)
            for weight, bias in self._parameters
        ]

    def room(self, c: Tensor) -> list[Tensor]:
        """``(B, 1, D1, D2, D3, D4)`` -> volumes: of it, and of what each layer is going to give."""
        sizes = [layer.channels * self.planes.channel for layer in self.layers]
        return [self.planes.lay(c), *(c.new_empty(len(c), size) for size in sizes)]

    def first_channel(self, volumes: Tensor) -> Tensor:
        """-> ``(B, 1, D1, D2, D3, D4)``."""
        return self.planes.cells(volumes)[:, :1]

    def gradient(self, gradient: Tensor, y: Tensor) -> Tensor:
        """That of what goes into the last ReLU, which gave ``y``, as volumes."""
        volumes = torch.zeros_like(y)
        self.first_channel(volumes).copy_(gradient)
        found: Tensor = torch.ops.aten.threshold_backward(volumes, y, 0)
        return found

    def forward(self, volumes: Sequence[Array]) -> None:
        """Fill all but the first of one row's volumes."""
        for layer, x, y in zip(self.layers, volumes, volumes[1:], strict=False):
            layer(x, self.inside, True, y)

    def backward(self, volumes: Sequence[Array], g: Array, of_x: Array | None) -> list[_OfLayer]:
        """Gradients of the layers; that of the first of one row's volumes is written to ``of_x``, if given."""
        found: list[_OfLayer] = []
        of_bias = g.reshape(self.layers[-1].channels, -1).sum(axis=1)
        for number in reversed(range(len(self.layers))):
            x = volumes[number]
            found.insert(0, _OfLayer(self.layers[number].of_kernel(x, g), of_bias))
            # PyTorch's memory, because it begins where a line of the cache does.
            below = of_x if not number else torch.empty(len(x), dtype=self.layers[number].dtype).numpy()
            if below is not None:
                of_bias = self.adjoints[number](g, x if number else self.inside, False, below)
                g = below
        return found

    def of_parameters(self, found: Sequence[Sequence[_OfLayer]]) -> list[Tensor]:
        """Gradients of kernels and biases in turn, from those of all volumes."""
        gradients: list[Tensor] = []
        for layer, of_volumes in zip(self.layers, zip(*found, strict=True), strict=True):
            kernels, biases = zip(*of_volumes, strict=True)
            gradients.append(layer.as_kernel(torch.from_numpy(np.sum(kernels, axis=0))))
            gradients.append(torch.from_numpy(np.sum(biases, axis=0)))
        return gradients


class _Convolution:
    """One layer, for one row's volumes at a time."""

    def __init__(self, weight: Tensor, bias: Tensor, planes: Planes) -> None:
        self.planes = planes
        self.channels = len(weight)
        self.sides = weight.shape[2:]
        self.dtype = weight.dtype
        self.bias = bias.numpy()
        self.widens = len(weight) >= weight.shape[1]
        self.distances = planes.distances(self.sides)
        self.in_groups = np.pad(self.distances, (0, -len(self.distances) % _TAPS))
        widening = _for_widen(weight if self.widens else _adjoint(weight))
        self.gradient_shape = widening.shape
        self.kernel = (widening if self.widens else _for_narrow(weight)).contiguous().numpy()

    def __call__(self, x: Array, gate: Array, relu: bool, y: Array) -> Array:
        """As :func:`dccnet.conv4d.kernels.widen`; returns the totals."""
        from dccnet.conv4d import kernels

        p, totals = self.planes, np.empty_like(self.bias)
        if self.widens:
            kernels.widen(x, self.kernel, self.in_groups, self.bias, gate, relu, y, totals, p)
        else:
            planes = p.d2 + _TAPS * self.kernel.shape[3] - 1
            sums = torch.empty(self.channels, p.d1, planes, p.length - p.lead, dtype=self.dtype).numpy()
            k2 = self.sides[1]
            kernels.narrow(x, self.kernel, self.distances, self.bias, gate, relu, y, totals, p, sums, k2)
        return totals

    def of_kernel(self, x: Array, g: Array) -> Array:
        """The kernel's gradient, for :meth:`as_kernel`; ``g`` is that of what the layer gives."""
        from dccnet.conv4d import kernels

        found = np.empty(self.gradient_shape, x.dtype)
        thin, wide = (x, g) if self.widens else (g, x)
        kernels.correlate(thin, wide, self.in_groups, found, self.planes)
        return found

    def as_kernel(self, found: Tensor) -> Tensor:
        taps = found.permute(0, 5, 1, 2, 3, 4, 6).flatten(0, 1).flatten(4)
        widening = taps[..., : len(self.distances)].unflatten(-1, self.sides[2:])
        return widening if self.widens else _adjoint(widening)


def _adjoint(weight: Tensor) -> Tensor:
    """Kernel of the convolution's transpose."""
    return weight.transpose(0, 1).flip(2, 3, 4, 5)


def _for_widen(weight: Tensor) -> Tensor:
    """``(Cout, Cin, k1, k2, k3, k4)`` -> as :func:`dccnet.conv4d.kernels.widen` takes it."""
    taps = weight.flatten(4)
    taps = F.pad(taps, (0, -taps.shape[-1] % _TAPS)).unflatten(-1, (-1, _TAPS))
    return taps.unflatten(0, (-1, _CHANNELS)).permute(0, 2, 3, 4, 5, 1, 6)


def _for_narrow(weight: Tensor) -> Tensor:
    """``(Cout, Cin, k1, k2, k3, k4)`` -> as :func:`dccnet.conv4d.kernels.narrow` takes it."""
    taps = F.pad(weight, (0, 0, 0, 0, 0, -weight.shape[3] % _TAPS)).unflatten(3, (-1, _TAPS))
    return taps.unflatten(1, (-1, _CHANNELS)).permute(1, 0, 3, 4, 6, 7, 2, 5).flatten(4, 5)


def _ways(sides: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[_Way]:
    """One for each, the same where grids are."""
    detached = [parameter.detach() for parameter in parameters]
    layers = list(zip(detached[::2], detached[1::2], strict=True))
    of_grid = {grid: _Way(layers, grid) for grid in {side.shape[2:] for side in sides}}
    return [of_grid[side.shape[2:]] for side in sides]


def _sides(maps: Sequence[Tensor]) -> list[Tensor]:
    return [side for c in maps for side in (c, _swap(c))]


def _merged(sides: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(one + _swap(other) for one, other in zip(sides[::2], sides[1::2], strict=True))


def _unpacked(
    saved: Sequence[Tensor], parameters: int, sides: int
) -> tuple[Sequence[Tensor], list[Sequence[Tensor]]]:
    """Parameters, and each side's volumes."""
    each = (len(saved) - parameters) // sides
    return saved[:parameters], [saved[place : place + each] for place in range(parameters, len(saved), each)]


def _rows(volumes: Sequence[Tensor]) -> list[tuple[Array, ...]]:
    """Of tensors ``(B, ·)``, B times one array of each."""
    return list(zip(*(volume.detach().numpy() for volume in volumes), strict=True))


def _swap(c: Tensor) -> Tensor:
    return c.permute(0, 1, 4, 5, 2, 3)


def _at_once(jobs: Sequence[Callable[[], _Result]]) -> list[_Result]:
    # Threads of their own every time: they take over how this one treats denormals, see training/cpu.py.
    with ThreadPoolExecutor(min(torch.get_num_threads(), len(jobs))) as pool:
        return [job.result() for job in [pool.submit(job) for job in jobs]]
