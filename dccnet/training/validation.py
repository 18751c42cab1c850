"""What a validation measures: PCK, and what each branch and the attention contribute to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dccnet.evaluation.pairs import Pair, Picture
from dccnet.evaluation.pck import Protocol, carry_keypoints, pair_pck
from dccnet.inference import to_correspondences
from dccnet.network.fusion import Scores, softmax_scores
from dccnet.network.loss import contrast
from dccnet.network.model import DCCNet
from dccnet.training.batches import spread_groups
from dccnet.training.features import FeatureCache

WITHOUT_LIST = 8
"""Pairs of the training list on which attention and embedding are measured without a validation list."""
NEGLIGIBLE = 0.02
"""A branch whose mean weight is smaller has no effect on the matches."""


class Measured(NamedTuple):
    """One pair. PCK is in [0, 1]; None or empty without keypoints."""

    pck: float | None
    by_branch: dict[str, float]
    attention: tuple[float, float] | None
    """Mean, and mean square, of the local branch's weight over the cells of both pictures."""
    embedded: float | None
    """Share of the embedded scores that are above zero."""
    loss: float | None = None
    """Weak loss against a mismatched source; None without one."""


@dataclass(frozen=True, slots=True)
class Validation:
    """Means over pairs; None where the network or the list has nothing to measure."""

    pck: float | None = None
    """In percent."""
    loss: float | None = None
    """Weak loss, as in training: less is better. None for a list of one pair."""
    by_branch: dict[str, float] | None = None
    """PCK in percent of each branch alone, for a network with two."""
    attention: float | None = None
    """Mean weight of the local branch; the context branch has the rest."""
    attention_spread: float | None = None
    """Standard deviation of that weight over all cells."""
    embedded: float | None = None
    """Share of the embedded scores (Eq. 12) that are above zero."""

    def record(self) -> dict[str, float]:
        """The values that were measured, for the log."""
        values = {
            "pck": self.pck,
            "validation_loss": self.loss,
            **{f"pck_{name}": value for name, value in (self.by_branch or {}).items()},
            "attention": self.attention,
            "attention_spread": self.attention_spread,
            "embedded": self.embedded,
        }
        return {name: value for name, value in values.items() if value is not None}

    def details(self) -> str:
        """What each branch contributes, in a line; empty for a network with one."""
        parts = [f"{name} branch alone {value:.2f}" for name, value in (self.by_branch or {}).items()]
        if self.attention is not None:
            parts.append(f"attention for local {self.attention:.3f} ± {self.attention_spread:.3f}")
        if self.embedded is not None:
            parts.append(f"embedding above zero in {100 * self.embedded:.1f} % of scores")
        return ", ".join(parts)

    def complaints(self, fusion: str | None) -> list[str]:
        """What keeps this ``fusion`` from working, each in a sentence with what to do."""
        found = []
        if self.embedded == 0:
            found.append(
                "the correlation embedding is zero everywhere, so that the attention cannot depend on the "
                "pictures and the embedding learns nothing: start a run with another --seed"
            )
        if self.attention is not None and not NEGLIGIBLE <= self.attention <= 1 - NEGLIGIBLE:
            used, other = ("context", "local") if self.attention < 0.5 else ("local", "context")
            if fusion == "support":
                found.append(
                    f"in nearly all cells, the {used} branch counts alone, because neighbours do not "
                    f"support the matches of the {other} branch: start a run with another --seed"
                )
            else:
                found.append(
                    f"the attention uses the {used} branch alone, in nearly all cells, so that the "
                    f"{other} branch has no effect: try --set fusion=support --set embedding=false "
                    "(docs/training.md)"
                )
        return found


def measure(
    model: DCCNet,
    features: FeatureCache,
    pair: Pair,
    alpha: float,
    protocol: Protocol,
    mismatched: Picture | None = None,
    branch_weights: tuple[float, float] = (1.0, 1.0),
) -> Measured:
    """Match one pair of a network in eval mode, and its target with ``mismatched``, for the loss."""
    with _embedded_shares(model) as shares:
        matching, size_a, size_b = features.matching(pair)
    loss = attention = None
    if mismatched is not None:
        negative = features.matching(replace(pair, source=mismatched))[0]
        weights = branch_weights if model.config.auxiliary_loss else None
        loss = float(contrast(matching, negative, weights).loss)
    if matching.attention is not None:
        of_local = [side[:, 0].double() for side in matching.attention]
        all_cells = torch.cat([side.flatten() for side in of_local])
        attention = float(all_cells.mean()), float(all_cells.square().mean())

    def pck(scores: Scores) -> float:
        assert pair.source_points is not None and pair.target_points is not None
        found = to_correspondences(scores, model.grid, model.grid, size_a, size_b)
        carried = carry_keypoints(found, pair.target_points, protocol)
        return pair_pck(carried, pair.source_points, size_a, alpha, protocol)

    with_points = pair.source_points is not None
    branches = matching.maps if with_points and len(matching.maps) > 1 else {}
    return Measured(
        pck(matching.scores) if with_points else None,
        {name: pck(softmax_scores(correlation)) for name, correlation in branches.items()},
        attention,
        float(np.mean(shares)) if shares else None,
        loss,
    )


def with_mismatched(pairs: Sequence[Pair]) -> list[tuple[Pair, Picture | None]]:
    """Every pair with the source of another one, of another category where possible; the same in each
    validation, so that losses can be compared."""
    ring = spread_groups(range(len(pairs)), [pair.category for pair in pairs])
    following = dict(zip(ring, [*ring[1:], *ring[:1]], strict=True))
    sources = [pairs[following[i]].source if len(pairs) > 1 else None for i in range(len(pairs))]
    return list(zip(pairs, sources, strict=True))


def summarise(measured: Sequence[Measured]) -> Validation:
    """The means over pairs, of which there is at least one."""
    first = measured[0]
    mean = spread = None
    if first.attention is not None:
        mean, square = np.mean([pair.attention or (0, 0) for pair in measured], axis=0).tolist()
        spread = max(square - mean**2, 0.0) ** 0.5
    return Validation(
        None if first.pck is None else 100 * float(np.mean([pair.pck for pair in measured])),
        None if first.loss is None else float(np.mean([pair.loss for pair in measured])),
        {name: 100 * float(np.mean([p.by_branch[name] for p in measured])) for name in first.by_branch}
        or None,
        mean,
        spread,
        None if first.embedded is None else float(np.mean([pair.embedded for pair in measured])),
    )


@contextlib.contextmanager
def _embedded_shares(model: DCCNet) -> Iterator[list[float]]:
    """Collects, in this block, the share of positive scores of every map that the network embeds."""
    shares: list[float] = []
    embedding = model.embedding
    if embedding is None:
        yield shares
        return

    def note_shares(_module: nn.Module, _inputs: object, maps: list[Tensor]) -> None:
        shares.extend(float((c > 0).double().mean()) for c in maps)

    hook = embedding.register_forward_hook(note_shares)
    try:
        yield shares
    finally:
        hook.remove()
