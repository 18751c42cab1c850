"""Whether a Matroska or WebM file is as long as it says (RFC 9559, RFC 8794)."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def is_whole(path: Path) -> bool | None:
    """Whether the segment, which holds the frames, ends within the file; None where the file does not say,
    as a live recording does not, and for other kinds of files."""
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(0)
        if file.read(4) != _EBML:
            return None
        header = _size(file)
        if header is None or header > length:
            return None
        file.seek(header, 1)
        if file.read(4) != _SEGMENT:
            return None
        size = _size(file)
        return None if size is None else file.tell() + size <= length


def _size(file: BinaryIO) -> int | None:
    """A variable-size integer: the leading zeros of its first byte count the bytes that follow it. All ones
    are an unknown size."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    if len(rest) < more:
        return None
    bits = 7 * (more + 1)
    value = int.from_bytes(first + rest, "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
