"""Drawings of matched points: lines between both pictures, or numbered dots."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Image
from dccnet.runtime.drawing.canvas import (
    GAP,
    colours,
    draw_dot,
    draw_label,
    draw_line,
    draw_ring,
    faded,
    side_by_side,
)
from dccnet.runtime.point_matches import PointMatches


def draw_matches(image_a: Image, image_b: Image, matches: PointMatches, limit: int) -> Image:
    """A left, B right, the ``limit`` best matches as lines coloured by their x in A: the paler, the less
    confidence.

    Pictures of different height are scaled to the greater height. uint8 BGR.
    """
    canvas, (scale_a, scale_b), offset = side_by_side(image_a, image_b)
    best = best_matches(matches, limit)
    points_a, points_b = best.points_a * scale_a, best.points_b * scale_b + [offset, 0]
    thickness = max(1, round(min(canvas.shape[:2]) / 400))
    palette = faded(colours(len(best)), best.confidence)
    for a, b, colour in zip(points_a, points_b, palette, strict=True):
        draw_line(canvas, a, b, colour, thickness)
    for points in (points_a, points_b):
        for point, colour in zip(points, palette, strict=True):
            draw_dot(canvas, point, colour, 3 * thickness)
    return canvas


def best_matches(matches: PointMatches, limit: int) -> PointMatches:
    """The ``limit`` matches of most confidence or, without, of highest score, sorted by x in A."""
    goodness = matches.scores if matches.confidence is None else matches.confidence
    order = np.argsort(-goodness, kind="stable")[: max(limit, 0)]
    order = order[np.argsort(matches.points_a[order, 0], kind="stable")]
    return matches.take(order)


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
