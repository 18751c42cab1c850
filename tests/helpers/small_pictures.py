"""Small pictures for requests."""

from __future__ import annotations

import cv2
import numpy as np


def png(value: int = 0, side: int = 8) -> bytes:
    """A grey picture as PNG."""
    return bytes(cv2.imencode(".png", np.full((side, side, 3), value, np.uint8))[1].tobytes())
