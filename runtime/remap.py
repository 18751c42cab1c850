"""Pictures sampled at given positions, within the limit of OpenCV's ``remap``."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import ArgumentError

LONGEST = 32_766
"""Pixels: OpenCV's ``remap`` takes pictures whose sides are below 2¹⁵ − 1."""


def check_remap(*sizes: tuple[int, ...]) -> None:
    """Raises :class:`ArgumentError` for a picture of a (height, width) that OpenCV cannot warp."""
    for height, width in sizes:
        if max(height, width) > LONGEST:
            raise ArgumentError(
                f"a picture of {width}x{height} pixels cannot be warped: OpenCV takes sides of up to "
                f"{LONGEST} pixels, so scale or crop it"
            )


def remap(image: NDArray[Any], positions: NDArray[np.float32], *, nearest: bool = False) -> Image:
    """``(H, W[, 3])`` uint8: for each of the ``positions`` ``(H, W, 2)``, in pixels (x, y), its value in
    ``image``.

    Values are bilinear and, outside the picture, those of its border. With ``nearest``, they are those of
    single pixels, and 0 outside: labels must not be blended.
    """
    check_remap(image.shape[:2], positions.shape[:2])
    how, border = (
        (cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) if nearest else (cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
    )
    x, y = positions[..., 0], positions[..., 1]
    return np.asarray(cv2.remap(image, x, y, how, borderMode=border, borderValue=0), np.uint8)
