"""Many different pictures, cut from a few photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.images import write_image


def write_crops(folder: Path, photos: list[Image], count: int) -> None:
    """Write ``count`` crops ``00.png`` and so on, 96x80 pixels (height x width), of photos in turn."""
    for number in range(count):
        photo = photos[number % len(photos)]
        height, width = photo.shape[:2]
        top, left = (37 * number) % (height - 96), (53 * number) % (width - 80)
        write_image(
            folder / f"{number:02}.png", np.ascontiguousarray(photo[top : top + 96, left : left + 80])
        )
