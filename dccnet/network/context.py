"""Spatial context encoder: a cell is described by how similar its neighbours are to it (Eq. 4-9)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dccnet.network.correlation import l2_normalise
from dccnet.network.precision import as_weights_of
from dccnet.network.step import Step

Z_SHARE = 0.449
"""What a plain start makes of the correlation of G: the weight in it of the correlation of Z."""
SIMILARITY_SHARE = 0.898
"""Of the correlation of what S has above 1/kernel. With more of both the context map outweighs the local
one where maps are blended: better of things that face opposite ways, worse of others (docs/tiny.md)."""


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

    Read with rows that are longer by one, every row begins one further to the right. Numbers are moved, not
    gathered: a table of where they lie would add 3 MB to a file at the paper's size.
    """
    n = x.shape[-1]
    row = n + 2 * (kernel // 2)
    x = F.pad(x, (kernel // 2, kernel // 2)).flatten(-2)
    rows: Tensor = F.pad(x, (0, n)).unflatten(-1, (n, row + 1))
    return rows[..., :kernel]


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

    @torch.no_grad()
    def start_plain(self, both_ways: bool) -> None:
        """Begin with Z and S as they are, side by side, instead of a random mixture of both.

        Few channels of a random mixture, cut at zero, lose much of what Z tells apart. Z passes once as it
        is and once negated, so that the ReLU loses nothing. S passes as it is or, as it has a left and a
        right, with ``both_ways`` as sums of its two sides. What S would be were all neighbours alike,
        1/kernel, is taken off, and the ReLU drops what is less. Channels left over stay as they were.
        Raises ``ValueError`` where there are fewer than that takes.
        """
        k, (channels, width) = self.kernel, self.embed.weight.shape[:2]
        z, s = torch.eye(width).split([width - k * k, k * k])
        if both_ways:
            columns = s.view(k, k, -1)  # (dy, dx, ·)
            left, middle, right = columns[:, : k // 2], columns[:, k // 2], columns.flip(1)[:, : k // 2]
            s = torch.cat([(left + right).flatten(0, 1) / math.sqrt(2), middle])
        shares = torch.tensor([Z_SHARE, Z_SHARE, SIMILARITY_SHARE]).sqrt()
        shares = shares.repeat_interleave(torch.tensor([len(z), len(z), len(s)]))
        taken = len(shares)
        if channels < taken:
            raise ValueError(f"a plain start takes context_channels of at least {taken}, not {channels}")
        weight, bias = self.embed.parameters()
        weight[:taken, :, 0, 0] = shares[:, None] * torch.cat([z, -z, s])
        bias[:taken] = 0
        bias[taken - len(s) : taken] = -shares[-1] / k

    def forward(self, z: Tensor) -> Tensor:
        """``z (B, d, h, w)`` -> ``G (B, l, h, w)``."""
        z = as_weights_of(self.embed, z)
        s = self.l2_norm(self.similarity(z, self.kernel)).to(z)
        return F.relu(self.embed(torch.cat([z, s], dim=1)))
