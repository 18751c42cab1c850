"""One direction of a pair: where the points of one picture lie in the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime import geometry
from dccnet.runtime.arrays import Floats, Points
from dccnet.runtime.checks import Rule
from dccnet.runtime.errors import ArgumentError
from dccnet.runtime.geometry import Size
from dccnet.runtime.refinement import FARTHEST, FineFeatures, refine
from dccnet.runtime.score_windows import cut_windows, transfer_by_windows

LATTICE = 4
"""Places per cell, along each axis, where dense results between cells are computed."""


@dataclass(frozen=True, slots=True, eq=False)
class OneWay:
    """The best matches of one picture's cells in the other picture. Pixels are (x, y), 0-based."""

    size: Size
    """(height, width) in pixels of the picture that points come from."""
    other_size: Size
    other_grid: Size
    index: NDArray[np.int64]
    """``(h, w)``: row-major cells of the other picture."""
    score: NDArray[np.float32]  # (h, w)
    window: NDArray[np.float32] | None
    """``(h, w, 25)``: scores around each best match."""
    heatmap: NDArray[np.float32] | None
    """``(h, w, h', w')``: scores over the other picture."""
    fine: FineFeatures | None
    other_fine: FineFeatures | None

    @property
    def grid(self) -> Size:
        """(height, width) in cells of the picture that points come from."""
        return self.index.shape[0], self.index.shape[1]

    @property
    def windows(self) -> NDArray[np.float32] | None:
        """``(h, w, 25)``, from heat maps if there are no others."""
        if self.window is None and self.heatmap is not None:
            return cut_windows(self.heatmap, self.index)
        return self.window

    def cells(self) -> Floats:
        """``(h, w, 2)``: position of each cell."""
        return geometry.cell_pixels(self.grid, self.size)

    def best_cells(self) -> Floats:
        """``(h, w, 2)``: the best cell of each cell, in pixels of the other picture."""
        return geometry.index_pixels(self.index, self.other_grid, self.other_size)

    def nearest_scores(self, points: Points) -> NDArray[np.float32]:
        """``(N,)``: score of the cell nearest to each of ``points`` ``(N, 2)``."""
        nearest: NDArray[np.float32] = self.score[self.nearest_cells(points)]
        return nearest

    def nearest_cells(self, points: Points) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row and column, ``(N,)`` each, of the cell nearest to each of ``points`` ``(N, 2)``."""
        height, width = self.grid
        cells = np.rint(geometry.pixels_to_cells(points, self.size, self.grid))
        x, y = np.clip(cells, 0, [width - 1, height - 1]).astype(np.intp).T
        return y, x

    def move(self, points: Points, rule: Rule) -> Points:
        """Where ``points`` ``(N, 2)`` lie in the other picture. Raises :class:`ArgumentError` for a rule
        for which windows (or heat maps) or fine features are missing."""
        if rule == "cells":
            return geometry.transfer(points, self.best_cells(), self.size)
        windows = self.windows
        if windows is None:
            raise ArgumentError(
                "there are no scores around the best matches to place points by: export the bundle again, "
                "or use the rule 'cells'"
            )
        size, grid = self.other_size, self.other_grid
        positions = geometry.pixels_to_cells(points, self.size, self.grid)
        places = transfer_by_windows(positions, self.index, windows, grid)
        places *= geometry.pixels_per_cell(size, grid)
        return places if rule == "subcell" else self._refined(points, places)

    def targets(self, rule: Rule) -> Floats:
        """``(h, w, 2)``: the match of each cell, in pixels of the other picture."""
        return self.best_cells() if rule == "cells" else self._sampled(self.grid, rule)

    def lattice(self, rule: Rule) -> Floats:
        """``(h, w, 2)``: matches of a corner-aligned lattice, in pixels of the other picture.

        It has :data:`LATTICE` places per cell along each axis or, by the rule ``cells``, the cells alone.
        """
        if rule == "cells":
            return self.best_cells()
        height, width = self.grid
        return self._sampled(((height - 1) * LATTICE + 1, (width - 1) * LATTICE + 1), rule)

    def dense_targets(self, rule: Rule) -> NDArray[np.float32]:
        """``(H, W, 2)``: the match of each pixel, in pixels of the other picture: linear in the lattice."""
        return geometry.resize(self.lattice(rule), self.size)

    def dense_targets_refined(self, where: NDArray[np.bool_]) -> NDArray[np.float32]:
        """``(H, W, 2)``: :meth:`dense_targets`, refined for matches that lie where ``where`` is true.

        ``where`` is ``(H', W')``, of the other picture. Other matches are placed by the rule ``subcell``,
        which takes less time.
        """
        lattice = self.lattice("subcell")
        points = geometry.cell_pixels((lattice.shape[0], lattice.shape[1]), self.size)
        x, y = np.moveaxis(np.rint(lattice).astype(np.intp), -1, 0)
        chosen = where[y, x]
        lattice[chosen] = self._refined(points[chosen], lattice[chosen])
        return geometry.resize(lattice, self.size)

    def farthest_refined(self) -> Points:
        """``(2,)``: how far refining moves a match at most, in pixels (x, y) of the other picture."""
        if self.other_fine is None:
            return np.zeros(2)
        return FARTHEST * np.abs(self.other_fine.step) * geometry.extent(self.other_size)

    def _refined(self, points: Points, places: Points) -> Points:
        """Better ``places`` of ``points``, ``(N, 2)`` each, in pixels of the other and of this picture."""
        if self.fine is None or self.other_fine is None:
            raise ArgumentError(
                "there are no fine features to refine matches by: match with refine=True, or use the rule "
                "'subcell'"
            )
        here, there = geometry.extent(self.size), geometry.extent(self.other_size)
        refined: Points = refine(points / here, places / there, self.fine, self.other_fine)
        return np.clip(refined, 0, 1) * there

    def _sampled(self, lattice: Size, rule: Rule) -> Floats:
        """``(*lattice, 2)``: matches of the places of a lattice that covers the picture."""
        points = geometry.cell_pixels(lattice, self.size).reshape(-1, 2)
        return self.move(points, rule).reshape(*lattice, 2)
