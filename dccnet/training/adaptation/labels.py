"""What a network already knows about a pair: its own matches, and how far they agree among themselves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccnet.evaluation.pairs import Pair, Picture, mirrored
from dccnet.inference import match_features
from dccnet.network.model import DCCNet, Features
from dccnet.runtime.arrays import Floats
from dccnet.runtime.confidence import FEATURES
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.neighbours import unlike_neighbours
from dccnet.training.features import FeatureCache
from dccnet.training.synthetic import lattice, normalised, to_pixels

RETURNS = 1.5
"""A match is trusted if, carried back, it ends up no farther from where it began, in cells."""
ALIKE = 1.5
"""And if its neighbours lie, on average, no farther from where they would if they moved alike, in cells."""
_EXACT = (1001, 1001)
"""Height and width of a picture in pixels; matches are measured relative to them."""


class Labels(NamedTuple):
    """Matches of one pair to learn from."""

    place: Tensor
    """``(2, h, w)`` float32: where each cell of the source lies in the target, normalised (x, y)."""
    trust: Tensor
    """``(1, h, w)`` float32: 1 for matches that are trusted, else 0."""
    opposite: bool
    """Whether the things face opposite ways: matches of the mirrored target agree better."""

    @property
    def agreement(self) -> float:
        """Share of matches that are trusted."""
        return float(self.trust.mean())


def label(model: DCCNet, features: FeatureCache, pair: Pair) -> Labels:
    """The network's matches of a pair, or those with its target mirrored where more of them agree."""
    source = _described(model, features, pair.source)
    both = [_label(model, features, source, pair.target, opposite) for opposite in (False, True)]
    return max(both, key=lambda labels: labels.agreement)


@torch.no_grad()
def _described(model: DCCNet, features: FeatureCache, picture: Picture) -> Features:
    return model.branch_features(model.local_features(features.batch([picture])))


def _label(
    model: DCCNet, features: FeatureCache, source: Features, target: Picture, opposite: bool
) -> Labels:
    described = _described(model, features, mirrored(target) if opposite else target)
    found = match_features(model, source, described, _EXACT, _EXACT)
    grid = found.index_a.shape[0], found.index_a.shape[1]
    moved = found.transfer(to_pixels(lattice(grid), _EXACT), "a", "subcell")
    place = normalised(moved, _EXACT).reshape(*grid, 2)
    trust = _trusted(found, place)
    if opposite:
        place = place * [-1, 1]
    return Labels(
        torch.from_numpy(place).float().movedim(2, 0), torch.from_numpy(trust).float()[None], opposite
    )


def _trusted(found: Correspondences, place: Floats) -> NDArray[np.bool_]:
    """``(hA, wA)``: which matches of A's cells return and move as their neighbours do.

    ``place`` ``(hA, wA, 2)`` is where they lie in B, normalised.
    """
    evidence = found.evidence("a")
    assert evidence is not None  # networks return windows
    returned = np.expm1(-evidence[..., FEATURES.index("return")])
    grid = found.index_b.shape[0], found.index_b.shape[1]
    unlike = unlike_neighbours(to_pixels(place, grid), grid)
    result: NDArray[np.bool_] = (returned <= RETURNS) & (unlike <= ALIKE)
    return result
