"""4D convolutions of large volumes in the frequency domain of three axes, for training on a CPU.

As ``spectral`` with three axes, but complex numbers are multiplied as such (``complex_kernels.py``) and not
as matrices of reals. Filters then take half the memory, so that volumes can be computed one by one: a
volume's layers are computed forward, and in the backward pass once more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from dccnet.network.conv4d.fourier import AxisTransform, axis_transform, to_cells, to_frequencies
from dccnet.network.conv4d.lowering import AnyWeights, Layers, recomputes
from dccnet.network.conv4d.threads import at_once
from dccnet.network.conv4d.waves import waves

_AXES = 3
"""Axes that are transformed, the first ones."""
_TAPS = 5
"""Taps of the last axis are filled up to a multiple of this, for the loops."""

Grid = tuple[int, ...]


class ComplexSpectra(AnyWeights):
    """Spectra of three axes and complex products in loops, for training large volumes on CPUs."""

    def chain(
        self, volumes: Sequence[Tensor], layers: Layers, recompute: bool | None = None
    ) -> list[Tensor]:
        """See :meth:`~dccnet.network.conv4d.lowering.Lowering.chain`.

        Volumes are on a CPU (else ``TypeError``). Anything but float64 is computed in float32, in autocast
        too.
        """
        dtype = torch.float64 if volumes[0].dtype == torch.float64 else torch.float32
        keep = [not recomputes(layers, c.shape[2:], recompute) for c in volumes]
        parameters = [tensor.to(dtype) for layer in layers for tensor in layer]
        found = _Chains.apply(keep, *(c.to(dtype) for c in volumes), *parameters)
        return [y.to(c.dtype) for y, c in zip(found, volumes, strict=True)]


class _Chains(torch.autograd.Function):
    """All volumes after all layers.

    Inputs are whether to keep the layers' outputs for the backward pass, by volume; the volumes; and the
    layers' kernels and biases in turn.
    """

    @staticmethod
    def forward(ctx: Any, keep: Sequence[bool], *tensors: Tensor) -> tuple[Tensor, ...]:
        volumes, parameters = tensors[: len(keep)], tensors[len(keep) :]
        chains = _chains(volumes, parameters)
        backward = any(ctx.needs_input_grad)
        found: list[Tensor] = []
        kept: list[Tensor] = []
        for c, keeps in zip(volumes, keep, strict=True):
            rows = []
            for x in _entered(c):
                (*outputs, y), _ = chains[c.shape[2:]].forward(x)
                kept += outputs if keeps and backward else []
                rows.append(y)
            found.append(_left(rows))
        ctx.keep = keep
        ctx.save_for_backward(*tensors, *found, *kept)
        return tuple(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        count, (_, *needed) = len(ctx.keep), ctx.needs_input_grad
        saved = iter(ctx.saved_tensors)
        tensors, found = list(islice(saved, len(needed))), list(islice(saved, count))
        chains = _chains(tensors[:count], tensors[count:])
        of_volumes: list[Tensor | None] = []
        for c, y, above, keeps, asked in zip(tensors, found, gradients, ctx.keep, needed, strict=False):
            chain, below = chains[c.shape[2:]], []
            masked = torch.ops.aten.threshold_backward(above, y, 0)
            for x, g in zip(_entered(c), _entered(masked), strict=True):
                inner, rows = len(chain.layers) - 1, list[Tensor]()
                if keeps:
                    outputs = list(islice(saved, inner))
                else:
                    outputs, rows = chain.forward(x, inner)
                below.append(chain.backward([x, *outputs], rows, g, asked))
            of_volumes.append(_left(below) if asked else None)
        of_parameters = [chain.of_parameters() for chain in chains.values()]
        return None, *of_volumes, *(sum(parts[1:], parts[0]) for parts in zip(*of_parameters, strict=True))


class _Chain:
    """A chain of layers, for volumes of one grid, ``(D1, D2, D3, C, D4)`` each."""

    def __init__(self, layers: Layers, grid: Grid) -> None:
        scratch = _Scratch()
        self.layers = [_Layer(weight, bias, grid, scratch) for weight, bias in layers]

    def forward(self, x: Tensor, count: int | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """The outputs of the first ``count`` layers, or of all, after their ReLUs.

        Where ``count`` is given, also the rows of their inputs.
        """
        outputs: list[Tensor] = []
        rows: list[Tensor] = []
        for layer in self.layers[:count]:
            entered = layer.rows(x)
            x = layer(entered).relu_()
            outputs.append(x)
            if count is not None:
                rows.append(entered)
        return outputs, rows

    def backward(self, inputs: Sequence[Tensor], rows: list[Tensor], g: Tensor, asked: bool) -> Tensor:
        """The gradient of the first layer's input, if ``asked`` for, from ``g``, that of the last one's
        output before its ReLU; the parameters' gradients are added to those of earlier volumes.

        ``rows`` are those of the first inputs, which are taken off the list.
        """
        for number in reversed(range(len(inputs))):
            layer, x = self.layers[number], inputs[number]
            entered = rows.pop() if number < len(rows) else layer.rows(x)
            below = layer.backward(entered, g, number > 0 or asked)
            g = torch.ops.aten.threshold_backward(below, x, 0) if number else below
        return g

    def of_parameters(self) -> list[Tensor]:
        """Gradients of kernels and biases in turn."""
        return [gradient for layer in self.layers for gradient in layer.gradients()]


class _Scratch:
    """Memory that is used again: what was never touched before costs as much as the loops that write it."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def empty(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Like ``like.new_empty(*shape)``, until the next call with this name."""
        numbers, kept = math.prod(shape), self._kept.get(name)
        if kept is None or kept.numel() < numbers:
            kept = self._kept[name] = like.new_empty(numbers)
        return kept[:numbers].view(shape)


class _Layer:
    """One layer, for volumes of one grid. ``weight`` is ``(Cout, Cin, k1, k2, k3, k4)``.

    *Rows* are a volume with all transformed axes but the last in the frequency domain:
    ``(frequencies, re/im, D3, C, D4)``.
    """

    def __init__(self, weight: Tensor, bias: Tensor, grid: Grid, scratch: _Scratch) -> None:
        self.weight, self.bias, self.grid = weight.detach(), bias.detach(), grid
        self._scratch = scratch
        self.axes = [
            axis_transform(n, k, first=i == 0)
            for i, (n, k) in enumerate(zip(grid[:_AXES], weight.shape[2:], strict=False))
        ]
        self._filters = _filters(self.weight, self.axes)
        self._of_filters: Tensor | None = None
        self._of_bias = torch.zeros_like(self.bias)
        dtype = str(self.weight.numpy().dtype)
        self._waves = [
            waves(n, axis.length, axis.scale, number == 0, dtype)
            for number, (n, axis) in enumerate(zip(grid, self.axes, strict=False))
        ]

    def rows(self, x: Tensor) -> Tensor:
        """``(D1, D2, D3, C, D4)`` -> its rows."""
        from dccnet.network.conv4d.transform_kernels import forward, pieces

        found, count = x, 1
        for number, axis in enumerate(self.axes[:-1]):
            found = found.reshape(count, 2 if number else 1, self.grid[number], -1)
            shape = count, axis.frequencies, 2, found.shape[3]
            last = number == _AXES - 2
            y = x.new_empty(shape) if last else self._scratch.empty("first axis", x, *shape)
            _share(
                partial(forward, found.numpy(), self._waves[number], y.numpy()),
                count * pieces(y.shape[3]),
            )
            found, count = y, count * axis.frequencies
        return found.reshape(count, 2, *x.shape[2:])

    def _cells(self, rows: Tensor) -> Tensor:
        """The inverse of :meth:`rows`."""
        from dccnet.network.conv4d.transform_kernels import backward, pieces

        found, count = rows, len(rows)
        for number, axis in reversed(list(enumerate(self.axes[:-1]))):
            count //= axis.frequencies
            found = found.reshape(count, axis.frequencies, 2, -1)
            shape = count, 2 if number else 1, self.grid[number], found.shape[3]
            x = self._scratch.empty("first axis", found, *shape) if number else found.new_empty(shape)
            _share(
                partial(backward, found.numpy(), self._waves[number], x.numpy()),
                count * pieces(x.shape[3]),
            )
            found = x
        return found.reshape(*self.grid[: _AXES - 1], *rows.shape[2:])

    def __call__(self, rows: Tensor) -> Tensor:
        """The layer's output in cells, without its ReLU, from its input's ``rows``."""
        from dccnet.network.conv4d.complex_rows import filter_rows

        # A constant volume is a single number at frequency zero, which is the first.
        constant = self.bias * math.prod(axis.length * axis.scale for axis in self.axes)
        shape = *rows.shape[:3], len(self.weight), rows.shape[4]
        y = self._scratch.empty("rows", rows, *shape)
        arrays = self._filters.numpy(), self.weight.shape[5], constant.numpy(), _flat(y)
        _share(partial(filter_rows, _flat(rows), self._waves[-1], *arrays), len(rows))
        return self._cells(y)

    def backward(self, rows: Tensor, g: Tensor, asked: bool) -> Tensor:
        """Add to the parameters' gradients, from the input's ``rows`` and the gradient ``g`` of the output.

        Returns the gradient of the input, in cells, if ``asked`` for; else an empty tensor.
        """
        from dccnet.network.conv4d.complex_rows import backward_rows

        if self._of_filters is None:
            cout, cin, *_, taps = self.weight.shape
            self._of_filters = g.new_zeros(*self._filters.shape[:3], cout, taps * cin)
        below = self._scratch.empty("rows", rows, len(rows) if asked else 0, *rows.shape[1:])
        arrays = self._filters.numpy(), self.weight.shape[5], self._of_filters.numpy(), _flat(below)
        of_output = self.rows(g)
        loop = partial(backward_rows, _flat(rows), _flat(of_output), self._waves[-1], *arrays)
        _share(loop, len(rows))
        self._of_bias += g.sum(4).sum((0, 1, 2))  # in one go, it takes five times as long
        return self._cells(below) if asked else below

    def gradients(self) -> list[Tensor]:
        """Gradients of kernel and bias."""
        assert self._of_filters is not None
        cout, cin, *sides = self.weight.shape
        matrices = [axis.frequencies_to_taps for axis in reversed(self.axes)]
        with torch.autocast("cpu", enabled=False):
            of_taps = to_cells(matrices, self._of_filters, rows=self._of_filters.shape[:2].numel())
        kernel = of_taps.reshape(*sides[:_AXES], cout, sides[3], cin)
        return [kernel.movedim((3, 5), (0, 1)), self._of_bias]


def _flat(rows: Tensor) -> NDArray[Any]:
    """``(frequencies, re/im, D3, C, D4)`` -> ``(frequencies, re/im, D3, C·D4)``."""
    return rows.flatten(3).numpy()


def _share(loop: Callable[[int, int], None], count: int) -> None:
    """Call ``loop(first, last)`` for all numbers up to ``count``, which threads share."""
    threads = torch.get_num_threads()
    bounds = [count * i // threads for i in range(threads + 1)]
    at_once([partial(loop, *part) for part in pairwise(bounds)])


def _filters(weight: Tensor, axes: Sequence[AxisTransform]) -> Tensor:
    """The kernel's spectrum, ``(rows, frequencies, re/im, Cout, Cin·k4)``, filled up for the loops."""
    cout, cin, *_, taps = weight.shape
    filled = F.pad(weight, (0, -taps % _TAPS, 0, 0, 0, 0, 0, 0, 0, 0, 0, cout % 2))
    matrices = [axis.taps_to_frequencies for axis in axes]
    with torch.autocast("cpu", enabled=False):
        spectrum = to_frequencies(matrices, filled.movedim((0, 1), (3, 4)), rows=1)
    return spectrum.reshape(-1, axes[-1].frequencies, 2, len(filled), cin * filled.shape[5])


def _chains(volumes: Sequence[Tensor], parameters: Sequence[Tensor]) -> dict[Grid, _Chain]:
    """A chain for each grid."""
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    return {grid: _Chain(layers, grid) for grid in {c.shape[2:] for c in volumes}}


def _entered(c: Tensor) -> list[Tensor]:
    """``(B, C, D1, D2, D3, D4)`` -> for each volume, ``(D1, D2, D3, C, D4)``."""
    return list(c.movedim(1, 4).contiguous().unbind(0))


def _left(rows: Sequence[Tensor]) -> Tensor:
    """The inverse of :func:`_entered`."""
    return torch.stack(list(rows)).movedim(4, 1).contiguous()
