"""Ways to carry the points and the mask of a clip's reference to its other frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.evaluation.models import nearest_of_bundle
from dccnet.evaluation.video.clips import Clip
from dccnet.runtime.arrays import Mask, Points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.remap import remap
from dccnet.runtime.video.propagation.carrier import Carrier
from dccnet.runtime.video.propagation.maps import CarriedPoints, SingleMatches
from dccnet.runtime.video.propagation.masks import CarriedMask
from dccnet.runtime.video.propagation.settings import Propagation
from dccnet.runtime.video.references import Reference


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The reference's annotations in one frame; None where the reference has no such annotation."""

    points: Points | None
    mask: Mask | None


Predictions = dict[str, Prediction]
"""By the name of the method."""
Tracker = Callable[[Clip], Iterator[Predictions]]
"""Yields predictions for every frame after the reference."""

MATCHES = "dcc match --video"
CHAINED = "dcc match --video, from frame to frame"
FOLLOWED = "dcc match --video --follow"
SMOOTH = "dcc match --video --map smooth"
NEAREST = "nearest neighbour"
LUCAS_KANADE = "Lucas-Kanade"
AT_REST = "at rest"

_LATTICE = 4
"""Distance in pixels of the points by which Lucas-Kanade carries a mask."""


def at_rest(clip: Clip) -> Iterator[Predictions]:
    """Nothing moves: the baseline of every tracker."""
    points, mask = clip.start_points(), clip.start_mask()
    for _ in clip.frames[clip.first + 1 :]:
        yield {AT_REST: Prediction(points, mask)}


def lucas_kanade(clip: Clip) -> Iterator[Predictions]:
    """OpenCV's pyramidal Lucas-Kanade from frame to frame (Bouguet 2000), with its default parameters.

    A point that it loses stays where it was. For the mask, a lattice of points in it is tracked, of which
    the lost ones are dropped, and each of them stands for the square around it.
    """
    points, mask = clip.start_points(), clip.start_mask()
    lattice = None if mask is None else _lattice(mask)
    before: NDArray[np.uint8] | None = None
    for frame in clip.images():
        after = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8)
        if before is not None:
            if points is not None:
                moved, found = _track(before, after, points)
                points = np.where(found[:, None], moved, points)
            if lattice is not None:
                moved, found = _track(before, after, lattice)
                lattice = moved[found]
            painted = None if lattice is None else _painted(lattice, after.shape[:2])
            yield {LUCAS_KANADE: Prediction(points, painted)}
        before = after


def from_reference(matcher: Matcher) -> Tracker:
    """Every frame is matched with the reference: as ``dcc match --video`` carries by default, with points
    that follow the picture, by smooth maps, and by nearest neighbours of the same features (sub-cell
    transfer)."""

    def track(clip: Clip) -> Iterator[Predictions]:
        points, mask = clip.start_points(), clip.start_mask()
        reference = next(clip.images())
        features = matcher.encode(reference)
        smoothly, following = Carrier(Propagation(map="smooth")), Carrier(Propagation(follow=True))
        annotated = Reference(reference, clip.name, points=points)
        with matcher.stream(clip.images(), reference, points=points, mask=mask) as stream:
            for result in stream:
                assert result.carried is not None
                followed = following.carry(annotated, result.correspondences, result.time_s, result.image)
                if result.index == 0:
                    continue
                smooth = smoothly.carry(result.reference, result.correspondences, result.time_s)
                assert smooth is not None
                found = {
                    MATCHES: _carried(result.carried.points, result.carried.mask),
                    FOLLOWED: _carried(None if followed is None else followed.points, None),
                    SMOOTH: _carried(smooth.points, smooth.mask),
                }
                nearest = nearest_of_bundle(features, matcher.encode(result.image))
                if nearest is not None:
                    found[NEAREST] = _by_matches(nearest, points, mask)
                yield found

    return track


def from_frame_to_frame(matcher: Matcher) -> Tracker:
    """``dcc match --video --reference previous``: every frame is matched with the one before."""

    def track(clip: Clip) -> Iterator[Predictions]:
        points, mask = clip.start_points(), clip.start_mask()
        with matcher.stream(clip.images(), "previous", points=points, mask=mask) as stream:
            for result in stream:
                assert result.carried is not None
                if result.index > 0:
                    yield {CHAINED: _carried(result.carried.points, result.carried.mask)}

    return track


def _carried(points: CarriedPoints | None, mask: CarriedMask | None) -> Prediction:
    return Prediction(None if points is None else points.points_b, None if mask is None else mask.mask)


def _by_matches(result: Correspondences, points: Points | None, mask: Mask | None) -> Prediction:
    """A is the reference, B the frame."""
    maps = SingleMatches(result)
    return Prediction(
        None if points is None else maps.to_frame(points),
        None if mask is None else remap(mask, maps.places(mask), nearest=True),
    )


def _track(
    before: NDArray[np.uint8], after: NDArray[np.uint8], points: Points
) -> tuple[Points, NDArray[np.bool_]]:
    """Points ``(N, 2)`` in the next frame, and which of them were found, ``(N,)``."""
    if len(points) == 0:
        return points, np.zeros(0, np.bool_)
    start = points.astype(np.float32)[:, None]
    # These are the defaults of OpenCV, written out.
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01)
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        before, after, start, np.empty_like(start), winSize=(21, 21), maxLevel=3, criteria=stop
    )
    return np.asarray(moved, np.float64)[:, 0], np.asarray(status)[:, 0] == 1


def _lattice(mask: Mask) -> Points:
    y, x = np.nonzero(mask)
    kept = (x % _LATTICE == 0) & (y % _LATTICE == 0)
    return np.stack([x[kept], y[kept]], axis=-1).astype(np.float64)


def _painted(lattice: Points, size: tuple[int, int]) -> Mask:
    mask = np.zeros(size, np.uint8)
    x, y = np.rint(lattice).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < size[1]) & (y < size[0])
    mask[y[inside], x[inside]] = 255
    return np.asarray(cv2.dilate(mask, np.ones((_LATTICE + 1, _LATTICE + 1), np.uint8)), np.uint8)
