"""A mask of the reference in the frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime import geometry
from dccnet.runtime.video.propagation.maps import Maps
from dccnet.runtime.video.propagation.settings import Propagation


@dataclass(frozen=True, slots=True, eq=False)
class CarriedMask:
    """The reference's mask as seen in the frame; both have the frame's size."""

    mask: NDArray[np.uint8]
    """``(H, W)`` or ``(H, W, 3)``, with the reference's own values; 0 for what comes from outside it."""
    confidence: NDArray[np.float32]
    """``(H, W)`` in [0, 1]."""


def carry_mask(mask: NDArray[np.uint8], maps: Maps, settings: Propagation) -> CarriedMask:
    """Every pixel of the frame takes the value of the reference's pixel that it comes from: labels and
    colours are never blended."""
    where = geometry.resize(maps.back, maps.size_b)
    warped = cv2.remap(
        mask, where[..., 0], where[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return CarriedMask(np.asarray(warped, np.uint8), maps.confidence(settings))
