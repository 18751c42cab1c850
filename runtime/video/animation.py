"""Animated pictures: GIF and WebP, which play wherever pictures are shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import ImageError
from dccnet.runtime.files import atomic_path, native_path

ANIMATED = (".gif", ".webp")
_WEBP_QUALITY = 80


def write_animation(path: Path, frames: Sequence[Image], rate: float, loop: bool = True) -> None:
    """Write frames ``(H, W, 3)`` uint8 BGR by suffix, atomically; ``rate`` is in frames per second.

    GIF counts time in hundredths of a second, and players slow down what is faster than 50 frames/s. Raises
    :class:`ImageError` where OpenCV cannot write it.
    """
    animation = cv2.Animation()
    animation.frames = list(frames)
    # Rounded as a sum: the whole takes as long as it should.
    ends = np.rint(np.arange(len(frames) + 1) * 100 / rate) * 10
    animation.durations = np.maximum(np.diff(ends), 10).astype(np.int32).tolist()
    animation.loop_count = 0 if loop else 1  # 0: for ever
    options = [cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY] if path.suffix.lower() == ".webp" else []
    with atomic_path(path) as temporary:
        try:
            done = cv2.imwriteanimation(native_path(temporary), animation, options)
        except cv2.error:
            done = False
        if not done:
            size = f"{frames[0].shape[1]}x{frames[0].shape[0]} pixels" if len(frames) else "no frames"
            raise ImageError(f"cannot write {path} as an animation of {size}: is the disk full?")
