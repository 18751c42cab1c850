"""Fusions that multiply the maps of both branches. Not in the paper; docs/tiny.md has the measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dccnet.network.fusion import Attention, FusedScores, Scores, as_matrix, softmax_directions, weighted
from dccnet.network.precision import float32_island
from dccnet.network.step import Step
from dccnet.network.support import mean_support, neighbour_support

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


SUPPORT_FLOOR = 0.1
"""Added to both maps in place of :data:`PRODUCT_EPSILON`: values that half precision loses then make no
cell the best (docs/tiny.md)."""
SUPPORT_EPSILON = 0.05
"""Added to the support of both branches: where neither has any, both count alike."""


class SupportedScores(NamedTuple):
    scores: Scores
    weights: Scores
    """Half of the exponents: ``(B, 2, hA·wA, 1)`` and ``(B, 2, 1, hB·wB)``."""
    support: Tensor
    """``(B, 1)``: mean support of the cells of both pictures in the local map."""


@float32_island
def supported_scores(local: Tensor, context: Tensor) -> SupportedScores:
    """Scores in proportion to a product of powers of two maps ``(B, 1, hA, wA, hB, wB)``.

    The exponents of each cell add up to 2, and are in proportion to the squared support of its neighbours
    in either map (:func:`~dccnet.network.support.neighbour_support`). No gradient passes through them.
    """
    both = [torch.log(as_matrix(c) + SUPPORT_FLOOR) for c in (local, context)]
    grid_a, grid_b = (local.shape[2], local.shape[3]), (local.shape[4], local.shape[5])
    with torch.no_grad():
        of_local, of_context = (neighbour_support(logarithms, grid_a, grid_b) for logarithms in both)
        on_a = _shares(of_local.on_a, of_context.on_a)[..., None]
        on_b = _shares(of_local.on_b, of_context.on_b)[:, :, None]
        support = mean_support(of_local)
    scores = softmax_directions(weighted(both, 2 * on_a), weighted(both, 2 * on_b))
    return SupportedScores(scores, Scores(on_a, on_b), support)


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
        scores, weights, support = self.product(*maps)
        grid_a, grid_b = maps[0].shape[2:4], maps[0].shape[4:6]
        attention = Attention(weights.on_a.reshape(-1, 2, *grid_a), weights.on_b.reshape(-1, 2, *grid_b))
        return FusedScores(scores, attention, support)
