"""The features of an encoded picture, and the check of a picture before it is encoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.backend import Tensors
from dccnet.runtime.errors import ImageError
from dccnet.runtime.geometry import Size
from dccnet.runtime.one_line import OneLine


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Features(OneLine):
    """An encoded picture. The ``Matcher`` that encoded it can match it many times."""

    tensors: Tensors
    """``(1, C, h, w)`` for each branch of the network, ``local`` and ``context``: NumPy arrays, or GPU
    memory where the backend runs on a GPU. Fine features, ``fine``, are always a NumPy array."""
    size: Size
    """(height, width) of the original picture in pixels."""
    mirrored: Tensors | None = None
    """The features of the picture mirrored left to right, where they were asked for."""

    @property
    def nbytes(self) -> int:
        """Memory of the tensors, on a GPU, too."""
        tensors = (*self.tensors.values(), *(self.mirrored or {}).values())
        return sum(int(np.prod(t.shape)) * np.dtype(t.dtype).itemsize for t in tensors)


def check_image(image: Image) -> None:
    """Raises :class:`ImageError` unless ``image`` is ``(H, W, 3)`` uint8 and not empty."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(
            f"a picture must be a uint8 array as OpenCV reads it, a path or a PIL picture, got {kind}"
        )
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(
            f"a picture must have shape (H, W, 3), BGR, got {image.shape}; grey and BGRA pictures are "
            "converted with cv2.cvtColor"
        )
