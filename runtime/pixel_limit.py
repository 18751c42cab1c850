"""How large a picture may be, asked of its header: some kilobytes can decode to gigabytes."""

from __future__ import annotations

import re
import struct

from dccnet.runtime.errors import ImageError
from dccnet.runtime.pam import MAGIC, pam_header
from dccnet.runtime.picture_formats import JPEG, PNG, is_webp

MAX_PIXELS = 178_956_970
"""Pillow's limit: 512 MB of 8-bit colours."""
_limit = [MAX_PIXELS]


def set_max_pixels(pixels: int) -> None:
    """Change the limit of this process. Raises ``ValueError`` for a number below 1."""
    if pixels < 1:
        raise ValueError(f"a picture has at least one pixel, not {pixels}")
    _limit[0] = pixels


def max_pixels() -> int:
    """The limit of this process, for the processes that it starts."""
    return _limit[0]


def check_pixels(name: object, data: bytes) -> None:
    """Raise :class:`ImageError` for a picture whose header declares more pixels than the limit.

    ``name`` is the file's in the message, ``data`` the file's content. Formats whose header is not known
    here are left to OpenCV, which has a limit of its own (2^30 pixels).
    """
    try:
        size = declared_size(data)
    except (struct.error, ValueError, IndexError):
        return  # damaged: the decoder says so
    if size is not None and size[0] * size[1] > _limit[0]:
        height, width = size
        raise ImageError(
            f"{name} has {width}x{height} pixels, more than {_limit[0]}, and would take "
            f"{3 * height * width / 2**30:.1f} GiB: if you trust it, call dcc --max-pixels "
            f"{height * width} COMMAND …"
        )


def declared_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) as the header says; None for a format that is not known.

    Raises ``struct.error``, ``ValueError`` or ``IndexError`` for a header that is cut off.
    """
    if data.startswith(PNG):
        width, height = struct.unpack_from(">II", data, 16)
    elif data.startswith(JPEG):
        return _jpeg_size(data)
    elif data.startswith((b"GIF87a", b"GIF89a")):
        width, height = struct.unpack_from("<HH", data, 6)
    elif data.startswith(b"BM"):
        core = struct.unpack_from("<I", data, 14)[0] == 12
        width, height = struct.unpack_from("<HH" if core else "<ii", data, 18)
    elif is_webp(data):
        return _webp_size(data)
    elif data.startswith((b"II*\0", b"MM\0*")):
        return _tiff_size(data)
    elif re.match(rb"P[1-6]\s", data):
        header = re.sub(rb"#[^\n]*", b" ", data[:1024]).split()
        width, height = int(header[1]), int(header[2])
    elif data.startswith(MAGIC):
        pam = pam_header(data)
        width, height = pam.width, pam.height
    elif data[4:12] == b"jP  \r\n\x87\n":  # JPEG 2000
        height, width = struct.unpack_from(">II", data, data.index(b"ihdr") + 4)
    elif data[4:8] == b"ftyp":  # AVIF
        width, height = struct.unpack_from(">II", data, data.index(b"ispe") + 8)
    else:
        return None
    return abs(height), abs(width)


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = 2
    while (position := data.find(b"\xff", position)) >= 0:  # libjpeg skips other bytes, too
        marker = data[position + 1]
        if marker in (0x00, 0x01, 0xFF, *range(0xD0, 0xD9)):  # without a length
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack_from(">HH", data, position + 5)
            return height, width
        if marker in (0xD9, 0xDA):  # end of image, start of scan
            return None
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return (
            1 + int.from_bytes(data[27:30], "little"),
            1 + int.from_bytes(data[24:27], "little"),
        )
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    return None


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    found = {}
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if tag in (256, 257):  # width, height
            (found[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, entry + 8)
    return (found[257], found[256]) if len(found) == 2 else None
