"""Carry a mask of the reference to the frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime import geometry
from dccnet.runtime.arrays import Mask
from dccnet.runtime.video.propagation.settings import Propagation
from dccnet.runtime.video.propagation.smooth_maps import SmoothMaps


@dataclass(frozen=True, slots=True, eq=False)
class CarriedMask:
    """The reference's mask in the frame, in the frame's size."""

    mask: Mask
    """``(H, W)`` or ``(H, W, 3)`` with the reference's own values; 0 where the frame shows what lies
    outside the reference."""
    confidence: NDArray[np.float32]
    """``(H, W)`` in [0, 1]."""


def carry_mask(mask: Mask, maps: SmoothMaps, settings: Propagation) -> CarriedMask:
    """Every pixel of the frame takes the value of one pixel of the reference: labels and colours are never
    blended."""
    positions = geometry.resize(maps.back, maps.size_b)
    x, y = positions[..., 0], positions[..., 1]
    warped = cv2.remap(mask, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return CarriedMask(np.asarray(warped, np.uint8), maps.confidence(settings))
