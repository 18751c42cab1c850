"""Scores one pair of a benchmark by keypoints, in either direction."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccnet.evaluation.pairs import Pair
from dccnet.evaluation.pck import Protocol, carry_keypoints, keypoint_distances, threshold_length
from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.checks import Rule, Side
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DataError
from dccnet.runtime.geometry import Size

HIT, MISS = 1, 2
"""Values of :attr:`Outcome.overlay`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The hits of one pair; plain values, which JSON stores exactly."""

    name: str
    category: str
    count: int
    """Number of keypoints, or of foreground pixels."""
    hits: tuple[int, ...]
    """Number of correct ones for each α."""
    length: float
    """Length that α is multiplied by, in the protocol's pixels."""
    distances: tuple[float, ...] = ()
    """Error of each keypoint, in the protocol's pixels; empty for dense flow."""
    carried: tuple[tuple[float, float], ...] = ()
    """The carried keypoints (x, y), in 0-based pixels of their picture; empty for dense flow."""
    outside: int = 0
    """Number of annotated keypoints that lie outside their picture."""
    subcell_hits: tuple[int, ...] = ()
    """``hits`` of points carried by the rule ``subcell``; all other fields are by the benchmarks' rule,
    ``cells``. Empty for a model that returns no scores around its best matches."""
    refined_hits: tuple[int, ...] = ()
    """The same by the rule ``refined``. Empty where matches are not refined."""
    baseline_hits: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """``hits`` of each baseline, by the rule ``cells``; see :mod:`dccnet.evaluation.baseline`."""
    confidence: tuple[float, ...] = ()
    """The bundle's confidence in each keypoint, carried by the rule ``subcell``; empty for dense flow and
    for models without confidence."""
    confidence_within: float | None = None
    """Confidence is the probability of an error up to this share of the picture's longer side."""
    subcell_shares: tuple[float, ...] = ()
    """With ``confidence``: error of each keypoint, as a share of the longer side of the picture."""
    subcell_distances: tuple[float, ...] = ()
    """With ``confidence``: the same in the protocol's pixels."""
    overlay: str = ""
    """Dense flow only: a base64 PNG with :data:`HIT` or :data:`MISS` at the smallest α for each pixel."""


class Truth(NamedTuple):
    """Dense ground truth on the target (B)."""

    flow: NDArray[np.float32]
    """``(H, W, 2)``: flow (u, v) from B to A in pixels; not finite where it is unknown."""
    foreground: NDArray[np.bool_]
    """``(H, W)``: the pixels that are scored."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One pair of a benchmark, with the data that its protocol needs besides keypoints."""

    name: str
    """Unique within the benchmark."""
    pair: Pair
    length: float | None = None
    """Length that α is multiplied by, if the benchmark defines it per pair (the boxes of SPair-71k)."""
    truth: Callable[[], Truth] | None = None
    """Loads the dense ground truth."""
    flow_path: str = ""
    """Relative path of the pair's flow in the layout of TSS's evaluation kit."""


Score = Callable[[Case, Correspondences, Sequence[float]], Outcome]
"""Scores the correspondences of a case at several α."""

Flow = Callable[[Case, Correspondences, Rule], NDArray[np.float32]]
"""``(H, W, 2)``: flow (u, v) in pixels from the target to the source of a case, by a rule of transfer."""


def target_to_source(protocol: Protocol) -> Score:
    """Carries target keypoints to the source and compares them there (PF-PASCAL, PF-WILLOW)."""

    def score(case: Case, result: Correspondences, alphas: Sequence[float]) -> Outcome:
        source, target = _keypoints(case)

        def carry(rule: Rule) -> tuple[Points, Floats]:
            carried = carry_keypoints(result, target, protocol, rule)
            return carried, keypoint_distances(carried, source, result.size_a, protocol)

        length = threshold_length(source, result.size_a, protocol)
        return _outcome(case, result, carry, length, alphas, "b", in_pixels=protocol != "scnet")

    return score


def source_to_target(case: Case, result: Correspondences, alphas: Sequence[float]) -> Outcome:
    """Carry source keypoints to the target and compare them there (SPair-71k)."""
    source, target = _keypoints(case)

    def carry(rule: Rule) -> tuple[Points, Floats]:
        carried = result.transfer(source, from_="a", rule=rule, outside=True)
        return carried, np.linalg.norm(carried - target, axis=1)

    assert case.length is not None
    return _outcome(case, result, carry, case.length, alphas, "a")


def _outcome(
    case: Case,
    result: Correspondences,
    carry: Callable[[Rule], tuple[Points, Floats]],
    length: float,
    alphas: Sequence[float],
    from_: Side,
    *,
    in_pixels: bool = True,
) -> Outcome:
    """``carry`` returns the points of ``from_``, carried, and their errors, in the protocol's pixels.

    ``in_pixels``: whether these are the pictures' pixels.
    """
    source, target = _keypoints(case)
    carry = cache(carry)
    carried, distances = carry("cells")

    def errors_by(rule: Rule) -> Floats:
        return carry(rule)[1]

    outcome = Outcome(
        case.name,
        case.pair.category,
        count=len(distances),
        hits=count_hits(distances, length, alphas),
        length=length,
        distances=tuple(map(float, distances)),
        carried=tuple((float(x), float(y)) for x, y in carried),
        outside=outside(source, result.size_a) + outside(target, result.size_b),
        subcell_hits=count_hits_by("subcell", result, errors_by, length, alphas),
        refined_hits=count_hits_by("refined", result, errors_by, length, alphas),
    )
    points, truth, size = (
        (source, target, result.size_b) if from_ == "a" else (target, source, result.size_a)
    )
    confidence = result.transfer_confidence(points, from_, outside=True)
    if confidence is None or result.confidence_model is None:
        return outcome
    errors = subcell_distances = errors_by("subcell")
    if not in_pixels:
        errors = np.linalg.norm(result.transfer(points, from_, "subcell", outside=True) - truth, axis=1)
    return dataclasses.replace(
        outcome,
        confidence=tuple(map(float, confidence)),
        confidence_within=result.confidence_model.within,
        subcell_shares=tuple(map(float, errors / max(size))),
        subcell_distances=tuple(map(float, subcell_distances)),
    )


def count_hits(distances: Floats, length: float, alphas: Sequence[float]) -> tuple[int, ...]:
    """For each α, the number of ``distances`` ``(N,)`` that are at most α × ``length``."""
    return tuple(int((distances <= alpha * length).sum()) for alpha in alphas)


def count_hits_by(
    rule: Rule,
    result: Correspondences,
    errors_by: Callable[[Rule], Floats],
    length: float,
    alphas: Sequence[float],
) -> tuple[int, ...]:
    """:func:`count_hits` of points carried by ``rule``; empty where the result does not have this rule."""
    has_rule = result.rule == rule or (rule == "subcell" and result.rule == "refined")
    return count_hits(errors_by(rule), length, alphas) if has_rule else ()


def _keypoints(case: Case) -> tuple[Points, Points]:
    source, target = case.pair.source_points, case.pair.target_points
    if source is None or target is None:
        raise DataError(
            f"{case.name}: there are no keypoints to score; a training list cannot be evaluated"
        )
    return source, target


def outside(points: Points, size: Size) -> int:
    """Number of points ``(N, 2)`` that lie more than a pixel outside a picture of ``size``."""
    low, high = -1.0, np.array([size[1], size[0]], np.float64)
    return int(((points < low) | (points > high)).any(axis=1).sum())
