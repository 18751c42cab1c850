"""Supervision by keypoints, which the paper does not use: matches of known places become more probable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dccnet.network.fusion import softmax_scores
from dccnet.network.model import DCCNet, Matching


class Keypoints(NamedTuple):
    """Places that show the same thing in both images, N of all pairs of a batch together."""

    pair: Tensor
    """``(N,)`` int64: the pair's place in the batch."""
    source: Tensor
    """``(N, 2)`` float32: (x, y) in image A, in cells of its grid; cell 0 is at 0."""
    target: Tensor
    """The same in image B."""


def keypoint_loss(model: DCCNet, matching: Matching, keypoints: Keypoints) -> Tensor:
    """How improbable the network holds the true matches: mean over pairs of −log p, a scalar.

    p is a keypoint's probability of landing on its true place, both placed between four cells by their
    bilinear weights; both directions count alike, and each keypoint as one over those of its pair. A pair
    without keypoints adds nothing. With ``auxiliary_loss`` each branch is supervised as well.
    """
    scores = [matching.scores]
    if model.config.auxiliary_loss:
        scores += [softmax_scores(c) for c in matching.maps.values()]
    grids = next(iter(matching.maps.values())).shape[2:]
    batch = len(matching.scores.on_a)
    share = 1 / torch.bincount(keypoints.pair, minlength=batch)[keypoints.pair]
    a, weight_a = _around(keypoints.source, grids[:2])
    b, weight_b = _around(keypoints.target, grids[2:])
    rows, columns = a[:, :, None], b[:, None, :]  # (N, 4, 1), (N, 1, 4)
    weight = weight_a[:, :, None] * weight_b[:, None, :]
    likelihoods = [
        (side[keypoints.pair[:, None, None], rows, columns] * weight).sum((1, 2))
        for both in scores
        for side in both
    ]
    improbable = [-(share * torch.log(p + _TINY)).sum() for p in likelihoods]
    return torch.stack(improbable).sum() / (2 * batch)


_TINY = 1e-9
"""Keeps the logarithm finite where a probability underflows."""


def _around(points: Tensor, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Row-major indices and bilinear weights, ``(N, 4)`` each, of the cells around points ``(N, 2)``."""
    height, width = grid
    last = points.new_tensor([width - 1, height - 1])
    points = torch.minimum(points.clamp(min=0), last)
    lower = torch.minimum(points.floor(), (last - 1).clamp(min=0))
    x1, y1 = (points - lower).unbind(1)
    x0, y0 = 1 - x1, 1 - y1
    left, top = lower.long().unbind(1)
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    index = [top * width + left, top * width + right, bottom * width + left, bottom * width + right]
    return torch.stack(index, 1), torch.stack([x0 * y0, x1 * y0, x0 * y1, x1 * y1], 1)
