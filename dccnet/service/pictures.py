"""From the bytes of a picture to what the network takes, and a small picture for drawings."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import ImageError
from dccnet.runtime.frames import FrameFormat
from dccnet.runtime.images import decode_image, encode_image
from dccnet.runtime.picture_formats import JPEG, PNG, is_webp
from dccnet.runtime.pixel_limit import declared_size
from dccnet.runtime.views.view import AS_IT_IS, View
from dccnet.runtime.views.ways import SeenPicture, see

DRAWN_SIDE = 1280
"""Pixels of the longer side of a picture that is drawn on: what drawing costs does not depend on the
client's pictures."""

_FORMATS = (JPEG, PNG, b"GIF87a", b"GIF89a", b"BM")
"""Beginnings of files, besides WebP, whose header says how many pixels their decoder makes. Those of TIFF,
AVIF and JPEG 2000 may name several sizes."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A picture of a request."""

    seen: SeenPicture
    small: Image | None
    """At most :data:`DRAWN_SIDE` pixels a side; None where nothing is drawn."""


def decode(
    data: bytes,
    name: str,
    frames: FrameFormat,
    pixels: int,
    *,
    drawn: bool,
    views: Sequence[View] = (AS_IT_IS,),
) -> Decoded:
    """Decode a picture file; ``name`` is what errors call it, ``pixels`` how many it may have.

    ``drawn``: also the small picture; ``views`` are those that are to be matched.

    Raises :class:`ImageError` for what is no picture, or damaged, or too large, before it is decoded.
    """
    _check_size(data, name, pixels)
    image = decode_image(data, Path(name))
    height, width = image.shape[:2]
    if height * width > pixels:
        raise _too_many(name, (height, width), pixels)
    return Decoded(see(image, views, frames), shrunk(image) if drawn else None)


def shrunk(image: Image) -> Image:
    """The picture with at most :data:`DRAWN_SIDE` pixels a side."""
    height, width = image.shape[:2]
    scale = DRAWN_SIDE / max(height, width)
    if scale >= 1:
        return image
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def to_jpeg(image: Image) -> bytes:
    return encode_image(".jpg", image)


def _check_size(data: bytes, name: str, pixels: int) -> None:
    if not data:
        raise ImageError(f"{name} is empty (0 bytes)")
    size = None
    if data.startswith(_FORMATS) or is_webp(data):
        with contextlib.suppress(struct.error, ValueError, IndexError):
            size = declared_size(data)
    if size is None:
        raise ImageError(
            f"{name} is not a picture that this server reads: send a JPEG, PNG, WebP, GIF or BMP file"
        )
    if size[0] * size[1] > pixels:
        raise _too_many(name, size, pixels)


def _too_many(name: str, size: tuple[int, int], pixels: int) -> ImageError:
    height, width = size
    return ImageError(f"{name} has {width}x{height} pixels, more than {pixels}: scale it down")
