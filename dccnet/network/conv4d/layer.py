"""The 4D convolution layer: its parameters, and the choice of how it is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from dccnet.network.conv4d.paired import Paired
from dccnet.network.conv4d.spectral import Spectral
from dccnet.network.conv4d.stack import Stack


class Lowering(Protocol):
    """One exact way to compute 4D convolutions.

    ReLUs between two layers commute with every layout, so that a chain of layers stays in the
    lowering's own: ``leave(conv(relu(conv(enter(c)))))``.
    """

    @property
    def batched(self) -> bool:
        """Whether volumes that meet the same kernels are faster in one batch than one by one."""

    def enter(self, c: Tensor) -> Tensor:
        """``(B, C, D1, D2, D3, D4)`` -> the lowering's layout."""

    def convolution(
        self, weight: Tensor, bias: Tensor | None, grid: Sequence[int]
    ) -> Callable[[Tensor], Tensor]:
        """One layer for volumes of the sides ``grid``, to be applied in the lowering's layout.

        "Same" size, zero padding, the kernel not flipped: see :func:`conv4d`.
        """

    def leave(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`enter`."""


STACK = Stack()
LOWERINGS: dict[str, Lowering] = {
    "stack": STACK,
    "spectral": Spectral(axes=2),
    "spectral3": Spectral(axes=3),
}
"""By the name that ``--conv4d`` takes."""
TRAINING_LOWERINGS: dict[str, Lowering] = LOWERINGS | {"paired": Paired()}
"""With one that is for training on CPUs alone: no exporter knows its functions."""


def conv4d(x: Tensor, weight: Tensor, bias: Tensor | None = None, lowering: Lowering = STACK) -> Tensor:
    """Cross-correlation with zero padding that keeps the size ("same").

    ``x`` is ``(B, Cin, D1, D2, D3, D4)``, ``weight`` ``(Cout, Cin, k1, k2, k3, k4)`` with odd sides
    and ``bias`` ``(Cout,)``; returns ``(B, Cout, D1, D2, D3, D4)``. Any sizes, cubic or not.
    """
    return lowering.leave(lowering.convolution(weight, bias, x.shape[2:])(lowering.enter(x)))


class Conv4d(nn.Module):
    """The parameters of a 4D convolution layer, "same" size: its kernel and its bias.

    The kernel is kept in natural order ``(Cout, Cin, k_hA, k_wA, k_hB, k_wB)``; the authors' files
    store it permuted, see :mod:`dccnet.weights.official`.
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
        # torch's own default for convolutions, which the authors' layer inherits.
        bound = 1 / math.sqrt(in_channels * math.prod(sides))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, Cin, D1, D2, D3, D4)`` -> ``(B, Cout, D1, D2, D3, D4)``; chains of layers do better,
        see :class:`~dccnet.network.consensus.NeighbourhoodConsensus`."""
        return conv4d(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        out_channels, in_channels, *sides = self.weight.shape
        return f"{in_channels}, {out_channels}, kernel_size={tuple(sides)}"
