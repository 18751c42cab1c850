"""What speaks for the matches of keypoints, and how far each lands from its true place."""

from __future__ import annotations

import dataclasses
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
    """``(N,)``: distance from the true place, as a share of the longer side of the picture; infinite for
    matches of pictures that show nothing alike."""
    groups: tuple[str, ...]
    """``(N,)``: matches of one group are alike, so that cross-validation keeps them together."""
    pairs: int
    """Those that show the same kind of thing."""


def collect_samples(
    matcher: Matcher,
    lists: Sequence[Sequence[Pair]],
    on_pair: Callable[[], None] = lambda: None,
    unrelated: Sequence[Pair] = (),
) -> Samples:
    """Match all pairs, and transfer their keypoints in both directions.

    Pictures of ``unrelated`` pairs show nothing alike: no match is right. Groups are the pairs' classes or,
    with fewer than three, parts of each list. ``on_pair`` is called after each pair. Raises
    :class:`DataError` for a pair without keypoints or a bundle without windows.
    """
    classes = {pair.category for pairs in lists for pair in pairs}
    evidence, errors, groups = [], [], []
    for pairs in (*lists, unrelated):
        results = matcher.match_many((pair.source.load(), pair.target.load()) for pair in pairs)
        for number, (pair, result) in enumerate(zip(pairs, results, strict=True)):
            group = pair.category if len(classes) >= 3 else f"part {PARTS * number // len(pairs)}"
            for features, distances in _both_directions(pair, result, alike=pairs is not unrelated):
                evidence.append(features)
                errors.append(distances)
                groups += [group] * len(distances)
            on_pair()
    return Samples(np.concatenate(evidence), np.concatenate(errors), tuple(groups), sum(map(len, lists)))


def unrelated_pairs(lists: Sequence[Sequence[Pair]], seed: int) -> list[Pair]:
    """The source of each pair with the target of a random pair of another class of its list; none of a list
    with one class."""
    random, found = np.random.default_rng(seed), []
    for pairs in lists:
        for pair in pairs:
            others = [other for other in pairs if other.category != pair.category]
            if others:
                other = others[random.integers(len(others))]
                found.append(
                    dataclasses.replace(pair, target=other.target, target_points=other.target_points)
                )
    return found


def _both_directions(pair: Pair, result: Correspondences, *, alike: bool) -> list[tuple[Floats, Floats]]:
    a, b = pair.source_points, pair.target_points
    if a is None or b is None:
        raise DataError(
            f"the pair {pair.source.key}, {pair.target.key} has no keypoints: confidence is fitted to "
            "matches whose true place is known"
        )
    true_b, true_a = (b, a) if alike else (None, None)
    return [_direction(result, a, true_b, "a"), _direction(result, b, true_a, "b")]


def _direction(
    result: Correspondences, points: Points, truth: Points | None, from_: Side
) -> tuple[Floats, Floats]:
    """What speaks for the matches of ``points``, and their errors; infinite without a ``truth``."""
    cells = result.evidence(from_)
    if cells is None:
        raise DataError(
            "this bundle returns no scores around its best matches, which confidence is made of: export it "
            "again with this dcc"
        )
    own, other = (result.size_a, result.size_b) if from_ == "a" else (result.size_b, result.size_a)
    inside = np.clip(points, 0, [own[1] - 1, own[0] - 1])
    evidence = geometry.transfer(inside, cells, own)
    if truth is None:
        return evidence, np.full(len(points), np.inf)
    moved = result.transfer(points, from_, "subcell", outside=True)
    return evidence, np.linalg.norm(moved - truth, axis=1) / max(other)
