"""Many different pictures out of three."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dccnet.runtime.images import Image, write_image


def write_crops(folder: Path, photos: list[Image], count: int) -> None:
    """``00.png`` and so on, 96x80 pixels (height x width): places of the photographs in turn."""
    for number in range(count):
        photo = photos[number % len(photos)]
        height, width = photo.shape[:2]
        top, left = (37 * number) % (height - 96), (53 * number) % (width - 80)
        write_image(
            folder / f"{number:02}.png", np.ascontiguousarray(photo[top : top + 96, left : left + 80])
        )
