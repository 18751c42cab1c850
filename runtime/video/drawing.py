"""Draw the result of a frame, in three styles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Boxes, Image, Mask, Points
from dccnet.runtime.drawing.canvas import colours, draw_dot, draw_label, draw_ring, side_by_side
from dccnet.runtime.drawing.choosing import choose_matches
from dccnet.runtime.drawing.matches import colours_of, draw_lines
from dccnet.runtime.video.propagation.maps import inside

if TYPE_CHECKING:
    from dccnet.runtime.video.propagation.carrier import Carried
    from dccnet.runtime.video.propagation.maps import CarriedPoints
    from dccnet.runtime.video.references import Reference
    from dccnet.runtime.video.stream import FrameResult

STYLES = ("side", "overlay", "dots")
"""Reference and frame side by side; the frame with what was carried, or otherwise blended with the warped
reference; the frame with dots only."""

LINES = 60
"""Number of matches that are drawn on a frame where no points are carried."""

_TINT = (60, 180, 250)  # BGR of masks and boxes: amber, which viridis does not contain
_TINT_SHARE = 0.45


def draw_frame(result: FrameResult, style: str = "side") -> Image:
    """Draw into a copy of the frame: ``(H, W, 3)`` uint8 BGR, of the frame's size or, side by side, wider.

    Points have their label or their number from 1. A point that is not visible is a ring in the reference
    and is not drawn in the frame. Raises ``ValueError`` for another style.
    """
    if style == "side":
        return _draw_side_by_side(result)
    if style not in STYLES:
        raise ValueError(f"there is no style '{style}': it is {', '.join(STYLES)}")
    frame: Image = result.image.copy()
    carried = result.carried
    if style == "dots":
        _draw_dots(frame, result)
        return frame
    if carried is None:
        # A smooth map would take longer than the frame's match.
        warped = result.correspondences.warp(result.reference.image, smooth=False)
        return np.asarray(cv2.addWeighted(frame, 0.5, warped, 0.5, 0), np.uint8)
    _draw_carried(frame, carried)
    return frame


def _draw_side_by_side(result: FrameResult) -> Image:
    if result.carried is not None:
        return _draw_annotations(result, result.carried)[0]
    mutual = result.correspondences.mutual()
    chosen = choose_matches(result.reference.image, result.image, mutual, LINES)
    return draw_lines(result.reference.image, result.image, chosen)


class FrameDrawer:
    """Draws frame after frame, each as :func:`draw_frame` does.

    Side by side, it keeps the reference with its annotations, until there is another one or another of its
    points is lost.
    """

    def __init__(self, style: str = "side") -> None:
        self._style = style
        self._left: _DrawnReference | None = None

    def draw(self, result: FrameResult) -> Image:
        """See :func:`draw_frame`."""
        if self._style != "side" or result.carried is None:
            return draw_frame(result, self._style)
        canvas, self._left = _draw_annotations(result, result.carried, self._left)
        return canvas


@dataclass(frozen=True, slots=True)
class _DrawnReference:
    """The left part of a canvas, and what it depends on."""

    reference: Reference
    frame_shape: tuple[int, ...]
    points: bytes
    visible: bytes
    picture: Image

    def is_of(self, result: FrameResult, points: bytes, visible: bytes) -> bool:
        return (
            self.reference is result.reference
            and self.frame_shape == result.image.shape
            and (self.points, self.visible) == (points, visible)
        )


def _draw_annotations(
    result: FrameResult, carried: Carried, left: _DrawnReference | None = None
) -> tuple[Image, _DrawnReference]:
    """Reference and frame side by side, and the reference as it is on the canvas, for the next frame."""
    reference, frame = result.reference.image, result.image
    points, boxes = carried.points, carried.boxes
    key = (b"", b"") if points is None else (points.points_a.tobytes(), points.visible.tobytes())
    kept = left if left is not None and left.is_of(result, *key) else None
    if carried.mask is not None:
        frame = frame.copy()
        _tint(frame, carried.mask.mask)
        if result.reference.mask is not None and kept is None:
            reference = reference.copy()
            _tint(reference, result.reference.mask)
    canvas, (scale_a, scale_b), offset = side_by_side(reference, frame)
    on_left = canvas[:, : round(reference.shape[1] * scale_a)]  # views: labels stay in their picture
    on_right = canvas[:, offset:]
    radius = _radius(canvas)
    if kept is not None:
        on_left[:] = kept.picture
    else:
        if boxes is not None:
            _draw_boxes(on_left, boxes.boxes_a * scale_a, np.ones(len(boxes), bool))
        if points is not None:
            _draw_points(on_left, points.points_a * scale_a, points, radius, rings=True)
        kept = _DrawnReference(result.reference, result.image.shape, *key, on_left.copy())
    if boxes is not None:
        _draw_boxes(on_right, boxes.boxes_b * scale_b, boxes.visible)
    if points is not None:
        _draw_points(on_right, points.points_b * scale_b, points, radius)
    return canvas, kept


def _draw_carried(frame: Image, carried: Carried) -> None:
    if carried.mask is not None:
        _tint(frame, carried.mask.mask)
    if carried.boxes is not None:
        _draw_boxes(frame, carried.boxes.boxes_b, carried.boxes.visible)
    if carried.points is not None:
        _draw_points(frame, carried.points.points_b, carried.points, _radius(frame))


def _draw_dots(frame: Image, result: FrameResult) -> None:
    """Carried points, or otherwise the best matches, coloured by their x in the reference."""
    carried = None if result.carried is None else result.carried.points
    if carried is not None:
        visible = carried.visible & inside(carried.points_b, result.correspondences.size_b)
        points = carried.points_b[visible]
        palette = colours(len(points))
    else:
        mutual = result.correspondences.mutual()
        chosen = choose_matches(result.reference.image, result.image, mutual, LINES)
        points, palette = chosen.points_b, colours_of(chosen)
    for point, colour in zip(points, palette, strict=True):
        draw_dot(frame, point, colour, max(2, _radius(frame) // 2))


def _radius(picture: Image) -> int:
    height, width = picture.shape[:2]
    return max(4, round(int(min(height, width)) / 90))


def _draw_points(
    picture: Image, positions: Points, points: CarriedPoints, radius: int, rings: bool = False
) -> None:
    """Visible points at ``positions`` ``(N, 2)``; with ``rings``, the others as rings."""
    palette = colours(len(points))
    for number, (point, visible) in enumerate(zip(positions, points.visible, strict=True)):
        if visible:
            draw_dot(picture, point, palette[number], radius)
            draw_label(picture, point, points.labels[number] if points.labels else str(number + 1), radius)
        elif rings:
            draw_ring(picture, point, radius)


def _draw_boxes(picture: Image, boxes: Boxes, visible: NDArray[np.bool_]) -> None:
    height, width = picture.shape[:2]
    for x, y, w, h in boxes[visible]:
        # OpenCV's coordinates have 16 bits.
        edges = np.clip([x, y, x + w, y + h], -width - height, 2 * (width + height))
        left, top, right, bottom = (int(v) for v in np.rint(edges))
        for colour, thickness in (((0, 0, 0), 4), (_TINT, 2)):
            cv2.rectangle(picture, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)


def _tint(picture: Image, mask: Mask) -> None:
    """Colour the pixels that are not 0 in the mask, and draw their outline."""
    marked = np.ascontiguousarray(mask if mask.ndim == 2 else mask.max(axis=2))
    tinted = cv2.addWeighted(picture, 1 - _TINT_SHARE, np.full_like(picture, _TINT), _TINT_SHARE, 0)
    cv2.copyTo(tinted, marked, picture)
    edges, _ = cv2.findContours(np.asarray(marked > 0, np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, edges, -1, _TINT, 2)
