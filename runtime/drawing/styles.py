"""Drawings of whole grids and of truth. Colours differ as blue from yellow, or in lightness."""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Image
from dccnet.runtime.drawing.matches import GAP, draw_dot, draw_label, draw_line, side_by_side
from dccnet.runtime.drawing.place_colours import place_colours
from dccnet.runtime.geometry import Size, pixels_per_cell

Style = Literal["lines", "grid", "warp"]
STYLES: tuple[Style, ...] = get_args(Style)

# Okabe and Ito's blue and orange, BGR: hits and misses also differ in shape.
_HIT, _MISS = (178, 114, 0), (0, 159, 230)
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_DIMMEST = 0.4  # what a black picture leaves of a colour laid over it


def draw_grid(
    image_a: Image,
    image_b: Image,
    cells_a: NDArray[np.float64],
    matches_b: NDArray[np.float64],
    size_a: Size,
) -> Image:
    """A left, every cell in a colour of its place; B right, every cell in the colour of its match.

    ``cells_a`` ``(hA, wA, 2)`` and ``matches_b`` ``(hB, wB, 2)`` are pixels (x, y) of A: where its cells
    lie, and where those of B go.
    """
    tinted = (
        _tinted(image, place_colours(places, size_a))
        for image, places in ((image_a, cells_a), (image_b, matches_b))
    )
    return side_by_side(*tinted)[0]


def draw_warp(image_a: Image, image_b: Image, warped: Image) -> Image:
    """A left; right ``warped``, which is A in the geometry of B, over B in grey."""
    return side_by_side(image_a, _image(cv2.addWeighted(warped, 0.65, _grey(image_b), 0.35, 0)))[0]


def draw_truth(
    image_from: Image,
    image_to: Image,
    points: NDArray[np.float64],
    found: NDArray[np.float64],
    truth: NDArray[np.float64],
    within: float,
) -> Image:
    """Numbered points left; right where they came out: a dot on a hit, a cross on a miss.

    ``points`` are ``(N, 2)`` pixels of the left picture, ``found`` and ``truth`` of the right one. A line
    leads from each place found to the truth, a ring.
    """
    canvas, (scale_left, scale_right), offset = side_by_side(image_from, image_to)
    unit = max(4, round(min(canvas.shape[:2]) / 90))
    left, right = canvas[:, : offset - GAP], canvas[:, offset:]
    hits = np.linalg.norm(found - truth, axis=1) <= within
    colours = [_HIT if hit else _MISS for hit in hits]
    points, found, truth = points * scale_left, found * scale_right, truth * scale_right
    for place, true, colour in zip(found, truth, colours, strict=True):
        for paint, thickness in ((_BLACK, unit // 3 + 3), (_WHITE, unit // 3 + 1)):
            _draw_ring(right, true, paint, 2 * unit, thickness)
        draw_line(right, place, true, _BLACK, unit // 2 + 2)
        draw_line(right, place, true, colour, max(unit // 2, 1))
    for point, place, colour in zip(points, found, colours, strict=True):
        draw_dot(left, point, colour, unit)
        (draw_dot if colour == _HIT else _draw_cross)(right, place, colour, unit)
    for picture, places in ((left, points), (right, found)):  # last, so that nothing covers them
        for number, place in enumerate(places, start=1):
            draw_label(picture, place, str(number), unit)
    text = f"{hits.sum()} of {len(hits)} within {within:g} px"
    draw_label(right, _emptiest_corner(right, np.concatenate([found, truth])), text, unit)
    return canvas


def _emptiest_corner(picture: Image, marks: NDArray[np.float64]) -> NDArray[np.float64]:
    """The corner (x, y) that is farthest from all ``marks (N, 2)``; without any, the first."""
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    distances = np.linalg.norm(corners[:, None] - marks, axis=-1)
    emptiest: NDArray[np.float64] = corners[distances.min(axis=1, initial=np.inf).argmax()]
    return emptiest


def _draw_ring(
    canvas: Image, centre: NDArray[np.float64], colour: tuple[int, ...], radius: int, width: int
) -> None:
    x, y = (int(v) for v in np.rint(centre))
    cv2.circle(canvas, (x, y), radius, colour, width, cv2.LINE_AA)


def _draw_cross(canvas: Image, centre: NDArray[np.float64], colour: tuple[int, ...], size: int) -> None:
    for paint, width in ((_BLACK, size // 2 + 4), (colour, size // 2 + 1)):
        for corner in ([size, size], [size, -size]):
            draw_line(canvas, centre - corner, centre + corner, paint, width)


def _tinted(image: Image, colours: NDArray[np.uint8]) -> Image:
    """The picture's light and dark under a tile of colour ``(h, w, 3)`` for each cell."""
    height, width = image.shape[:2]
    step_x, step_y = np.maximum(pixels_per_cell((height, width), colours.shape[:2]), 1e-9)
    rows = np.rint(np.arange(height) / step_y).astype(np.intp)
    columns = np.rint(np.arange(width) / step_x).astype(np.intp)
    light = _DIMMEST + (1 - _DIMMEST) * _grey(image).astype(np.float32) / 255
    return _image(np.rint(colours[rows[:, None], columns[None, :]] * light))


def _grey(image: Image) -> Image:
    return _image(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR))


def _image(array: object) -> Image:
    """What OpenCV or NumPy returned, as a picture."""
    return np.asarray(array, np.uint8)
