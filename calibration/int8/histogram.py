"""Histograms that widen as needed, so that each frame is run once and not kept."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BINS = 4096
"""Number of bins, over both signs. At least half of them lie within the largest magnitude: 8 for each step
of INT8."""

SMALLEST_REACH = 2.0**-100
"""With a smaller reach, float32 could not represent the number of bins for each unit."""


class Histogram:
    """The distribution of a tensor's values, over any number of frames.

    The bins cover ``(-reach, reach)``. When a value lies outside, the reach doubles and pairs of bins are
    merged, which loses only resolution.
    """

    def __init__(self) -> None:
        self.lowest, self.highest = math.inf, -math.inf
        self.reach = 0.0
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count ``values``. Raises :class:`ValueError` for values that are not finite."""
        lowest, highest = float(values.min()), float(values.max())
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise ValueError("not finite")
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self._reach_for(max(abs(lowest), abs(highest)))
        if not self.reach:  # nothing but zeros so far
            self.counts[BINS // 2] += values.size
            return
        place = values.ravel().astype(np.float32) * np.float32(BINS / (2 * self.reach))
        place += BINS // 2
        index = np.minimum(place.astype(np.int32), BINS - 1)
        self.counts += np.bincount(index, minlength=BINS)

    @property
    def centres(self) -> NDArray[np.float64]:
        """The value in the middle of each bin, ``(BINS,)``."""
        return (np.arange(BINS, dtype=np.float64) + 0.5 - BINS // 2) * (2 * self.reach / BINS)

    def _reach_for(self, magnitude: float) -> None:
        if magnitude and not self.reach:
            self.reach = max(SMALLEST_REACH, 2.0 ** math.ceil(math.log2(magnitude)))
        while self.reach < magnitude:
            inner = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[BINS // 4 : -BINS // 4] = inner
            self.reach *= 2
