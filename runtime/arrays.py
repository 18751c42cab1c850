"""Array types that several modules share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Points = NDArray[np.float64]
"""``(N, 2)``: (x, y) in pixels, 0-based, x right, y down; or one such point, ``(2,)``."""
Boxes = NDArray[np.float64]
"""``(M, 4)``: x and y of the upper left corner, width and height, in pixels."""
Mask = NDArray[np.uint8]
"""``(H, W)`` labels or ``(H, W, 3)`` colours; 0 is background."""
Image = NDArray[np.uint8]
"""``(H, W, 3)`` BGR, as OpenCV reads it."""
Bytes = NDArray[np.uint8]
