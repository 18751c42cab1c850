"""Which photographs are on which side of a split, and which of them become pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dccnet.evaluation.making_pairs.photographs import Photograph

FEWEST_POINTS = 2
"""Keypoints that both photographs of a pair need: the box around one has no size to measure errors by."""


class Chosen(NamedTuple):
    """Two photographs of one class."""

    source: Photograph
    target: Photograph


def split_photographs(
    photographs: Sequence[Photograph], share: float, seed: int
) -> tuple[list[Photograph], list[Photograph]]:
    """Divide each class at random: about ``share`` of its photographs, and the others.

    No photograph is on both sides. A class of at least four has two or more on either.
    """
    first: list[Photograph] = []
    second: list[Photograph] = []
    for number, (_, members) in enumerate(by_category(photographs)):
        order = np.random.default_rng([seed, number]).permutation(len(members))
        count = round(share * len(members))
        if len(members) >= 4 and 0 < share < 1:
            count = min(max(count, 2), len(members) - 2)
        chosen = {int(i) for i in order[:count]}
        for i, one in enumerate(members):
            (first if i in chosen else second).append(one)
    return first, second


def choose_pairs(photographs: Sequence[Photograph], most: int, seed: int, annotated: bool) -> list[Chosen]:
    """Up to ``most`` pairs of each class, in which all its photographs occur about equally often.

    A pair is taken again with its photographs exchanged only after all others. With ``annotated``, both
    have at least :data:`FEWEST_POINTS` keypoints of the same names.
    """
    found = []
    for number, (_, members) in enumerate(by_category(photographs)):
        rng = np.random.default_rng([seed, number])
        pairs: list[Chosen] = []
        for a, b in _rounds(len(members), rng):
            if len(pairs) == most:
                break
            pair = Chosen(members[a], members[b])
            if not annotated or len(shared_points(pair)) >= FEWEST_POINTS:
                pairs.append(pair)
        found += pairs
    return found


def shared_points(pair: Chosen) -> list[str]:
    """Names of the keypoints that both have, in the order of the source."""
    return [name for name in pair.source.points if name in pair.target.points]


def by_category(photographs: Sequence[Photograph]) -> list[tuple[str, list[Photograph]]]:
    """Photographs by class, in the order of the classes' names."""
    groups: dict[str, list[Photograph]] = {}
    for one in photographs:
        groups.setdefault(one.category, []).append(one)
    return sorted(groups.items())


def _rounds(count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """All ordered pairs of ``count`` things. In each round every thing is source once and target once."""
    order = rng.permutation(count)
    steps = rng.permutation(np.arange(1, (count - 1) // 2 + 1))
    rounds = [[(i, (i + step) % count) for i in range(count)] for step in steps]
    if count % 2 == 0:  # opposite each other: half a round has them all
        rounds.append([(i, i + count // 2) for i in range(count // 2)])
    rounds += [[(b, a) for a, b in pairs] for pairs in rounds]
    return [(int(order[a]), int(order[b])) for pairs in rounds for a, b in pairs]
