"""From correlation maps to fused scores: attention over the branches (Eq. 12-16)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.precision import as_weights_of, float32_island, widened
from dccnet.network.step import Step


class Scores(NamedTuple):
    """Matching probabilities in both directions, each ``(B, hA·wA, hB·wB)``, cells row-major."""

    on_a: Tensor
    """MA: every row is a distribution over the cells of B."""
    on_b: Tensor
    """MB: every column is a distribution over the cells of A."""


def as_matrix(c: Tensor) -> Tensor:
    """(B, 1, hA, wA, hB, wB) -> (B, hA·wA, hB·wB)."""
    return c.flatten(4).flatten(1, 3)


@float32_island
def softmax_scores(c: Tensor) -> Scores:
    """Softmax, without temperature, over the cells matched to. ``c`` is ``(B, 1, hA, wA, hB, wB)``."""
    matrix = as_matrix(c)
    return softmax_directions(matrix, matrix)


@float32_island
def softmax_directions(on_a: Tensor, on_b: Tensor) -> Scores:
    """Softmax of ``(B, hA·wA, hB·wB)`` over the cells of B, and of another over those of A."""
    return Scores(on_a=on_a.softmax(dim=2), on_b=on_b.softmax(dim=1))


class Attention(NamedTuple):
    """Weight of each branch in each cell; sums to 1 over dimension 1 (0 local, 1 context)."""

    on_a: Tensor  # (B, 2, hA, wA)
    on_b: Tensor  # (B, 2, hB, wB)


class FusedScores(NamedTuple):
    scores: Scores
    attention: Attention | None
    support: Tensor | None = None
    """``(B, 1)``: how far neighbours support the matches of Cl; from the fusion by support alone."""


class Fusion(nn.Module):
    """Base class of the weighted kinds of fusion. ``blend`` is the field of :class:`ModelConfig`."""

    def __init__(self, embedding: NeighbourhoodConsensus | None, blend: str = "scores") -> None:
        super().__init__()
        self.embedding = embedding
        self._of_maps = blend == "maps"
        self.softmax = Step(softmax_directions if self._of_maps else softmax_scores)

    def embedded(self, maps: Sequence[Tensor]) -> Sequence[Tensor]:
        """``maps`` after the correlation embedding network (Eq. 12), if there is one, else unchanged."""
        return maps if self.embedding is None else self.embedding(maps)

    def blended(self, maps: Sequence[Tensor], weights: Scores) -> Scores:
        """Scores of both maps together.

        ``weights`` are ``(B, 2, ·, ·)`` and broadcast to matrices: the weight of either branch in each row,
        for ``on_a``, or each column, for ``on_b``. They differ by direction in Eq. 15, too, and so do the
        blended maps.
        """
        if self._of_maps:
            both = [widened(as_matrix(c)) for c in maps]
            scores: Scores = self.softmax(weighted(both, weights.on_a), weighted(both, weights.on_b))
            return scores
        local, context = map(self.softmax, maps)
        return Scores(
            on_a=weighted((local.on_a, context.on_a), weights.on_a),
            on_b=weighted((local.on_b, context.on_b), weights.on_b),
        )


def weighted(both: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Sum of two matrices ``(B, ·, ·)`` by ``weights`` ``(B, 2, ·, ·)``."""
    return weights[:, 0] * both[0] + weights[:, 1] * both[1]


class DynamicFusion(Fusion):
    """Per-cell attention over the local and the context map (Eq. 12-16).

    Its 1×1 convolution reads all ``2·h·w`` scores of a cell, which welds the weights to the grid.
    """

    def __init__(
        self, grid: tuple[int, int], embedding: NeighbourhoodConsensus | None, blend: str = "scores"
    ) -> None:
        super().__init__(embedding, blend)
        self.cells = grid[0] * grid[1]
        self.attend = nn.Conv2d(2 * self.cells, 2, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> FusedScores:
        """``maps``: Cl and Cs, each ``(B, 1, hA, wA, hB, wB)`` with hA·wA = hB·wB as trained."""
        embedded = self.embedded(maps)
        attention = Attention(
            on_a=self._attention([c.movedim((4, 5), (2, 3)) for c in embedded]),
            on_b=self._attention(embedded),
        )
        # (B, 2, hA·wA, 1) and (B, 2, 1, hB·wB): a weight for every row, for every column
        weights = Scores(attention.on_a.flatten(2)[..., None], attention.on_b.flatten(2)[:, :, None])
        return FusedScores(self.blended(maps, weights), attention)

    def _attention(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps ``(B, 1, h', w', h, w)`` seen from the cells (h, w) -> ``(B, 2, h, w)`` (Eq. 13, 14)."""
        scores = torch.cat([c.flatten(1, 3) for c in maps], dim=1)  # (B, 2·h'·w', h, w)
        logits: Tensor = self.attend(as_weights_of(self.attend, scores))
        return widened(logits).softmax(dim=1)


class AverageFusion(Fusion):
    """Both maps with equal weight: "Baseline+SAA" of Table 4.

    With an embedding, the embedded maps are averaged: there is no attention for them to steer, and
    averaging the raw maps would leave the embedding without effect.
    """

    def forward(self, maps: Sequence[Tensor]) -> FusedScores:
        half = torch.full((1, 2, 1, 1), 0.5, device=maps[0].device)
        return FusedScores(self.blended(self.embedded(maps), Scores(half, half)), None)
