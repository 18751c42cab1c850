"""Photographs that scikit-image brings."""

from __future__ import annotations

from typing import Any

import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.extras import required

FREE = (
    "astronaut", "brick", "camera", "cat", "clock", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "retina", "rocket",
)  # fmt: skip
"""Those in the public domain, CC0, or without known copyright restrictions, by scikit-image's word."""


def scikit_image_data() -> Any:
    """The module ``skimage.data``. Raises :class:`DccError` if it is not installed."""
    with required("a picture of scikit-image", "demo"):
        from skimage import data
    return data


def photograph(name: str) -> Image:
    """A picture of scikit-image, uint8 BGR. Raises :class:`DccError` if that is not installed."""
    rgb = np.asarray(getattr(scikit_image_data(), name)(), np.uint8)
    if rgb.ndim == 2:
        rgb = np.repeat(rgb[..., None], 3, axis=2)
    return np.ascontiguousarray(rgb[..., 2::-1])
