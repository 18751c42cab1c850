"""Pictures of matches. Colours are from the viridis map, which colour-blind people can tell apart."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Image
from dccnet.runtime.matches import PointMatches

GAP = 8  # pixels between the two pictures
_MAX_HEIGHT, _MAX_WIDTH = 2160, 4096  # of each picture in a drawing, in pixels
_BACKGROUND = (32, 32, 32)
_PLATE = (24, 24, 24)


def draw_matches(image_a: Image, image_b: Image, matches: PointMatches, limit: int) -> Image:
    """A left, B right, the ``limit`` best matches as lines coloured by the place in A.

    Pictures of different height are scaled to the higher one. uint8 BGR.
    """
    canvas, (scale_a, scale_b), offset = side_by_side(image_a, image_b)
    order = np.argsort(-matches.scores, kind="stable")[: max(limit, 0)]
    order = order[np.argsort(matches.points_a[order, 0], kind="stable")]
    points_a = matches.points_a[order] * scale_a
    points_b = matches.points_b[order] * scale_b + [offset, 0]
    thickness = max(1, round(min(canvas.shape[:2]) / 400))
    for a, b, colour in zip(points_a, points_b, colours(len(order)), strict=True):
        draw_line(canvas, a, b, colour, thickness)
    for points in (points_a, points_b):
        for point, colour in zip(points, colours(len(order)), strict=True):
            draw_dot(canvas, point, colour, 3 * thickness)
    return canvas


def draw_points(image_a: Image, image_b: Image, matches: PointMatches) -> Image:
    """The same numbered points in both pictures, A left and B right."""
    canvas, (scale_a, scale_b), offset = side_by_side(image_a, image_b)
    radius = max(4, round(min(canvas.shape[:2]) / 90))
    left, right = canvas[:, : offset - GAP], canvas[:, offset:]  # views: labels stay in their picture
    for picture, points in ((left, matches.points_a * scale_a), (right, matches.points_b * scale_b)):
        for number, (point, colour) in enumerate(zip(points, colours(len(points)), strict=True), start=1):
            draw_dot(picture, point, colour, radius)
            draw_label(picture, point, str(number), radius)
    return canvas


def colours(count: int) -> list[tuple[int, int, int]]:
    """``count`` BGR colours along viridis, dark purple to yellow."""
    return list(_viridis(count))


@lru_cache(maxsize=256)
def _viridis(count: int) -> tuple[tuple[int, int, int], ...]:
    ramp = np.linspace(0, 255, max(count, 1)).astype(np.uint8)[:, None]
    table = cv2.applyColorMap(ramp, cv2.COLORMAP_VIRIDIS).reshape(-1, 3)
    return tuple((int(b), int(g), int(r)) for b, g, r in table[:count])


def side_by_side(image_a: Image, image_b: Image) -> tuple[Image, tuple[float, float], int]:
    """A canvas with both pictures at one height, the scale of each, and the column where B begins."""
    height = min(max(image_a.shape[0], image_b.shape[0]), _MAX_HEIGHT)
    scales = tuple(min(height / i.shape[0], _MAX_WIDTH / i.shape[1]) for i in (image_a, image_b))
    left, right = (
        image if scale == 1 else cv2.resize(image, _scaled(image, scale))
        for image, scale in zip((image_a, image_b), scales, strict=True)
    )
    offset = left.shape[1] + GAP
    canvas = np.empty((height, offset + right.shape[1], 3), np.uint8)
    canvas[: left.shape[0], : left.shape[1]] = left
    canvas[: right.shape[0], offset:] = right
    canvas[:, left.shape[1] : offset] = _BACKGROUND  # no more than is seen: filling all of it is slow
    canvas[left.shape[0] :, : left.shape[1]] = canvas[right.shape[0] :, offset:] = _BACKGROUND
    return canvas, (scales[0], scales[1]), offset


def _scaled(image: Image, scale: float) -> tuple[int, int]:
    """(width, height) after scaling, at least one pixel each."""
    return max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)


_FRACTION_BITS = 4  # OpenCV draws at 1/16 pixel when asked


def _fixed(point: NDArray[np.float64]) -> tuple[int, int]:
    x, y = point.tolist()  # plain numbers: NumPy would take longer than OpenCV
    return round(x * (1 << _FRACTION_BITS)), round(y * (1 << _FRACTION_BITS))


def draw_line(
    canvas: Image, a: NDArray[np.float64], b: NDArray[np.float64], colour: tuple[int, ...], width: int
) -> None:
    """Between two points (x, y), ``width`` pixels thick."""
    cv2.line(canvas, _fixed(a), _fixed(b), colour, width, cv2.LINE_AA, _FRACTION_BITS)


def draw_dot(canvas: Image, point: NDArray[np.float64], colour: tuple[int, ...], radius: int) -> None:
    """A filled circle with a dark rim and a light one: seen on any ground."""
    centre = _fixed(point)
    for extra, ring in ((2, (0, 0, 0)), (1, (255, 255, 255)), (0, colour)):
        size = (radius + extra) << _FRACTION_BITS
        cv2.circle(canvas, centre, size, ring, cv2.FILLED, cv2.LINE_AA, _FRACTION_BITS)


def draw_label(picture: Image, point: NDArray[np.float64], text: str, radius: int) -> None:
    """White on a dark plate: above and to the right of the point, or where there is room."""
    x, y = (int(v) for v in np.rint(point))
    scale, thickness, pad = max(radius / 10, 0.4), max(round(radius / 5), 1), max(radius // 2, 2)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    plate_width, plate_height = width + 2 * pad, height + below + 2 * pad
    left = (
        x + radius + 2 if x + radius + 2 + plate_width < picture.shape[1] else x - radius - 2 - plate_width
    )
    top = y - radius - plate_height if y - radius - plate_height > 0 else y + radius
    left, top = max(left, 0), max(top, 0)
    # An outline would do where text is drawn in strokes, which OpenCV 5 does no longer.
    cv2.rectangle(picture, (left, top), (left + plate_width, top + plate_height), _PLATE, cv2.FILLED)
    cv2.putText(
        picture,
        text,
        (left + pad, top + pad + height),
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        (255, 255, 255),
        thickness,
        cv2.LINE_AA,
    )
