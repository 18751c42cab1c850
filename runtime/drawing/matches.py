"""Drawings of matched points: lines between both pictures, or numbered dots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Floats, Image, Points
from dccnet.runtime.drawing.canvas import (
    GAP,
    blend,
    colours,
    draw_dot,
    draw_label,
    draw_line,
    draw_ring,
    side_by_side,
)
from dccnet.runtime.drawing.choosing import choose_matches
from dccnet.runtime.drawing.legend import with_legend
from dccnet.runtime.point_matches import PointMatches

LINES = 25
"""Matches that are drawn unless another number is asked for: more can hardly be told apart."""
LEAST_WIDTH = 1200
"""Pixels: smaller pictures are enlarged to it together."""
_FAINTEST = 0.15  # opacity of a match without confidence


def draw_matches(image_a: Image, image_b: Image, matches: PointMatches, limit: int = LINES) -> Image:
    """A left, B right, up to ``limit`` matches as lines, and a legend beneath. uint8 BGR.

    The matches are confident and spread over both pictures (:func:`choose_matches`). Their colour is their
    place in A from left to right, and the less confident, the fainter they are. Pictures of different
    height are scaled to the greater height, both to at least :data:`LEAST_WIDTH` pixels together.
    """
    chosen = choose_matches(image_a, image_b, matches, limit)
    drawn = draw_lines(image_a, image_b, chosen, LEAST_WIDTH)
    return with_legend(drawn, len(chosen), len(matches), chosen.confidence, opacities(chosen))


def draw_lines(image_a: Image, image_b: Image, matches: PointMatches, least_width: int = 0) -> Image:
    """All ``matches``, without a legend."""
    canvas, (scale_a, scale_b), offset = side_by_side(image_a, image_b, least_width)
    points_a, points_b = matches.points_a * scale_a, matches.points_b * scale_b + [offset, 0]
    thickness = max(1, round(min(canvas.shape[:2]) / 300))
    palette = colours_of(matches)
    if matches.confidence is None:
        for a, b, colour in zip(points_a, points_b, palette, strict=True):
            draw_line(canvas, a, b, colour, thickness)
    else:
        canvas = _with_faint_lines(canvas, points_a, points_b, palette, opacities(matches), thickness)
    for points in (points_a, points_b):
        for point, colour in zip(points, palette, strict=True):
            draw_dot(canvas, point, colour, 3 * thickness)
    return canvas


def _with_faint_lines(
    canvas: Image,
    points_a: Points,
    points_b: Points,
    palette: Sequence[tuple[int, int, int]],
    opacity: Floats,
    thickness: int,
) -> Image:
    """The canvas with a line for each match, the most opaque ones on top."""
    layer, covered = canvas.copy(), np.zeros(canvas.shape[:2], np.uint8)
    for number in np.argsort(opacity, kind="stable"):
        share = (round(255 * float(opacity[number])),)
        for image, colour in ((layer, palette[number]), (covered, share)):
            draw_line(image, points_a[number], points_b[number], colour, thickness)
    return blend(layer, canvas, covered)


def colours_of(matches: PointMatches) -> list[tuple[int, int, int]]:
    """A BGR colour for each match, by the order of their places in A from left to right."""
    rank = np.empty(len(matches), np.intp)
    rank[np.argsort(matches.points_a[:, 0], kind="stable")] = np.arange(len(matches))
    palette = colours(len(matches))
    return [palette[number] for number in rank]


def opacities(matches: PointMatches) -> Floats:
    """``(N,)`` in (0, 1]: how opaque the line of each match is; without confidence, all are."""
    if matches.confidence is None:
        return np.ones(len(matches))
    return _FAINTEST + (1 - _FAINTEST) * matches.confidence.astype(np.float64)


def draw_points(
    image_a: Image, image_b: Image, matches: PointMatches, visible: NDArray[np.bool_] | None = None
) -> Image:
    """The same numbered points in both pictures, A left and B right. uint8 BGR.

    Where ``visible`` ``(N,)``, by default all true, is false, a point is a ring in A and is not drawn in B.
    """
    canvas, (scale_a, scale_b), offset = side_by_side(image_a, image_b)
    radius = max(4, round(min(canvas.shape[:2]) / 90))
    left, right = canvas[:, : offset - GAP], canvas[:, offset:]  # views: labels stay in their picture
    for picture, points in ((left, matches.points_a * scale_a), (right, matches.points_b * scale_b)):
        for number, (point, colour) in enumerate(zip(points, colours(len(points)), strict=True)):
            if visible is None or visible[number]:
                draw_dot(picture, point, colour, radius)
                draw_label(picture, point, str(number + 1), radius)
            elif picture is left:
                draw_ring(picture, point, radius)
    return canvas
