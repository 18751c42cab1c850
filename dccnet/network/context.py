"""Spatial context encoder: similarities to its neighbours describe a cell (Eq. 4-9)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dccnet.network.correlation import l2_normalise
from dccnet.network.precision import as_weights_of
from dccnet.network.step import Step


def self_similarity(z: Tensor, kernel: int) -> Tensor:
    """Dot product of every cell with each of its ``kernel × kernel`` neighbours (Eq. 4, 5).

    ``z`` is ``(B, d, h, w)``; returns S ``(B, kernel², h, w)``, neighbours row-major over (dy, dx),
    zero where the neighbour lies outside. Not normalised.
    """
    _, _, h, w = z.shape
    flat = z.flatten(2)  # (B, d, h·w)
    gram = flat.transpose(1, 2) @ flat  # (B, h·w, h·w), every pair of cells once
    along_x = _band(gram.view(-1, h, w, h, w).transpose(2, 3), kernel)  # (B, y, y', x, dx)
    along_y = _band(along_x.permute(0, 3, 4, 1, 2), kernel)  # (B, x, dx, y, dy)
    return along_y.permute(0, 4, 2, 3, 1).reshape(-1, kernel * kernel, h, w)


def _band(x: Tensor, kernel: int) -> Tensor:
    """The ``kernel`` numbers around the diagonal of matrices ``(..., n, n)``: ``(..., n, kernel)``.

    Reading the memory with rows that are longer by one makes every row start one further to the right.
    Gathering by indices would add a table of 3 MB to an exported file at the paper's size.
    """
    n = x.shape[-1]
    row = n + 2 * (kernel // 2)
    x = F.pad(x, (kernel // 2, kernel // 2)).flatten(-2)
    rows: Tensor = F.pad(x, (0, n)).unflatten(-1, (n, row + 1))
    return rows[..., :kernel]


class SpatialContextEncoder(nn.Module):
    """Computes context-aware features G from Z and its self-similarity (Eq. 6).

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
