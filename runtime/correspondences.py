"""What matching two pictures yields, in original pixel coordinates."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dccnet.runtime import geometry
from dccnet.runtime.arrays import Image
from dccnet.runtime.drawing.matches import draw_matches
from dccnet.runtime.drawing.styles import STYLES, Style, draw_grid, draw_truth, draw_warp
from dccnet.runtime.errors import UsageError
from dccnet.runtime.geometry import Size
from dccnet.runtime.matches import PointMatches
from dccnet.runtime.score_maps import ScoreMaps

Side = Literal["a", "b"]


@dataclass(frozen=True, slots=True, eq=False)
class Correspondences:
    """The best match of every grid cell of each picture in the other.

    Grids are corner-aligned: the first cell lies on pixel 0 of its axis, the last on the last pixel.
    Scores are matching probabilities in (0, 1]; the softmax behind them has no temperature, so
    compare them with each other, not with 1.
    """

    size_a: Size
    """(height, width) of picture A in pixels."""
    size_b: Size
    index_a: NDArray[np.int64]
    """``(hA, wA)``: row-major cell of B that each cell of A matches."""
    score_a: NDArray[np.float32]  # (hA, wA)
    index_b: NDArray[np.int64]
    """``(hB, wB)``: row-major cell of A that each cell of B matches."""
    score_b: NDArray[np.float32]  # (hB, wB)
    heatmap_a: NDArray[np.float32] | None = None
    """``(hA, wA, hB, wB)``: for each cell of A its scores over B. Only from a bundle with heat maps."""
    heatmap_b: NDArray[np.float32] | None = None
    """``(hB, wB, hA, wA)``: for each cell of B its scores over A."""
    maps: ScoreMaps | None = None
    """What the heat maps were fused from. Only from a bundle exported with ``--maps``."""

    def matches(self, from_: Side = "a") -> PointMatches:
        """One match for each cell of the picture ``from_``, in row-major order."""
        here, there, scores = self._cells(from_), self._targets(from_), self._scores(from_)
        points, targets = here.reshape(-1, 2), there.reshape(-1, 2)
        if from_ == "a":
            return PointMatches(points, targets, scores.ravel())
        return PointMatches(targets, points, scores.ravel())

    def mutual(self) -> PointMatches:
        """The matches that both directions agree on; the score is the lower of the two."""
        forward, backward = self.index_a.ravel(), self.index_b.ravel()
        agree = backward[forward] == np.arange(forward.size)
        every = self.matches("a")
        scores = np.minimum(every.scores, self.score_b.ravel()[forward])
        return PointMatches(every.points_a[agree], every.points_b[agree], scores[agree])

    def transfer(self, points: ArrayLike, from_: Side = "b") -> NDArray[np.float64]:
        """Where points of one picture lie in the other, by the benchmarks' rule (spec §2).

        ``points`` is ``(N, 2)``, pixels (x, y) of the picture ``from_``; returns ``(N, 2)`` in the
        other one. The benchmarks transfer from the target, B, to the source, A. Points outside the
        picture are blended from the border cells and mean nothing. Raises ``ValueError`` for another
        shape or non-finite values.
        """
        points = np.asarray(points, np.float64)
        if points.size == 0:
            return np.empty((0, 2))
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise ValueError(f"points must be finite and of shape (N, 2), got shape {points.shape}")
        return geometry.transfer(points, self._targets(from_), self._size(from_))

    def transfer_scores(self, points: ArrayLike, from_: Side = "b") -> NDArray[np.float32]:
        """Score of the cell nearest to each point: ``(N, 2)`` pixels -> ``(N,)``."""
        scores = self._scores(from_)
        height, width = scores.shape
        points = np.asarray(points, np.float64).reshape(-1, 2)
        spacing = geometry.pixels_per_cell(self._size(from_), (height, width))
        cells = np.rint(points / np.maximum(spacing, np.finfo(np.float64).tiny))
        x, y = np.clip(cells, 0, [width - 1, height - 1]).astype(np.intp).T
        nearest: NDArray[np.float32] = scores[y, x]
        return nearest

    def carry(self, points: ArrayLike, from_: Side = "b") -> PointMatches:
        """:meth:`transfer` with its scores: N points and their places in the other picture."""
        here = np.asarray(points, np.float64).reshape(-1, 2)
        there, scores = self.transfer(points, from_), self.transfer_scores(points, from_)
        return PointMatches(here, there, scores) if from_ == "a" else PointMatches(there, here, scores)

    def flow(self, from_: Side = "a") -> NDArray[np.float32]:
        """Dense displacement: ``(H, W, 2)`` pixels (u, v) from every pixel of ``from_`` to its match."""
        size = self._size(from_)
        dense = geometry.resize(self._targets(from_), size)
        dense -= geometry.cell_pixels(size, size).astype(np.float32)
        return dense

    def warp(self, image: Image, onto: Side = "b") -> Image:
        """Repaint ``image`` (the *other* picture) in the geometry of ``onto``.

        By default picture A (source) seen as B (target). uint8 BGR in and out.
        """
        other: Side = "a" if onto == "b" else "b"
        if image.shape[:2] != self._size(other):
            raise ValueError(
                f"picture {other} is {self._size(other)} (height, width), got {image.shape[:2]}"
            )
        where = geometry.resize(self._targets(onto), self._size(onto))
        warped = cv2.remap(
            image, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(warped, np.uint8)

    def draw(self, image_a: Image, image_b: Image, limit: int = 60, style: Style = "lines") -> Image:
        """Both pictures side by side, A left and B right. uint8 BGR in and out.

        ``style`` is ``lines``: the ``limit`` best mutual matches joined by lines; ``grid``: every cell of A
        in a colour of its place, and every cell of B in the colour of the cell that it matches; ``warp``:
        A warped onto B. Raises :class:`UsageError` for another style.
        """
        if style == "lines":
            return draw_matches(image_a, image_b, self.mutual(), limit)
        if style == "grid":
            return draw_grid(image_a, image_b, self._cells("a"), self._targets("b"), self.size_a)
        if style == "warp":
            return draw_warp(image_a, image_b, self.warp(image_a, onto="b"))
        raise UsageError(f"there is no drawing style '{style}': choose from {', '.join(STYLES)}")

    def draw_truth(
        self,
        image_a: Image,
        image_b: Image,
        points: ArrayLike,
        truth: ArrayLike,
        within: float,
        from_: Side = "a",
    ) -> Image:
        """Where points of one picture come out in the other, and where they belong.

        ``points`` is ``(N, 2)`` pixels of the picture ``from_``, ``truth`` ``(N, 2)`` of the other; a hit
        lies at most ``within`` pixels from the truth. The picture ``from_`` is left. Raises ``ValueError``
        where the two differ in length.
        """
        points, truth = (np.asarray(p, np.float64).reshape(-1, 2) for p in (points, truth))
        if points.shape != truth.shape:
            raise ValueError(f"every point needs one truth, got {len(points)} and {len(truth)}")
        images = (image_a, image_b) if from_ == "a" else (image_b, image_a)
        return draw_truth(*images, points, self.transfer(points, from_), truth, within)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write as ``.json``, ``.csv``, ``.npz`` or ``.flo`` (flow from A), by suffix, atomically."""
        from dccnet.runtime.writers import save_correspondences

        save_correspondences(self, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the layout is described in docs/formats.md."""
        from dccnet.runtime.writers import to_dict

        return to_dict(self)

    def _size(self, side: Side) -> Size:
        return self.size_a if side == "a" else self.size_b

    def _scores(self, side: Side) -> NDArray[np.float32]:
        return self.score_a if side == "a" else self.score_b

    def _cells(self, side: Side) -> NDArray[np.float64]:
        height, width = self._scores(side).shape
        return geometry.cell_pixels((height, width), self._size(side))

    def _targets(self, from_: Side) -> NDArray[np.float64]:
        """``(h, w, 2)``: where each cell of ``from_`` goes, in pixels of the other picture."""
        if from_ == "a":
            height, width = self.index_b.shape
            return geometry.index_pixels(self.index_a, (height, width), self.size_b)
        height, width = self.index_a.shape
        return geometry.index_pixels(self.index_b, (height, width), self.size_a)
