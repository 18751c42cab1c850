"""Masks in PNG files: labels, colours, a palette's labels, or a cut-out's transparency."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from dccnet.runtime.arrays import Mask
from dccnet.runtime.errors import DccWarning, ImageError
from dccnet.runtime.images import decode_unchanged, encode_image, read_bytes
from dccnet.runtime.palettes import Palette, as_grey, with_palette

_LOSSY = b"\xff\xd8"  # JPEG


def read_mask(path: Path) -> Mask:
    """A mask without conversion: ``(H, W)`` labels or ``(H, W, 3)`` colours, uint8.

    Of a PNG with a palette (DAVIS, PASCAL VOC), the labels are its indices; of a picture that is partly
    transparent, they are the transparency. Raises :class:`ImageError`.
    """
    data = read_bytes(path)
    if data.startswith(_LOSSY):
        warnings.warn(
            f"{path} is a JPEG, which changes labels at their edges: save masks as PNG",
            DccWarning,
            stacklevel=2,
        )
    indexed = as_grey(data)
    if indexed is not None:
        grey, _, step = indexed
        return np.asarray(decode_unchanged(grey, path) // step, np.uint8)
    mask = decode_unchanged(data, path)
    if mask.dtype != np.uint8:
        raise ImageError(f"{path} has {mask.dtype} values: save the mask as PNG with 8 bits")
    if mask.ndim == 3 and mask.shape[2] == 4:
        return (
            mask[..., :3] if (mask[..., 3] == mask[0, 0, 3]).all() else np.ascontiguousarray(mask[..., 3])
        )
    return mask


def read_palette(path: Path) -> Palette | None:
    """The palette of a PNG file; None without one."""
    indexed = as_grey(read_bytes(path))
    return None if indexed is None else indexed[1]


def encode_mask(mask: Mask, palette: Palette | None) -> bytes:
    """A PNG file of a mask; its labels are indices into ``palette`` if there is one."""
    png = encode_image(".png", mask)
    return png if palette is None or mask.ndim == 3 else with_palette(png, palette)
