"""The batches of an epoch: every random choice is drawn before the epoch begins.

A batch is planned as a whole, negatives included. Its loss therefore does not depend on the number of
processes that share it, on the micro-batch size, or on an interruption of the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dccnet.evaluation.pairs import Pair, Picture, mirrored
from dccnet.runtime.geometry import Size
from dccnet.training.settings import TrainSettings
from dccnet.training.synthetic import View, warped_view

VIEWS = 8
"""Warped views of each picture, and as many mirrored ones: enough for variety, few enough to cache their
features."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One pair of a batch, with its negative and its warped view."""

    pair: Pair
    source: Picture
    """The pair's source, or its mirror image."""
    mirrored: bool
    """Whether ``source`` is the mirror image."""
    mismatched: Picture
    """Source of the negative pair: the source of the next pair in the batch."""
    view: View | None = None
    """Warped view of the target, where training uses views."""


class Batches:
    """The batches of every epoch, determined by the settings' seed."""

    def __init__(self, training: Sequence[Pair], settings: TrainSettings, image_size: Size) -> None:
        self._training, self._settings, self._image_size = training, settings, image_size
        self._groups = [pair.category for pair in training]
        # Targets are numbered by their place in the list, so that warps do not depend on paths.
        targets = dict.fromkeys(pair.target.key for pair in training)
        self._numbers = {key: number for number, key in enumerate(targets)}

    def of_epoch(self, epoch: int) -> list[list[Sample]]:
        """The batches of one epoch; the first epoch is 0."""
        settings = self._settings
        rng = np.random.default_rng([settings.seed, epoch])
        # Two views of one photograph would be a false negative; every photograph has equally many views.
        of_photographs = settings.synthetic is not None
        order = epoch_order(self._groups, rng, apart=of_photographs)
        batches = []
        for start in range(0, len(order), settings.batch_size):
            chosen = order[start : start + settings.batch_size]
            if of_photographs or settings.negatives == "apart":
                chosen = spread_groups(chosen, self._groups)
            if len(chosen) >= 2:  # a batch of one has no negative
                batches.append(self._samples([self._training[i] for i in chosen], rng))
        return batches

    def _samples(self, pairs: Sequence[Pair], rng: np.random.Generator) -> list[Sample]:
        flips = rng.random(len(pairs)) < self._settings.opposite
        # Views with odd numbers are mirrored.
        views = 2 * rng.integers(VIEWS, size=len(pairs))
        views += rng.random(len(pairs)) < self._settings.opposite
        sources = [mirrored(p.source) if flip else p.source for p, flip in zip(pairs, flips, strict=True)]
        following = [*sources[1:], sources[0]]
        return [
            Sample(pair, source, bool(flip), mismatched, self._view(pair, int(view)))
            for pair, source, flip, mismatched, view in zip(
                pairs, sources, flips, following, views, strict=True
            )
        ]

    def _view(self, pair: Pair, index: int) -> View | None:
        if self._settings.warps == 0:
            return None
        seed = self._settings.seed, self._numbers[pair.target.key]
        return warped_view(pair.target, index, seed, self._image_size)


def epoch_order(groups: Sequence[str], rng: np.random.Generator, apart: bool) -> list[int]:
    """A random order of the indices of ``groups``; with ``apart`` the groups alternate."""
    shuffled = [int(i) for i in rng.permutation(len(groups))]
    if not apart:
        return shuffled
    waiting: dict[str, list[int]] = {}
    for i in shuffled:
        waiting.setdefault(groups[i], []).append(i)
    order: list[int] = []
    while waiting:  # groups alternate in a fixed order, so that no batch holds one group too often
        order += [queue.pop() for queue in waiting.values()]
        waiting = {name: queue for name, queue in waiting.items() if queue}
    return order


def spread_groups(batch: Sequence[int], groups: Sequence[str]) -> list[int]:
    """Reorder a batch of indices so that no two neighbours, nor last and first, are of one group.

    Negatives are the batch rolled by one, so neighbours form the negative pairs. If one group fills more
    than half of the batch, some of its members stay neighbours.
    """
    sizes = Counter(groups[i] for i in batch)
    by_size = sorted(batch, key=lambda i: (-sizes[groups[i]], groups[i]))
    ring = [0] * len(batch)
    # Fill every other place first, then the places between, starting with the largest groups.
    for place, i in zip([*range(0, len(batch), 2), *range(1, len(batch), 2)], by_size, strict=True):
        ring[place] = i
    return ring
