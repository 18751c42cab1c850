"""Neighbourhood consensus in loops of our own, for training on a CPU with small kernels.

Libraries put channels into a CPU's lanes. Consensus goes from one channel to a few and back to one, so
most lanes stay empty; :mod:`.kernels` puts cells there. And a chain of layers is computed
volume by volume, on as many threads as PyTorch has: what a layer gives is still in a cache when the next
one reads it. Of the multiplications along the first axis, a third is saved (Winograd).

A layer either *widens*, to at least as many channels as it reads, or *narrows*. Each is the other's
gradient with respect to what it reads; the gradient with respect to the kernel is the third loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from dccnet.network.conv4d.planes import Along, Planes
from dccnet.network.conv4d.stack import Stack

_CHANNELS, _TAPS = 4, 3
"""That the innermost loops take at a time."""

Array = NDArray[np.floating[Any]]
Layers = Sequence[tuple[Tensor, Tensor]]
"""Kernels ``(Cout, Cin, k1, k2, k3, k4)`` with odd sides, and biases ``(Cout,)``."""
_Gradients = list[tuple[Array, Array]]
"""Of every layer's kernel, as :meth:`_Convolution.gathered` takes it, and bias."""
_Result = TypeVar("_Result")


class Paired(Stack):
    """A single convolution is computed as by :class:`Stack`; consensus asks for :meth:`chains`."""

    def chains(self, volumes: Sequence[Tensor], layers: Layers) -> list[Tensor]:
        """``f(C)`` of each volume C, for a chain f of 4D convolutions with a ReLU after each.

        Volumes are ``(B, 1, D1, D2, D3, D4)``, in and out, on a CPU (else ``TypeError``); the last layer
        has one channel. Anything but float64 is computed in float32, in autocast too.
        """
        dtype = torch.float64 if volumes[0].dtype == torch.float64 else torch.float32
        parameters: list[Tensor] = []
        channels = 1
        for number, (weight, bias) in enumerate(layers, start=1):
            narrows = number == len(layers) and channels > 1
            missing_in, missing_out = channels - weight.shape[1], 0 if narrows else -len(weight) % _CHANNELS
            parameters.append(F.pad(weight, (0,) * 9 + (missing_in, 0, missing_out)).to(dtype))
            parameters.append(F.pad(bias, (0, missing_out)).to(dtype))
            channels = len(weight) + missing_out
        found = _Chains.apply(len(volumes), *(c.to(dtype) for c in volumes), *parameters)
        return [y.to(c.dtype) for y, c in zip(found, volumes, strict=True)]


class _Chains(torch.autograd.Function):
    """Of so many volumes, and kernels and biases in turn; wide sides have whole blocks of channels.

    Kept of each is what every layer reads and what the last one gives, ``(B, C, channel)`` as
    :class:`Planes` lays it out.
    """

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        volumes, parameters = tensors[:count], tensors[count:]
        chains = _chains(volumes, parameters)
        kept = [chain.room(c) for chain, c in zip(chains, volumes, strict=True)]
        _at_once([
            partial(chain.forward, row)
            for chain, laid in zip(chains, kept, strict=True) for row in _rows(laid)
        ])  # fmt: skip
        ctx.count = count
        ctx.save_for_backward(*parameters, *(of_layer for laid in kept for of_layer in laid))
        return tuple(chain.cells(laid[-1]).contiguous() for chain, laid in zip(chains, kept, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        _, *needed = ctx.needs_input_grad
        parameters, kept = _unpacked(ctx.saved_tensors, len(needed) - ctx.count, ctx.count)
        chains = _chains(gradients, parameters)
        above = [
            chain.gradient(g, laid[-1]) for chain, g, laid in zip(chains, gradients, kept, strict=True)
        ]
        below = [torch.empty_like(laid[0]) for laid in kept]
        found = _at_once([
            partial(chain.backward, laid, g, of_x if needed[place] else None)
            for place, chain in enumerate(chains)
            for g, of_x, *laid in _rows([above[place], below[place], *kept[place]])
        ])  # fmt: skip
        of_volumes = [
            chain.cells(of_x) if asked else None
            for chain, of_x, asked in zip(chains, below, needed[: ctx.count], strict=True)
        ]
        return None, *of_volumes, *chains[0].of_parameters(found)


class _Chain:
    """The chain for volumes of one grid."""

    def __init__(self, layers: Layers, grid: Sequence[int]) -> None:
        arrays = [(weight.detach().numpy(), bias.detach().numpy()) for weight, bias in layers]
        self.planes = Planes.of(grid, [weight.shape[2:] for weight, _ in arrays])
        self.layers = [_Convolution(weight, bias, self.planes) for weight, bias in arrays]
        self.inside = self.planes.inside(arrays[0][0].dtype)

    @cached_property
    def adjoints(self) -> list[_Convolution]:
        """By which gradients go down the layers."""
        return [layer.adjoint() for layer in self.layers]

    def room(self, c: Tensor) -> list[Tensor]:
        """``(B, 1, D1, D2, D3, D4)`` -> volumes; all but the first are for :meth:`forward` to fill."""
        sizes = [(len(c), layer.channels, self.planes.channel) for layer in self.layers]
        return [self.planes.lay(c), *(c.new_empty(size) for size in sizes)]

    def cells(self, volumes: Tensor) -> Tensor:
        """The first channel, ``(B, 1, D1, D2, D3, D4)``."""
        return self.planes.cells(volumes)[:, :1]

    def gradient(self, gradient: Tensor, y: Tensor) -> Tensor:
        """That of what went into the last ReLU, which gave ``y``, laid out."""
        laid = torch.zeros_like(y)
        self.cells(laid).copy_(gradient)
        found: Tensor = torch.ops.aten.threshold_backward(laid, y, 0)
        return found

    def forward(self, volumes: Sequence[Array]) -> None:
        """Of one element of the batch."""
        for layer, x, y in zip(self.layers, volumes, volumes[1:], strict=False):
            layer(x, self.inside, True, y)

    def backward(self, volumes: Sequence[Array], g: Array, of_x: Array | None) -> _Gradients:
        """Of one element of the batch. That of what the first layer reads goes to ``of_x``, if given."""
        found: _Gradients = []
        of_bias = g.sum(axis=1)
        for number in reversed(range(len(self.layers))):
            x = volumes[number]
            found.insert(0, (self.layers[number].of_kernel(x, g), of_bias))
            below = _room(x.dtype, *x.shape) if number else of_x
            if below is not None:
                # What a layer reads is what the ReLU before it gave, but for the first.
                of_bias = self.adjoints[number](g, x if number else self.inside, False, below)
                g = below
        return found

    def of_parameters(self, found: Sequence[_Gradients]) -> list[Tensor]:
        """Gradients of kernels and biases in turn, from those of the batch."""
        gradients: list[Tensor] = []
        for layer, of_layer in zip(self.layers, zip(*found, strict=True), strict=True):
            kernels, biases = zip(*of_layer, strict=True)
            of_kernel = layer.gathered(np.sum(kernels, axis=0))
            gradients += [torch.from_numpy(of_kernel), torch.from_numpy(np.sum(biases, axis=0))]
        return gradients


class _Convolution:
    """One layer, for one element of a batch at a time. ``weight`` is ``(Cout, Cin, k1, k2, k3, k4)``."""

    def __init__(self, weight: Array, bias: Array, planes: Planes) -> None:
        self.weight, self.bias, self.planes = weight, bias, planes
        self.channels = len(weight)
        self.widens = len(weight) >= weight.shape[1]
        self.along = Along.of(weight.shape[2], weight.dtype)
        self.distances = planes.distances(weight.shape[2:])
        self.in_groups = np.pad(self.distances, (0, -len(self.distances) % _TAPS))
        widening = weight if self.widens else _adjoint(weight)
        products = np.einsum("pt,oitabc->oipabc", self.along.taps, widening)
        self.kernel = (_for_widen if self.widens else _for_narrow)(products)

    def adjoint(self) -> _Convolution:
        """The transpose."""
        bias = np.zeros(self.weight.shape[1], self.bias.dtype)
        return _Convolution(_adjoint(self.weight), bias, self.planes)

    def __call__(self, x: Array, gate: Array, relu: bool, y: Array) -> Array:
        """As :func:`dccnet.network.conv4d.kernels.widen`; returns the totals."""
        from dccnet.network.conv4d.kernels import collect, narrow, widen

        p, along, bias, totals = self.planes, self.along, self.bias, np.empty_like(self.bias)
        if self.widens:
            mixed = _room(x.dtype, 2, _CHANNELS, p.d3 * p.row)
            thin = self._seen(x)
            widen(thin, self.kernel, self.in_groups, along, bias, gate, relu, y, totals, p, mixed)
        else:
            mixed = _room(x.dtype, 2, _CHANNELS, p.length + p.lead)
            planes = p.d2 + _TAPS * self.kernel.shape[3] - 1
            thin = _room(x.dtype, self.channels, p.pairs, len(along.sides), planes, p.d3 * p.row)
            narrow(x, self.kernel, self.distances, along, p, thin, mixed)
            collect(thin, along, self.weight.shape[3] // 2, bias, gate, relu, y, totals, p)
        return totals

    def of_kernel(self, x: Array, g: Array) -> Array:
        """The gradient of the kernel, for :meth:`gathered`; ``g`` is that of what the layer gives."""
        from dccnet.network.conv4d.kernels import correlate

        p = self.planes
        thin, wide = (x, g) if self.widens else (g, x)
        mixed = _room(x.dtype, 2, _CHANNELS, p.d2 * p.length)
        shape = (len(wide) // _CHANNELS, len(thin), len(self.along.sides), self.weight.shape[3])
        found = np.empty((*shape, len(self.in_groups) // _TAPS, _CHANNELS, _TAPS), x.dtype)
        correlate(self._seen(thin), wide, self.in_groups, self.along, found, p, mixed)
        return found

    def gathered(self, found: Array) -> Array:
        """The gradient of ``weight``."""
        k3, k4 = self.weight.shape[4:]
        products = np.moveaxis(found, 5, 1).reshape(-1, *found.shape[1:4], len(self.in_groups))
        products = products[..., : k3 * k4].reshape(*products.shape[:4], k3, k4)
        widening = np.einsum("pt,oipabc->oitabc", self.along.taps, products)
        return np.ascontiguousarray(widening if self.widens else _adjoint(widening))

    def _seen(self, x: Array) -> Array:
        from dccnet.network.conv4d.kernels import transform

        p = self.planes
        thin = _room(x.dtype, len(x), p.pairs, len(self.along.sides), (p.d2 + 1) * p.length)
        transform(x, self.along, thin, p)
        return thin


def _adjoint(weight: Array) -> Array:
    """Kernel of the convolution's transpose."""
    return np.flip(weight.swapaxes(0, 1), (2, 3, 4, 5))


def _for_widen(products: Array) -> Array:
    """``(Cout, Cin, products, k2, k3, k4)`` -> as :func:`dccnet.network.conv4d.kernels.widen` takes it."""
    taps = products.reshape(*products.shape[:4], -1)
    taps = np.pad(taps, [(0, 0)] * 4 + [(0, -taps.shape[-1] % _TAPS)])
    taps = taps.reshape(-1, _CHANNELS, *taps.shape[1:4], taps.shape[-1] // _TAPS, _TAPS)
    return np.ascontiguousarray(np.moveaxis(taps, 1, 5))


def _for_narrow(products: Array) -> Array:
    """The same, as :func:`dccnet.network.conv4d.kernels.narrow` takes it."""
    taps = products.reshape(*products.shape[:4], -1)
    taps = np.pad(taps, [(0, 0)] * 3 + [(0, -taps.shape[3] % _TAPS), (0, 0)])
    taps = taps.reshape(-1, _CHANNELS, *taps.shape[1:3], taps.shape[3] // _TAPS, _TAPS, taps.shape[4])
    return np.ascontiguousarray(taps.transpose(0, 2, 3, 4, 6, 1, 5))


def _room(dtype: np.dtype[Any], *shape: int) -> Array:
    """PyTorch's memory, because it begins where a line of the cache does."""
    empty: Array = torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype).numpy()
    return empty


def _chains(volumes: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[_Chain]:
    """One for each, the same where grids are."""
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    of_grid = {grid: _Chain(layers, grid) for grid in {c.shape[2:] for c in volumes}}
    return [of_grid[c.shape[2:]] for c in volumes]


def _unpacked(
    saved: Sequence[Tensor], parameters: int, volumes: int
) -> tuple[Sequence[Tensor], list[Sequence[Tensor]]]:
    """Parameters, and what is kept of each volume."""
    each = (len(saved) - parameters) // volumes
    kept = [saved[place : place + each] for place in range(parameters, len(saved), each)]
    return saved[:parameters], kept


def _rows(volumes: Sequence[Tensor]) -> list[tuple[Array, ...]]:
    """Of ``(B, ·)`` each, B times one array of each."""
    return list(zip(*(volume.detach().numpy() for volume in volumes), strict=True))


def _at_once(jobs: Sequence[Callable[[], _Result]]) -> list[_Result]:
    # Threads of their own every time: they take over how this one treats denormals, see training/cpu.py.
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), len(jobs)))) as pool:
        return [job.result() for job in [pool.submit(job) for job in jobs]]
