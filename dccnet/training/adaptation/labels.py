"""What a network already knows about a pair: its own matches, and how far they agree among themselves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccnet.evaluation.pairs import Pair, mirrored
from dccnet.inference import match_features
from dccnet.network.model import DCCNet
from dccnet.runtime.arrays import Floats
from dccnet.runtime.confidence import FEATURES
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.evidence import unlike_neighbours
from dccnet.training.features import FeatureCache
from dccnet.training.synthetic import lattice

RETURNS = 1.5
"""A match is trusted if, carried back, it ends up no farther from where it began, in cells."""
ALIKE = 1.5
"""And if its neighbours lie, on average, no farther from where they would if they moved alike, in cells."""
_EXACT = 1001
"""Side of a picture in pixels; matches are measured relative to it."""


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
    both = [_label(model, features, pair, opposite) for opposite in (False, True)]
    return max(both, key=lambda labels: labels.agreement)


def _label(model: DCCNet, features: FeatureCache, pair: Pair, opposite: bool) -> Labels:
    target = mirrored(pair.target) if opposite else pair.target
    with torch.no_grad():
        a, b = (
            model.branch_features(model.local_features(features.batch([picture])))
            for picture in (pair.source, target)
        )
        found = match_features(model, a, b, (_EXACT, _EXACT), (_EXACT, _EXACT))
    grid = found.index_a.shape[0], found.index_a.shape[1]
    pixels = (lattice(grid) + 1) / 2 * (_EXACT - 1)
    place = (found.transfer(pixels, "a", "subcell") / (_EXACT - 1) * 2 - 1).reshape(*grid, 2)
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
    cells = (place + 1) / 2 * [grid[1] - 1, grid[0] - 1]
    result: NDArray[np.bool_] = (returned <= RETURNS) & (unlike_neighbours(cells, grid) <= ALIKE)
    return result
