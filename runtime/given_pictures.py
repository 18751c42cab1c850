"""Pictures as people give them: an array, a path, or a picture of PIL, which is not imported."""

from __future__ import annotations

import os
from typing import Any, Union

import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import ImageError
from dccnet.runtime.features import check_image
from dccnet.runtime.images import read_image

GivenPicture = Union[Image, str, "os.PathLike[str]", Any]
"""``(H, W, 3)`` uint8 BGR, a path, or a ``PIL.Image.Image``."""

_PIL_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
"""Those that PIL converts to RGB without loss of brightness; it cuts 16 bits (``I;16``) off at 255."""


def as_image(picture: GivenPicture) -> Image:
    """``picture`` as ``(H, W, 3)`` uint8 BGR.

    A file is read by :func:`~dccnet.runtime.images.read_image`, which turns it as its EXIF orientation
    says. A picture of PIL is taken as it is: ``PIL.ImageOps.exif_transpose`` turns it. Its transparency is
    dropped. Raises :class:`ImageError` for what is no picture.
    """
    if isinstance(picture, (str, os.PathLike)):
        return read_image(picture)
    if _is_pil(picture):
        return _from_pil(picture)
    check_image(picture)
    return np.asarray(picture)


def _is_pil(picture: Any) -> bool:
    # That of a picture itself, not of its class, would decode the file.
    has_pixels = hasattr(type(picture), "__array_interface__")
    return has_pixels and hasattr(picture, "mode") and hasattr(picture, "convert")


def _from_pil(picture: Any) -> Image:
    if picture.mode not in _PIL_MODES:
        raise ImageError(
            f"a PIL picture of the mode {picture.mode} has no 8-bit colours: scale it to 0 to 255, and "
            "convert it to RGB"
        )
    try:
        rgb = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # PIL decodes a file when it is first used
        raise ImageError(f"the PIL picture cannot be decoded: {error}") from error
    image = np.ascontiguousarray(rgb[..., ::-1])
    check_image(image)
    return image
