"""The weak loss: two images of one category should match better than two of different ones (Eq. 18)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dccnet.network.fusion import Scores, softmax_scores
from dccnet.network.model import DCCNet, Features, Matching


class WeakLoss(NamedTuple):
    """Scalars of a batch, and its matching. Training minimises ``loss``; the others are for the log."""

    loss: Tensor
    positive: Tensor
    """Mean matching score of the true pairs, fused map."""
    negative: Tensor
    """Mean matching score of the mismatched pairs."""
    matching: Matching
    """The matching of the true pairs."""


def matching_score(scores: Scores) -> Tensor:
    """Mean over cells and batch of the best score, averaged over both directions: a scalar."""
    return 0.5 * (scores.on_a.amax(dim=2).mean() + scores.on_b.amax(dim=1).mean())


def weak_loss(
    model: DCCNet,
    source: Features,
    target: Features,
    mismatched: Features | None = None,
    branch_weights: tuple[float, float] = (1.0, 1.0),
) -> WeakLoss:
    """Loss of a batch of pairs of features, ``(B, ·, h, w)`` each.

    The negative of a pair is its target with another source: ``mismatched``, of the same shape, or by
    default the batch's own sources rolled by one, which takes at least two pairs (else ``ValueError``).
    With ``auxiliary_loss`` the local and the context branch are scored on their own as well, with the
    weights ``branch_weights`` (λ and γ of Eq. 18; 1 in the paper).
    The loss of a batch is the mean over its pairs, so that parts of a batch add up to the whole.
    """
    if mismatched is None:
        if next(iter(source.values())).shape[0] < 2:
            raise ValueError("the weak loss takes its negatives from the batch: it needs at least 2 pairs")
        mismatched = {name: torch.roll(feature, -1, dims=0) for name, feature in source.items()}
    positive, negative = model.match(source, target), model.match(mismatched, target)
    return contrast(positive, negative, branch_weights if model.config.auxiliary_loss else None)


def contrast(
    positive: Matching, negative: Matching, branch_weights: tuple[float, float] | None
) -> WeakLoss:
    """The weak loss of true pairs and mismatched ones that have been matched; without
    ``branch_weights``, of the fused map alone."""
    score_positive, score_negative = matching_score(positive.scores), matching_score(negative.scores)
    loss = score_negative - score_positive
    if branch_weights is not None:
        loss = loss + _auxiliary(negative, branch_weights) - _auxiliary(positive, branch_weights)
    return WeakLoss(loss, score_positive.detach(), score_negative.detach(), positive)


def _auxiliary(matching: Matching, weights: tuple[float, float]) -> Tensor:
    maps = zip(weights, matching.maps.values(), strict=True)
    return torch.stack([weight * matching_score(softmax_scores(c)) for weight, c in maps]).sum()
