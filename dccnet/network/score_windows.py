"""Scores around each best match, which place it within its cell. Not in the paper."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dccnet.network.fusion import Scores
from dccnet.network.matching import Matches

WINDOW = 5
"""Side of a window in cells; docs/tiny.md has the measurement."""


class Windows(NamedTuple):
    """Scores around the best match of each cell: row-major windows, 0 outside the grid."""

    window_a: Tensor  # (B, hA·wA, WINDOW²)
    window_b: Tensor  # (B, hB·wB, WINDOW²)


def score_windows(
    scores: Scores, matches: Matches, grid_a: tuple[int, int], grid_b: tuple[int, int]
) -> Windows:
    """Scores of the cells around each best match; grids are (height, width) in cells.

    They are few enough to leave the GPU.
    """
    in_b, outside_b = _cells_around(matches.index_a, grid_b)
    in_a, outside_a = _cells_around(matches.index_b, grid_a)
    on_a = scores.on_a.gather(2, in_b)
    on_b = scores.on_b.gather(1, in_a.transpose(1, 2)).transpose(1, 2)
    return Windows(on_a.masked_fill(outside_b, 0), on_b.masked_fill(outside_a, 0))


def _cells_around(index: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Cells ``(B, n)`` -> the cells of their windows ``(B, n, WINDOW²)``, and which lie outside the grid.

    The former are clamped to the grid. Both are looked up in tables of the whole grid, since engines
    compute whole numbers in many small steps.
    """
    height, width = grid
    steps = torch.arange(WINDOW, device=index.device) - WINDOW // 2
    rows = torch.arange(height, device=index.device)[:, None, None, None] + steps[:, None]
    columns = torch.arange(width, device=index.device)[:, None, None] + steps
    outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
    cells = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    return cells.reshape(height * width, -1)[index], outside.reshape(height * width, -1)[index]
