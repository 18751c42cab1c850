"""Views of the photographs that come with dcc, as frames to calibrate with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dccnet.export.bundles.samples import PICTURES
from dccnet.runtime.arrays import Image
from dccnet.runtime.images import find_images, read_image, write_image

SHARES = (1.0, 0.7, 0.45)
"""Sides of the crops, as shares of the photograph's."""
PLACES = ((0.0, 0.0), (1.0, 0.0), (0.5, 0.5), (0.0, 1.0), (1.0, 1.0))
"""Where a crop lies in the photograph, (x, y): 0 at the left or the top, 1 at the right or the bottom."""
GAINS = (1.0, 0.6, 1.4)
"""Brightness, in turns."""


def write_views(folder: Path) -> int:
    """Write crops of all photographs to ``folder`` as PNG, every second one mirrored; returns the number.

    Only slices and products of whole numbers of pixels are taken, so that the views are the same on every
    machine.
    """
    number = 0
    for path in find_images(PICTURES):
        for view in _views(read_image(path)):
            write_image(folder / f"{path.stem}-{number:03d}.png", view)
            number += 1
    return number


def _views(photograph: Image) -> Iterator[Image]:
    height, width = photograph.shape[:2]
    number = 0
    for share in SHARES:
        crop_height, crop_width = int(share * height), int(share * width)
        for x, y in PLACES if share < 1 else PLACES[:2]:  # the whole, also mirrored
            top, left = int(y * (height - crop_height)), int(x * (width - crop_width))
            crop = photograph[top : top + crop_height, left : left + crop_width]
            mirrored = crop[:, ::-1] if number % 2 else crop
            brighter = np.minimum(mirrored * GAINS[number % len(GAINS)], 255)
            yield np.ascontiguousarray(brighter.astype(np.uint8))
            number += 1
