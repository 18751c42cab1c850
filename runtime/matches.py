"""Matched points, whatever they came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class PointMatches:
    """N matched points; pixels are 0-based (x, y) of the original pictures."""

    points_a: NDArray[np.float64]  # (N, 2)
    points_b: NDArray[np.float64]  # (N, 2)
    scores: NDArray[np.float32]  # (N,)

    def __len__(self) -> int:
        return len(self.scores)
