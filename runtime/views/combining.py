"""One result from the matches of several views: for each cell, the place that neighbours support most.

Each view says where every cell lies in the other picture. Things move alike in neighbouring cells, where a
view is right; so every place counts by a power of its support (``runtime/neighbours.py``), and a cell lies
at the mean of the places around that one which has the most of them near it: one step of mean shift
(Comaniciu and Meer, "Mean Shift", PAMI 2002). Measured in docs/views.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime import geometry
from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import UsageError
from dccnet.runtime.evidence import Direction, match_agreement
from dccnet.runtime.geometry import Size, cell_pixels
from dccnet.runtime.score_windows import SIDE, transfer_by_windows
from dccnet.runtime.views.view import AS_IT_IS, View

POWER = 4
"""Of the support by which places count."""
NEAR = 1.5
"""Standard deviation, in cells, of the Gaussian by which places near each other count."""
MARGIN = 0.75
"""How far outside the other picture a place may lie, in cells, to count."""
TINY = 1e-6
"""The weight of a place without support: where no view has any, all count alike."""


class Places(NamedTuple):
    """Where n cells lie in the other picture, by one view or, along a second axis, by each of several."""

    points: Points
    """``(n, 2)``, (x, y) in cells of the other picture; or ``(n, K, 2)``."""
    support: Floats
    """``(n,)`` or ``(n, K)``, 0 to 1; 0 outside either view."""
    scores: Floats
    """``(n,)`` or ``(n, K)``"""


def combine(
    results: Sequence[Correspondences], views: Sequence[tuple[View, View]], frame: Size
) -> Correspondences:
    """The matches of two pictures, from the ``results`` of pairs of their ``views``.

    The first pair is that of both pictures as they are, and alone returns its result. ``frame`` is the
    (height, width) of frames in pixels. Heat maps, which single views have, are left out. Raises
    :class:`UsageError` for results without scores around the best matches.
    """
    first = results[0]
    if len(results) == 1:
        return first
    either_way = [_either_way(*one, frame) for one in zip(results, views, strict=True)]
    from_a, from_b = (
        agreed(Places(*(np.stack(values, axis=1) for values in zip(*one_way, strict=True))))
        for one_way in zip(*either_way, strict=True)
    )
    grid_a, grid_b = _size(first.index_a), _size(first.index_b)
    index_a, score_a, window_a = as_windows(*from_a, grid_a, grid_b)
    index_b, score_b, window_b = as_windows(*from_b, grid_b, grid_a)
    supports = [one.support for one in results if one.support is not None]
    return dataclasses.replace(
        first,
        index_a=index_a,
        score_a=score_a,
        window_a=window_a,
        index_b=index_b,
        score_b=score_b,
        window_b=window_b,
        support=float(np.mean(supports)) if supports else None,
        heatmap_a=None,
        heatmap_b=None,
        maps=None,
    )


def agreed(places: Places) -> tuple[Points, Floats]:
    """``(n, 2)`` and ``(n,)``: where each cell lies by K views together, and its score there."""
    points, weights = places.points, places.support**POWER + TINY
    apart = ((points[:, :, None] - points[:, None]) ** 2).sum(axis=-1)  # (n, K, K)
    near = np.exp(-apart / (2 * NEAR**2))
    best = (near * weights[:, None]).sum(axis=2).argmax(axis=1)
    counts = weights * np.take_along_axis(near, best[:, None, None], axis=1)[:, 0]
    counts /= counts.sum(axis=1, keepdims=True)
    return (points * counts[..., None]).sum(axis=1), (places.scores * counts).sum(axis=1)


def as_windows(
    points: Points, scores: Floats, grid: Size, other: Size
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Best matches ``(h, w)``, their scores, and windows ``(h, w, side²)`` from which the rule ``subcell``
    moves each cell of ``grid`` to its point ``(n, 2)`` of the ``other`` grid.

    The four cells around a point share its score, as in bilinear interpolation.
    """
    points = np.clip(points, 0, [other[1] - 1, other[0] - 1])
    nearest = np.rint(points).astype(np.int64)
    off = points - nearest
    steps = np.arange(SIDE) - SIDE // 2
    along_x, along_y = (np.maximum(0, 1 - np.abs(steps - off[:, axis, None])) for axis in (0, 1))
    windows = scores[:, None, None] * along_y[:, :, None] * along_x[:, None, :]
    index = nearest[:, 1] * other[1] + nearest[:, 0]
    return (
        index.reshape(grid),
        scores.reshape(grid).astype(np.float32),
        windows.reshape(*grid, -1).astype(np.float32),
    )


def _either_way(result: Correspondences, views: tuple[View, View], frame: Size) -> tuple[Places, Places]:
    """Places of the cells of A, and of those of B."""
    directions = result.directions()
    if directions is None:
        raise UsageError(
            "this bundle returns no scores around its best matches, which several views need: export it "
            "again with this dcc, or match one view"
        )
    a, b = directions
    return _places(a, b, *views, frame), _places(b, a, *views[::-1], frame)


def _places(own: Direction, other: Direction, own_view: View, other_view: View, frame: Size) -> Places:
    grid, other_grid = _size(own.index), _size(other.index)
    targets, _, around = match_agreement(own, other)
    cells = cell_pixels(grid, grid).reshape(-1, 2)
    seen, inside = cells, np.ones(len(cells), np.bool_)
    if own_view != AS_IT_IS:
        seen = own_view.places(cells, frame, grid)
        inside = _is_inside(seen, grid, 0.5)
        seen = np.clip(seen, 0, [grid[1] - 1, grid[0] - 1])
        targets = transfer_by_windows(seen, own.index, own.window, other_grid)
    points = other_view.places_back(targets, frame, other_grid)
    inside &= _is_inside(points, other_grid, MARGIN)
    values = np.stack([around.support, own.score], axis=-1)
    support, scores = geometry.transfer(seen, values, grid).T
    return Places(points, np.where(inside, support, 0), scores)


def _is_inside(points: Points, grid: Size, margin: float) -> NDArray[np.bool_]:
    """``(n,)``: whether points, in cells, lie in the grid or at most ``margin`` cells outside."""
    last = np.array([grid[1] - 1, grid[0] - 1])
    return np.asarray(((points >= -margin) & (points <= last + margin)).all(axis=1), np.bool_)


def _size(index: NDArray[Any]) -> Size:
    return index.shape[0], index.shape[1]
