"""4D convolutions on a GPU's tensor cores, computed by their definition, in Triton kernels.

A layer is one matrix product (an implicit GEMM) whose reduction axis is all taps and input channels. Three
things make it fast:

* *Blocks.* A row of the product computes a block of neighbouring results, such as 2 x 2 along the first
  two axes, from everything that the kernel reaches from any of them: 6 x 6 taps instead of 4 times 5 x 5.
  Some of the multiplications have a zero factor, but the volume is read a third as often, and reading takes
  most of the time.
* *Spreading.* One input channel would leave tensor cores idle. The taps of the last two axes become
  channels (25 of them) when the volume is copied into its layout; a kernel of 5 x 5 taps remains.
* *Folding*, its transpose, for one output channel: the product computes what each tap of the last two axes
  adds, and a second kernel adds it up.

The gradient with respect to the input is a convolution with the transposed kernel. The gradient with
respect to the kernel is a product over all cells, in parts that are added up in a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dccnet.network.conv4d.direct_layout import Core, Gather, Layout, Sides, four, gather
from dccnet.network.conv4d.direct_tuning import SMALLEST_SHARED, Block, Config, Tuning, tuning_for
from dccnet.network.conv4d.lowering import AnyWeights, Layers, recomputed, recomputes_now
from dccnet.network.conv4d.stack import STACK
from dccnet.network.precision import tf32_allowed

TOGETHER = 8
"""Most volumes in one batch: more take more memory and no less time."""
LEAST_CAPABILITY = (8, 0)
_NONE = (1, 1, 1, 1)
_Shapes = tuple[tuple[int, ...], ...]


class Direct(AnyWeights):
    """Triton kernels that compute whole chains of layers on an NVIDIA GPU."""

    def chain(
        self, volumes: Sequence[Tensor], layers: Layers, recompute: bool | None = None
    ) -> list[Tensor]:
        """See :meth:`~dccnet.network.conv4d.lowering.Lowering.chain`.

        Computes float16 and bfloat16 (also in autocast) with float32 sums, and float32 in TF32 where
        ``torch.backends.cudnn.allow_tf32`` permits it. Everything else is computed as ``stack`` does:
        float32 without TF32, float64, volumes on a CPU, and layers that do not fit into the GPU's shared
        memory.
        """
        if not all(_computes(volume, layers) for volume in volumes):
            return STACK.chain(volumes, layers, recompute)
        with torch.cuda.device_of(volumes[0]):  # Triton launches on the current device
            if recomputes_now(volumes, layers, recompute):
                one = partial(chain_of_one, layers=layers)
                return [recomputed(one, volume) for volume in volumes]
            grids = {volume.shape[2:] for volume in volumes}
            if len(grids) == 1 and sum(map(len, volumes)) <= TOGETHER:
                together = chain_of_one(torch.cat(list(volumes)), layers)
                return list(together.split([len(volume) for volume in volumes]))
            return [chain_of_one(volume, layers) for volume in volumes]


def is_available(device: torch.device) -> bool:
    """Whether ``direct`` can compute on this device with the packages that are installed."""
    return is_supported(device) and find_spec("triton") is not None


def is_supported(device: torch.device) -> bool:
    """Whether the device is an NVIDIA GPU that Triton's products on tensor cores run on."""
    if device.type != "cuda" or torch.version.cuda is None or not torch.cuda.is_available():
        return False
    return torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY


def chain_of_one(volume: Tensor, layers: Layers) -> Tensor:
    """``(B, Cin, D1, D2, D3, D4)`` after all layers, with a ReLU after each."""
    found: Tensor = _Chain.apply(
        volume, _dtype(volume), _shared_bytes(volume.device), *(p for layer in layers for p in layer)
    )
    return found


def _computes(volume: Tensor, layers: Layers) -> bool:
    if volume.device.type != "cuda":
        return False
    dtype = _dtype(volume)
    if dtype not in (torch.float16, torch.bfloat16) and not (dtype == torch.float32 and tf32_allowed()):
        return False
    shared = _shared_bytes(volume.device)
    return _plan(_shapes(layers), 1, four(volume.shape[2:]), dtype.itemsize, shared) is not None


def _dtype(volume: Tensor) -> torch.dtype:
    """The type in which a volume's layers are computed."""
    kind = volume.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else volume.dtype


def _shared_bytes(device: torch.device) -> int:
    """Shared memory that a block may use, in bytes."""
    if device.type != "cuda":
        return SMALLEST_SHARED
    properties = torch.cuda.get_device_properties(device)
    return getattr(properties, "shared_memory_per_block_optin", SMALLEST_SHARED)


def _shapes(layers: Layers) -> _Shapes:
    return tuple(tuple(weight.shape) for weight, _ in layers)


class _Layer(NamedTuple):
    """One layer of a chain, for volumes of one grid."""

    shape: tuple[int, ...]
    core: Core
    tuning: Tuning
    source: Layout
    """Layout of the input, with room for the kernel."""
    target: Layout
    """Layout of the output of the chain's last layer: without zeros, because it is copied out at once."""
    given: Layout
    """Layout of the output's gradient, with room for the transposed kernel."""
    back: Layout
    """Layout of the gradient of the chain's input: without zeros."""

    def gather(self, weight: Tensor, config: Config, transposed: bool = False) -> Gather:
        return gather(self.shape, self.core, config.block, config.deep, transposed, str(weight.device))

    def factors(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        return self.gather(weight, self.tuning.forward).factors(weight, dtype)

    def transposed_factors(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        return self.gather(weight, self.tuning.gradient, transposed=True).factors(weight, dtype)

    def weight_gradient(self, x: Tensor, g: Tensor, weight: Tensor) -> Tensor:
        from dccnet.network.conv4d.direct_kernels import correlate

        config = self.tuning.weight
        matrix = self.gather(weight, config)
        found = correlate(x, self.source, g, self.given, self.core, matrix.places.shape[1], config)
        return found.view(-1)[matrix.back].sum(1).view(self.shape)


@lru_cache(maxsize=256)
def _plan(
    shapes: _Shapes, batch: int, cells: Sides, itemsize: int, shared: int
) -> tuple[_Layer, ...] | None:
    """All layers of a chain; None if one of them is too large for the GPU.

    ``itemsize`` is the bytes of a number, ``shared`` the shared memory that a block may use, in bytes.
    """
    layers = []
    for number, shape in enumerate(shapes):
        core = Core.of(shape, number == 0, number == len(shapes) - 1)
        tuning = tuning_for(core.kind, core.channels_in, core.channels_out, itemsize, shared)
        if tuning is None:
            return None
        # The gradient of the kernel reads both sides, with its own block.
        forward, back = (
            _common(config.block, tuning.weight.block) for config in (tuning.forward, tuning.gradient)
        )
        layer = _Layer(
            shape,
            core,
            tuning,
            Layout.of(batch, cells, core.taps, forward, core.channels_in),
            Layout.of(batch, cells, _NONE, (1, 1, 1), core.channels_out),
            Layout.of(batch, cells, core.taps, back, core.channels_out),
            Layout.of(batch, cells, _NONE, (1, 1, 1), core.channels_in),
        )
        if max(layer.source.volume, layer.given.volume) >= 2**31:  # the kernels' offsets have 32 bits
            return None
        layers.append(layer)
    return tuple(layers)


def _common(one: Block, other: Block) -> Block:
    """The smallest block that consists of whole blocks of both sizes."""
    first, second, third = (math.lcm(a, b) for a, b in zip(one, other, strict=True))
    return first, second, third


class _Chain(torch.autograd.Function):
    """A volume after all layers.

    Inputs are the volume, the type to compute in, the GPU's shared memory, and kernels and biases in turn.
    Kept for the backward pass are the volume, the outputs of the inner layers in their layouts, and the
    chain's output.
    """

    @staticmethod
    def forward(ctx: Any, c: Tensor, dtype: torch.dtype, shared: int, *parameters: Tensor) -> Tensor:
        from dccnet.network.conv4d.direct_kernels import convolve, fold, spread

        weights, biases = parameters[::2], parameters[1::2]
        layers = _layers(weights, c, dtype, shared)
        x = spread(c, layers[0].source, layers[0].core.spread, dtype)
        kept = []
        for number, layer in enumerate(layers[:-1]):
            target = layers[number + 1].source
            y = target.allocate(x, dtype)
            bias = _padded_bias(biases[number], layer.core)
            factors = layer.factors(weights[number], dtype)
            convolve(x, layer.source, factors, layer.core, layer.tuning.forward, y, target, bias, relu=True)
            kept.append(y)
            x = y
        end, bias = layers[-1], biases[-1].detach().float()
        folds = end.core.folds
        # What is folded is added up in float32, and its bias and ReLU come after that.
        laid = end.target.allocate(x, torch.float32 if folds else dtype)
        convolve(
            x, end.source, end.factors(weights[-1], dtype), end.core, end.tuning.forward, laid, end.target,
            None if folds else _padded_bias(bias, end.core), relu=not folds,
        )  # fmt: skip
        result = fold(
            laid, end.target, len(weights[-1]), end.core.fold, dtype, 1, bias if folds else None, relu=folds
        )
        ctx.dtype, ctx.shared = dtype, shared
        ctx.save_for_backward(c, result, *kept, *parameters)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        from dccnet.network.conv4d.direct_kernels import convolve, fold, spread

        needs_volume, _, _, *needed = ctx.needs_input_grad
        count, dtype = len(needed) // 2, ctx.dtype
        c, result, *rest = ctx.saved_tensors
        kept, weights = rest[: count - 1], rest[count - 1 :: 2]
        layers = _layers(weights, c, dtype, ctx.shared)
        g = torch.ops.aten.threshold_backward(g, result, 0)
        of_bias = g.sum((0, 2, 3, 4, 5), dtype=torch.float32)
        laid = spread(g, layers[-1].given, layers[-1].core.fold, dtype, -1)
        gradients: list[Tensor | None] = []
        of_volume: Tensor | None = None
        for number in reversed(range(count)):
            layer, weight = layers[number], weights[number]
            x = kept[number - 1] if number else spread(c, layer.source, layer.core.spread, dtype)
            if number < count - 1:
                of_bias = laid.sum((0, 1, 2, 3, 4), dtype=torch.float32)[: len(weight)]
            of_weight = layer.weight_gradient(x, laid, weight) if needed[2 * number] else None
            gradients = [of_weight, of_bias, *gradients]
            if not (number or needs_volume):
                continue
            core, config = layer.core.transposed(), layer.tuning.gradient
            factors = layer.transposed_factors(weight, dtype)
            if number:
                target = layers[number - 1].given
                below = target.allocate(laid, dtype)
                # The layer's input is the output of the ReLU before it.
                convolve(
                    laid, layer.given, factors, core, config, below, target, gate=x, gates=layer.source
                )
                laid = below
            else:
                below = layer.back.allocate(laid, torch.float32)
                convolve(laid, layer.given, factors, core, config, below, layer.back)
                of_volume = fold(below, layer.back, c.shape[1], layer.core.spread, c.dtype, -1)
        of_parameters = [
            None if gradient is None else gradient.to(p.dtype)
            for gradient, p in zip(gradients, rest[count - 1 :], strict=True)
        ]
        return of_volume, None, None, *of_parameters


def _layers(weights: Sequence[Tensor], c: Tensor, dtype: torch.dtype, shared: int) -> tuple[_Layer, ...]:
    shapes = tuple(tuple(weight.shape) for weight in weights)
    plan = _plan(shapes, len(c), four(c.shape[2:]), dtype.itemsize, shared)
    if plan is None:
        raise ValueError("a layer is too large for this GPU")
    return plan


def _padded_bias(bias: Tensor, core: Core) -> Tensor:
    return F.pad(bias.detach().float(), (0, core.channels_out - len(bias)))
