"""Frames of an annotated video, in three styles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Image
from dccnet.runtime.drawing.matches import colours, draw_dot, draw_label, draw_matches, side_by_side
from dccnet.runtime.matches import PointMatches
from dccnet.runtime.video.propagation.maps import inside

if TYPE_CHECKING:
    from dccnet.runtime.video.propagation.carrier import Carried
    from dccnet.runtime.video.propagation.maps import CarriedPoints
    from dccnet.runtime.video.stream import FrameResult

STYLES = ("side", "overlay", "dots")
"""Reference and frame side by side; the frame with what was carried, or else with the reference laid over
it; the frame with dots alone."""

LINES = 60
"""Matches drawn where no points are carried."""

_TINT = (60, 180, 250)  # BGR of masks and boxes: amber, which viridis does not reach
_TINT_SHARE = 0.45


def draw_frame(result: FrameResult, style: str = "side") -> Image:
    """``(H, W, 3)`` uint8 BGR, of the frame's size or, side by side, wider.

    Points are numbered from 1, or labelled; a lost one is a ring in the reference and missing in the
    frame. Raises ``ValueError`` for another style.
    """
    if style == "side":
        return _side(result)
    if style not in STYLES:
        raise ValueError(f"there is no style '{style}': it is {', '.join(STYLES)}")
    frame: Image = result.image.copy()
    carried = result.carried
    if style == "dots":
        _dots(frame, result)
        return frame
    if carried is None:
        warped = result.correspondences.warp(result.reference.image)
        return np.asarray(cv2.addWeighted(frame, 0.5, warped, 0.5, 0), np.uint8)
    _annotate(frame, carried)
    return frame


def _side(result: FrameResult) -> Image:
    reference, frame, carried = result.reference.image, result.image, result.carried
    if carried is None:
        return draw_matches(reference, frame, result.correspondences.mutual(), LINES)
    if carried.mask is not None:
        reference, frame = reference.copy(), frame.copy()
        if result.reference.mask is not None:
            _tint(reference, result.reference.mask)
        _tint(frame, carried.mask.mask)
    canvas, (scale_a, scale_b), offset = side_by_side(reference, frame)
    left = canvas[:, : round(reference.shape[1] * scale_a)]  # views: labels stay in their picture
    right = canvas[:, offset:]
    if carried.boxes is not None:
        everywhere = np.ones(len(carried.boxes), bool)
        _draw_boxes(left, carried.boxes.boxes_a * scale_a, everywhere)
        _draw_boxes(right, carried.boxes.boxes_b * scale_b, carried.boxes.visible)
    if carried.points is not None:
        radius = _radius(canvas)
        _draw_points(left, carried.points.points_a * scale_a, carried.points, radius, rings=True)
        _draw_points(right, carried.points.points_b * scale_b, carried.points, radius)
    return canvas


def _annotate(frame: Image, carried: Carried) -> None:
    if carried.mask is not None:
        _tint(frame, carried.mask.mask)
    if carried.boxes is not None:
        _draw_boxes(frame, carried.boxes.boxes_b, carried.boxes.visible)
    if carried.points is not None:
        _draw_points(frame, carried.points.points_b, carried.points, _radius(frame))


def _dots(frame: Image, result: FrameResult) -> None:
    """Carried points, or else the best matches, coloured by their place in the reference."""
    points = None if result.carried is None else result.carried.points
    if points is not None:
        where = points.points_b[points.visible & inside(points.points_b, result.correspondences.size_b)]
    else:
        where = _best(result.correspondences.mutual()).points_b
    for point, colour in zip(where, colours(len(where)), strict=True):
        draw_dot(frame, point, colour, max(2, _radius(frame) // 2))


def _best(matches: PointMatches) -> PointMatches:
    order = np.argsort(-matches.scores, kind="stable")[:LINES]
    order = order[np.argsort(matches.points_a[order, 0], kind="stable")]
    return PointMatches(matches.points_a[order], matches.points_b[order], matches.scores[order])


def _radius(picture: Image) -> int:
    height, width = picture.shape[:2]
    return max(4, round(int(min(height, width)) / 90))


def _draw_points(
    picture: Image, where: NDArray[np.float64], points: CarriedPoints, radius: int, rings: bool = False
) -> None:
    shown = colours(len(points))
    for number, (point, seen) in enumerate(zip(where, points.visible, strict=True)):
        if seen:
            draw_dot(picture, point, shown[number], radius)
            draw_label(picture, point, points.labels[number] if points.labels else str(number + 1), radius)
        elif rings:
            centre = (round(float(point[0])), round(float(point[1])))
            for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                cv2.circle(picture, centre, radius, colour, width, cv2.LINE_AA)


def _draw_boxes(picture: Image, boxes: NDArray[np.float64], seen: NDArray[np.bool_]) -> None:
    height, width = picture.shape[:2]
    for x, y, w, h in boxes[seen]:
        far = np.clip([x, y, x + w, y + h], -width - height, 2 * (width + height))  # OpenCV takes 16 bits
        left, top, right, bottom = (int(v) for v in np.rint(far))
        for colour, thickness in (((0, 0, 0), 4), (_TINT, 2)):
            cv2.rectangle(picture, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)


def _tint(picture: Image, mask: NDArray[np.uint8]) -> None:
    """Colour what the mask marks, and draw its edge."""
    marked = np.ascontiguousarray(mask if mask.ndim == 2 else mask.max(axis=2))
    tinted = cv2.addWeighted(picture, 1 - _TINT_SHARE, np.full_like(picture, _TINT), _TINT_SHARE, 0)
    cv2.copyTo(tinted, marked, picture)
    edges, _ = cv2.findContours(np.asarray(marked > 0, np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, edges, -1, _TINT, 2)
