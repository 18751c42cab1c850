"""Percentage of correct keypoints (PCK). Its value depends on the protocol, which must be reported."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Literal, get_args

import numpy as np

from dccnet.evaluation.pairs import Pair
from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.checks import Rule
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import Size

Protocol = Literal["bbox", "scnet", "img"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

# In every protocol, target keypoints are carried to the source and compared with its keypoints.
DESCRIPTIONS: dict[Protocol, str] = {
    "bbox": "threshold α × longer side of the source keypoints' bounding box; mean over pairs",
    "scnet": "keypoints scaled to 224×224, threshold α × 224; mean over pairs",
    "img": "threshold α × longer side of the source picture; mean over pairs",
}
SCNET_SIDE = 224


def carry_keypoints(
    result: Correspondences, points: Points, protocol: Protocol, rule: Rule = "cells"
) -> Points:
    """Carry target (B) keypoints ``(N, 2)`` to the source (A); pixels of the pictures, 0-based.

    ``rule`` is that of :meth:`Correspondences.transfer`; the benchmarks' is ``cells``.
    ``scnet`` follows the released evaluation code: it scales the *1-based* coordinates by 224 / side before
    it looks them up, which moves them by up to a pixel.
    """
    if protocol != "scnet":
        return result.transfer(points, from_="b", rule=rule, outside=True)
    square = (SCNET_SIDE, SCNET_SIDE)
    scaled = (points + 1) * _scale(result.size_b) - 1
    in_squares = dataclasses.replace(result, size_a=square, size_b=square)
    carried = in_squares.transfer(scaled, from_="b", rule=rule, outside=True)
    back: Points = (carried + 1) / _scale(result.size_a) - 1
    return back


def keypoint_distances(carried: Points, truth: Points, size: Size, protocol: Protocol) -> Floats:
    """Distances ``(N,)`` between points ``(N, 2)`` of a source of ``size``, in the protocol's pixels."""
    scale = _scale(size) if protocol == "scnet" else np.ones(2)
    distances: Floats = np.linalg.norm((carried - truth) * scale, axis=1)
    return distances


def threshold_length(truth: Points, size: Size, protocol: Protocol) -> float:
    """The length that α is multiplied by, in the protocol's pixels."""
    if protocol == "scnet":
        return float(SCNET_SIDE)
    return float(max(size)) if protocol == "img" else float(np.ptp(truth, axis=0).max())


def pair_pck(carried: Points, truth: Points, size: Size, alpha: float, protocol: Protocol) -> float:
    """Share in [0, 1] of the points ``(N, 2)`` that lie within the protocol's threshold of ``truth``.

    Points are in pixels of the source, whose ``size`` is (height, width). Raises ``ValueError`` if there
    are none.
    """
    if len(truth) == 0:
        raise ValueError("PCK of no keypoints is undefined")
    length = threshold_length(truth, size, protocol)
    return float(np.mean(keypoint_distances(carried, truth, size, protocol) <= alpha * length))


def pair_scores(
    pairs: Iterable[Pair], match: Callable[[Pair], Correspondences], alpha: float, protocol: Protocol
) -> list[float]:
    """:func:`pair_pck` of each pair, with points carried as the benchmarks do.

    ``match`` returns the correspondences of source (A) and target (B).
    """
    scores = []
    for pair in pairs:
        if pair.source_points is None or pair.target_points is None:
            raise ValueError(f"the pair {pair.source.key}, {pair.target.key} has no keypoints")
        result = match(pair)
        carried = carry_keypoints(result, pair.target_points, protocol)
        scores.append(pair_pck(carried, pair.source_points, result.size_a, alpha, protocol))
    return scores


def mean_pck(
    pairs: Iterable[Pair],
    match: Callable[[Pair], Correspondences],
    alpha: float = 0.1,
    protocol: Protocol = "bbox",
) -> float:
    """Mean of :func:`pair_scores` in percent."""
    return 100 * float(np.mean(pair_scores(pairs, match, alpha, protocol)))


def _scale(size: Size) -> Floats:
    return SCNET_SIDE / np.array([size[1], size[0]], np.float64)
