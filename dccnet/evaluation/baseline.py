"""The baseline that a network has to beat: nearest neighbours of backbone features."""

from __future__ import annotations

import torch
from torch import Tensor

from dccnet.inference import to_correspondences
from dccnet.network.correlation import correlate
from dccnet.network.fusion import Scores, as_matrix
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import Size


@torch.no_grad()
def nearest_neighbour(za: Tensor, zb: Tensor, size_a: Size, size_b: Size) -> Correspondences:
    """The most similar cell in both directions, from features Z ``(1, d, h, w)``; scores are cosines.

    ``size_a`` and ``size_b`` are the (height, width) of the pictures in pixels.
    """
    products = as_matrix(correlate(za, zb))
    grid_a, grid_b = (za.shape[-2], za.shape[-1]), (zb.shape[-2], zb.shape[-1])
    return to_correspondences(Scores(products, products), grid_a, grid_b, size_a, size_b)
