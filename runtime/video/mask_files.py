"""Masks in PNG files: labels, colours, a palette's labels, or a cut-out's transparency."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from dccnet.runtime.arrays import Mask
from dccnet.runtime.errors import DccWarning, ImageError
from dccnet.runtime.images import decode_unchanged, encode_image, read_bytes
from dccnet.runtime.palettes import Palette, as_grey, with_palette
from dccnet.runtime.picture_formats import JPEG


def read_mask(path: Path) -> tuple[Mask, Palette | None]:
    """A mask without conversion, ``(H, W)`` labels or ``(H, W, 3)`` colours, uint8, and its palette.

    Of a PNG with a palette (DAVIS, PASCAL VOC), the labels are its indices; of a picture that is partly
    transparent, they are the transparency. Raises :class:`ImageError`.
    """
    data = read_bytes(path)
    if data.startswith(JPEG):
        warnings.warn(
            f"{path} is a JPEG, which changes labels at their edges: save masks as PNG",
            DccWarning,
            stacklevel=2,
        )
    if data.startswith(b"GIF"):
        warnings.warn(
            f"{path} is a GIF, whose labels are read as their colours: save masks as PNG",
            DccWarning,
            stacklevel=2,
        )
    indexed = as_grey(data)
    if indexed is not None:
        grey, palette, step = indexed
        return np.asarray(decode_unchanged(grey, path) // step, np.uint8), palette
    mask = decode_unchanged(data, path)
    if mask.dtype != np.uint8:
        raise ImageError(f"{path} has {mask.dtype} values: save the mask as PNG with 8 bits")
    if mask.ndim == 3 and mask.shape[2] == 4:
        opaque = (mask[..., 3] == mask[0, 0, 3]).all()
        return mask[..., :3] if opaque else np.ascontiguousarray(mask[..., 3]), None
    return mask, None


def encode_mask(mask: Mask, palette: Palette | None) -> bytes:
    """A PNG file of a mask; its labels are indices into ``palette`` if there is one."""
    png = encode_image(".png", mask)
    return png if palette is None or mask.ndim == 3 else with_palette(png, palette)
