"""Views of one photograph, shifted by known pixels, and points in the one without a shift."""

from __future__ import annotations

import numpy as np

from dccnet.runtime.arrays import Image

POINTS = {"left": (60.0, 60.0), "middle": (100.0, 80.0), "low": (90.0, 110.0)}
CELL = 8.0
"""Pixels of a cell of the built-in model in these pictures, rounded up."""


def view(photo: Image, x: int, y: int) -> Image:
    """``(128, 160, 3)``: the photograph from pixel (x, y) on."""
    return np.ascontiguousarray(photo[y : y + 128, x : x + 160])
