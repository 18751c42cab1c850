"""Two pictures on one canvas, and the lines, dots and labels that are drawn on it."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Image, Points

GAP = 8
"""Pixels between the two pictures."""

_MAX_HEIGHT, _MAX_WIDTH = 2160, 4096  # of each picture on the canvas, in pixels
BACKGROUND = (32, 32, 32)
_PLATE = (24, 24, 24)
_FRACTION_BITS = 4  # OpenCV draws at 1/16 pixel when it gets fixed-point coordinates


def side_by_side(
    image_a: Image, image_b: Image, least_width: int = 0
) -> tuple[Image, tuple[float, float], int]:
    """A canvas with both pictures at the same height, the scale of each, and the column where B begins.

    Pictures that are together less wide than ``least_width`` pixels are enlarged to it.
    """
    height = max(image_a.shape[0], image_b.shape[0])
    width = sum(height * image.shape[1] / image.shape[0] for image in (image_a, image_b))
    height = min(max(height, int(np.ceil(height * (least_width - GAP) / width))), _MAX_HEIGHT)
    scales = tuple(min(height / i.shape[0], _MAX_WIDTH / i.shape[1]) for i in (image_a, image_b))
    left, right = (
        image if scale == 1 else cv2.resize(image, _scaled_size(image, scale))
        for image, scale in zip((image_a, image_b), scales, strict=True)
    )
    offset = left.shape[1] + GAP
    canvas = np.empty((height, offset + right.shape[1], 3), np.uint8)
    canvas[: left.shape[0], : left.shape[1]] = left
    canvas[: right.shape[0], offset:] = right
    canvas[:, left.shape[1] : offset] = BACKGROUND  # only what stays visible: filling all of it is slow
    canvas[left.shape[0] :, : left.shape[1]] = canvas[right.shape[0] :, offset:] = BACKGROUND
    return canvas, (scales[0], scales[1]), offset


def colours(count: int) -> list[tuple[int, int, int]]:
    """``count`` BGR colours of viridis, dark purple to yellow, which colour-blind people can tell apart."""
    return list(_viridis(count))


@lru_cache(maxsize=256)
def _viridis(count: int) -> tuple[tuple[int, int, int], ...]:
    ramp = np.linspace(0, 255, max(count, 1)).astype(np.uint8)[:, None]
    table = cv2.applyColorMap(ramp, cv2.COLORMAP_VIRIDIS).reshape(-1, 3)
    return tuple((int(b), int(g), int(r)) for b, g, r in table[:count])


def blend(upper: Image, lower: Image, share: NDArray[np.uint8]) -> Image:
    """``(H, W, 3)``: ``upper`` where ``share`` ``(H, W)`` is 255, ``lower`` where it is 0."""
    of_upper = cv2.merge([share, share, share])
    first = cv2.multiply(upper, of_upper, scale=1 / 255)
    return np.asarray(cv2.add(first, cv2.multiply(lower, 255 - of_upper, scale=1 / 255)), np.uint8)


def draw_ring(picture: Image, point: Points, radius: int, widths: tuple[int, int] = (3, 1)) -> None:
    """A circle that is visible on any background: a dark and, on it, a light line of these ``widths``."""
    centre = (round(float(point[0])), round(float(point[1])))
    for colour, width in zip(((0, 0, 0), (255, 255, 255)), widths, strict=True):
        cv2.circle(picture, centre, radius, colour, width, cv2.LINE_AA)


def draw_line(canvas: Image, a: Points, b: Points, colour: tuple[int, ...], width: int) -> None:
    """A line between two points ``(2,)`` (x, y), ``width`` pixels thick."""
    cv2.line(canvas, _fixed_point(a), _fixed_point(b), colour, width, cv2.LINE_AA, _FRACTION_BITS)


def draw_dot(canvas: Image, point: Points, colour: tuple[int, ...], radius: int) -> None:
    """A filled circle with a dark and a light rim, so that it is visible on any background."""
    centre = _fixed_point(point)
    for extra, ring in ((2, (0, 0, 0)), (1, (255, 255, 255)), (0, colour)):
        size = (radius + extra) << _FRACTION_BITS
        cv2.circle(canvas, centre, size, ring, cv2.FILLED, cv2.LINE_AA, _FRACTION_BITS)


def draw_label(picture: Image, point: Points, text: str, radius: int) -> None:
    """White text on a dark plate: above and to the right of the point, or where there is room."""
    x, y = (int(v) for v in np.rint(point))
    scale, thickness, pad = max(radius / 10, 0.4), max(round(radius / 5), 1), max(radius // 2, 2)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    plate_width, plate_height = width + 2 * pad, height + below + 2 * pad
    left = (
        x + radius + 2 if x + radius + 2 + plate_width < picture.shape[1] else x - radius - 2 - plate_width
    )
    top = y - radius - plate_height if y - radius - plate_height > 0 else y + radius
    left, top = max(left, 0), max(top, 0)
    # A plate, not an outline: OpenCV 5 no longer draws text in strokes, which an outline needs.
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


def _scaled_size(image: Image, scale: float) -> tuple[int, int]:
    """(width, height) after scaling, at least one pixel each."""
    return max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)


def _fixed_point(point: Points) -> tuple[int, int]:
    x, y = point.tolist()  # plain numbers: NumPy would take longer than OpenCV
    return round(x * (1 << _FRACTION_BITS)), round(y * (1 << _FRACTION_BITS))
