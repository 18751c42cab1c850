"""Neighbourhood consensus: a match counts when its neighbours agree (NC-Net)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from dccnet.conv4d import Conv4d


class NeighbourhoodConsensus(nn.Module):
    """4D convolutions with a ReLU after each, the last one too, applied symmetrically:
    ``conv(C) + conv(Cᵀ)ᵀ`` where ᵀ swaps the images."""

    def __init__(self, kernels: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        in_channels = [1, *channels[:-1]]
        self.layers = nn.ModuleList(
            Conv4d(cin, cout, k) for cin, cout, k in zip(in_channels, channels, kernels, strict=True)
        )

    def forward(self, c: Tensor) -> Tensor:
        """``(B, 1, hA, wA, hB, wB)`` in and out."""
        return self._filter(c, swapped=False) + self._filter(c, swapped=True)

    def _filter(self, c: Tensor, *, swapped: bool) -> Tensor:
        for layer in self.layers:
            c = F.relu(layer(c, swapped=swapped))
        return c
