"""Placing matches below the cells of the grid, by the fine features of both pictures (docs/graphs.md).

Fine features come from an early part of the backbone. A match that lies between cells is moved to where, at
most about a cell away, the patch of fine features in the other picture is most like that around the point.
Nothing of this is trained. Measured in docs/tiny.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Array, Floats, Points
from dccnet.runtime.geometry import Size, extent
from dccnet.runtime.manifest import FineGrid
from dccnet.runtime.one_line import OneLine

PATCH = 5
"""Side of the compared patches, in fine features."""
REACH = 3
"""Largest step of the search along each axis, in fine features: three quarters of a cell."""
FARTHEST = REACH + 2
"""More than a match moves along each axis, in fine features: the search, half by the parabola, and
one along the border."""
COST = 0.015
"""Similarity that a place must have more than the start of the search, for each squared step from it."""
_TAKEN = (PATCH + 1) ** 2 + (2 * (REACH + PATCH // 2) + 2) ** 2
"""Fine features that are looked up for each point, in both pictures."""
_CHUNK = 32
"""Points at once: 14 kB each with 24 channels. With half as many again, each takes up to twice the time,
because arrays are then so large that the C library asks the system for their memory every time."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FineFeatures(OneLine):
    """The fine features of a picture, each of unit length, and where they lie.

    Places are shares (x, y) of the picture: 0 on its first pixel, 1 on its last, whatever its size.
    """

    values: Array
    """``(C, h, w)``, float16 or float32."""
    first: Points
    """``(2,)``: place of the first feature."""
    step: Points
    """``(2,)``: from one to the next along each axis; below 0 in x where the picture is mirrored."""

    @classmethod
    def in_frame(cls, values: Array, grid: FineGrid, frame: Size) -> FineFeatures:
        """Those of a frame of (height, width) pixels, which shows the whole picture."""
        distance = extent(frame)
        return cls(values, np.array(grid.first[::-1]) / distance, grid.stride / distance)

    def values_last(self) -> Array:
        """``(h, w, C)``, a view of :attr:`values`."""
        return np.moveaxis(self.values, 0, -1)

    def cells_last(self) -> NDArray[np.float32]:
        """``(h, w, C)``, contiguous."""
        return np.ascontiguousarray(self.values_last(), np.float32)


def refine(places: Points, matches: Points, here: FineFeatures, there: FineFeatures) -> Points:
    """Better ``matches`` of ``places``, both ``(N, 2)``: shares (x, y) of the other and of this picture.

    ``here`` are the fine features of the picture of ``places``, ``there`` those of the other. Results may
    lie outside the picture.
    """
    positions, starts = (places - here.first) / here.step, (matches - there.first) / there.step
    # There are no features along the border: what lies there moves with the nearest one.
    height, width = here.values.shape[1:]
    nearest = np.clip(positions, 0, [width - 1, height - 1])
    beyond = positions - nearest
    positions, starts = nearest, starts - beyond
    found = np.empty_like(starts)
    # Of few points, only what they need of the features is converted.
    few = len(starts) * _TAKEN < 2 * height * width
    from_, onto = (f.values_last() if few else f.cells_last() for f in (here, there))
    for start in range(0, len(starts), _CHUNK):
        part = slice(start, start + _CHUNK)
        found[part] = _search(from_, onto, positions[part], starts[part])
    refined: Points = (found + beyond) * there.step + there.first
    return refined


def _search(from_: Array, onto: Array, positions: Points, starts: Points) -> Points:
    """Places ``(n, 2)`` on the grid of ``onto``, near ``starts``, all (x, y) in fine features."""
    last, side = np.array([onto.shape[1] - 1, onto.shape[0] - 1]), 2 * REACH + 1
    starts = np.clip(starts, 0, last)
    patch = _between(*_around(from_, positions, PATCH // 2))  # (n, PATCH, PATCH, C)
    window, shares = _around(onto, starts, REACH + PATCH // 2)
    # Similarities at whole places, and then between them, where there is less to compute.
    rows, count = window.shape[1], len(starts)
    products = window.reshape(count, rows**2, -1) @ patch.reshape(count, PATCH**2, -1).transpose(0, 2, 1)
    products = products.reshape(count, rows, rows, PATCH, PATCH)
    whole = np.zeros((count, side + 1, side + 1), np.float32)
    for row in range(PATCH):
        for column in range(PATCH):
            whole += products[:, row : row + side + 1, column : column + side + 1, row, column]
    similarity = _between(whole, shares)
    steps = np.arange(-REACH, REACH + 1)
    x, y = (starts[:, axis, None] + steps for axis in (0, 1))  # (n, side)
    inside = ((y >= 0) & (y <= last[1]))[:, :, None] & ((x >= 0) & (x <= last[0]))[:, None, :]
    cost = COST * (steps[:, None] ** 2 + steps**2)
    return starts - REACH + _peaks(np.where(inside, similarity / PATCH**2 - cost, -np.inf))


def _peaks(scores: Floats) -> Points:
    """``(n, h, w)`` -> ``(n, 2)``: (x, y) of the highest score, between places by parabolas."""
    row, column = np.divmod(scores.reshape(len(scores), -1).argmax(axis=1), scores.shape[2])
    padded = np.pad(scores, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    each = np.arange(len(scores))
    peak = scores[each, row, column]
    across = padded[each, row + 1, column], padded[each, row + 1, column + 2]
    down = padded[each, row, column + 1], padded[each, row + 2, column + 1]
    return np.stack([column + _vertex(*across, peak), row + _vertex(*down, peak)], axis=1)


def _vertex(before: Floats, after: Floats, peak: Floats) -> Floats:
    """Where the parabola through three neighbours is highest, from the middle one; 0 at a border."""
    bend = before + after - 2 * peak
    usable = np.isfinite(bend) & (bend < 0)
    slope = np.where(usable, after, 0) - np.where(usable, before, 0)
    vertex: Floats = -0.5 * slope / np.where(usable, bend, 1)
    return vertex


def _around(
    features: Array, centres: Points, reach: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features around ``centres`` ``(n, 2)`` up to ``reach``, at whole places: ``(n, side, side, C)``, side
    2 · ``reach`` + 2, and the shares (x, y) ``(n, 2)`` by which the centres lie beyond whole places.

    Outside the grid they are those of the nearest place.
    """
    height, width = features.shape[:2]
    lower = np.floor(centres)
    around = np.arange(-reach, reach + 2)
    columns, rows = (lower[:, axis, None].astype(np.intp) + around for axis in (0, 1))
    taken = features[np.clip(rows, 0, height - 1)[:, :, None], np.clip(columns, 0, width - 1)[:, None, :]]
    return np.ascontiguousarray(taken, np.float32), (centres - lower).astype(np.float32)


def _between(values: NDArray[np.float32], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(n, h, w, …)`` at whole places -> ``(n, h - 1, w - 1, …)``, beyond them by ``shares``, bilinear."""
    right, down = shares.T.reshape(2, -1, *[1] * (values.ndim - 1))
    values = values[:, :-1] + down * (values[:, 1:] - values[:, :-1])
    between: NDArray[np.float32] = values[:, :, :-1] + right * (values[:, :, 1:] - values[:, :, :-1])
    return between
