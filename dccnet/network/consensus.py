"""Neighbourhood consensus: a match counts when its neighbours agree (NC-Net)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from dccnet.network.conv4d import STACK, Conv4d, Lowering
from dccnet.network.precision import as_weights_of


class NeighbourhoodConsensus(nn.Module):
    """A chain of 4D convolutions, each followed by a ReLU, the last one too.

    It is applied symmetrically, ``chain(C) + chain(Cᵀ)ᵀ`` where ᵀ swaps the images, so that the result does
    not depend on their order.
    """

    def __init__(self, kernels: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        in_channels = [1, *channels[:-1]]
        self.layers = nn.ModuleList(
            Conv4d(cin, cout, k) for cin, cout, k in zip(in_channels, channels, kernels, strict=True)
        )
        # How the layers are computed; not part of the network.
        self.lowering: Lowering = STACK
        self.recompute: bool | None = None

    @property
    def weights(self) -> list[tuple[Tensor, Tensor]]:
        """Kernel and bias of each layer."""
        return [(layer.weight, layer.bias) for layer in cast("Sequence[Conv4d]", self.layers)]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Correlation maps that share these weights, ``(B, 1, hA, wA, hB, wB)`` each, in and out."""
        maps = [as_weights_of(self, c) for c in maps]
        if self.lowering.symmetric:
            return [2 * y for y in self.lowering.chain(maps, self.weights, self.recompute)]
        volumes = [volume for c in maps for volume in (c, _swap_images(c))]
        filtered = self.lowering.chain(volumes, self.weights, self.recompute)
        return [
            plain + _swap_images(swapped)
            for plain, swapped in zip(filtered[::2], filtered[1::2], strict=True)
        ]


def _swap_images(c: Tensor) -> Tensor:
    """``(B, 1, hA, wA, hB, wB)`` -> ``(B, 1, hB, wB, hA, wA)``."""
    return c.permute(0, 1, 4, 5, 2, 3)
