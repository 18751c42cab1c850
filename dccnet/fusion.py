"""From correlation maps to fused scores: attention over the branches (Eq. 12-16)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dccnet.consensus import NeighbourhoodConsensus
from dccnet.precision import as_weights_of, float32_island, widened
from dccnet.step import Step


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
    return Scores(on_a=matrix.softmax(dim=2), on_b=matrix.softmax(dim=1))


class Attention(NamedTuple):
    """How much each cell trusts each branch; sums to 1 over dimension 1 (0 local, 1 context)."""

    on_a: Tensor  # (B, 2, hA, wA)
    on_b: Tensor  # (B, 2, hB, wB)


class FusedScores(NamedTuple):
    scores: Scores
    attention: Attention | None


class DynamicFusion(nn.Module):
    """Per-cell attention over the local and the context map (Eq. 12-16).

    The released code blends the softmaxed maps; Eq. 15 of the paper blends the raw ones. Its 1×1
    convolution reads all ``2·h·w`` scores of a cell, which welds the weights to the grid ``(h, w)``.
    """

    def __init__(self, grid: tuple[int, int], embedding: NeighbourhoodConsensus | None) -> None:
        super().__init__()
        self.embedding = embedding
        self.softmax = Step(softmax_scores)
        self.cells = grid[0] * grid[1]
        self.attend = nn.Conv2d(2 * self.cells, 2, kernel_size=1)

    @torch.no_grad()
    def start_even(self) -> None:
        """Begin with both branches trusted alike."""
        for part in self.attend.parameters():
            part.zero_()

    def forward(self, maps: Sequence[Tensor]) -> FusedScores:
        """``maps``: Cl and Cs, each ``(B, 1, hA, wA, hB, wB)`` with hA·wA = hB·wB as trained."""
        embedded = maps if self.embedding is None else self.embedding(maps)
        attention = Attention(
            on_a=self._attention([c.movedim((4, 5), (2, 3)) for c in embedded]),
            on_b=self._attention(embedded),
        )
        local, context = map(self.softmax, maps)
        # (B, 2, hA·wA, 1) and (B, 2, 1, hB·wB): a weight for every row, for every column
        weight_a, weight_b = attention.on_a.flatten(2)[..., None], attention.on_b.flatten(2)[:, :, None]
        scores = Scores(
            on_a=weight_a[:, 0] * local.on_a + weight_a[:, 1] * context.on_a,
            on_b=weight_b[:, 0] * local.on_b + weight_b[:, 1] * context.on_b,
        )
        return FusedScores(scores, attention)

    def _attention(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps ``(B, 1, h', w', h, w)`` seen from the cells (h, w) -> ``(B, 2, h, w)`` (Eq. 13, 14)."""
        scores = torch.cat([c.flatten(1, 3) for c in maps], dim=1)  # (B, 2·h'·w', h, w)
        logits: Tensor = self.attend(as_weights_of(self.attend, scores))
        return widened(logits).softmax(dim=1)


class AverageFusion(nn.Module):
    """Both maps with equal weight: "Baseline+SAA" of Table 4.

    With an embedding the embedded maps are averaged: the attention that they otherwise steer is
    absent, and averaging the raw maps would leave the embedding without effect.
    """

    def __init__(self, embedding: NeighbourhoodConsensus | None) -> None:
        super().__init__()
        self.embedding = embedding
        self.softmax = Step(softmax_scores)

    def forward(self, maps: Sequence[Tensor]) -> FusedScores:
        embedded = maps if self.embedding is None else self.embedding(maps)
        local, context = map(self.softmax, embedded)
        return FusedScores(
            Scores(
                on_a=0.5 * (local.on_a + context.on_a),
                on_b=0.5 * (local.on_b + context.on_b),
            ),
            None,
        )
