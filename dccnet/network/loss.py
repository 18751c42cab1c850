"""What training minimises.

Weak supervision: two images of one category should match better than two of different ones (Eq. 18).
Where it is known which places show the same thing, their matches can be supervised as well, which the paper
does not do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dccnet.network.fusion import Scores, softmax_scores
from dccnet.network.model import DCCNet, Features, Matching


class WeakLoss(NamedTuple):
    """All scalars. ``loss`` is minimised; the others are for the progress line."""

    loss: Tensor
    positive: Tensor
    """Mean matching score of the true pairs, fused map."""
    negative: Tensor
    """The same of the mismatched pairs."""
    matching: Matching
    """Of the true pairs."""


class Keypoints(NamedTuple):
    """Places that show the same thing in both images, N of all pairs of a batch together."""

    pair: Tensor
    """``(N,)`` int64: the pair's place in the batch."""
    source: Tensor
    """``(N, 2)`` float32: (x, y) in image A, in cells of its grid; cell 0 is at 0."""
    target: Tensor
    """The same in image B."""


def matching_score(scores: Scores) -> Tensor:
    """Mean over cells and batch of the best score, averaged over both directions: a scalar."""
    return 0.5 * (scores.on_a.amax(dim=2).mean() + scores.on_b.amax(dim=1).mean())


def weak_loss(
    model: DCCNet, source: Features, target: Features, mismatched: Features | None = None
) -> WeakLoss:
    """Loss of a batch of pairs of features, ``(B, ·, h, w)`` each.

    The negative of a pair is its target with another source: ``mismatched``, of the same shape, or by
    default the batch's own sources rolled by one, which takes at least two pairs (else ``ValueError``).
    With ``auxiliary_loss`` each branch is scored on its own as well, with weight 1 (λ and γ of Eq. 18).
    The loss of a batch is the mean over its pairs, so that parts of a batch add up to the whole.
    """
    if mismatched is None:
        if next(iter(source.values())).shape[0] < 2:
            raise ValueError("the weak loss takes its negatives from the batch: it needs at least 2 pairs")
        mismatched = {name: torch.roll(feature, -1, dims=0) for name, feature in source.items()}
    positive, negative = model.match(source, target), model.match(mismatched, target)
    score_positive, score_negative = matching_score(positive.scores), matching_score(negative.scores)
    loss = score_negative - score_positive
    if model.config.auxiliary_loss:
        loss = loss + _auxiliary(negative) - _auxiliary(positive)
    return WeakLoss(loss, score_positive.detach(), score_negative.detach(), positive)


def _auxiliary(matching: Matching) -> Tensor:
    scores = [matching_score(softmax_scores(c)) for c in matching.maps.values()]
    return torch.stack(scores).sum()


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
