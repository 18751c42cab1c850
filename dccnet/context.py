"""Spatial context encoder: a cell is described by how similar its neighbours are to it (Eq. 4-9)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dccnet.correlation import l2_normalise
from dccnet.precision import as_weights_of
from dccnet.step import Step

SIMILARITY_SHARE = 2.0
"""Weight, beside the correlation of Z, of that of what S has above 1/kernel, in a plain start."""


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
        right, with ``both_ways`` as sums of its two sides. Either way 1/kernel is taken off, what S would
        be were all neighbours alike, and the ReLU drops what is less. Channels left over stay as they were.
        Raises ``ValueError`` where there are fewer than that takes.
        """
        k, (channels, width) = self.kernel, self.embed.weight.shape[:2]
        d = width - k * k
        s = torch.eye(k * k).view(k, k, k, k)
        if both_ways:
            s = (s + s.flip(3))[:, : k // 2 + 1] / math.sqrt(2)
            s[:, k // 2] /= math.sqrt(2)  # its own mirror image
        s = s.flatten(0, 1).flatten(1)
        taken = 2 * d + len(s)
        if channels < taken:
            raise ValueError(f"a plain start takes context_channels of at least {taken}, not {channels}")
        weight, bias = self.embed.parameters()
        for part in (weight, bias):
            part[:taken] = 0
        weight[:d, :d, 0, 0] = torch.eye(d)
        weight[d : 2 * d, :d, 0, 0] = -torch.eye(d)
        share = math.sqrt(SIMILARITY_SHARE)
        weight[2 * d : taken, d:, 0, 0] = share * s
        bias[2 * d : taken] = -share / k

    def forward(self, z: Tensor) -> Tensor:
        """``z (B, d, h, w)`` -> ``G (B, l, h, w)``."""
        z = as_weights_of(self.embed, z)
        s = self.l2_norm(self.similarity(z, self.kernel)).to(z)
        return F.relu(self.embed(torch.cat([z, s], dim=1)))
