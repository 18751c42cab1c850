"""4D convolutions in loops of our own, for training on a CPU with small kernels.

Libraries put channels into a CPU's SIMD lanes. Consensus goes from one channel to a few and back to one, so
most lanes would stay empty; ``kernels.py`` puts cells there. A chain of layers is computed volume by
volume, on as many threads as PyTorch uses, so that a layer's output is still in a cache when the next layer
reads it. Winograd's algorithm saves a third of the multiplications along the first axis.

A layer either *widens*, to at least as many channels as its input has, or *narrows*. Each kind is the
gradient of the other with respect to its input; the gradient with respect to the kernel is a third loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from dccnet.network.conv4d.lowering import AnyWeights, Layers, recomputed, recomputes_now
from dccnet.network.conv4d.planes import AxisProducts, Planes
from dccnet.network.conv4d.threads import at_once

_CHANNELS, _TAPS = 4, 3
"""Channels and taps that the innermost loops compute at a time."""

Array = NDArray[np.floating[Any]]
_Gradients = list[tuple[Array, Array]]
"""Gradient of each layer's kernel, in the layout of :meth:`_Convolution.of_kernel`, and of its bias."""


class Paired(AnyWeights):
    """Loops that compute whole chains of layers, for training on CPUs."""

    def chain(
        self, volumes: Sequence[Tensor], layers: Layers, recompute: bool | None = None
    ) -> list[Tensor]:
        """See :meth:`~dccnet.network.conv4d.lowering.Lowering.chain`.

        Volumes are ``(B, 1, D1, D2, D3, D4)``, in and out, on a CPU (else ``TypeError``); the last layer
        has one channel. Anything but float64 is computed in float32, in autocast too.
        """
        if recomputes_now(volumes, layers, recompute):
            one = partial(_chain_of_one, layers=layers)
            return [recomputed(one, volume) for volume in volumes]
        return _run(volumes, layers)


def _chain_of_one(volume: Tensor, layers: Layers) -> Tensor:
    return _run([volume], layers)[0]


def _run(volumes: Sequence[Tensor], layers: Layers) -> list[Tensor]:
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
    """All volumes after all layers.

    Inputs are the number of volumes, the volumes, and the layers' kernels and biases in turn; wide sides
    have whole blocks of channels. Kept for the backward pass are the input of every layer and the output of
    the last, ``(B, C, channel)`` in the layout of :class:`Planes`.
    """

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        volumes, parameters = tensors[:count], tensors[count:]
        chains = _chains(volumes, parameters)
        kept = [chain.room(c) for chain, c in zip(chains, volumes, strict=True)]
        at_once([
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
        found = at_once([
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
    """A chain of layers, for volumes of one grid."""

    def __init__(self, layers: Layers, grid: Sequence[int]) -> None:
        arrays = [(weight.detach().numpy(), bias.detach().numpy()) for weight, bias in layers]
        self.planes = Planes.of(grid, [weight.shape[2:] for weight, _ in arrays])
        self.layers = [_Convolution(weight, bias, self.planes) for weight, bias in arrays]
        self.inside = self.planes.inside(arrays[0][0].dtype)

    @cached_property
    def adjoints(self) -> list[_Convolution]:
        """The transposed layers, through which gradients flow back."""
        return [layer.adjoint() for layer in self.layers]

    def room(self, c: Tensor) -> list[Tensor]:
        """``(B, 1, D1, D2, D3, D4)`` -> the input and room for all outputs, ``(B, C, channel)``."""
        sizes = [(len(c), layer.channels, self.planes.channel) for layer in self.layers]
        return [self.planes.lay(c), *(c.new_empty(size) for size in sizes)]

    def cells(self, volumes: Tensor) -> Tensor:
        """The first channel, ``(B, 1, D1, D2, D3, D4)``."""
        return self.planes.cells(volumes)[:, :1]

    def gradient(self, gradient: Tensor, y: Tensor) -> Tensor:
        """Gradient of the last ReLU's input, in our layout, from the gradient of its output ``y``."""
        laid = torch.zeros_like(y)
        self.cells(laid).copy_(gradient)
        found: Tensor = torch.ops.aten.threshold_backward(laid, y, 0)
        return found

    def forward(self, volumes: Sequence[Array]) -> None:
        """Compute one element of the batch: each layer's output from its input."""
        for layer, x, y in zip(self.layers, volumes, volumes[1:], strict=False):
            layer(x, self.inside, True, y)

    def backward(self, volumes: Sequence[Array], g: Array, of_x: Array | None) -> _Gradients:
        """Gradients of the parameters, for one element of the batch.

        The gradient of the first layer's input is written to ``of_x``, if given.
        """
        found: _Gradients = []
        of_bias = g.sum(axis=1)
        for number in reversed(range(len(self.layers))):
            x = volumes[number]
            found.insert(0, (self.layers[number].of_kernel(x, g), of_bias))
            below = _room(x.dtype, *x.shape) if number else of_x
            if below is not None:
                # A layer's input is the output of the ReLU before it, except the first layer's.
                of_bias = self.adjoints[number](g, x if number else self.inside, False, below)
                g = below
        return found

    def of_parameters(self, found: Sequence[_Gradients]) -> list[Tensor]:
        """Gradients of kernels and biases in turn: the sum over the batch."""
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
        self.axis = AxisProducts.of(weight.shape[2], weight.dtype)
        self.distances = planes.distances(weight.shape[2:])
        self.in_groups = np.pad(self.distances, (0, -len(self.distances) % _TAPS))
        widening = weight if self.widens else _adjoint(weight)
        products = np.einsum("pt,oitabc->oipabc", self.axis.taps, widening)
        self.kernel = (_for_widen if self.widens else _for_narrow)(products)

    def adjoint(self) -> _Convolution:
        """The transposed convolution."""
        bias = np.zeros(self.weight.shape[1], self.bias.dtype)
        return _Convolution(_adjoint(self.weight), bias, self.planes)

    def __call__(self, x: Array, gate: Array, relu: bool, y: Array) -> Array:
        """Convolve ``x`` into ``y``, with the arguments of ``kernels.widen``; return the totals."""
        from dccnet.network.conv4d.kernels import collect, narrow, widen

        p, axis, bias, totals = self.planes, self.axis, self.bias, np.empty_like(self.bias)
        if self.widens:
            mixed = _room(x.dtype, 2, _CHANNELS, p.d3 * p.row)
            narrow_side = self._seen(x)
            widen(narrow_side, self.kernel, self.in_groups, axis, bias, gate, relu, y, totals, p, mixed)
        else:
            mixed = _room(x.dtype, 2, _CHANNELS, p.length + p.lead)
            planes = p.d2 + _TAPS * self.kernel.shape[3] - 1
            narrow_side = _room(x.dtype, self.channels, p.pairs, len(axis.sides), planes, p.d3 * p.row)
            narrow(x, self.kernel, self.distances, axis, p, narrow_side, mixed)
            collect(narrow_side, axis, self.weight.shape[3] // 2, bias, gate, relu, y, totals, p)
        return totals

    def of_kernel(self, x: Array, g: Array) -> Array:
        """Gradient of the kernel, for :meth:`gathered`; ``g`` is the gradient of the layer's output."""
        from dccnet.network.conv4d.kernels import correlate

        p = self.planes
        narrow_side, wide = (x, g) if self.widens else (g, x)
        mixed = _room(x.dtype, 2, _CHANNELS, p.d2 * p.length)
        shape = (len(wide) // _CHANNELS, len(narrow_side), len(self.axis.sides), self.weight.shape[3])
        found = np.empty((*shape, len(self.in_groups) // _TAPS, _CHANNELS, _TAPS), x.dtype)
        correlate(self._seen(narrow_side), wide, self.in_groups, self.axis, found, p, mixed)
        return found

    def gathered(self, found: Array) -> Array:
        """Gradient of ``weight``, from :meth:`of_kernel`."""
        k3, k4 = self.weight.shape[4:]
        products = np.moveaxis(found, 5, 1).reshape(-1, *found.shape[1:4], len(self.in_groups))
        products = products[..., : k3 * k4].reshape(*products.shape[:4], k3, k4)
        widening = np.einsum("pt,oipabc->oitabc", self.axis.taps, products)
        return np.ascontiguousarray(widening if self.widens else _adjoint(widening))

    def _seen(self, x: Array) -> Array:
        from dccnet.network.conv4d.kernels import transform

        p = self.planes
        narrow_side = _room(x.dtype, len(x), p.pairs, len(self.axis.sides), (p.d2 + 1) * p.length)
        transform(x, self.axis, narrow_side, p)
        return narrow_side


def _adjoint(weight: Array) -> Array:
    """Kernel of the transposed convolution."""
    return np.flip(weight.swapaxes(0, 1), (2, 3, 4, 5))


def _for_widen(products: Array) -> Array:
    """``(Cout, Cin, products, k2, k3, k4)`` -> the layout of ``kernels.widen``."""
    taps = products.reshape(*products.shape[:4], -1)
    taps = np.pad(taps, [(0, 0)] * 4 + [(0, -taps.shape[-1] % _TAPS)])
    taps = taps.reshape(-1, _CHANNELS, *taps.shape[1:4], taps.shape[-1] // _TAPS, _TAPS)
    return np.ascontiguousarray(np.moveaxis(taps, 1, 5))


def _for_narrow(products: Array) -> Array:
    """``(Cout, Cin, products, k2, k3, k4)`` -> the layout of ``kernels.narrow``."""
    taps = products.reshape(*products.shape[:4], -1)
    taps = np.pad(taps, [(0, 0)] * 3 + [(0, -taps.shape[3] % _TAPS), (0, 0)])
    taps = taps.reshape(-1, _CHANNELS, *taps.shape[1:3], taps.shape[3] // _TAPS, _TAPS, taps.shape[4])
    return np.ascontiguousarray(taps.transpose(0, 2, 3, 4, 6, 1, 5))


def _room(dtype: np.dtype[Any], *shape: int) -> Array:
    """An uninitialised array in PyTorch's memory, which is aligned to cache lines."""
    empty: Array = torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype).numpy()
    return empty


def _chains(volumes: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[_Chain]:
    """A chain for each volume; volumes of the same grid share one."""
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    of_grid = {grid: _Chain(layers, grid) for grid in {c.shape[2:] for c in volumes}}
    return [of_grid[c.shape[2:]] for c in volumes]


def _unpacked(
    saved: Sequence[Tensor], parameters: int, volumes: int
) -> tuple[Sequence[Tensor], list[Sequence[Tensor]]]:
    """Saved tensors -> parameters, and the layers' volumes of each input volume."""
    each = (len(saved) - parameters) // volumes
    kept = [saved[place : place + each] for place in range(parameters, len(saved), each)]
    return saved[:parameters], kept


def _rows(volumes: Sequence[Tensor]) -> list[tuple[Array, ...]]:
    """Tensors ``(B, ·)`` -> for each element of the batch, one array of each tensor."""
    return list(zip(*(volume.detach().numpy() for volume in volumes), strict=True))
