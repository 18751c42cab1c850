"""The matches of two pictures, in pixels of the original pictures."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dccnet.runtime import geometry
from dccnet.runtime.alignment.fitting import fit_smooth_map
from dccnet.runtime.alignment.frame import Frame
from dccnet.runtime.alignment.smooth_map import SmoothMap
from dccnet.runtime.arrays import Floats, Image, Points
from dccnet.runtime.checks import MARGIN, Rule, Side, as_one_or_more, as_rule, as_side, check_inside
from dccnet.runtime.confidence import ConfidenceModel, probability
from dccnet.runtime.drawing.correspondences import draw_result, draw_result_and_truth
from dccnet.runtime.drawing.matches import LINES
from dccnet.runtime.drawing.styles import Style
from dccnet.runtime.errors import ArgumentError
from dccnet.runtime.evidence import Direction, match_evidence
from dccnet.runtime.geometry import Size
from dccnet.runtime.given_pictures import GivenPicture, as_image
from dccnet.runtime.one_line import OneLine
from dccnet.runtime.one_way import OneWay
from dccnet.runtime.point_matches import PointMatches, mutual_cells
from dccnet.runtime.refinement import FineFeatures
from dccnet.runtime.remap import check_remap, remap
from dccnet.runtime.score_maps import ScoreMaps
from dccnet.runtime.writers import save_correspondences, to_dict


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Correspondences(OneLine):
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
    support: float | None = None
    """0 to 1: how far neighbouring matches support each other, by the network's local features, before they
    are fused. Only from a network that fuses by support."""
    mirrored: bool = False
    """Whether A was mirrored left to right to be matched, because the things face opposite ways. Positions
    are those of A as it is."""
    _log_odds: dict[Side, Floats] = field(default_factory=dict, init=False, repr=False)
    """Kept from the first call, by direction."""
    _mutual: dict[Rule, PointMatches] = field(default_factory=dict, init=False, repr=False)
    """Kept from the first call, by rule: a video's frame is drawn and written to several files."""
    _smooth: dict[Rule, SmoothMap] = field(default_factory=dict, init=False, repr=False)
    """Kept from the first call, by rule, in the default frame: a fit takes a second."""

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
        way, confidence = self.one_way(from_), self._confidence(from_)
        points, targets = way.cells().reshape(-1, 2), way.targets(self._rule(rule)).reshape(-1, 2)
        scores, confidence = way.score.ravel(), None if confidence is None else confidence.ravel()
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
        other picture. One point ``(x, y)`` returns one, ``(2,)``. ``rule`` is :attr:`rule` by default. The
        benchmarks transfer from the target, B, to the source, A, by the rule ``cells``. ``outside`` allows
        points outside the picture, whose result has no meaning: some benchmarks count such points.

        Raises :class:`ArgumentError`, which is a ``ValueError``, for another shape, values that are not
        finite, points more than one pixel outside, a picture other than ``a`` and ``b``, and a rule
        for which windows (or heat maps) or fine features are missing.
        """
        from_, points, one = self._given(points, from_, outside)
        moved = self.one_way(from_).move(points, self._rule(rule)) if len(points) else points
        return moved[0] if one else moved

    def transfer_scores(
        self, points: ArrayLike, from_: Side, *, outside: bool = False
    ) -> NDArray[np.float32]:
        """Score of the cell nearest to each point: ``(N, 2)`` pixels of ``from_`` -> ``(N,)``.

        One point ``(x, y)`` returns ``(1,)``. Arguments and errors are those of :meth:`transfer`.
        """
        from_, points, _ = self._given(points, from_, outside)
        return self.one_way(from_).nearest_scores(points)

    def carry(self, points: ArrayLike, from_: Side) -> PointMatches:
        """N points, or one ``(x, y)``, with their positions in the other picture (:meth:`transfer`), their
        scores and, from a bundle with confidence, their confidence."""
        from_, points, _ = self._given(points, from_)
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

        It lies between those of the four cells around the point. One point ``(x, y)`` returns ``(1,)``.
        Arguments and errors are those of :meth:`transfer`.
        """
        from_, points, _ = self._given(points, from_, outside)
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

    def log_odds(self, from_: Side = "a") -> Floats | None:
        """``(h, w)``: logarithm of the odds that the match of each cell of ``from_`` is right, which
        confidence between cells is interpolated from; None from a bundle without confidence."""
        return self._odds(as_side(from_))

    def evidence(self, from_: Side = "a") -> Floats | None:
        """``(h, w, F)``: what speaks for the match of each cell of ``from_``, in the order of
        :data:`dccnet.runtime.confidence.FEATURES`; None without scores around the best matches."""
        directions = self.directions()
        if directions is None:
            return None
        return match_evidence(*(directions if as_side(from_) == "a" else directions[::-1]))

    def directions(self) -> tuple[Direction, Direction] | None:
        """Best matches from A and from B, with the scores around them; None without these."""
        windows = self.one_way("a").windows, self.one_way("b").windows
        if windows[0] is None or windows[1] is None:
            return None
        a = Direction(self.index_a, self.score_a, windows[0])
        return a, Direction(self.index_b, self.score_b, windows[1])

    def smooth_map(self, rule: Rule | None = None, frame: Frame | None = None) -> SmoothMap:
        """The map through the confident matches that folds nowhere (docs/align-and-morph.md); ``rule``
        places the matches. ``frame`` is where both pictures lie, by default of their mean shape; A is
        mirrored there if it is :attr:`mirrored`."""
        rule = self._rule(rule)
        if frame is not None:
            return fit_smooth_map(self, rule, frame.mirrored(self.mirrored))
        if rule not in self._smooth:
            around = Frame.around(self.size_a, self.size_b)
            self._smooth[rule] = fit_smooth_map(self, rule, around.mirrored(self.mirrored))
        return self._smooth[rule]

    def flow(
        self, from_: Side = "a", rule: Rule | None = None, *, smooth: bool = False
    ) -> NDArray[np.float32]:
        """Dense flow ``(H, W, 2)``: (u, v) in pixels from every pixel of ``from_`` to its match.

        It is :meth:`transfer` of every pixel by the same ``rule``; except for ``cells``, of four places
        per cell along each axis, and linear between them. With ``smooth``, it is that of
        :meth:`smooth_map`, which may leave the other picture. Raises :class:`ArgumentError` as
        :meth:`transfer` does.
        """
        from_ = as_side(from_)
        size = self._size(from_)
        dense = self._dense_targets(from_, rule, smooth)
        dense -= geometry.cell_pixels(size, size).astype(np.float32)
        return dense

    def warp(
        self, image: GivenPicture, onto: Side = "b", rule: Rule | None = None, *, smooth: bool = True
    ) -> Image:
        """Warp ``image``, the *other* picture, into the geometry of the picture ``onto``.

        By default, this warps A (the source) onto B (the target). It follows :meth:`smooth_map` or, if not
        ``smooth``, :meth:`flow`, which tears where neighbouring matches disagree. uint8 BGR in and out.
        Raises :class:`ArgumentError` for an image of another size, or of more than 32,766 pixels a side,
        and for a picture other than ``a`` and ``b``.
        """
        onto = as_side(onto, "onto")
        image = as_image(image)
        self.check_size("a" if onto == "b" else "b", image)
        check_remap(image.shape[:2], self._size(onto))
        return remap(image, self._dense_targets(onto, rule, smooth))

    def draw(
        self, image_a: GivenPicture, image_b: GivenPicture, limit: int = LINES, style: Style = "lines"
    ) -> Image:
        """Both pictures, as they were given to the matcher, side by side, A left and B right: uint8 BGR.

        ``style`` is ``lines``: up to ``limit`` mutual matches joined by lines, confident ones that are
        spread over both pictures, above a legend; ``grid``: every cell of A in the colour of its position,
        and every cell of B in the colour of the cell that it matches;
        ``warp``: A warped onto B. Raises :class:`UsageError` for another style or pictures of other sizes.
        """
        return draw_result(self, as_image(image_a), as_image(image_b), limit, style)

    def draw_truth(
        self,
        image_a: GivenPicture,
        image_b: GivenPicture,
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
        from_, points, _ = self._given(points, from_)
        truth, _ = as_one_or_more(truth, "truth")
        if points.shape != truth.shape:
            raise ArgumentError(f"every point needs one truth, got {len(points)} and {len(truth)}")
        images = as_image(image_a), as_image(image_b)
        return draw_result_and_truth(self, *images, points, truth, within, from_)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``.json``, ``.csv``, ``.npz``, ``.parquet`` or ``.flo`` (the flow from A), by suffix,
        atomically.

        Raises :class:`UsageError` for another suffix and :class:`DccError` where writing fails.
        """
        save_correspondences(self, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; docs/formats.md describes the layout."""
        return to_dict(self)

    def one_way(self, from_: Side) -> OneWay:
        """The direction from the picture ``from_`` to the other alone. Raises :class:`ArgumentError` for a
        picture other than ``a`` and ``b``."""
        a = self.size_a, self.index_a, self.score_a, self.window_a, self.heatmap_a, self.fine_a
        b = self.size_b, self.index_b, self.score_b, self.window_b, self.heatmap_b, self.fine_b
        own, other = (a, b) if as_side(from_) == "a" else (b, a)
        size, index, score, window, heatmap, fine = own
        grid = other[1].shape[0], other[1].shape[1]
        return OneWay(size, other[0], grid, index, score, window, heatmap, fine, other[5])

    def check_size(self, side: Side, image: Image) -> None:
        """Raises :class:`ArgumentError` for an image of another size than the picture ``side``."""
        if image.shape[:2] != self._size(side):
            raise ArgumentError(
                f"picture {side} is {self._size(side)} (height, width), got {image.shape[:2]}"
            )

    def _given(self, points: ArrayLike, from_: Side, outside: bool = False) -> tuple[Side, Points, bool]:
        """The arguments of a transfer, checked; and whether there was one point ``(x, y)``."""
        from_, (points, one) = as_side(from_), as_one_or_more(points)
        if not outside:
            check_inside(points, self._size(from_), from_.upper(), MARGIN)
        return from_, points, one

    def _rule(self, rule: Rule | None) -> Rule:
        return as_rule(rule) or self.rule

    def _dense_targets(self, from_: Side, rule: Rule | None, smooth: bool) -> NDArray[np.float32]:
        """``(H, W, 2)``: the match of each pixel of ``from_``, in pixels (x, y) of the other picture."""
        if smooth:
            return self.smooth_map(rule).dense_targets(from_)
        return self.one_way(from_).dense_targets(self._rule(rule))

    def _size(self, side: Side) -> Size:
        return self.size_a if side == "a" else self.size_b

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

    def _mutual_by(self, rule: Rule) -> PointMatches:
        agree, scores = self.mutual_scores()
        way = self.one_way("a")
        points = way.cells().reshape(-1, 2)[agree]
        # By the rule cells, that of a cell itself: blending would round.
        targets = way.best_cells().reshape(-1, 2)[agree] if rule == "cells" else way.move(points, rule)
        confidence = self._confidence("a")
        confidence = None if confidence is None else confidence.ravel()[agree]
        matches = PointMatches(points, targets, scores[agree], confidence)
        return matches.take(matches.confident(self.least_confidence))
