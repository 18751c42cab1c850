"""What speaks for the matches of keypoints, and how far each lands from its true place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dccnet.evaluation.pairs import Pair
from dccnet.runtime import geometry
from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.checks import Side
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DataError
from dccnet.runtime.matcher import Matcher

PARTS = 5
"""Groups that lists with fewer than three classes are split into."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """N transferred keypoints."""

    evidence: Floats
    """``(N, F)``: the features of :func:`~dccnet.runtime.evidence.match_evidence`."""
    errors: Floats
    """``(N,)``: distance from the true place, as a share of the longer side of the picture."""
    groups: tuple[str, ...]
    """``(N,)``: matches of one group are alike, so that cross-validation keeps them together."""
    pairs: int


def collect_samples(
    matcher: Matcher,
    lists: Sequence[Sequence[Pair]],
    on_pair: Callable[[], None] = lambda: None,
) -> Samples:
    """Match all pairs, and transfer their keypoints in both directions.

    Groups are the pairs' classes or, with fewer than three, parts of each list. ``on_pair`` is called after
    each pair. Raises :class:`DataError` for a pair without keypoints or a bundle without windows.
    """
    classes = {pair.category for pairs in lists for pair in pairs}
    evidence, errors, groups = [], [], []
    for pairs in lists:
        results = matcher.match_many((pair.source.load(), pair.target.load()) for pair in pairs)
        for number, (pair, result) in enumerate(zip(pairs, results, strict=True)):
            group = pair.category if len(classes) >= 3 else f"part {PARTS * number // len(pairs)}"
            for features, distances in _both_directions(pair, result):
                evidence.append(features)
                errors.append(distances)
                groups += [group] * len(distances)
            on_pair()
    return Samples(np.concatenate(evidence), np.concatenate(errors), tuple(groups), sum(map(len, lists)))


def _both_directions(pair: Pair, result: Correspondences) -> list[tuple[Floats, Floats]]:
    a, b = pair.source_points, pair.target_points
    if a is None or b is None:
        raise DataError(
            f"the pair {pair.source.key}, {pair.target.key} has no keypoints: confidence is fitted to "
            "matches whose true place is known"
        )
    return [_direction(result, a, b, "a"), _direction(result, b, a, "b")]


def _direction(
    result: Correspondences, points: Points, truth: Points, from_: Side
) -> tuple[Floats, Floats]:
    cells = result.evidence(from_)
    if cells is None:
        raise DataError(
            "this bundle returns no scores around its best matches, which confidence is made of: export it "
            "again with this dcc"
        )
    own, other = (result.size_a, result.size_b) if from_ == "a" else (result.size_b, result.size_a)
    inside = np.clip(points, 0, [own[1] - 1, own[0] - 1])
    moved = result.transfer(points, from_, "subcell", outside=True)
    return geometry.transfer(inside, cells, own), np.linalg.norm(moved - truth, axis=1) / max(other)
