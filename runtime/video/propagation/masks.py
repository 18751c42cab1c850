"""Carry a mask of the reference to the frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Mask
from dccnet.runtime.remap import remap
from dccnet.runtime.video.propagation.maps import Maps
from dccnet.runtime.video.propagation.settings import Propagation


@dataclass(frozen=True, slots=True, eq=False)
class CarriedMask:
    """The reference's mask in the frame, in the frame's size."""

    mask: Mask
    """``(H, W)`` or ``(H, W, 3)`` with the reference's own values; 0 where the frame shows what lies
    outside the reference."""
    confidence: NDArray[np.float32]
    """``(H, W)`` in [0, 1]."""


def carry_mask(mask: Mask, maps: Maps, settings: Propagation) -> CarriedMask:
    """Every pixel of the frame takes the value of one pixel of the reference: labels and colours are never
    blended."""
    return CarriedMask(remap(mask, maps.places(mask), nearest=True), maps.confidence(settings))
