"""Pictures in Netpbm's format PAM (``P7``), whose black and white OpenCV reads as packed bits.

Format: https://netpbm.sourceforge.net/doc/pam.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

MAGIC = b"P7\n"
_HEADER = re.compile(rb"P7\n(?:[^\n]*\n)*?ENDHDR[ \t]*\n")
_LONGEST_HEADER = 1 << 16
_CHANNELS = {b"BLACKANDWHITE": 1, b"GRAYSCALE": 1, b"RGB": 3}
_NAMES = (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")


@dataclass(frozen=True, slots=True)
class PamHeader:
    """What comes before the samples."""

    width: int
    height: int
    channels: int
    """Of a pixel, transparency included."""
    largest: int
    """The value of white, from 1 to 65535."""
    kind: bytes
    """``RGB``, ``GRAYSCALE_ALPHA`` and so on; empty where the file does not say it."""
    start: int
    """Position of the samples."""


def pam_header(data: bytes) -> PamHeader:
    """The header of a PAM file. Raises ``ValueError`` where it has none that can be read."""
    found = _HEADER.match(data[:_LONGEST_HEADER])
    if found is None:
        raise ValueError("its header has no end")
    fields: dict[bytes, bytes] = {}
    for line in found[0].splitlines()[1:-1]:
        name, _, value = line.strip().partition(b" ")
        fields[name] = value.strip()
    try:
        width, height, channels, largest = (int(fields[name]) for name in _NAMES)
    except (KeyError, ValueError):
        raise ValueError("its header lacks the width, height, depth or largest value") from None
    if min(width, height, channels) < 1 or not 1 <= largest <= 0xFFFF:
        raise ValueError("its header has a number that is too small or too large")
    return PamHeader(width, height, channels, largest, fields.get(b"TUPLTYPE", b""), found.end())


def read_pam(data: bytes) -> tuple[np.ndarray[Any, Any], int]:
    """``(H, W)`` grey, ``(H, W, 3)`` BGR or ``(H, W, 4)`` BGR with transparency, and the value of white.

    Values are as in the file, uint8, or uint16 where white is more than 255. Raises ``ValueError`` for a
    file that is cut off, and for other channels than these.
    """
    header = pam_header(data)
    kind, channels = header.kind.removesuffix(b"_ALPHA"), header.channels
    colours = _CHANNELS.get(kind) if kind else {1: 1, 2: 1, 3: 3, 4: 3}.get(channels)
    if colours is None or channels not in (colours, colours + 1):
        name = header.kind.decode(errors="replace") or "of no kind"
        raise ValueError(f"its {channels} channels ({name}) are neither grey nor RGB")
    stored = np.dtype(np.uint8 if header.largest < 256 else ">u2")
    count = header.height * header.width * channels
    if len(data) - header.start < count * stored.itemsize:
        raise ValueError("it is truncated")
    values = np.frombuffer(data, stored, count, header.start).astype(stored.newbyteorder("="))
    image = values.reshape(header.height, header.width, channels)
    if channels == 1:
        return image[..., 0], header.largest
    order = {2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    return np.ascontiguousarray(image[..., order]), header.largest
