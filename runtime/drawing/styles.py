"""Drawings of whole grids and of ground truth. Colours differ as blue from yellow, or in lightness."""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Floats, Image, Points
from dccnet.runtime.drawing.canvas import GAP, draw_dot, draw_label, draw_line, draw_ring, side_by_side
from dccnet.runtime.drawing.place_colours import place_colours
from dccnet.runtime.geometry import Size, pixels_per_cell

Style = Literal["lines", "grid", "warp"]
STYLES: tuple[Style, ...] = get_args(Style)

# Blue and orange of Okabe and Ito's palette, BGR; hits and misses also differ in shape.
_HIT, _MISS = (178, 114, 0), (0, 159, 230)
_BLACK = (0, 0, 0)
_DIMMEST = 0.4  # brightness of a colour over black pixels, relative to white ones


def draw_grid(
    image_a: Image,
    image_b: Image,
    cells_a: Floats,
    matches_b: Floats,
    size_a: Size,
    confidence_b: NDArray[np.float32] | None = None,
) -> Image:
    """A left, every cell in the colour of its position; B right, every cell in the colour of its match.

    ``cells_a`` ``(hA, wA, 2)`` and ``matches_b`` ``(hB, wB, 2)`` are pixels (x, y) of A: the positions of
    A's cells, and those that the cells of B match. The less ``confidence_b`` ``(hB, wB)``, the greyer.
    """
    colours_a, colours_b = (place_colours(positions, size_a) for positions in (cells_a, matches_b))
    if confidence_b is not None:
        grey = colours_b.mean(axis=-1, keepdims=True)
        colours_b = _image(np.rint(grey + confidence_b[..., None] * (colours_b - grey)))
    return side_by_side(_tinted(image_a, colours_a), _tinted(image_b, colours_b))[0]


def draw_warp(image_a: Image, image_b: Image, warped: Image, mask: NDArray[np.float32]) -> Image:
    """A left; right ``warped``, which is A in the geometry of B, over B in grey: as much of it as the
    ``mask`` ``(H, W)`` in [0, 1] says."""
    return side_by_side(image_a, laid_over(warped, _grey(image_b), mask))[0]


def laid_over(upper: Image, lower: Image, mask: NDArray[np.float32]) -> Image:
    """``upper`` where the ``mask`` ``(H, W)`` is 1, ``lower`` where it is 0, and both between."""
    blended = lower + mask[..., None] * (upper.astype(np.float32) - lower)
    return _image(np.rint(blended))


def draw_truth(
    image_from: Image,
    image_to: Image,
    points: Points,
    predicted: Points,
    truth: Points,
    within: float,
) -> Image:
    """Numbered points left; right their predicted positions, a dot for a hit and a cross for a miss.

    ``points`` are ``(N, 2)`` pixels of the left picture, ``predicted`` and ``truth`` of the right one. A
    hit lies at most ``within`` pixels from the truth. A line joins each prediction to the truth, a ring.
    """
    canvas, (scale_left, scale_right), offset = side_by_side(image_from, image_to)
    unit = max(4, round(min(canvas.shape[:2]) / 90))
    left, right = canvas[:, : offset - GAP], canvas[:, offset:]
    hits = np.linalg.norm(predicted - truth, axis=1) <= within
    colours = [_HIT if hit else _MISS for hit in hits]
    points, predicted, truth = points * scale_left, predicted * scale_right, truth * scale_right
    for position, true, colour in zip(predicted, truth, colours, strict=True):
        draw_ring(right, true, 2 * unit, (unit // 3 + 3, unit // 3 + 1))
        draw_line(right, position, true, _BLACK, unit // 2 + 2)
        draw_line(right, position, true, colour, max(unit // 2, 1))
    for point, position, colour in zip(points, predicted, colours, strict=True):
        draw_dot(left, point, colour, unit)
        (draw_dot if colour == _HIT else _draw_cross)(right, position, colour, unit)
    for picture, labelled in ((left, points), (right, predicted)):  # last, so that nothing covers them
        for number, position in enumerate(labelled, start=1):
            draw_label(picture, position, str(number), unit)
    text = f"{hits.sum()} of {len(hits)} within {within:g} px"
    draw_label(right, _emptiest_corner(right, np.concatenate([predicted, truth])), text, unit)
    return canvas


def _emptiest_corner(picture: Image, marks: Points) -> Points:
    """The corner ``(2,)`` (x, y) that is farthest from all ``marks`` ``(N, 2)``; the first without any."""
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    distances = np.linalg.norm(corners[:, None] - marks, axis=-1)
    emptiest: Points = corners[distances.min(axis=1, initial=np.inf).argmax()]
    return emptiest


def _draw_cross(canvas: Image, centre: Points, colour: tuple[int, ...], size: int) -> None:
    for paint, width in ((_BLACK, size // 2 + 4), (colour, size // 2 + 1)):
        for corner in ([size, size], [size, -size]):
            draw_line(canvas, centre - corner, centre + corner, paint, width)


def _tinted(image: Image, colours: NDArray[np.uint8]) -> Image:
    """The picture's lightness, coloured cell by cell: ``colours`` is ``(h, w, 3)`` BGR."""
    height, width = image.shape[:2]
    step_x, step_y = np.maximum(pixels_per_cell((height, width), colours.shape[:2]), 1e-9)
    rows = np.rint(np.arange(height) / step_y).astype(np.intp)
    columns = np.rint(np.arange(width) / step_x).astype(np.intp)
    light = _DIMMEST + (1 - _DIMMEST) * _grey(image).astype(np.float32) / 255
    return _image(np.rint(colours[rows[:, None], columns[None, :]] * light))


def _grey(image: Image) -> Image:
    return _image(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR))


def _image(array: object) -> Image:
    """An array of OpenCV or NumPy as a picture."""
    return np.asarray(array, np.uint8)
