"""The baseline that a network has to beat: nearest neighbours of backbone features."""

from __future__ import annotations

import torch
from torch import Tensor

from dccnet.network.correlation import correlate
from dccnet.network.fusion import Scores, as_matrix
from dccnet.network.matching import best_matches, score_windows
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import Size


@torch.no_grad()
def nearest_neighbour(za: Tensor, zb: Tensor, size_a: Size, size_b: Size) -> Correspondences:
    """The most similar cell in both directions, from features Z ``(1, d, h, w)``; scores are cosines.

    ``size_a`` and ``size_b`` are the (height, width) of the pictures in pixels.
    """
    products = as_matrix(correlate(za, zb))
    scores = Scores(on_a=products, on_b=products)
    matches = best_matches(scores)
    grid_a, grid_b = (za.shape[-2], za.shape[-1]), (zb.shape[-2], zb.shape[-1])
    window_a, window_b = score_windows(scores, matches, grid_a, grid_b)
    index_a, score_a = (m[0].reshape(grid_a).numpy() for m in (matches.index_a, matches.score_a))
    index_b, score_b = (m[0].reshape(grid_b).numpy() for m in (matches.index_b, matches.score_b))
    return Correspondences(
        size_a,
        size_b,
        index_a,
        score_a,
        index_b,
        score_b,
        window_a=window_a[0].reshape(*grid_a, -1).numpy(),
        window_b=window_b[0].reshape(*grid_b, -1).numpy(),
    )
