"""What ``dcc adapt`` can be told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdaptSettings:
    """Measurements behind the defaults are in docs/adaptation.md."""

    rank: int = 128
    """Of the adapter: how many directions of the feature space can change."""
    steps: int = 400
    """Steps of Adam, each on :data:`~dccnet.training.adaptation.adapt.BATCH` pairs of views."""
    strength: float = 0.4
    """Share of the learnt change that is kept, in (0, 1]. Between the network as it was and the trained
    one lie networks that are better than both (Wortsman et al. 2022, "Robust fine-tuning of zero-shot
    models")."""
    opposite: float = 0.0
    """Share of pairs of views of which one is mirrored, so that the things face opposite ways."""
    views: int = 8
    """Views of each picture, half of them mirrored; fewer where memory does not suffice."""
    memory: int = 2_000_000_000
    """Bytes for the features of all views."""
    seed: int = 1
