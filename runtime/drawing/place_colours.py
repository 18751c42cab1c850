"""A colour for every position in a picture: close positions look alike, distant ones differ.

Yellow turns to blue from left to right, light turns to dark from top to bottom. Neither relies on the
difference between red and green.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dccnet.runtime.geometry import Size

# RGB at the top left, top right, bottom left, bottom right; runtime/viewer/colours.js has the same values.
CORNERS = np.array([[[255, 236, 110], [120, 205, 255]], [[190, 90, 0], [25, 50, 170]]], np.float64)


def place_colours(points: ArrayLike, size: Size) -> NDArray[np.uint8]:
    """``(..., 2)`` pixels (x, y) of a picture of ``size`` (height, width) -> ``(..., 3)`` uint8 BGR."""
    share = np.asarray(points, np.float64) / np.maximum([size[1] - 1, size[0] - 1], 1)
    x, y = np.moveaxis(np.clip(share, 0, 1)[..., None], -2, 0)
    (top_left, top_right), (bottom_left, bottom_right) = CORNERS
    top = top_left + x * (top_right - top_left)
    bottom = bottom_left + x * (bottom_right - bottom_left)
    rgb: NDArray[np.uint8] = np.rint(top + y * (bottom - top)).astype(np.uint8)
    return rgb[..., ::-1]
