"""What OpenCV does not do for some formats of pictures, done on their bytes.

It leaves Netpbm's values as they are, reports a damaged JPEG in a message only, does not turn WebP pictures
whose EXIF data has JPEG's prefix, nor AVIF pictures, and decodes palettes to colours.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dccnet.runtime.arrays import Image

JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_END = b"\xff\xd9"
_EXIF_PREFIX = b"Exif\0\0"
_STRAY = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_BLANK = bytes(64)


def is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def is_avif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis")


def is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")


def is_netpbm(data: bytes) -> bool:
    """Whether it is a .pgm or .ppm file, whose header says the largest value."""
    return re.match(rb"P[2356]\s", data) is not None


def white_of_netpbm(image: np.ndarray[Any, Any], netpbm: bytes) -> int:
    """The value of white in the ``image`` that OpenCV decoded. Raises ``ValueError``."""
    if netpbm[1:2] in b"23" and image.dtype == np.uint8:  # OpenCV scales these
        return 255
    header = re.sub(rb"#[^\n]*(\n|$)", b" ", netpbm[: 1 << 16]).split(maxsplit=4)
    if len(header) < 4:
        raise ValueError("its header is too long")
    return int(header[3])


def in_full_range(image: np.ndarray[Any, Any], white: int) -> np.ndarray[Any, Any]:
    """With the largest value of the type as white, instead of the value ``white``."""
    full = np.iinfo(image.dtype).max
    if white == full:
        return image
    scaled = np.rint(image * (full / white)).clip(0, full)
    return np.asarray(scaled, image.dtype)


def has_end(jpeg: bytes) -> bool:
    """Whether an end-of-image marker follows the scan; those before it belong to thumbnails."""
    return jpeg.rfind(_END) > max(_scan(jpeg), 0)


def with_end(jpeg: bytes) -> bytes:
    """A JPEG with an end: the decoder then says whether anything before it is missing.

    Without, OpenCV 4 fills what is missing with grey and says nothing.
    """
    return jpeg if has_end(jpeg) else jpeg + _END


def other_damage(messages: Sequence[str]) -> str | None:
    """Which of OpenCV's ``messages`` about a format other than JPEG says that it is damaged."""
    return next((m for m in messages if m.startswith("[ERROR") or "does not end with EOC" in m), None)


def jpeg_damage(data: bytes, messages: Sequence[str]) -> str | None:
    """Which of libjpeg's ``messages`` says that the picture is not what was encoded, if one does.

    Bytes that it skips between two segments do no harm, nor do a few before the end, as some cameras write
    them; many zeros there are a part of the file that was never downloaded.
    """
    for message in messages:
        stray = _STRAY.search(message)
        if stray is not None:
            marker = int(stray[2], 16)
            inside = 0xD0 <= marker <= 0xD7 or (marker == 0xDA and data.count(b"\xff\xda") > 1)
            if not inside and not (marker == 0xD9 and _BLANK in data[max(_scan(data), 0) :]):
                continue
        elif not message.startswith(("Corrupt JPEG data", "Premature end", "Inconsistent progression")):
            continue
        return message
    return None


def _scan(data: bytes) -> int:
    """Where the entropy-coded data begin: after the first start of scan; −1 without one.

    Markers before it, such as the end of a thumbnail, are in segments. Between segments there may be stray
    bytes, which libjpeg skips.
    """
    position = 2
    while 0 <= position < len(data) - 3:
        if data[position] != 0xFF or data[position + 1] in (0x00, 0xFF):
            position = data.find(b"\xff", position + 1)
        elif data[position + 1] == 0xDA:
            return position
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return -1


def without_exif_prefix(webp: bytes) -> bytes:
    """A WebP file whose EXIF data begin as OpenCV expects it."""
    place = webp.find(b"EXIF", 12)
    while place >= 0:
        size = int.from_bytes(webp[place + 4 : place + 8], "little")
        if webp[place + 8 : place + 14] == _EXIF_PREFIX and size >= 6:
            rest = webp[place + 14 : place + 8 + size]
            chunk = b"EXIF" + struct.pack("<I", len(rest)) + rest + bytes(len(rest) % 2)
            body = webp[8:place] + chunk + webp[place + 8 + size + size % 2 :]
            return b"RIFF" + struct.pack("<I", len(body)) + body
        place = webp.find(b"EXIF", place + 4)
    return webp


def turned_as_avif_says(image: Image, avif: bytes) -> Image:
    """The picture upright, by the boxes ``irot`` and ``imir`` of an AVIF file (ISO/IEC 23008-12)."""
    head = avif[: avif.find(b"mdat") if b"mdat" in avif else len(avif)]
    turn, mirror = head.find(b"\0\0\0\x09irot"), head.find(b"\0\0\0\x09imir")
    if turn >= 0:
        image = np.rot90(image, head[turn + 8] & 3)
    if mirror >= 0:
        image = image[:, ::-1] if head[mirror + 8] & 1 else image[::-1]
    return np.ascontiguousarray(image)


def png_chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk of a PNG file, as far as they are complete."""
    place = len(PNG)
    while place + 12 <= len(png):
        size = int.from_bytes(png[place : place + 4], "big")
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        place += 12 + size


def as_png(chunks: Iterator[tuple[bytes, bytes]] | Sequence[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of these chunks."""
    return PNG + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
