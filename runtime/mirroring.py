"""Matching A mirrored left to right, for things that face opposite ways. Measured in docs/mirroring.md.

A network's features are not those of the mirror image, so that it finds fewer parts of a thing that faces
the other way. Matches of mirrored A are matches of A once their cells are mirrored back: grids are
corner-aligned, so that the mirror image of a column of cells is another column.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.evidence import TINY
from dccnet.runtime.refinement import FineFeatures
from dccnet.runtime.score_maps import ScoreMaps
from dccnet.runtime.views.choices import Mirror

if TYPE_CHECKING:
    from dccnet.runtime.correspondences import Correspondences
    from dccnet.runtime.features import Features

MIRRORED = "A was matched mirrored left to right: what is left and right on the thing swaps"
"""Said to people where it was."""
CLEARLY, CLEARLY_BY_SUPPORT, CLEARLY_BY_SCORES = 0.5, 0.05, 0.15
"""Mean gain from which ``auto`` mirrors: of the logarithm of the odds that a match is right; of the support
by local features, where the network returns it, because it tells both ways apart better; without either, of
the logarithm of the score. A thing that is its own mirror image, such as a bottle, gains about 0, and stays
as it is."""


def ways_to_match(a: Features, mirror: Mirror) -> list[Features]:
    """A as it is, mirrored, or both, in this order, as ``mirror`` asks.

    Raises :class:`UsageError` where A was encoded without ``mirrored``.
    """
    if mirror is False:
        return [a]
    return [a.turned_over()] if mirror is True else [a, a.turned_over()]


def kept_way(results: Sequence[Correspondences], mirror: Mirror) -> Correspondences:
    """The result for A as it is, from those of all ways of :func:`ways_to_match`."""
    if mirror is False:
        return results[0]
    turned = mirrored_back(results[-1])
    return turned if mirror is True else more_confident(results[0], turned)


def more_confident(plain: Correspondences, mirrored: Correspondences) -> Correspondences:
    """``plain``, unless matches of ``mirrored`` clearly have more support, or confidence."""
    if plain.support is not None and mirrored.support is not None:
        return mirrored if mirrored.support - plain.support > CLEARLY_BY_SUPPORT else plain
    before, after = _mean_odds(plain), _mean_odds(mirrored)
    if before is not None and after is not None:
        return mirrored if after - before > CLEARLY else plain
    gain = _mean_score(mirrored) - _mean_score(plain)
    return mirrored if gain > CLEARLY_BY_SCORES else plain


def _mean_odds(result: Correspondences) -> float | None:
    """Mean logarithm of the odds that a match is right, over the cells of both pictures."""
    a, b = result.log_odds("a"), result.log_odds("b")
    return None if a is None or b is None else float(a.mean() + b.mean()) / 2


def _mean_score(result: Correspondences) -> float:
    a, b = (np.log(score.astype(np.float64) + TINY) for score in (result.score_a, result.score_b))
    return float(a.mean() + b.mean()) / 2


def mirrored_back(result: Correspondences) -> Correspondences:
    """The matches of A and B, from those of A mirrored left to right and B."""
    width = result.index_a.shape[1]
    return dataclasses.replace(
        result,
        index_a=_own(result.index_a),
        score_a=_own(result.score_a),
        index_b=result.index_b // width * width + (width - 1 - result.index_b % width),
        heatmap_a=_own(result.heatmap_a),
        heatmap_b=_other(result.heatmap_b),
        maps=None if result.maps is None else _maps(result.maps),
        window_a=_own(result.window_a),
        window_b=_window(result.window_b),
        fine_a=None if result.fine_a is None else _fine(result.fine_a),
        mirrored=not result.mirrored,
    )


def _own(values: Any) -> Any:
    """``(hA, wA, …)``, by cells of A."""
    return None if values is None else values[:, ::-1]


def _other(values: Any) -> Any:
    """``(…, hA, wA)``, over cells of A."""
    return None if values is None else values[..., ::-1]


def _window(window: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    """``(hB, wB, side²)``, row-major over cells of A around each best match."""
    if window is None:
        return None
    side = round(window.shape[-1] ** 0.5)
    square = window.reshape(*window.shape[:-1], side, side)
    return square[..., ::-1].reshape(window.shape)


def _maps(maps: ScoreMaps) -> ScoreMaps:
    return ScoreMaps(
        _own(maps.heatmap_local_a),
        _other(maps.heatmap_local_b),
        _own(maps.heatmap_context_a),
        _other(maps.heatmap_context_b),
        _other(maps.attention_a),
        maps.attention_b,
    )


def _fine(fine: FineFeatures) -> FineFeatures:
    """The array stays: patches of mirrored A are compared with those of B. Its columns run to the left."""
    return FineFeatures(fine.values, np.array([1 - fine.first[0], fine.first[1]]), fine.step * [-1, 1])
