"""Which frames speak for the rest: sampled evenly, near-duplicates and what cannot be read left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.evaluation.pairs import read_list, read_pairs
from dccnet.runtime.errors import DataError, DccError
from dccnet.runtime.files import sha256_of
from dccnet.runtime.geometry import Size, resize_uint8
from dccnet.runtime.images import SUFFIXES, Image, find_images, read_image
from dccnet.runtime.video.sources import open_source

CANDIDATES = 4
"""Times as many frames are looked at as are wanted, so that duplicates can be replaced."""
_THUMBNAIL = 16
_ALIKE = 2.0
"""Mean difference of two thumbnails, in grey levels, below which two frames count as one."""
_LISTS = (".csv", ".txt")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture as the encoder takes it."""

    name: str
    """Its file, or ``video.mp4:120`` for the frame of that number."""
    sha256: str
    """Of the pixels."""
    pixels: NDArray[np.uint8]
    """``(H, W, 3)`` BGR of the network's size."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Frames to calibrate with, and others that were left over."""

    chosen: tuple[Frame, ...]
    others: tuple[Frame, ...]
    """Like none of the chosen ones, for measuring what calibration did."""
    duplicates: int
    unreadable: tuple[str, ...]
    """A sentence for each picture that could not be read."""


def sample_frames(data: str | os.PathLike[str], count: int, size: Size) -> Sample:
    """Up to ``count`` different frames of a folder, a glob, a list or a video, evenly spread over it.

    A list is a ``.txt`` with a path in each line or a ``.csv`` of pairs, both relative to the list. Frames
    are resized to ``size`` (height, width), as for matching. Raises :class:`DataError` where none can be
    read or all show the same, and other kinds of :class:`DccError` for what is not there.
    """
    loads, total = _source(data)
    wanted = set(spread(total, CANDIDATES * count)) if total else None
    kept: list[Frame] = []
    thumbnails: list[NDArray[np.float32]] = []
    unreadable: list[str] = []
    duplicates = 0
    for number, (name, load) in enumerate(loads):
        if wanted is not None and number not in wanted:
            continue
        try:
            image = load()
        except DccError as error:
            unreadable.append(str(error))
            continue
        pixels = np.ascontiguousarray(resize_uint8(image, size))
        thumbnail = _thumbnail(pixels)
        if any(float(np.abs(thumbnail - other).mean()) < _ALIKE for other in thumbnails):
            duplicates += 1
            continue
        thumbnails.append(thumbnail)
        kept.append(Frame(name, sha256_of(pixels.tobytes()), pixels))
    _check(data, kept, duplicates, unreadable)
    chosen = set(spread(len(kept), count))
    return Sample(
        tuple(frame for i, frame in enumerate(kept) if i in chosen),
        tuple(frame for i, frame in enumerate(kept) if i not in chosen),
        duplicates,
        tuple(unreadable),
    )


def _check(data: object, kept: Sequence[Frame], duplicates: int, unreadable: Sequence[str]) -> None:
    if not kept:
        reason = (
            f"none of its {len(unreadable)} frames can be read: {unreadable[0]}"
            if unreadable
            else "it is empty"
        )
        raise DataError(f"{data} holds no frame to calibrate with, {reason}")
    if len(kept) == 1 and duplicates:
        raise DataError(
            f"all {duplicates + 1} frames of {data} show the same: calibration needs pictures as different "
            "as those that will be matched"
        )


def spread(total: int, count: int) -> list[int]:
    """Up to ``count`` of ``total`` places, evenly, first and last among them."""
    if total <= count:
        return list(range(total))
    return sorted({round(place) for place in np.linspace(0, total - 1, count)})


def _thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = cv2.resize(pixels, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


_Load = Callable[[], Image]


def _source(data: str | os.PathLike[str]) -> tuple[Iterator[tuple[str, _Load]], int]:
    """Names with what loads them, and how many there are; 0 where nobody knows."""
    path = Path(data)
    if path.suffix.lower() in _LISTS:
        pictures = _listed(path)
        return iter(pictures), len(pictures)
    if not path.is_file() or path.suffix.lower() in SUFFIXES:
        found = find_images(data)
        return ((str(picture), _reader(picture)) for picture in found), len(found)
    source = open_source(str(data), live=False)
    frames = ((f"{source.name}:{i}", _given(frame)) for i, frame in enumerate(source.frames))
    return frames, source.count


def _given(frame: Any) -> _Load:
    def load() -> Image:
        if isinstance(frame, DccError):
            raise frame
        return np.asarray(frame, np.uint8)

    return load


def _listed(path: Path) -> list[tuple[str, _Load]]:
    """Each picture of a list once, in its order."""
    if path.suffix.lower() == ".csv":
        pictures = [picture for pair in read_pairs(path) for picture in (pair.source, pair.target)]
        return list({picture.key: (picture.key, picture.load) for picture in pictures}.values())
    names = [line.strip() for line in read_list(path).splitlines() if line.strip()]
    return [(name, _reader(path.parent / name)) for name in dict.fromkeys(names)]


def _reader(path: Path) -> _Load:
    return lambda: read_image(path)
