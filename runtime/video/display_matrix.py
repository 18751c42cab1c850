"""How an MP4 or MOV file says that its frames are to be turned or mirrored (ISO/IEC 14496-12, ``tkhd``)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from dccnet.runtime.arrays import Image

_ONE = 1 << 16  # fixed point
_LARGEST = 1 << 26  # bytes of the index of an hour-long video are some MB


class Turn(NamedTuple):
    """A point (x, y) of the stored frame is shown at (a·x + c·y, b·x + d·y); all are −1, 0 or 1."""

    a: int
    b: int
    c: int
    d: int

    @property
    def mirrored(self) -> bool:
        return self.a * self.d - self.b * self.c < 0


def turned(image: Image, turn: Turn) -> Image:
    """The frame as it is shown."""
    if turn.a == 0:
        image = image.transpose(1, 0, 2)
    if turn.a + turn.c < 0:
        image = image[:, ::-1]
    if turn.b + turn.d < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)


def display_turn(path: Path) -> Turn | None:
    """The turn of the first video track; None where there is none, or none by right angles."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        for kind, start, size in _boxes(file, 0, end):
            if kind == b"moov" and size <= _LARGEST:
                return next(_turns(file, start, size), None)
    return None


def _turns(file: BinaryIO, start: int, size: int) -> Iterator[Turn]:
    for kind, track, track_size in _boxes(file, start, start + size):
        if kind != b"trak":
            continue
        turn, is_video = None, False
        for inner, place, inner_size in _boxes(file, track, track + track_size):
            if inner == b"tkhd":
                turn = _read_turn(file, place)
            elif inner == b"mdia":
                handlers = (
                    at for name, at, _ in _boxes(file, place, place + inner_size) if name == b"hdlr"
                )
                is_video = any(_read(file, at + 8, 4) == b"vide" for at in handlers)
        if turn is not None and is_video:
            yield turn


def _read_turn(file: BinaryIO, place: int) -> Turn | None:
    version = _read(file, place, 1)
    content = _read(file, place + (52 if version == b"\x01" else 40), 36)
    if len(content) < 36:
        return None
    a, b, _, c, d = struct.unpack(">5i", content[:20])
    values = [round(v / _ONE) for v in (a, b, c, d)]
    exact = all(v * _ONE == stored for v, stored in zip(values, (a, b, c, d), strict=True))
    return Turn(*values) if exact and sorted(map(abs, values)) == [0, 0, 1, 1] else None


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place and size of the content of each box between two places of the file."""
    while start + 8 <= end:
        head = _read(file, start, 16)
        size, length = int.from_bytes(head[:4], "big"), 8
        if size == 1 and len(head) == 16:
            size, length = int.from_bytes(head[8:], "big"), 16
        elif size == 0:
            size = end - start
        if size < length:
            return
        yield head[4:8], start + length, min(size, end - start) - length
        start += size


def _read(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)
