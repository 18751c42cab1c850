"""What one pair of a benchmark scores: by keypoints either way, or by dense flow on the foreground."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.evaluation.pairs import Pair, Points
from dccnet.evaluation.pck import Protocol, carry_keypoints, keypoint_distances, threshold_length
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DataError
from dccnet.runtime.geometry import Size

HIT, MISS = 1, 2
"""Values of :attr:`Outcome.overlay`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hits of one pair. Plain values, so that it survives a journey through JSON unchanged."""

    name: str
    category: str
    count: int
    """Keypoints, or foreground pixels."""
    hits: tuple[int, ...]
    """For each α, how many of them are right."""
    length: float
    """The threshold is α times this, in the protocol's pixels."""
    distances: tuple[float, ...] = ()
    """Of every keypoint from the truth, in the protocol's pixels; none for dense flow."""
    carried: tuple[tuple[float, float], ...] = ()
    """Where the keypoints were carried to, in 0-based pixels of that picture; none for dense flow."""
    outside: int = 0
    """Keypoints of either picture that lie outside of it."""
    overlay: str = ""
    """Dense flow only: a PNG in base64 with :data:`HIT` and :data:`MISS` (at the smallest α) by pixel."""


class Truth(NamedTuple):
    """Dense ground truth, on the target (B)."""

    flow: NDArray[np.float32]
    """``(H, W, 2)`` pixels (u, v) from B to A; not finite where there is none."""
    foreground: NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One pair of a benchmark and what its protocol needs beyond keypoints."""

    name: str
    """Unique in the benchmark."""
    pair: Pair
    length: float | None = None
    """What α is multiplied with, where the benchmark says so itself (SPair-71k's boxes)."""
    truth: Callable[[], Truth] | None = None
    flow_path: str = ""
    """Of the pair's flow in the layout of TSS's evaluation kit, relative."""


Score = Callable[[Case, Correspondences, Sequence[float]], Outcome]


def target_to_source(protocol: Protocol) -> Score:
    """Target keypoints carried to the source and compared there (PF-PASCAL, PF-WILLOW)."""

    def score(case: Case, result: Correspondences, alphas: Sequence[float]) -> Outcome:
        source, target = _keypoints(case)
        carried = carry_keypoints(result, target, protocol)
        distances = keypoint_distances(carried, source, result.size_a, protocol)
        length = threshold_length(source, result.size_a, protocol)
        return _outcome(case, result, carried, distances, length, alphas)

    return score


def source_to_target(case: Case, result: Correspondences, alphas: Sequence[float]) -> Outcome:
    """Source keypoints carried to the target and compared there (SPair-71k)."""
    source, target = _keypoints(case)
    carried = result.transfer(source, from_="a")
    distances = np.linalg.norm(carried - target, axis=1)
    assert case.length is not None
    return _outcome(case, result, carried, distances, case.length, alphas)


def dense_flow(case: Case, result: Correspondences, alphas: Sequence[float]) -> Outcome:
    """Endpoint error on the target's foreground, α × longer side of the target (TSS).

    Raises :class:`DataError` where flow, mask and picture differ in size or leave nothing to score.
    """
    assert case.truth is not None
    truth = case.truth()
    sizes = {truth.flow.shape[:2], truth.foreground.shape, result.size_b}
    if len(sizes) > 1:
        raise DataError(
            f"{case.name}: flow, mask and target picture differ in size (height, width): "
            f"{', '.join(map(str, sorted(sizes)))}"
        )
    counted = truth.foreground & np.isfinite(truth.flow).all(axis=2)
    count = int(counted.sum())
    if count == 0:
        raise DataError(f"{case.name}: no pixel of the foreground has a true flow")
    length = float(max(result.size_b))
    flow = result.flow(from_="b")[counted].astype(np.float64)
    errors = np.linalg.norm(flow - truth.flow[counted], axis=1)
    overlay = np.zeros(result.size_b, np.uint8)
    overlay[counted] = np.where(errors <= min(alphas) * length, HIT, MISS)
    return Outcome(
        case.name,
        case.pair.category,
        count,
        _hits(errors, length, alphas),
        length,
        overlay=base64.b64encode(cv2.imencode(".png", overlay)[1].tobytes()).decode(),
    )


def _outcome(
    case: Case,
    result: Correspondences,
    carried: Points,
    distances: NDArray[np.float64],
    length: float,
    alphas: Sequence[float],
) -> Outcome:
    source, target = _keypoints(case)
    return Outcome(
        case.name,
        case.pair.category,
        len(distances),
        _hits(distances, length, alphas),
        length,
        tuple(map(float, distances)),
        tuple((float(x), float(y)) for x, y in carried),
        outside(source, result.size_a) + outside(target, result.size_b),
    )


def _hits(distances: NDArray[np.float64], length: float, alphas: Sequence[float]) -> tuple[int, ...]:
    return tuple(int((distances <= alpha * length).sum()) for alpha in alphas)


def _keypoints(case: Case) -> tuple[Points, Points]:
    source, target = case.pair.source_points, case.pair.target_points
    if source is None or target is None:
        raise DataError(
            f"{case.name}: there are no keypoints to score; a training list cannot be evaluated"
        )
    return source, target


def outside(points: Points, size: Size) -> int:
    """How many points ``(N, 2)`` lie outside of a picture of ``size``, by a pixel or more."""
    low, high = -1.0, np.array([size[1], size[0]], np.float64)
    return int(((points < low) | (points > high)).any(axis=1).sum())
