"""Initial weights other than the authors' random ones, which a preset's recipe may ask for.

``docs/tiny.md`` has the measurements behind the constants. Nothing of this is in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.context import SpatialContextEncoder
from dccnet.network.conv4d import Conv4d
from dccnet.network.fusion import DynamicFusion
from dccnet.network.model import DCCNet

SIMILARITY_SHARE = 0.43
"""Weight of the correlation of context features after a plain start; where maps are blended, that of the
context map beside the local one."""

NEAR_WIDTH, NEAR_DISTANCE = 0.5, 1.0
"""Of the narrow one of the two bells that votes are counted with, in cells: standard deviations of the
difference between the offsets of neighbours that count as lying on the same side, and of their distance."""
FAR_WIDTH, FAR_REACH = 0.9, 0.4
"""The same of the wide bell; the latter as a share of the kernel."""
VOTE_GAIN = 30.0
"""Scale of the votes. The softmax has no temperature, so scores must be large to tell matches apart."""


@torch.no_grad()
def start_plain(model: DCCNet, both_ways: bool) -> None:
    """Initialise with weights that already match without training.

    Context features are the self-similarity S (:func:`pass_similarity_through`), consensus counts votes
    (:func:`count_votes`), with ``both_ways`` also for things that face opposite ways, and the fusion
    weights both maps alike. Raises ``ValueError`` for too few context channels.
    """
    if model.context_encoder is not None:
        pass_similarity_through(model.context_encoder, both_ways)
    count_votes(model.consensus, both_ways)
    if isinstance(model.fusion, DynamicFusion):
        weight_alike(model.fusion)


@torch.no_grad()
def start_both_ways(model: DCCNet) -> None:
    """Apply :func:`mirror_channels` to all 4D networks."""
    for module in model.modules():
        if isinstance(module, NeighbourhoodConsensus):
            mirror_channels(module)


@torch.no_grad()
def pass_similarity_through(encoder: SpatialContextEncoder, both_ways: bool) -> None:
    """Let context features be S instead of a random mixture of Z and S.

    A random mixture in few channels, cut at zero, loses much of what Z and S distinguish. S passes
    unchanged or, because it has a left and a right, with ``both_ways`` as sums of its two sides. The value
    that S would have if all neighbours were alike, 1/kernel, is subtracted, and the ReLU drops what is
    smaller. Channels that remain keep their weights. Raises ``ValueError`` where the encoder has fewer
    channels than this takes.
    """
    k, (channels, width) = encoder.kernel, encoder.embed.weight.shape[:2]
    s = torch.eye(width)[width - k * k :]
    if both_ways:
        columns = s.view(k, k, -1)  # (dy, dx, ·)
        left, middle, right = columns[:, : k // 2], columns[:, k // 2], columns.flip(1)[:, : k // 2]
        s = torch.cat([(left + right).flatten(0, 1) / math.sqrt(2), middle])
    if channels < len(s):
        raise ValueError(f"a plain start takes context_channels of at least {len(s)}, not {channels}")
    share = math.sqrt(SIMILARITY_SHARE)
    weight, bias = encoder.embed.parameters()
    weight[: len(s), :, 0, 0] = share * s
    bias[: len(s)] = -share / k


@torch.no_grad()
def count_votes(consensus: NeighbourhoodConsensus, both_ways: bool) -> None:
    """Initialise the first layer with kernels that count votes; the others pass them on.

    Neighbours of A vote for a match if they match neighbours of B on the same side. With ``both_ways``,
    votes of the opposite side, left and right, count instead where they are more: of two channels, the
    first has the votes a of the same side, the second ``relu(b - a)`` for the votes b of the opposite side,
    and the sum of the two is ``max(a, b)``. The plain sum a + b would favour the middle of things with an
    axis of symmetry. Counts of several channels, or pairs of channels, differ in the width of their bells,
    by up to a fifth.
    """
    first, *others = cast("Sequence[Conv4d]", consensus.layers)
    channels, kernel = len(first.weight), first.weight.shape[-1]
    kinds = -(-channels // 2) if both_ways else channels
    widths = 0.8 + 0.4 * (torch.arange(kinds) + 0.5) / kinds
    votes = torch.stack([vote_kernel(kernel, float(width)) for width in widths])
    if both_ways:
        votes = torch.stack([votes, votes.flip(4) - votes], dim=1).flatten(0, 1)
    first.weight.copy_(VOTE_GAIN * votes[:channels, None])
    for layer in others:
        layer.weight.zero_()
        out_channels, in_channels, *_, kernel = layer.weight.shape
        most = max(in_channels, out_channels)
        for c in range(most):
            place = (c % out_channels, c % in_channels, *(kernel // 2,) * 4)
            layer.weight[place] = out_channels / most
    for layer in (first, *others):
        layer.bias.zero_()


@torch.no_grad()
def mirror_channels(consensus: NeighbourhoodConsensus) -> None:
    """Make the second half of every layer's channels mirror images of the first: left and right of B swap.

    A kernel that expects the neighbours of A among the same neighbours of B misses things that face
    opposite ways. Trained on both kinds from random kernels, a network settles for one of them.
    """
    for layer in cast("Sequence[Conv4d]", consensus.layers):
        out_channels, in_channels = layer.weight.shape[:2]
        # A layer's input channels are the output channels of the layer before.
        partner_out, partner_in = (
            [(c + n // 2) % n for c in range(n)] for n in (out_channels, in_channels)
        )
        mirrored = layer.weight.flip(5)[partner_out][:, partner_in]
        if out_channels > 1:
            layer.weight[out_channels // 2 :] = mirrored[out_channels // 2 :]
            layer.bias[out_channels // 2 :] = layer.bias[partner_out][out_channels // 2 :]
        else:
            layer.weight[:, in_channels // 2 :] = mirrored[:, in_channels // 2 :]


@torch.no_grad()
def weight_alike(fusion: DynamicFusion) -> None:
    """Let the attention give both branches the same weight in every cell."""
    for parameter in fusion.attend.parameters():
        parameter.zero_()


def vote_kernel(kernel: int, width: float = 1.0) -> Tensor:
    """``(kernel, kernel, kernel, kernel)`` weights with sum 1, larger for nearer neighbours.

    A pair of neighbours counts by how equal their offsets in A and in B are, and by how near they are. Half
    of the weight is that of a narrow bell, which tells neighbouring matches apart, half that of a wide one.
    ``width`` scales the differences that both allow.
    """
    offset = torch.arange(kernel) - kernel // 2
    ya, xa, yb, xb = torch.meshgrid(offset, offset, offset, offset, indexing="ij")
    difference = (ya - yb) ** 2 + (xa - xb) ** 2
    distance = (ya**2 + xa**2 + yb**2 + xb**2) / 2
    weights = torch.zeros(kernel, kernel, kernel, kernel)
    for bell, reach in ((NEAR_WIDTH, NEAR_DISTANCE), (FAR_WIDTH, FAR_REACH * kernel)):
        near = torch.exp(-difference / (2 * (width * bell) ** 2) - distance / (2 * reach**2))
        weights += near / near.sum() / 2
    return weights
