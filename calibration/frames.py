"""Frames to calibrate with: spread evenly over their source, without near-duplicates."""

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
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DataError, DccError, VideoError
from dccnet.runtime.files import sha256_of
from dccnet.runtime.geometry import Size, resize_uint8
from dccnet.runtime.images import find_images, is_picture, read_image
from dccnet.runtime.video.captures import BetweenFramesError
from dccnet.runtime.video.sources import FrameSource, open_source

CANDIDATES = 4
"""Number of frames read for each frame that is wanted, so that duplicates can be replaced."""
_THUMBNAIL = 16
_ALIKE = 2.0
"""Mean difference of two thumbnails, in grey levels, below which two frames are duplicates."""
_LISTS = (".csv", ".txt")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture in the network's size. An encoder that takes float32 gets its whole grey levels, too."""

    name: str
    """Its file: the path in the folder of pictures, the path of a single file, or ``video.mp4:120`` for
    frame 120 of a video."""
    sha256: str
    """SHA-256 of ``pixels``."""
    pixels: NDArray[np.uint8]
    """``(H, W, 3)`` uint8 BGR, of the network's size."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Frames to calibrate with, and other frames of the same source."""

    chosen: tuple[Frame, ...]
    others: tuple[Frame, ...]
    """Different from all chosen ones: for measuring the effect of calibration."""
    duplicates: int
    unreadable: tuple[str, ...]
    """One sentence for each picture that could not be read."""


def sample_frames(data: str | os.PathLike[str], count: int, size: Size) -> Sample:
    """Choose up to ``count`` different frames of a folder, glob, list or video, spread evenly over it.

    A list is a ``.txt`` with a path in each line or a ``.csv`` of pairs, with paths relative to the list.
    Frames are resized to ``size`` (height, width), as for matching. Raises :class:`DataError` where no
    frame can be read or all frames show the same, and other kinds of :class:`DccError` where ``data`` does
    not exist.
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
            f"none of its {len(unreadable)} frames can be read ({unreadable[0]})"
            if unreadable
            else "it is empty"
        )
        raise DataError(f"{data} contains no frame to calibrate with: {reason}")
    if len(kept) == 1 and duplicates:
        raise DataError(
            f"all {duplicates + 1} frames of {data} show the same: calibration needs pictures that differ "
            "as much as those that will be matched"
        )


def spread(total: int, count: int) -> list[int]:
    """Up to ``count`` of the indices below ``total``, evenly spaced, ends included."""
    if total <= count:
        return list(range(total))
    return sorted({round(place) for place in np.linspace(0, total - 1, count)})


def _thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = cv2.resize(pixels, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


_Load = Callable[[], Image]


def _source(data: str | os.PathLike[str]) -> tuple[Iterator[tuple[str, _Load]], int]:
    """Names of frames with functions that load them, and the number of frames; 0 if it is unknown."""
    path = Path(data)
    if path.suffix.lower() in _LISTS:
        pictures = _listed(path)
        return iter(pictures), len(pictures)
    if not path.is_file() or is_picture(path):
        found = find_images(data)
        return ((_name(picture, path), _reader(picture)) for picture in found), len(found)
    source = open_source(str(data), live=False)
    return _numbered(source), source.count


def _name(picture: Path, folder: Path) -> str:
    """A picture's path in its folder: a bundle names it without saying where the folder was."""
    return str(picture.relative_to(folder) if folder.is_dir() else picture)


def _numbered(source: FrameSource) -> Iterator[tuple[str, _Load]]:
    """Frames with their numbers, and errors between and after them."""
    number = 0
    try:
        for frame in source.frames:
            yield f"{source.name}:{number}", _decoded(frame)
            number += not isinstance(frame, BetweenFramesError)
    except VideoError as error:  # of a truncated file, after its frames
        if not number:
            raise
        yield f"{source.name}:{number}", _decoded(error)


def _decoded(frame: Any) -> _Load:
    """For a frame that is an array, or the error of reading it."""

    def load() -> Image:
        if isinstance(frame, DccError):
            raise frame
        return np.asarray(frame, np.uint8)

    return load


def _listed(path: Path) -> list[tuple[str, _Load]]:
    """Every picture of a list once, in the order of the list."""
    if path.suffix.lower() == ".csv":
        pictures = [picture for pair in read_pairs(path) for picture in (pair.source, pair.target)]
        return list({picture.key: (picture.key, picture.load) for picture in pictures}.values())
    names = [line.strip() for line in read_list(path).splitlines() if line.strip()]
    return [(name, _reader(_beside(path, name))) for name in dict.fromkeys(names)]


def _beside(path: Path, name: str) -> Path:
    """The file ``name`` of a list, which may have been written on Windows."""
    file = path.parent / name
    return file if file.exists() else path.parent / name.replace("\\", "/")


def _reader(path: Path) -> _Load:
    return lambda: read_image(path)
