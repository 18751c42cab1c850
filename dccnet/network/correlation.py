"""Correlation of two feature maps (Eq. 10) and mutual matching (NC-Net)."""

from __future__ import annotations

import torch
from torch import Tensor

from dccnet.network.precision import float32_island, widened

NORM_EPSILON = 1e-6  # inside the square root, as in the authors' code
MUTUAL_EPSILON = 1e-5  # NC-Net


@float32_island
def l2_normalise(x: Tensor) -> Tensor:
    """Scale each position's channel vector to unit length: ``x / sqrt(sum(x²) + 1e-6)``.

    ``x`` is ``(B, C, h, w)``.
    """
    return x / torch.sqrt(x.square().sum(dim=1, keepdim=True) + NORM_EPSILON)


def correlate(a: Tensor, b: Tensor) -> Tensor:
    """All dot products of the cells of A with those of B (Eq. 10), unnormalised.

    ``a`` is ``(B, C, hA, wA)``, ``b`` ``(B, C, hB, wB)``; returns ``(B, 1, hA, wA, hB, wB)``, in float32
    for features in half precision.
    """
    (ha, wa), (hb, wb) = a.shape[-2:], b.shape[-2:]
    if a.dtype == torch.float16:
        # Context features are not normalised, so their products could overflow. After a division by the
        # longest vector of each picture no product exceeds 1, and half precision can hold them.
        longest_a, longest_b = _longest(a), _longest(b)
        products = (a / longest_a).half().flatten(2).transpose(1, 2) @ (b / longest_b).half().flatten(2)
        products = widened(products) * (longest_a * longest_b).flatten(1, 2)
    else:
        products = a.flatten(2).transpose(1, 2) @ b.flatten(2)  # (B, hA·wA, hB·wB)
    return products.view(-1, 1, ha, wa, hb, wb)


@float32_island
def _longest(x: Tensor) -> Tensor:
    """``(B, C, h, w)`` -> ``(B, 1, 1, 1)``: the largest length of a cell's vector."""
    return torch.sqrt(x.square().sum(dim=1, keepdim=True).amax(dim=(2, 3), keepdim=True) + NORM_EPSILON)


@float32_island
def mutual_matching(c: Tensor) -> Tensor:
    """Weaken every score by its ratio to the best of its A cell and the best of its B cell (NC-Net).

    ``(B, 1, hA, wA, hB, wB)`` in and out.
    """
    best_over_a = c.amax(dim=(2, 3), keepdim=True)
    best_over_b = c.amax(dim=(4, 5), keepdim=True)
    return c * ((c / (best_over_a + MUTUAL_EPSILON)) * (c / (best_over_b + MUTUAL_EPSILON)))
