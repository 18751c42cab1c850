"""Where frames come from: a video file, pictures, a camera, an address, or any iterable of frames."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import cv2
import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DccError, ImageError, VideoError
from dccnet.runtime.images import SUFFIXES, find_images, read_image

DEFAULT_RATE = 25.0
"""Frames per second, for pictures and for files that do not say."""

STALL_S = 10.0
"""A live source that gives no frame for so long has stalled."""

_READ_TIMEOUT_MS = 12_000  # above STALL_S: a stall is told from an end
_RETRIES = 50  # reads that may fail in a row before what the file says that it still has

Source = Union[str, "os.PathLike[str]", int, Iterable[Any]]
"""A path, glob, address or camera index, or frames: ``(H, W, 3)`` uint8 BGR."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameSource:
    """Frames with a rate."""

    frames: Iterator[Any]
    """Pictures ``(H, W, 3)`` uint8 BGR; in place of one that cannot be read, its :class:`DccError`."""
    name: str
    count: int
    """What the file claims, which a truncated one does not hold; 0 where nobody knows."""
    rate: float
    """Frames per second."""
    live: bool
    """Frames come at their own pace and are late when they wait."""


def is_camera(source: Source) -> bool:
    """Whether it is a camera's index, as a number or as text."""
    return isinstance(source, int) or (isinstance(source, str) and source.isdecimal())


def is_address(source: Source) -> bool:
    return isinstance(source, str) and re.match(r"[a-z][a-z0-9+.-]*://", source, re.IGNORECASE) is not None


def open_source(source: Source, *, live: bool | None = None) -> FrameSource:
    """Frames of ``source``.

    Files and pictures (a folder, or a glob, in sorted order) give every frame. Cameras are live, and so
    are addresses (``rtsp://``, ``http://``) that do not say how many frames they have; an iterable is live
    if ``live`` says so. Raises :class:`VideoError` or :class:`ImageError` for what cannot
    be opened.
    """
    if is_camera(source):
        capture = cv2.VideoCapture(int(str(source)))
        return _captured(capture, f"camera {source}", "is it connected, and not in use elsewhere?", True)
    if not isinstance(source, (str, os.PathLike)):
        assert not isinstance(source, int)
        return FrameSource(_passed_on(source), "the frames", 0, DEFAULT_RATE, bool(live))
    if is_address(source):
        timeouts = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        options = [number for key in timeouts for number in (key, _READ_TIMEOUT_MS)]
        capture = cv2.VideoCapture(str(source), cv2.CAP_FFMPEG, options)
        return _captured(capture, str(source), "is the address right, and the network there?", live)
    path = Path(source)
    if not path.is_file() or path.suffix.lower() in SUFFIXES:
        if not path.exists() and not any(c in str(source) for c in "*?["):
            raise VideoError(f"{path} does not exist")
        pictures = find_images(source)
        return FrameSource(_pictures(pictures), str(source), len(pictures), DEFAULT_RATE, bool(live))
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes)")
    problem = "it is truncated, damaged or of a kind that this OpenCV cannot decode"
    return _captured(cv2.VideoCapture(str(path)), str(path), problem, bool(live))


def _captured(capture: cv2.VideoCapture, name: str, problem: str, live: bool | None) -> FrameSource:
    """``live`` None: unless it says how many frames it has."""
    if not capture.isOpened():
        raise VideoError(f"{name} cannot be opened as a video: {problem}")
    count = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    rate = capture.get(cv2.CAP_PROP_FPS)
    if not (np.isfinite(rate) and 0 < rate <= 1000):  # some cameras say 0, some streams 90000
        rate = DEFAULT_RATE
    live = count == 0 if live is None else live
    return FrameSource(_decode(capture, name, 0 if live else count), name, 0 if live else count, rate, live)


def _decode(capture: cv2.VideoCapture, name: str, count: int) -> Iterator[Image | DccError]:
    """Frames that cannot be decoded are told from the end by what the file says that it has."""
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
        raise VideoError(f"{name} holds no frame that can be decoded")


def _pictures(paths: Iterable[Path]) -> Iterator[Image | DccError]:
    for path in paths:
        try:
            image: Image | DccError = read_image(path)
        except ImageError as error:
            image = error
        yield image


def _passed_on(frames: Iterable[Any]) -> Iterator[Any]:
    """A caller's iterator stays the caller's: closing the stream does not close it."""
    iterator = iter(frames)
    while True:
        try:
            frame = next(iterator)
        except StopIteration:
            return
        yield frame
