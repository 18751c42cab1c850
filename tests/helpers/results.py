"""Results of matching that need no network."""

from __future__ import annotations

import dataclasses

import numpy as np

from dccnet.runtime.correspondences import Correspondences


def identity(size: tuple[int, int] = (48, 64), grid: tuple[int, int] = (4, 5)) -> Correspondences:
    index = np.arange(grid[0] * grid[1]).reshape(grid)
    score = np.ones(grid, np.float32)
    return Correspondences(size, size, index, score, index, score)


def with_windows(size: tuple[int, int], seed: int, grid: tuple[int, int] = (4, 5)) -> Correspondences:
    """Cells match themselves; the scores around them pull points away from the cells."""
    cells = identity(size, grid)
    windows = np.random.default_rng(seed).random((2, *grid, 25), dtype=np.float32)
    windows[..., 12] = 1.5  # the best match
    return dataclasses.replace(cells, window_a=windows[0], window_b=windows[1])
