"""Weak supervision: two images of one category should match better than two of different ones (Eq. 18)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dccnet.fusion import Scores, softmax_scores
from dccnet.model import DCCNet, Features, Matching


class WeakLoss(NamedTuple):
    """All scalars. ``loss`` is minimised; the others are for the progress line."""

    loss: Tensor
    positive: Tensor
    """Mean matching score of the true pairs, fused map."""
    negative: Tensor
    """The same of the mismatched pairs."""


def matching_score(scores: Scores) -> Tensor:
    """Mean over cells and batch of the best score, averaged over both directions: a scalar."""
    return 0.5 * (scores.on_a.amax(dim=2).mean() + scores.on_b.amax(dim=1).mean())


def weak_loss(model: DCCNet, source: Features, target: Features) -> WeakLoss:
    """Loss of a batch of at least two pairs of features, ``(B, ·, h, w)`` each.

    Negatives are the same batch with the source images rolled by one. With ``auxiliary_loss`` each
    branch is scored on its own as well, with weight 1 (λ and γ of Eq. 18).
    """
    if next(iter(source.values())).shape[0] < 2:
        raise ValueError("the weak loss takes its negatives from the batch: it needs at least 2 pairs")
    rolled = {name: torch.roll(feature, -1, dims=0) for name, feature in source.items()}
    positive, negative = model.match(source, target), model.match(rolled, target)
    score_positive, score_negative = matching_score(positive.scores), matching_score(negative.scores)
    loss = score_negative - score_positive
    if model.config.auxiliary_loss:
        loss = loss + _auxiliary(negative) - _auxiliary(positive)
    return WeakLoss(loss, score_positive.detach(), score_negative.detach())


def _auxiliary(matching: Matching) -> Tensor:
    scores = [matching_score(softmax_scores(c)) for c in matching.maps.values()]
    return torch.stack(scores).sum()
