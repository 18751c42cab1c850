"""Matched points, independent of how they were found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Points


@dataclass(frozen=True, slots=True, eq=False)
class PointMatches:
    """N matched points, in pixels (x, y) of the original pictures, 0-based."""

    points_a: Points  # (N, 2)
    points_b: Points  # (N, 2)
    scores: NDArray[np.float32]  # (N,)

    def __len__(self) -> int:
        return len(self.scores)
