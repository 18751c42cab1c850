"""Frames from a video file, pictures, a camera, an address, or any iterable."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import cv2
import numpy as np

from dccnet.runtime.addresses import without_secrets
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DccError, ImageError, VideoError
from dccnet.runtime.files import native_path
from dccnet.runtime.images import find_images, is_picture, read_image
from dccnet.runtime.native_messages import listening

DEFAULT_RATE = 25.0
"""Frames per second, for pictures and for files that do not state a rate."""

STALL_S = 10.0
"""Seconds without a frame after which a live source has stalled."""

_READ_TIMEOUT_MS = 12_000  # above STALL_S, so that a stall is not taken for the end
_RETRIES = 50  # failed reads in a row after which a file has ended, whatever its frame count

Source = Union[str, "os.PathLike[str]", int, Iterable[Any]]
"""A path, glob, address or camera index, or frames: ``(H, W, 3)`` uint8 BGR."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameSource:
    """Frames and their rate."""

    frames: Iterator[Any]
    """Frames ``(H, W, 3)`` uint8 BGR, or a :class:`DccError` in place of a frame that cannot be read."""
    name: str
    count: int
    """Frames that the file claims to have, which is too many if it is truncated; 0 if unknown."""
    rate: float
    """Frames per second."""
    live: bool
    """Whether frames come at their own rate and grow old while they wait."""


def is_camera(source: Source) -> bool:
    """Whether ``source`` is a camera's index: a number, or a text of digits unless a file has this name."""
    if isinstance(source, int):
        return True
    return isinstance(source, str) and source.isdecimal() and not Path(source).exists()


def is_address(source: Source) -> bool:
    """Whether ``source`` is an address such as ``rtsp://…``."""
    return isinstance(source, str) and re.match(r"[a-z][a-z0-9+.-]*://", source, re.IGNORECASE) is not None


def open_source(source: Source, *, live: bool | None = None) -> FrameSource:
    """Open ``source``.

    Files and pictures (a folder, or a glob, in sorted order) yield every frame. Cameras are live, and so
    are addresses (``rtsp://``, ``http://``) without a number of frames; an iterable is live if ``live`` is
    true. Raises :class:`VideoError` or :class:`ImageError` for what cannot be opened.
    """
    if is_camera(source):
        capture = cv2.VideoCapture(int(str(source)))
        return _from_capture(
            capture, f"camera {source}", "is it connected, and not in use elsewhere?", True
        )
    if not isinstance(source, (str, os.PathLike)):
        assert not isinstance(source, int)
        return FrameSource(_leave_open(source), "the frames", 0, DEFAULT_RATE, bool(live))
    if is_address(source):
        timeouts = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        options = [number for key in timeouts for number in (key, _READ_TIMEOUT_MS)]
        capture = cv2.VideoCapture(native_path(source), cv2.CAP_FFMPEG, options)
        name = without_secrets(str(source))
        return _from_capture(capture, name, "is the address right, and the network there?", live)
    path = Path(source)
    if not path.is_file() or (is_picture(path) and path.suffix.lower() != ".gif"):  # it may be animated
        if not path.exists() and not any(c in str(source) for c in "*?["):
            raise VideoError(f"{path} does not exist")
        pictures = find_images(source)
        return FrameSource(_read_pictures(pictures), str(source), len(pictures), DEFAULT_RATE, bool(live))
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes)")
    problem = "it is truncated, damaged or of a kind that this OpenCV cannot decode"
    with listening():
        capture = cv2.VideoCapture(native_path(path))
    return _from_capture(capture, str(path), problem, bool(live))


def _from_capture(capture: cv2.VideoCapture, name: str, problem: str, live: bool | None) -> FrameSource:
    """With ``live`` None, the source is live unless it states a number of frames."""
    if not capture.isOpened():
        raise VideoError(f"{name} cannot be opened as a video: {problem}")
    count = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    rate = capture.get(cv2.CAP_PROP_FPS)
    if not (np.isfinite(rate) and 0 < rate <= 1000):  # some cameras report 0, some streams 90000
        rate = DEFAULT_RATE
    live = count == 0 if live is None else live
    count = 0 if live else count
    return FrameSource(_decode(capture, name, count), name, count, rate, live)


def _decode(capture: cv2.VideoCapture, name: str, count: int) -> Iterator[Image | DccError]:
    """OpenCV reports a frame that cannot be decoded like the end; the file's ``count`` tells them apart."""
    number = failed = 0
    try:
        while failed <= _RETRIES:
            done, frame = capture.read()
            if done:
                for lost in range(number, number + failed):
                    yield VideoError(f"frame {lost} of {name} cannot be decoded")
                number, failed = number + failed + 1, 0
                yield np.asarray(frame, np.uint8)
            else:
                failed += 1
                if number + failed > count:
                    break
    finally:
        capture.release()
    if not number:
        raise VideoError(f"{name} contains no frame that can be decoded")


def _read_pictures(paths: Iterable[Path]) -> Iterator[Image | DccError]:
    for path in paths:
        try:
            image: Image | DccError = read_image(path)
        except ImageError as error:
            image = error
        yield image


def _leave_open(frames: Iterable[Any]) -> Iterator[Any]:
    """The same frames; closing this generator does not close the caller's iterator."""
    iterator = iter(frames)
    while True:
        try:
            frame = next(iterator)
        except StopIteration:
            return
        yield frame
