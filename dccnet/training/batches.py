"""Which pictures meet in which step: everything random of an epoch, drawn before it begins.

A batch is planned as a whole, negatives included, so that it does not matter how many processes share
it, in how many parts each takes its share, and whether the run was interrupted.
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
"""Warped views of a picture that training knows, and as many mirrored ones: enough to differ, few enough to
keep their features."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One pair of a batch and what goes with it."""

    pair: Pair
    source: Picture
    """The pair's own, or its mirror image."""
    mirrored: bool
    mismatched: Picture
    """Source of the negative: that of the next pair of the batch."""
    view: View | None = None
    """Of the target."""


class Batches:
    """The steps of every epoch, from the settings' seed."""

    def __init__(self, training: Sequence[Pair], settings: TrainSettings, image_size: Size) -> None:
        self._training, self._settings, self._image_size = training, settings, image_size
        self._groups = [pair.category for pair in training]
        # By its place in the list, so that it does not matter where the pictures lie.
        targets = dict.fromkeys(pair.target.key for pair in training)
        self._numbers = {key: number for number, key in enumerate(targets)}

    def of_epoch(self, epoch: int) -> list[list[Sample]]:
        """The batches of one epoch, counted from 0."""
        settings = self._settings
        rng = np.random.default_rng([settings.seed, epoch])
        # Views of one photograph would be false negatives, and there are as many of each.
        of_photographs = settings.synthetic is not None
        order = epoch_order(self._groups, rng, apart=of_photographs)
        batches = []
        for start in range(0, len(order), settings.batch_size):
            chosen = order[start : start + settings.batch_size]
            if of_photographs or settings.negatives == "apart":
                chosen = in_a_ring(chosen, self._groups)
            if len(chosen) >= 2:  # a batch of one has no negative
                batches.append(self._samples([self._training[i] for i in chosen], rng))
        return batches

    def _samples(self, pairs: Sequence[Pair], rng: np.random.Generator) -> list[Sample]:
        flips = rng.random(len(pairs)) < self._settings.opposite
        # Odd ones are mirrored.
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
    """A random order of all indices; ``apart`` lets the groups take turns until they are used up."""
    shuffled = [int(i) for i in rng.permutation(len(groups))]
    if not apart:
        return shuffled
    waiting: dict[str, list[int]] = {}
    for i in shuffled:
        waiting.setdefault(groups[i], []).append(i)
    order: list[int] = []
    while waiting:  # in the same order every time, so that no stretch holds one group too often
        order += [queue.pop() for queue in waiting.values()]
        waiting = {name: queue for name, queue in waiting.items() if queue}
    return order


def in_a_ring(batch: Sequence[int], groups: Sequence[str]) -> list[int]:
    """The batch reordered so that no two neighbours, nor last and first, are of one group.

    Negatives are the batch rolled by one, so neighbours become pairs. Possible while no group fills
    more than half of the batch; of one that does, some stay neighbours.
    """
    sizes = Counter(groups[i] for i in batch)
    by_size = sorted(batch, key=lambda i: (-sizes[groups[i]], groups[i]))
    ring = [0] * len(batch)
    # The largest groups first, every other place, then the places between.
    for place, i in zip([*range(0, len(batch), 2), *range(1, len(batch), 2)], by_size, strict=True):
        ring[place] = i
    return ring
