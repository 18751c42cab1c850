"""Neighbourhood consensus: a match counts when its neighbours agree (NC-Net)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dccnet.network.conv4d import STACK, Conv4d, Lowering, Paired
from dccnet.network.precision import as_weights_of

RECOMPUTE_FROM = 4_000_000
"""Numbers in a volume's widest layer from which training computes layers again in the backward pass
instead of keeping them: at the paper's size a pair of images would keep some 900 MB."""

VOTE_WIDTHS = (0.4, 0.8)
"""Between which, in cells, two neighbours count as lying on the same side: a standard deviation."""
VOTE_REACH = 0.4
"""Of the kernel: the standard deviation of how far a neighbour may be."""
VOTE_GAIN = 20.0
"""So that scores, which no temperature sharpens, tell matches apart from the first step on."""

Chain = Sequence[Callable[[Tensor], Tensor]]


class NeighbourhoodConsensus(nn.Module):
    """4D convolutions with a ReLU after each, the last one too, applied symmetrically:
    ``conv(C) + conv(Cᵀ)ᵀ`` where ᵀ swaps the images."""

    def __init__(self, kernels: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        in_channels = [1, *channels[:-1]]
        self.layers = nn.ModuleList(
            Conv4d(cin, cout, k) for cin, cout, k in zip(in_channels, channels, kernels, strict=True)
        )
        self._widest = max(channels)
        self.lowering: Lowering = STACK
        """How the layers are computed; not part of the network."""
        self.checkpointing: bool | None = None
        """Whether training computes layers again in the backward pass instead of keeping their results;
        None leaves it to :data:`RECOMPUTE_FROM`."""

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Correlation maps that share these weights, ``(B, 1, hA, wA, hB, wB)`` each, in and out."""
        halved = [as_weights_of(self, c) for c in maps]
        filtered = self._filtered([volume for c in halved for volume in (c, _swap_images(c))])
        return [
            plain + _swap_images(swapped)
            for plain, swapped in zip(filtered[::2], filtered[1::2], strict=True)
        ]

    @torch.no_grad()
    def start_voting(self, both_ways: bool) -> None:
        """Begin with kernels that count votes: the first layer's, of several widths; the others pass on.

        Neighbours of A vote for a match if they match neighbours of B on the same side. With ``both_ways``
        those on the other side, left and right, count too, whichever are more: one channel has the votes a
        of the one way, the next what the other way has more, ``relu(b - a)``, and the sum of the two is
        ``max(a, b)``. Plain sums of both ways favour the middles of things with an axis of symmetry.
        """
        first, *others = cast("Sequence[Conv4d]", self.layers)
        channels, kernel = len(first.weight), first.weight.shape[-1]
        kinds = -(-channels // 4) if both_ways else channels
        widths = VOTE_WIDTHS[0] + (torch.arange(kinds) + 0.5) / kinds * (VOTE_WIDTHS[1] - VOTE_WIDTHS[0])
        votes = torch.stack([_votes(kernel, float(width)) for width in widths])
        if both_ways:  # repeated for the second half, which start_both_ways turns round
            votes = torch.stack([votes, votes.flip(4) - votes], dim=1).flatten(0, 1).repeat(2, 1, 1, 1, 1)
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
        if both_ways:
            self.start_both_ways()

    @torch.no_grad()
    def start_both_ways(self) -> None:
        """Let the second half of the channels begin as mirror images of the first, left and right of B.

        A kernel that expects neighbours of A among the same neighbours of B does not see things that face
        opposite ways. Trained from random kernels on both kinds, a network settles for one of them.
        """
        layers = cast("Sequence[Conv4d]", self.layers)
        for layer in layers:
            out_channels, in_channels = layer.weight.shape[:2]
            # A layer's input channels are the output channels of the one before.
            partner_out, partner_in = (
                [(c + n // 2) % n for c in range(n)] for n in (out_channels, in_channels)
            )
            mirrored = layer.weight.flip(5)[partner_out][:, partner_in]
            if out_channels > 1:
                layer.weight[out_channels // 2 :] = mirrored[out_channels // 2 :]
                layer.bias[out_channels // 2 :] = layer.bias[partner_out][out_channels // 2 :]
            else:
                layer.weight[:, in_channels // 2 :] = mirrored[:, in_channels // 2 :]

    def recomputes(self, grid_a: Sequence[int], grid_b: Sequence[int]) -> bool:
        """Whether training computes layers on such grids again instead of keeping their results."""
        if self.checkpointing is not None:
            return self.checkpointing
        return self._widest * math.prod(grid_a) * math.prod(grid_b) >= RECOMPUTE_FROM

    def _filtered(self, volumes: Sequence[Tensor]) -> Sequence[Tensor]:
        """Each after all layers."""
        if isinstance(self.lowering, Paired):
            layers = [(layer.weight, layer.bias) for layer in cast("Sequence[Conv4d]", self.layers)]
            chains = partial(self.lowering.chains, layers=layers)
            if not any(map(self._recomputes_now, volumes)):
                return chains(volumes)
            return [_recomputed(lambda volume: chains([volume])[0], c) for c in volumes]
        grids = {tuple(volume.shape[2:]) for volume in volumes}
        convolutions = {grid: self._convolutions(grid) for grid in grids}
        if self.lowering.batched and len(grids) == 1:
            together = self._filter(torch.cat(list(volumes)), *convolutions.values())
            return list(together.unflatten(0, (len(volumes), -1)))
        return [self._filter(volume, convolutions[tuple(volume.shape[2:])]) for volume in volumes]

    def _convolutions(self, grid: tuple[int, ...]) -> Chain:
        layers = cast("Sequence[Conv4d]", self.layers)
        return [self.lowering.convolution(layer.weight, layer.bias, grid) for layer in layers]

    def _filter(self, c: Tensor, convolutions: Chain) -> Tensor:
        if not self._recomputes_now(c):
            return self._chain(c, convolutions)
        return _recomputed(partial(self._chain, convolutions=convolutions), c)

    def _recomputes_now(self, c: Tensor) -> bool:
        return torch.is_grad_enabled() and self.recomputes(c.shape[2:4], c.shape[4:6])

    def _chain(self, c: Tensor, convolutions: Chain) -> Tensor:
        x = self.lowering.enter(c)
        for convolution in convolutions:
            x = F.relu(convolution(x))
        return self.lowering.leave(x)


def _recomputed(function: Callable[[Tensor], Tensor], c: Tensor) -> Tensor:
    """``function(c)``, computed volume by volume, and again in the backward pass instead of being kept."""
    return torch.cat([checkpoint(function, volume, use_reentrant=False) for volume in c.split(1)])


def _votes(kernel: int, width: float) -> Tensor:
    """``kernel⁴`` weights, sum 1: neighbours of A and of B at like distance count, near ones more."""
    offset = torch.arange(kernel) - kernel // 2
    ya, xa, yb, xb = torch.meshgrid(offset, offset, offset, offset, indexing="ij")
    apart = ((ya - yb) ** 2 + (xa - xb) ** 2) / (2 * width**2)
    away = (ya**2 + xa**2 + yb**2 + xb**2) / (4 * (VOTE_REACH * kernel) ** 2)
    weights = torch.exp(-apart - away)
    return weights / weights.sum()


def _swap_images(c: Tensor) -> Tensor:
    return c.permute(0, 1, 4, 5, 2, 3)
