"""Spatial context encoder: a cell is described by how similar its neighbours are to it (Eq. 4-9)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dccnet.correlation import l2_normalise
from dccnet.precision import as_weights_of
from dccnet.step import Step


def self_similarity(z: Tensor, kernel: int) -> Tensor:
    """Dot product of every cell with each of its ``kernel × kernel`` neighbours (Eq. 4, 5).

    ``z`` is ``(B, d, h, w)``; returns S ``(B, kernel², h, w)``, neighbours row-major over (dy, dx),
    zero where the neighbour lies outside. Not normalised.
    """
    _, _, h, w = z.shape
    flat = z.flatten(2)  # (B, d, h·w)
    gram = flat.transpose(1, 2) @ flat  # (B, h·w, h·w), every pair of cells once
    gram = F.pad(gram, (0, 1)).flatten(1)  # one zero a row, for neighbours outside
    index = torch.from_numpy(_neighbour_index(h, w, kernel)).to(z.device)
    return gram.index_select(1, index).view(-1, kernel * kernel, h, w)


@lru_cache(maxsize=8)
def _neighbour_index(h: int, w: int, kernel: int) -> NDArray[np.int64]:
    """Where S lies in the zero-extended, flattened Gram matrix ``(h·w, h·w + 1)``.

    In NumPy, because a cached tensor would belong to whatever traced it first.
    """
    offset = np.arange(kernel) - kernel // 2
    y = np.arange(h).reshape(1, 1, h, 1) + offset.reshape(kernel, 1, 1, 1)
    x = np.arange(w).reshape(1, 1, 1, w) + offset.reshape(1, kernel, 1, 1)
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)  # (k, k, h, w)
    neighbour = np.where(inside, y * w + x, h * w)
    cell = np.arange(h * w).reshape(h, w)
    return (cell * (h * w + 1) + neighbour).ravel().astype(np.int64)


class SpatialContextEncoder(nn.Module):
    """Z and its self-similarity to context-aware features G (Eq. 6).

    The self-similarity is L2-normalised over its channels, as in the released code; the paper does
    not mention it. G is not normalised.
    """

    def __init__(self, feature_channels: int, kernel: int, out_channels: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.similarity = Step(self_similarity)
        self.l2_norm = Step(l2_normalise)
        self.embed = nn.Conv2d(feature_channels + kernel * kernel, out_channels, kernel_size=1)

    def forward(self, z: Tensor) -> Tensor:
        """``z (B, d, h, w)`` -> ``G (B, l, h, w)``."""
        z = as_weights_of(self.embed, z)
        s = self.l2_norm(self.similarity(z, self.kernel)).to(z)
        return F.relu(self.embed(torch.cat([z, s], dim=1)))
