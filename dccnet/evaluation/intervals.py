"""Confidence intervals of scores, by a bootstrap of photographs.

The pairs of a benchmark share pictures, so they are not independent: 900 pairs of PF-WILLOW show 70
photographs. Each draw therefore takes photographs with replacement, and a pair as often as the product of
its photographs' counts (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dccnet.evaluation.pairs import Pair, Picture
from dccnet.runtime.arrays import Floats
from dccnet.runtime.files import sha256

Interval = tuple[float, float]
Group = NDArray[np.intp]
"""Indices of pairs."""
LEVEL = 95
"""Percent."""
DRAWS = 1000
FEWEST = 5
"""Photographs below which there is no interval: draws of so few say nothing."""


class Bootstrap:
    """Draws of the photographs in a list of pairs; the same draws for every model and score."""

    def __init__(self, pairs: Sequence[Pair], draws: int = DRAWS, seed: int = 1) -> None:
        """Reads the pictures' files, since copies of one file count as one photograph."""
        digests: dict[Path, str] = {}
        keys = [[_photograph(picture, digests) for picture in (pair.source, pair.target)] for pair in pairs]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(k for ks in keys for k in ks))}
        self._a, self._b = np.array([[numbers[key] for key in ks] for ks in keys]).T
        self.photographs = len(numbers)
        shares = np.full(len(numbers), 1 / len(numbers))
        self._counts = np.random.default_rng(seed).multinomial(len(numbers), shares, size=draws)

    @property
    def description(self) -> str:
        """How the intervals were made, for reports."""
        return f"{LEVEL} %, from {len(self._counts)} bootstrap draws of {self.photographs} photographs"

    def of_pairs(self, values: Floats, classes: Sequence[Group]) -> tuple[Interval, ...] | None:
        """Intervals of the mean over all pairs of ``classes``; see :meth:`of_groups`.

        The classes of a benchmark are given, so that each keeps its share of the mean in all draws, unless
        one has too few photographs.
        """
        if all(self._photographs(group) >= FEWEST for group in classes):
            return self.of_groups(values, classes, [len(group) for group in classes])
        return self.of_groups(values, [np.concatenate(classes)])

    def of_groups(
        self, values: Floats, groups: Sequence[Group], shares: Sequence[float] | None = None
    ) -> tuple[Interval, ...] | None:
        """Intervals of the mean over ``groups`` of the mean over each group's pairs.

        ``values`` is ``(pairs, k)``; ``shares`` are the weights of the groups, by default the same. Returns
        an interval for each of the k columns, or None for fewer than :data:`FEWEST` photographs.
        """
        if self._photographs(np.concatenate(groups)) < FEWEST:
            return None
        means = np.stack([self._means(values, group) for group in groups])  # (groups, draws, k)
        weights = np.isfinite(means) * np.reshape(shares or [1.0] * len(groups), (-1, 1, 1))
        total = weights.sum(axis=0)
        drawn = total[:, 0] > 0
        mean = (np.nan_to_num(means) * weights).sum(axis=0)[drawn] / total[drawn]
        tail = (100 - LEVEL) / 2
        low, high = np.percentile(mean, [tail, 100 - tail], axis=0)
        return tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))

    def _photographs(self, group: Group) -> int:
        return len(np.unique([self._a[group], self._b[group]]))

    def _means(self, values: Floats, group: Group) -> Floats:
        """``(draws, k)``: the group's means, NaN in a draw that took none of its pairs."""
        weights = (self._counts[:, self._a[group]] * self._counts[:, self._b[group]]).astype(np.float64)
        total = weights.sum(axis=1, keepdims=True)
        mean: Floats = (weights @ values[group]) / np.where(total > 0, total, np.nan)
        return mean


def _photograph(picture: Picture, digests: dict[Path, str]) -> str:
    """Equal for copies of a file, and for its mirror image; ``digests`` has the files that were read."""
    picture = picture.mirror_of or picture
    if picture.file is None:
        return picture.key
    if picture.file not in digests:
        digests[picture.file] = sha256(picture.file)
    return digests[picture.file]
