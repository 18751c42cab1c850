"""Percentage of correct keypoints. It is not one metric: the protocol belongs beside every number."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dccnet.evaluation.pairs import Pair, Points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import Size

Protocol = Literal["bbox", "scnet", "img"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

# Target keypoints are carried to the source picture and compared with the source keypoints there.
DESCRIPTIONS: dict[Protocol, str] = {
    "bbox": "threshold α × longer side of the source keypoints' bounding box; mean over pairs",
    "scnet": "keypoints scaled to 224×224, threshold α × 224; mean over pairs",
    "img": "threshold α × longer side of the source picture; mean over pairs",
}
SCNET_SIDE = 224


def carry_keypoints(result: Correspondences, points: Points, protocol: Protocol) -> Points:
    """Target (B) keypoints -> their places in the source (A), pixels of the pictures.

    As the released evaluation does it: for ``scnet`` the *1-based* coordinates are scaled by 224 / side
    before they are looked up, which places them up to a pixel away from where they lie in the picture.
    """
    if protocol != "scnet":
        return result.transfer(points, from_="b")
    square = (SCNET_SIDE, SCNET_SIDE)
    scaled = (points + 1) * _scale(result.size_b) - 1
    carried = dataclasses.replace(result, size_a=square, size_b=square).transfer(scaled, from_="b")
    back: Points = (carried + 1) / _scale(result.size_a) - 1
    return back


def keypoint_distances(
    carried: Points, truth: Points, size: Size, protocol: Protocol
) -> NDArray[np.float64]:
    """``(N,)`` distances in the protocol's pixels, of points ``(N, 2)`` in a source of ``size``."""
    scale = _scale(size) if protocol == "scnet" else np.ones(2)
    distances: NDArray[np.float64] = np.linalg.norm((carried - truth) * scale, axis=1)
    return distances


def threshold_length(truth: Points, size: Size, protocol: Protocol) -> float:
    """What α is multiplied with, in the protocol's pixels."""
    if protocol == "scnet":
        return float(SCNET_SIDE)
    return float(max(size)) if protocol == "img" else float(np.ptp(truth, axis=0).max())


def pair_pck(carried: Points, truth: Points, size: Size, alpha: float, protocol: Protocol) -> float:
    """Share in [0, 1] of the points ``(N, 2)`` that lie within the protocol's threshold of ``truth``.

    Pixels of the source picture, whose ``size`` is (height, width). Raises ``ValueError`` for no points.
    """
    if len(truth) == 0:
        raise ValueError("PCK of no keypoints is undefined")
    length = threshold_length(truth, size, protocol)
    return float(np.mean(keypoint_distances(carried, truth, size, protocol) <= alpha * length))


def pair_scores(
    pairs: Iterable[Pair], match: Callable[[Pair], Correspondences], alpha: float, protocol: Protocol
) -> list[float]:
    """:func:`pair_pck` of each pair. ``match`` returns the correspondences of source (A) and target (B)."""
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
    """Mean of :func:`pair_scores`, in percent."""
    return 100 * float(np.mean(pair_scores(pairs, match, alpha, protocol)))


def _scale(size: Size) -> NDArray[np.float64]:
    return SCNET_SIDE / np.array([size[1], size[0]], np.float64)
