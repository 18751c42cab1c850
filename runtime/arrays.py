"""Names for the arrays that go from function to function."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Points = NDArray[np.float64]
"""``(N, 2)``: x, y in pixels, 0-based, x to the right, y down."""
Boxes = NDArray[np.float64]
"""``(M, 4)``: x, y, width, height in pixels."""
Mask = NDArray[np.uint8]
"""``(H, W)``: a label for each pixel, 0 for none; or ``(H, W, 3)``, a colour for each."""
Image = NDArray[np.uint8]
"""``(H, W, 3)`` uint8, BGR, as OpenCV reads it."""
Bytes = NDArray[np.uint8]
