"""How far neighbouring matches support a match, for every cell of a map. Not in the paper.

Things move alike in neighbouring cells. A match is supported by neighbours whose own matches return to
where they began and lie where they would if they moved as it does. ``runtime/neighbours.py`` asks the same
of best matches, for their confidence. Here a match is a mean of places, which changes little where a map
does, so that rounding, which decides near ties, changes little, too.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SHARPNESS = 8.0
"""A cell's match is the mean of all places, which count by the power of the map's values."""
REACH = 2
"""Neighbours are the other cells of a square that reaches so far: 24."""
TOLERANCE = 2.0
"""In cells: a neighbour that moves so differently counts by exp(−1)."""


class Support(NamedTuple):
    """0 to 1 for every cell: how far its neighbours return, and move as it does; mean over them."""

    on_a: Tensor  # (B, hA·wA)
    on_b: Tensor  # (B, hB·wB)


def neighbour_support(logarithms: Tensor, grid_a: tuple[int, int], grid_b: tuple[int, int]) -> Support:
    """``logarithms`` of a correlation map, ``(B, hA·wA, hB·wB)``; grids are (height, width) in cells."""
    places_a, places_b = (_cells(grid, logarithms).places for grid in (grid_a, grid_b))
    over_b = (SHARPNESS * logarithms).softmax(dim=2)
    over_a = (SHARPNESS * logarithms).softmax(dim=1).transpose(1, 2)
    in_b, in_a = _means(over_b, places_b), _means(over_a, places_a)
    return Support(
        on_a=_support(in_b, _means(over_b, in_a) - places_a, grid_a, grid_b),
        on_b=_support(in_a, _means(over_a, in_b) - places_b, grid_b, grid_a),
    )


def mean_support(support: Support) -> Tensor:
    """``(B, 1)``: over the cells of both pictures, each of which counts half."""
    on_a, on_b = (side.mean(dim=1, keepdim=True) for side in support)
    return (on_a + on_b) / 2


def _means(shares: Tensor, places: Tensor) -> Tensor:
    """Means of ``places`` ``(..., 2, others)`` by ``shares`` ``(B, cells, others)`` -> ``(B, 2, cells)``.

    Not as a matrix product: those of an engine in half precision are, and places need more digits.
    """
    return (shares[:, None] * places[..., None, :]).sum(dim=3)


def _support(matched: Tensor, missed: Tensor, grid: tuple[int, int], other: tuple[int, int]) -> Tensor:
    """``matched``: where the cells of ``grid`` lie in the ``other``; ``missed``: how far from themselves
    they end up on the way back. ``(B, 2, h·w)`` each, x and y in cells -> ``(B, h·w)``."""
    cells = _cells(grid, matched)
    trust = 1 / (1 + torch.sqrt(missed.square().sum(dim=1)))
    x, y = (_of_neighbours(p, cells.around) - p[..., None] for p in _scaled(matched, grid, other))
    trusted = _of_neighbours(trust, cells.around) * cells.inside
    off_y = (y - cells.step_y).square()
    as_it_is, mirrored = (
        (trusted * torch.exp(-((x - step).square() + off_y) / TOLERANCE**2)).sum(dim=2)
        for step in (cells.step_x, -cells.step_x)
    )
    return torch.maximum(as_it_is, mirrored) / cells.neighbours


def _scaled(places: Tensor, grid: tuple[int, int], other: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """x and y ``(B, cells)`` of ``places`` in the ``other`` grid, in cells of ``grid``."""
    height, width = (max(own - 1, 1) / max(others - 1, 1) for own, others in zip(grid, other, strict=True))
    return places[:, 0] * width, places[:, 1] * height


def _of_neighbours(values: Tensor, around: Tensor) -> Tensor:
    """``(B, h·w)`` -> ``(B, h·w, 24)``."""
    found: Tensor = values.index_select(1, around).unflatten(1, (values.shape[1], -1))
    return found


class _Constants(NamedTuple):
    """Constants of a grid, where they are used."""

    places: Tensor  # (2, h·w): x and y of every cell
    around: Tensor  # (h·w·24,): its neighbours, clamped to the grid
    inside: Tensor  # (h·w, 24): 1 for those that lie in the grid, else 0
    neighbours: Tensor  # (h·w,): how many do, at least 1
    step_x: Tensor  # (24,): from a cell to its neighbours
    step_y: Tensor  # (24,)


def _cells(grid: tuple[int, int], like: Tensor) -> _Constants:
    """In the type and on the device of ``like``."""
    make = _made if like.device.type == "cpu" else _kept  # an export must see constants
    return make(grid, like.dtype, like.device)


def _made(grid: tuple[int, int], dtype: torch.dtype, device: torch.device) -> _Constants:
    arrays = _arrays(grid)
    counts = arrays.inside.sum(axis=1).clip(1)
    places, inside, neighbours, step_x, step_y = (
        torch.tensor(values, dtype=dtype, device=device)
        for values in (arrays.places, arrays.inside, counts, *arrays.steps)
    )
    around = torch.tensor(arrays.around, device=device).flatten()
    return _Constants(places, around, inside, neighbours, step_x, step_y)


_kept = functools.lru_cache(maxsize=16)(_made)
"""The same, copied to a GPU once: a copy blocks, and cannot be captured in a CUDA graph."""


class _Arrays(NamedTuple):
    """The same in NumPy, so that exported graphs contain the results alone."""

    places: NDArray[np.float64]  # (2, h·w): x and y of every cell
    around: NDArray[np.int64]  # (h·w, 24): its neighbours, clamped to the grid
    inside: NDArray[np.float64]  # (h·w, 24): 1 for those that lie in the grid, else 0
    steps: NDArray[np.float64]  # (2, 24): x and y from a cell to its neighbours


@functools.lru_cache(maxsize=8)
def _arrays(grid: tuple[int, int]) -> _Arrays:
    height, width = grid
    y, x = np.indices(grid).reshape(2, -1)
    steps = np.indices((2 * REACH + 1,) * 2).reshape(2, -1)[::-1] - REACH
    steps = steps[:, np.abs(steps).sum(axis=0) > 0]
    places = np.stack([x, y])
    around_x, around_y = places[:, :, None] + steps[:, None]
    inside = (around_x >= 0) & (around_x < width) & (around_y >= 0) & (around_y < height)
    around = around_y.clip(0, height - 1) * width + around_x.clip(0, width - 1)
    return _Arrays(places.astype(float), around, inside.astype(float), steps.astype(float))
