"""Percentage of correct keypoints. It is not one metric: the protocol belongs beside every number."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from evaluation.pairs import Pair
from runtime.correspondences import Correspondences
from runtime.geometry import Size

Protocol = Literal["bbox", "scnet", "img"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

# Target keypoints are carried to the source picture and compared with the source keypoints there.
DESCRIPTIONS: dict[Protocol, str] = {
    "bbox": "threshold α × longer side of the source keypoints' bounding box; mean over pairs",
    "scnet": "keypoints scaled to 224×224, threshold α × 224; mean over pairs",
    "img": "threshold α × longer side of the source picture; mean over pairs",
}
SCNET_SIDE = 224


def pair_pck(
    warped: NDArray[np.float64],
    truth: NDArray[np.float64],
    size: Size,
    alpha: float,
    protocol: Protocol,
) -> float:
    """Share in [0, 1] of the points ``(N, 2)`` that lie within the protocol's threshold of ``truth``.

    Pixels of the source picture, whose ``size`` is (height, width). Raises ``ValueError`` for no points.
    """
    if len(truth) == 0:
        raise ValueError("PCK of no keypoints is undefined")
    scale = np.ones(2)
    if protocol == "scnet":
        scale = SCNET_SIDE / np.array([size[1], size[0]])
        length = float(SCNET_SIDE)
    elif protocol == "img":
        length = float(max(size))
    else:
        length = float(np.ptp(truth, axis=0).max())
    distance = np.linalg.norm((warped - truth) * scale, axis=1)
    return float(np.mean(distance <= alpha * length))


def mean_pck(
    pairs: Iterable[Pair],
    match: Callable[[Pair], Correspondences],
    alpha: float = 0.1,
    protocol: Protocol = "bbox",
) -> float:
    """Mean over pairs, in percent. ``match`` returns the correspondences of source (A) and target (B)."""
    scores = []
    for pair in pairs:
        if pair.source_points is None or pair.target_points is None:
            raise ValueError(f"the pair {pair.source.key}, {pair.target.key} has no keypoints")
        result = match(pair)
        warped = result.transfer(pair.target_points, from_="b")
        scores.append(pair_pck(warped, pair.source_points, result.size_a, alpha, protocol))
    return 100 * float(np.mean(scores))
