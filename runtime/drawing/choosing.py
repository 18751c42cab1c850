"""Which of many matches are worth drawing: confident ones, apart from each other, on something to see."""

from __future__ import annotations

import cv2
import numpy as np

from dccnet.runtime.arrays import Floats, Image, Points
from dccnet.runtime.geometry import extent
from dccnet.runtime.point_matches import PointMatches

_WINDOW = 1 / 25  # side of the window in which texture counts, as a share of the picture's longer side
_TEXTURED = 24.0  # standard deviation of grey levels from which on a place has texture enough
_APART = 0.12  # distance, as a share of the picture, from which on matches are far enough apart


def choose_matches(image_a: Image, image_b: Image, matches: PointMatches, limit: int) -> PointMatches:
    """Up to ``limit`` matches, the best first.

    Each is the best one that is left: by confidence or, without, by score relative to the best; less where
    either picture has no texture, as an even background; and less the nearer it is to one that is already
    chosen, in either picture.
    """
    if not len(matches):
        return matches
    goodness = matches.scores if matches.confidence is None else matches.confidence
    worth = goodness.astype(np.float64)
    if matches.confidence is None:
        worth = (worth / max(worth.max(), np.finfo(np.float64).tiny)) ** 0.25  # scores differ by magnitudes
    worth = worth * np.minimum(_texture(image_a, matches.points_a), _texture(image_b, matches.points_b))
    # Points as complex numbers, whose distance is one step to compute: it is far, from 1 on.
    places = np.stack(
        [
            (points / (_APART * extent((image.shape[0], image.shape[1])))) @ (1, 1j)
            for image, points in ((image_a, matches.points_a), (image_b, matches.points_b))
        ]
    )
    near = np.ones(len(matches))
    chosen: list[int] = []
    for _ in range(min(max(limit, 0), len(matches))):
        left = worth * near
        left[chosen] = -1
        best = int(left.argmax())
        chosen.append(best)
        near = np.minimum(near, np.abs(places - places[:, best, None]).min(axis=0))
    return matches.take(np.array(chosen, np.intp))


def _texture(image: Image, points: Points) -> Floats:
    """``(N,)`` in (0, 1]: how much the picture varies around each point."""
    half = max(round(max(image.shape[:2]) * _WINDOW) // 2, 1)
    grey = cv2.copyMakeBorder(
        cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), half, half, half, half, cv2.BORDER_REFLECT_101
    )
    x, y = np.clip(np.rint(points), 0, [image.shape[1] - 1, image.shape[0] - 1]).astype(np.intp).T
    windows = np.lib.stride_tricks.sliding_window_view(grey, (2 * half + 1, 2 * half + 1))
    deviation = windows[y, x].astype(np.float32).std(axis=(1, 2))
    return np.asarray(np.clip(deviation / _TEXTURED, 0.02, 1), np.float64)
