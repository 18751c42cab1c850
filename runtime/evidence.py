"""What speaks for a match: features for confidence, from the outputs of a bundle's matcher alone.

NC-Net's score and mutual agreement, forward-backward distance (Kalal, Mikolajczyk, Matas,
"Forward-Backward Error", ICPR 2010), how peaked the scores are, and how neighbouring matches move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.geometry import cell_pixels
from dccnet.runtime.neighbours import Agreement, agreement_of_neighbours
from dccnet.runtime.point_matches import mutual_cells
from dccnet.runtime.score_windows import transfer_by_windows

TINY = 1e-12
MOST = 8
"""Of the power mean of a picture's support; a power of 2."""


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """The matches of one picture's cells in the other picture."""

    index: NDArray[np.int64]
    """``(h, w)``: best matches, row-major cells of the other picture."""
    score: NDArray[np.float32]
    """``(h, w)``"""
    window: NDArray[np.float32]
    """``(h, w, side²)``: scores around each best match, 0 outside the grid."""


class MatchAgreement(NamedTuple):
    """How far the matches of a grid ``(h, w)`` return, and agree with those around them."""

    targets: Points
    """``(h·w, 2)``: where each cell lies, (x, y) in cells of the other grid."""
    distance: Floats
    """``(h, w)``: log(1 + the distance in cells to where the match carried back ends up)."""
    around: Agreement


def match_agreement(own: Direction, other: Direction) -> MatchAgreement:
    """Of the matches of ``own``; ``other`` is the opposite direction."""
    grid = own.index.shape[0], own.index.shape[1]
    other_grid = other.index.shape[0], other.index.shape[1]
    cells = cell_pixels(grid, grid).reshape(-1, 2)
    targets = transfer_by_windows(cells, own.index, own.window, other_grid)
    returned = transfer_by_windows(targets, other.index, other.window, grid)
    distance = np.log1p(np.linalg.norm(returned - cells, axis=1)).reshape(grid)
    around = agreement_of_neighbours(targets.reshape(*grid, 2), other_grid, np.exp(-distance))
    return MatchAgreement(targets, distance, around)


def match_evidence(own: Direction, other: Direction) -> Floats:
    """``(h, w, F)``: the features of each match of ``own``, in the order of ``confidence.FEATURES``.

    ``other`` is the opposite direction. All values are finite; the larger, the likelier a match is right.
    """
    _, distance, around = match_agreement(own, other)
    mutual = mutual_cells(own.index, other.index)
    return np.stack(
        [
            np.log(own.score.astype(np.float64) + TINY),
            -distance,
            -_spread(own.window),
            -around.roughness,
            np.full(distance.shape, mutual.mean()),
            around.support,
            -np.log1p(around.deviation),
            np.full(distance.shape, overall(around.support)),
        ],
        axis=-1,
    )


def overall(support: Floats) -> float:
    """The support of a picture's matches as a whole, in which the best supported count most: power mean of
    :data:`MOST`. It is low where two pictures show nothing alike."""
    return float((support**MOST).mean() ** (1 / MOST))


def _spread(window: NDArray[np.float32]) -> Floats:
    """``(h, w)``: root mean square distance of a window's scores from their mean place, in cells.

    Scores count as far as they exceed the lowest, as in the transfer.
    """
    side = round(window.shape[-1] ** 0.5)
    weights = window - window.min(axis=-1, keepdims=True).astype(np.float64)
    weights[..., side * side // 2] += TINY  # a window without differences still has a centre
    weights /= weights.sum(axis=-1, keepdims=True)
    places = cell_pixels((side, side), (side, side)).reshape(-1, 2)
    mean = weights @ places
    variance = weights @ (places**2).sum(axis=1) - (mean**2).sum(axis=-1)
    spread: Floats = np.sqrt(np.maximum(variance, 0))
    return spread
