"""The matches of two pictures, in pixels of the original pictures."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dccnet.runtime import geometry
from dccnet.runtime.arrays import Floats, Image, Points
from dccnet.runtime.checks import MARGIN, Rule, Side, as_points, as_rule, as_side, check_inside
from dccnet.runtime.confidence import ConfidenceModel, probability
from dccnet.runtime.drawing.matches import draw_matches
from dccnet.runtime.drawing.styles import STYLES, Style, draw_grid, draw_truth, draw_warp
from dccnet.runtime.errors import ArgumentError, UsageError
from dccnet.runtime.evidence import Direction, match_evidence
from dccnet.runtime.features import check_image
from dccnet.runtime.geometry import Size
from dccnet.runtime.point_matches import PointMatches, mutual_cells
from dccnet.runtime.refinement import FineFeatures, refine
from dccnet.runtime.remap import check_remap, remap
from dccnet.runtime.score_maps import ScoreMaps
from dccnet.runtime.score_windows import cut_windows, transfer_by_windows
from dccnet.runtime.writers import save_correspondences, to_dict

LATTICE = 4
"""Places per cell, along each axis, where dense results between cells are computed."""


@dataclass(frozen=True, slots=True, eq=False)
class Correspondences:
    """The best match of every grid cell of each picture in the other.

    Grids are corner-aligned: the first cell lies on pixel 0 of its axis, the last cell on the last pixel.
    Scores are matching probabilities in (0, 1]. Their softmax has no temperature, so compare scores with
    each other, not with 1.
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
    """``(hA, wA, hB, wB)``: scores of each cell of A over B. Only from a bundle with heat maps."""
    heatmap_b: NDArray[np.float32] | None = None
    """``(hB, wB, hA, wA)``: scores of each cell of B over A."""
    maps: ScoreMaps | None = None
    """Scores of each branch and the attention. Only from a bundle exported with ``--maps``."""
    window_a: NDArray[np.float32] | None = None
    """``(hA, wA, 25)``: scores of each cell of A in the 5×5 window around its best match, row-major, 0
    outside the grid. None from a bundle of dccnet 0.1."""
    window_b: NDArray[np.float32] | None = None
    """``(hB, wB, 25)``."""
    fine_a: FineFeatures | None = None
    """Fine features of A. None without refinement, and from a bundle without them."""
    fine_b: FineFeatures | None = None
    confidence_model: ConfidenceModel | None = None
    """Turns what speaks for a match into its confidence. Only from a bundle with confidence."""
    least_confidence: float | None = None
    """Matches with less confidence are left out (:meth:`at_least`)."""
    _log_odds: dict[Side, Floats] = field(default_factory=dict, init=False, repr=False)
    """Kept from the first call, by direction."""
    _mutual: dict[Rule, PointMatches] = field(default_factory=dict, init=False, repr=False)
    """Kept from the first call, by rule: a video's frame is drawn and written to several files."""

    @property
    def rule(self) -> Rule:
        """The rule by which points move unless another is asked for: ``cells`` if there are neither
        windows nor heat maps, else ``refined`` if there are fine features, else ``subcell``."""
        sides = ((self.window_a, self.heatmap_a), (self.window_b, self.heatmap_b))
        if not all(any(scores is not None for scores in side) for side in sides):
            return "cells"
        return "subcell" if self.fine_a is None or self.fine_b is None else "refined"

    def matches(self, from_: Side = "a", rule: Rule | None = None) -> PointMatches:
        """The match of each cell of the picture ``from_``, in row-major order; those with less than
        :attr:`least_confidence` are left out.

        By the rule ``cells``, matches are centres of cells, too. ``rule`` is :attr:`rule` by default.
        Raises :class:`ArgumentError` for a picture other than ``a`` and ``b``.
        """
        from_ = as_side(from_)
        points, targets = self._cells(from_).reshape(-1, 2), self._targets(from_, rule).reshape(-1, 2)
        scores, confidence = self._scores(from_).ravel(), self._confidence(from_)
        confidence = None if confidence is None else confidence.ravel()
        points_a, points_b = (points, targets) if from_ == "a" else (targets, points)
        matches = PointMatches(points_a, points_b, scores, confidence)
        return matches.take(matches.confident(self.least_confidence))

    def mutual(self, rule: Rule | None = None) -> PointMatches:
        """The matches of cells of A on which both directions agree, with the lower of both scores.

        Agreement is that of best cells; ``rule``, as for :meth:`matches`, places them in B. Confidence is
        that in the direction from A to B.
        """
        rule = self._rule(rule)
        if rule not in self._mutual:
            self._mutual[rule] = self._mutual_by(rule)
        return self._mutual[rule]

    def mutual_scores(self) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """``(n,)`` each, for the n cells of A, row-major: whether both directions agree, and the lower of
        both scores, which has no meaning where they do not."""
        agree = mutual_cells(self.index_a, self.index_b)
        return agree, np.minimum(self.score_a.ravel(), self.score_b.ravel()[self.index_a.ravel()])

    def at_least(self, confidence: float) -> Correspondences:
        """The same without matches of less ``confidence``, from 0 to 1: :meth:`matches`, :meth:`mutual`,
        and drawings and files of them leave these out. :meth:`transfer` and :meth:`carry` move every point.

        Raises :class:`ArgumentError` for another number, and where there is no confidence.
        """
        if not 0 <= confidence <= 1:
            raise ArgumentError(f"confidence is a number from 0 to 1, got {confidence!r}")
        if self._odds("a") is None:
            raise ArgumentError(
                "these matches have no confidence: fit it to the bundle with dcc confidence"
            )
        found = dataclasses.replace(self, least_confidence=float(confidence))
        found._log_odds.update(self._log_odds)  # of the same matches
        return found

    def transfer(
        self, points: ArrayLike, from_: Side, rule: Rule | None = None, *, outside: bool = False
    ) -> Points:
        """Transfer points of one picture to the other.

        ``points`` is ``(N, 2)``, pixels (x, y) of the picture ``from_``; returns ``(N, 2)``, pixels of the
        other picture. ``rule`` is :attr:`rule` by default. The benchmarks transfer from the target, B, to
        the source, A, by the rule ``cells``. ``outside`` allows points outside the picture, whose result
        has no meaning: some benchmarks count such points.

        Raises :class:`ArgumentError`, which is a ``ValueError``, for another shape, values that are not
        finite, points more than one pixel outside, a picture other than ``a`` and ``b``, and a rule
        for which windows (or heat maps) or fine features are missing.
        """
        from_, points = self._given(points, from_, outside)
        if not len(points):
            return points
        rule = self._rule(rule)
        if rule == "cells":
            return geometry.transfer(points, self._best_cells(from_), self._size(from_))
        return self._between_cells(points, from_, rule)

    def transfer_scores(
        self, points: ArrayLike, from_: Side, *, outside: bool = False
    ) -> NDArray[np.float32]:
        """Score of the cell nearest to each point: ``(N, 2)`` pixels of ``from_`` -> ``(N,)``.

        Arguments and errors are those of :meth:`transfer`.
        """
        from_, points = self._given(points, from_, outside)
        scores = self._scores(from_)
        height, width = self._grid(from_)
        cells = np.rint(geometry.pixels_to_cells(points, self._size(from_), (height, width)))
        x, y = np.clip(cells, 0, [width - 1, height - 1]).astype(np.intp).T
        nearest: NDArray[np.float32] = scores[y, x]
        return nearest

    def carry(self, points: ArrayLike, from_: Side) -> PointMatches:
        """N points with their positions in the other picture (:meth:`transfer`), their scores and, from a
        bundle with confidence, their confidence."""
        from_, points = self._given(points, from_)
        targets, scores = self.transfer(points, from_), self.transfer_scores(points, from_)
        confidence = self.transfer_confidence(points, from_)
        if from_ == "a":
            return PointMatches(points, targets, scores, confidence)
        return PointMatches(targets, points, scores, confidence)

    @property
    def confidence_a(self) -> NDArray[np.float32] | None:
        """``(hA, wA)`` float32 in [0, 1]: confidence in the match of each cell of A in B; None from a
        bundle without confidence. :class:`ConfidenceModel` says what it means."""
        return self._confidence("a")

    @property
    def confidence_b(self) -> NDArray[np.float32] | None:
        """``(hB, wB)``: the same for each cell of B in A."""
        return self._confidence("b")

    def transfer_confidence(
        self, points: ArrayLike, from_: Side, *, outside: bool = False
    ) -> NDArray[np.float32] | None:
        """Confidence in :meth:`transfer` of each point: ``(N, 2)`` pixels of ``from_`` -> ``(N,)`` float32
        in [0, 1]; None from a bundle without confidence.

        It lies between those of the four cells around the point. Arguments and errors are those of
        :meth:`transfer`.
        """
        from_, points = self._given(points, from_, outside)
        log_odds, size = self._odds(from_), self._size(from_)
        if log_odds is None:
            return None
        clipped = np.clip(points, 0, [size[1] - 1, size[0] - 1])
        return probability(geometry.transfer(clipped, log_odds[..., None], size)[:, 0])

    def confidence_map(self, from_: Side = "a") -> NDArray[np.float32] | None:
        """``(H, W)`` float32: :meth:`transfer_confidence` of every pixel of ``from_``, as :meth:`flow`."""
        from_ = as_side(from_)
        log_odds = self._odds(from_)
        if log_odds is None:
            return None
        return probability(geometry.resize(log_odds[..., None], self._size(from_))[..., 0])

    def evidence(self, from_: Side = "a") -> Floats | None:
        """``(h, w, F)``: what speaks for the match of each cell of ``from_``, in the order of
        :data:`dccnet.runtime.confidence.FEATURES`; None without scores around the best matches."""
        windows = self._windows("a"), self._windows("b")
        if windows[0] is None or windows[1] is None:
            return None
        a = Direction(self.index_a, self.score_a, windows[0])
        b = Direction(self.index_b, self.score_b, windows[1])
        return match_evidence(a, b) if as_side(from_) == "a" else match_evidence(b, a)

    def flow(self, from_: Side = "a", rule: Rule | None = None) -> NDArray[np.float32]:
        """Dense flow ``(H, W, 2)``: (u, v) in pixels from every pixel of ``from_`` to its match.

        It is :meth:`transfer` of every pixel by the same ``rule``; except for ``cells``, of four places
        per cell along each axis, and linear between them. Raises :class:`ArgumentError` as
        :meth:`transfer` does.
        """
        from_ = as_side(from_)
        size = self._size(from_)
        dense = self._dense_targets(from_, rule)
        dense -= geometry.cell_pixels(size, size).astype(np.float32)
        return dense

    def warp(self, image: Image, onto: Side = "b", rule: Rule | None = None) -> Image:
        """Warp ``image``, the *other* picture, into the geometry of the picture ``onto``, by :meth:`flow`.

        By default, this warps A (the source) onto B (the target). uint8 BGR in and out. Raises
        :class:`ArgumentError` for an image of another size, or of more than 32,766 pixels a side, and for a
        picture other than ``a`` and ``b``.
        """
        onto = as_side(onto, "onto")
        other: Side = "a" if onto == "b" else "b"
        if image.shape[:2] != self._size(other):
            raise _other_size(other, self._size(other), image)
        check_remap(image.shape[:2], self._size(onto))
        return remap(image, self._dense_targets(onto, rule))

    def draw(self, image_a: Image, image_b: Image, limit: int = 60, style: Style = "lines") -> Image:
        """Both pictures side by side, A left and B right. uint8 BGR in and out.

        ``style`` is ``lines``: the ``limit`` best mutual matches joined by lines; ``grid``: every cell of A
        in the colour of its position, and every cell of B in the colour of the cell that it matches;
        ``warp``: A warped onto B. Raises :class:`UsageError` for another style or pictures of other sizes.
        """
        self._check_pictures(image_a, image_b)
        if style == "lines":
            return draw_matches(image_a, image_b, self.mutual(), limit)
        if style == "grid":
            cells, targets = self._cells("a"), self._targets("b")
            return draw_grid(image_a, image_b, cells, targets, self.size_a, self._shown_confidence())
        if style == "warp":
            return draw_warp(image_a, image_b, self.warp(image_a, onto="b"), self._shown("b"))
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
        """Draw where :meth:`transfer` takes points of one picture, and where they belong.

        ``points`` is ``(N, 2)`` pixels of the picture ``from_``, which is drawn left; ``truth`` is
        ``(N, 2)`` pixels of the other picture. A hit lies at most ``within`` pixels from the truth. uint8
        BGR in and out. Raises :class:`ArgumentError` where ``points`` and ``truth`` differ in length.
        """
        self._check_pictures(image_a, image_b)
        from_, points = self._given(points, from_)
        truth = as_points(truth, "truth")
        if points.shape != truth.shape:
            raise ArgumentError(f"every point needs one truth, got {len(points)} and {len(truth)}")
        images = (image_a, image_b) if from_ == "a" else (image_b, image_a)
        return draw_truth(*images, points, self.transfer(points, from_), truth, within)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``.json``, ``.csv``, ``.npz`` or ``.flo`` (the flow from A), by suffix, atomically.

        Raises :class:`UsageError` for another suffix and :class:`DccError` where writing fails.
        """
        save_correspondences(self, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; docs/formats.md describes the layout."""
        return to_dict(self)

    def _check_pictures(self, image_a: Image, image_b: Image) -> None:
        for name, image, size in (("a", image_a, self.size_a), ("b", image_b, self.size_b)):
            check_image(image)
            if image.shape[:2] != size:
                raise _other_size(name, size, image)

    def _given(self, points: ArrayLike, from_: Side, outside: bool = False) -> tuple[Side, Points]:
        """The arguments of a transfer, checked."""
        from_, points = as_side(from_), as_points(points)
        if not outside:
            check_inside(points, self._size(from_), from_.upper(), MARGIN)
        return from_, points

    def _rule(self, rule: Rule | None) -> Rule:
        return as_rule(rule) or self.rule

    def _size(self, side: Side) -> Size:
        return self.size_a if side == "a" else self.size_b

    def _scores(self, side: Side) -> NDArray[np.float32]:
        return self.score_a if side == "a" else self.score_b

    def _grid(self, side: Side) -> Size:
        height, width = self._scores(side).shape
        return height, width

    def _shown(self, side: Side) -> NDArray[np.bool_] | None:
        """``(H, W)``: pixels of ``side`` that are confident enough; None where all are."""
        confidence = self.confidence_map(side)
        if confidence is None or self.least_confidence is None:
            return None
        return np.asarray(confidence >= self.least_confidence, np.bool_)

    def _shown_confidence(self) -> NDArray[np.float32] | None:
        """``(hB, wB)``: confidence in the matches of B's cells, 0 where they are left out."""
        confidence = self._confidence("b")
        if confidence is not None and self.least_confidence is not None:
            confidence[confidence < self.least_confidence] = 0
        return confidence

    def _confidence(self, side: Side) -> NDArray[np.float32] | None:
        log_odds = self._odds(side)
        return None if log_odds is None else probability(log_odds)

    def _odds(self, side: Side) -> Floats | None:
        """``(h, w)``: logarithm of the odds that the match of each cell of ``side`` is right."""
        if self.confidence_model is None:
            return None
        if side not in self._log_odds:
            found = self.evidence(side)
            if found is None:
                return None
            self._log_odds[side] = self.confidence_model.log_odds(found)
        return self._log_odds[side]

    def _windows(self, side: Side) -> NDArray[np.float32] | None:
        """``(h, w, 25)``: the windows of the cells of ``side``, from heat maps if there are no others."""
        window, heatmap, index = (
            (self.window_a, self.heatmap_a, self.index_a)
            if side == "a"
            else (self.window_b, self.heatmap_b, self.index_b)
        )
        return cut_windows(heatmap, index) if window is None and heatmap is not None else window

    def _cells(self, side: Side) -> Floats:
        """``(h, w, 2)``: pixel position (x, y) of each cell of ``side``."""
        return geometry.cell_pixels(self._grid(side), self._size(side))

    def _mutual_by(self, rule: Rule) -> PointMatches:
        agree, scores = self.mutual_scores()
        points = self._cells("a").reshape(-1, 2)[agree]
        if rule == "cells":
            targets = self._best_cells("a").reshape(-1, 2)[agree]
        else:
            targets = self._between_cells(points, "a", rule)
        confidence = self._confidence("a")
        confidence = None if confidence is None else confidence.ravel()[agree]
        matches = PointMatches(points, targets, scores[agree], confidence)
        return matches.take(matches.confident(self.least_confidence))

    def _targets(self, from_: Side, rule: Rule | None = None) -> Floats:
        """``(h, w, 2)``: the match of each cell of ``from_``, in pixels (x, y) of the other picture."""
        rule = self._rule(rule)
        return self._best_cells(from_) if rule == "cells" else self._sampled(from_, self._grid(from_), rule)

    def _dense_targets(self, from_: Side, rule: Rule | None) -> NDArray[np.float32]:
        """``(H, W, 2)``: the match of each pixel of ``from_``, in pixels (x, y) of the other picture."""
        rule = self._rule(rule)
        if rule == "cells":
            return geometry.resize(self._best_cells(from_), self._size(from_))
        height, width = self._grid(from_)
        lattice = ((height - 1) * LATTICE + 1, (width - 1) * LATTICE + 1)
        return geometry.resize(self._sampled(from_, lattice, rule), self._size(from_))

    def _best_cells(self, from_: Side) -> Floats:
        """``(h, w, 2)``: the best cell of each cell of ``from_``, in pixels (x, y) of the other picture."""
        index = self.index_a if from_ == "a" else self.index_b
        other: Side = "b" if from_ == "a" else "a"
        return geometry.index_pixels(index, self._grid(other), self._size(other))

    def _sampled(self, from_: Side, lattice: Size, rule: Rule) -> Floats:
        """``(*lattice, 2)``: matches between cells of a lattice that covers the picture ``from_``."""
        points = geometry.cell_pixels(lattice, self._size(from_)).reshape(-1, 2)
        return self._between_cells(points, from_, rule).reshape(*lattice, 2)

    def _between_cells(self, points: Points, from_: Side, rule: Rule) -> Points:
        """Matches of ``points``, both ``(N, 2)`` in pixels, by a rule that is not ``cells``."""
        index = self.index_a if from_ == "a" else self.index_b
        other: Side = "b" if from_ == "a" else "a"
        windows = self._windows(from_)
        if windows is None:
            raise ArgumentError(
                "there are no scores around the best matches to place points by: export the bundle again, "
                "or use the rule 'cells'"
            )
        size, grid = self._size(other), self._grid(other)
        positions = geometry.pixels_to_cells(points, self._size(from_), self._grid(from_))
        places = transfer_by_windows(positions, index, windows, grid) * geometry.pixels_per_cell(size, grid)
        if rule == "subcell":
            return places
        if self.fine_a is None or self.fine_b is None:
            raise ArgumentError(
                "there are no fine features to refine matches by: match with refine=True, or use the rule "
                "'subcell'"
            )
        fine = (self.fine_a, self.fine_b) if from_ == "a" else (self.fine_b, self.fine_a)
        here, there = geometry.extent(self._size(from_)), geometry.extent(size)
        refined: Points = np.clip(refine(points / here, places / there, *fine), 0, 1) * there
        return refined


def _other_size(side: str, size: Size, image: Image) -> ArgumentError:
    return ArgumentError(f"picture {side} is {size} (height, width), got {image.shape[:2]}")
