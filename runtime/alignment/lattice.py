"""Values at the centres of square blocks of pixels, and everywhere between them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Floats
from dccnet.runtime.geometry import Size


def block_centres(size: Size, block: int) -> Floats:
    """``(rows, columns, 2)``: pixels (x, y) of the centres of blocks of ``block`` pixels a side. They
    cover a picture of ``size`` (height, width), with one more beyond each border."""
    rows, columns = (np.arange(-1, -(-side // block) + 1) * block + (block - 1) / 2 for side in size)
    return np.stack(np.meshgrid(columns, rows), axis=-1)


def spread(values: Floats, size: Size, block: int) -> NDArray[np.float32]:
    """``(*size, C)``: values at :func:`block_centres` ``(rows, columns, C)``, at every pixel, bilinear.

    OpenCV's ``resize`` aligns the edges of pixels: at whole factors, that is what is wanted here.
    """
    rows, columns = values.shape[:2]
    grown = cv2.resize(
        values.astype(np.float32), (columns * block, rows * block), interpolation=cv2.INTER_LINEAR
    )
    grown = grown.reshape(rows * block, columns * block, -1)
    return np.ascontiguousarray(grown[block : block + size[0], block : block + size[1]], np.float32)
