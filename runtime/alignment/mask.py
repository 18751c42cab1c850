"""Where a warped picture can be trusted: a soft mask that follows the edges of the picture beneath."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Array, Image

OUT, IN = 0.2, 0.5
"""Support up to which a pixel is outside, and from which on it is inside."""
_RADIUS = 1 / 40  # of the guided filter's window, as a share of the picture's longer side
_FLAT = 0.02**2  # variance of brightness below which the filter sees no edge


def soft_mask(support: NDArray[np.float32], picture: Image) -> NDArray[np.float32]:
    """``(H, W)`` in [0, 1] from the support of a smooth map ``(H, W)``, in a ``picture`` of that size.

    The steps of the mask lie on edges of the picture (He, Sun, Tang, "Guided Image Filtering", ECCV 2010).
    """
    eased = smoothstep((support - OUT) / (IN - OUT)).astype(np.float32)
    guide = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32) / np.float32(255)
    radius = max(round(max(picture.shape[:2]) * _RADIUS), 1)
    return np.asarray(np.clip(_guided(eased, guide, radius), 0, 1), np.float32)


def smoothstep(share: Array) -> Array:
    """0 below 0, 1 above 1, and between them a curve that starts and ends slowly."""
    inside = np.clip(share, 0, 1)
    return np.asarray(inside * inside * (3 - 2 * inside))


def _guided(values: NDArray[np.float32], guide: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Locally, the best linear function of ``guide`` for ``values``; all ``(H, W)``."""

    def mean(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(array, (2 * radius + 1, 2 * radius + 1)), np.float32)

    mean_guide, mean_values = mean(guide), mean(values)
    variance = mean(guide * guide) - mean_guide**2
    slope = (mean(guide * values) - mean_guide * mean_values) / (variance + np.float32(_FLAT))
    return mean(slope) * guide + mean(mean_values - slope * mean_guide)
