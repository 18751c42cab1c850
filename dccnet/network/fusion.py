"""From correlation maps to fused scores: attention over the branches (Eq. 12-16)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.precision import as_weights_of, float32_island, widened
from dccnet.network.step import Step
from dccnet.network.support import neighbour_support


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
            scores: Scores = self.softmax(_weighted(both, weights.on_a), _weighted(both, weights.on_b))
            return scores
        local, context = map(self.softmax, maps)
        return Scores(
            on_a=_weighted((local.on_a, context.on_a), weights.on_a),
            on_b=_weighted((local.on_b, context.on_b), weights.on_b),
        )


def _weighted(both: Sequence[Tensor], weights: Tensor) -> Tensor:
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


PRODUCT_EPSILON = 1e-3
"""Added to both maps: a score needs some support of either branch, and no cell's scores are all zero."""


@float32_island
def product_scores(local: Tensor, context: Tensor) -> Scores:
    """Scores in proportion to the product of two maps ``(B, 1, hA, wA, hB, wB)``; not in the paper."""
    product = (as_matrix(local) + PRODUCT_EPSILON) * (as_matrix(context) + PRODUCT_EPSILON)
    return Scores(on_a=product / product.sum(2, keepdim=True), on_b=product / product.sum(1, keepdim=True))


class ProductFusion(nn.Module):
    """Both branches multiplied, so that a match needs the support of both. Not in the paper (docs/tiny.md).

    The maps themselves are multiplied, not their softmaxes. The result then does not depend on either map's
    scale, so the branch with the sharper softmax does not decide alone.
    """

    embedding = None

    def __init__(self) -> None:
        super().__init__()
        self.product = Step(product_scores)

    def forward(self, maps: Sequence[Tensor]) -> FusedScores:
        """``maps``: Cl and Cs, ``(B, 1, hA, wA, hB, wB)`` each."""
        return FusedScores(self.product(*maps), None)


SUPPORT_EPSILON = 0.05
"""Added to the support of both branches: where neither has any, both count alike."""


@float32_island
def supported_scores(local: Tensor, context: Tensor) -> tuple[Scores, Scores]:
    """Scores in proportion to a product of powers of two maps ``(B, 1, hA, wA, hB, wB)``.

    The exponents of each cell add up to 2, and are in proportion to the squared support of its neighbours
    in either map (:func:`~dccnet.network.support.neighbour_support`). Returned, too: half of them,
    ``(B, 2, hA·wA, 1)`` and ``(B, 2, 1, hB·wB)``. No gradient passes through them.
    """
    both = [torch.log(as_matrix(c) + PRODUCT_EPSILON) for c in (local, context)]
    grid_a, grid_b = (local.shape[2], local.shape[3]), (local.shape[4], local.shape[5])
    with torch.no_grad():
        of_local, of_context = (neighbour_support(logarithms, grid_a, grid_b) for logarithms in both)
        on_a = _shares(of_local.on_a, of_context.on_a)[..., None]
        on_b = _shares(of_local.on_b, of_context.on_b)[:, :, None]
    return softmax_directions(_weighted(both, 2 * on_a), _weighted(both, 2 * on_b)), Scores(on_a, on_b)


def _shares(local: Tensor, context: Tensor) -> Tensor:
    """Support ``(B, cells)`` of both -> ``(B, 2, cells)``."""
    squares = (torch.stack([local, context], dim=1) + SUPPORT_EPSILON).square()
    return squares / squares.sum(dim=1, keepdim=True)


class SupportFusion(nn.Module):
    """As :class:`ProductFusion`, but in every cell the branch counts more whose match its neighbours
    support. Not in the paper (docs/tiny.md).

    Nothing is learnt. The weights are those of an attention: of each branch in each cell, adding up to 1.
    """

    embedding = None

    def __init__(self) -> None:
        super().__init__()
        self.product = Step(supported_scores)

    def forward(self, maps: Sequence[Tensor]) -> FusedScores:
        """``maps``: Cl and Cs, ``(B, 1, hA, wA, hB, wB)`` each."""
        scores, weights = self.product(*maps)
        grid_a, grid_b = maps[0].shape[2:4], maps[0].shape[4:6]
        attention = Attention(weights.on_a.reshape(-1, 2, *grid_a), weights.on_b.reshape(-1, 2, *grid_b))
        return FusedScores(scores, attention)


class AverageFusion(Fusion):
    """Both maps with equal weight: "Baseline+SAA" of Table 4.

    With an embedding, the embedded maps are averaged: there is no attention for them to steer, and
    averaging the raw maps would leave the embedding without effect.
    """

    def forward(self, maps: Sequence[Tensor]) -> FusedScores:
        half = torch.full((1, 2, 1, 1), 0.5, device=maps[0].device)
        return FusedScores(self.blended(self.embedded(maps), Scores(half, half)), None)
