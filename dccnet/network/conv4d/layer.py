"""The 4D convolution layer, and the lowerings that can compute it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dccnet.network.conv4d.complex_spectra import ComplexSpectra
from dccnet.network.conv4d.direct import Direct
from dccnet.network.conv4d.lowering import LayoutLowering, Lowering
from dccnet.network.conv4d.paired import Paired
from dccnet.network.conv4d.separable import Separable
from dccnet.network.conv4d.spectral import Spectral
from dccnet.network.conv4d.stack import STACK

LOWERINGS: dict[str, LayoutLowering] = {
    "stack": STACK,
    "spectral": Spectral(axes=2),
    "spectral3": Spectral(axes=3),
}
"""Lowerings by the name that ``--conv4d`` takes."""
EXPORT_LOWERINGS: dict[str, Lowering] = {**LOWERINGS, "separable": Separable()}
"""These and ``separable``, for kernels that are sums of few products and do not change any more."""
TRAINING_LOWERINGS: dict[str, Lowering] = {
    **LOWERINGS,
    "paired": Paired(),
    "complex": ComplexSpectra(),
    "direct": Direct(),
}
"""``LOWERINGS`` and those that ONNX has no operator for: ``paired`` and ``complex`` for CPUs, ``direct``
for GPUs."""


def conv4d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, lowering: LayoutLowering = STACK
) -> Tensor:
    """Cross-correlation with zero padding that keeps the size ("same").

    ``x`` is ``(B, Cin, D1, D2, D3, D4)``, ``weight`` ``(Cout, Cin, k1, k2, k3, k4)`` with odd sides
    and ``bias`` ``(Cout,)``; returns ``(B, Cout, D1, D2, D3, D4)``. Any sizes, cubic or not.
    """
    return lowering.leave(lowering.convolution(weight, bias, x.shape[2:])(lowering.enter(x)))


class Conv4d(nn.Module):
    """The parameters of a 4D convolution layer, "same" size: its kernel and its bias.

    The kernel is ``(Cout, Cin, k_hA, k_wA, k_hB, k_wB)``; the authors' files store it permuted, see
    :mod:`dccnet.weights.official`.
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
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw random weights: PyTorch's default for convolutions, which the authors' layer inherits."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, Cin, D1, D2, D3, D4)`` -> ``(B, Cout, D1, D2, D3, D4)``. Chains of layers are faster with
        :meth:`Lowering.chain`, as in ``NeighbourhoodConsensus``."""
        return conv4d(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        out_channels, in_channels, *sides = self.weight.shape
        return f"{in_channels}, {out_channels}, kernel_size={tuple(sides)}"
