"""Frames from a video file, pictures, a camera, an address, or any iterable."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
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
from dccnet.runtime.video.captures import FileFrames, live_frames

DEFAULT_RATE = 25.0
"""Frames per second, for pictures and for files that do not state a rate."""

STALL_S = 10.0
"""Seconds without a frame after which a live source has stalled."""

_READ_TIMEOUT_MS = 12_000  # above STALL_S, so that a stall is not taken for the end

_ONE_THREAD = [cv2.CAP_PROP_N_THREADS, 1]
"""For decoding files: other threads of FFmpeg report damage at any time, also when nobody listens."""

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
    stamps: FileFrames | None = None
    """Knows the time stamp of the last frame, for a video file."""


def is_camera(source: Source) -> bool:
    """Whether ``source`` is a camera's index: a number, or a text of digits unless a file has this name."""
    if isinstance(source, int):
        return True
    return isinstance(source, str) and source.isdecimal() and not Path(source).exists()


def is_address(source: Source) -> bool:
    """Whether ``source`` is an address such as ``rtsp://…``."""
    return isinstance(source, str) and re.match(r"[a-z][a-z0-9+.-]*://", source, re.IGNORECASE) is not None


def open_source(source: Source, *, live: bool | None = None, reconnect: int = 0) -> FrameSource:
    """Open ``source``.

    Files and pictures (a folder, or a glob, in natural order) yield every frame. Cameras are live, and so
    are addresses (``rtsp://``, ``http://``) without a number of frames; an iterable is live if ``live`` is
    true. A camera or address that breaks off is opened again ``reconnect`` times. Raises
    :class:`VideoError` or :class:`ImageError` for what cannot be opened.
    """
    if is_camera(source):
        number = int(str(source))
        problem = "is it connected, and not in use elsewhere?"
        return _from_device(lambda: cv2.VideoCapture(number), f"camera {number}", problem, True, reconnect)
    if not isinstance(source, (str, os.PathLike)):
        assert not isinstance(source, int)
        return FrameSource(_leave_open(source), "the frames", 0, DEFAULT_RATE, bool(live))
    if is_address(source):
        timeouts = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        options = [number for key in timeouts for number in (key, _READ_TIMEOUT_MS)]
        problem = "is the address right, and the network there?"
        address = native_path(source)
        return _from_device(
            lambda: cv2.VideoCapture(address, cv2.CAP_FFMPEG, options),
            without_secrets(str(source)),
            problem,
            live,
            reconnect,
        )
    if not os.fspath(source):  # as a path it would be the current folder
        raise VideoError("the name of the video is empty")
    path = Path(source)
    if not path.is_file() or (is_picture(path) and path.suffix.lower() != ".gif"):  # it may be animated
        if not path.exists() and not any(c in str(source) for c in "*?["):
            raise VideoError(f"{path} does not exist")
        pictures = find_images(source)
        return FrameSource(_read_pictures(pictures), str(source), len(pictures), DEFAULT_RATE, bool(live))
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes)")
    return _from_file(path, bool(live))


def _from_file(path: Path, live: bool) -> FrameSource:
    def open_capture() -> cv2.VideoCapture:
        capture = cv2.VideoCapture(native_path(path), cv2.CAP_FFMPEG, _ONE_THREAD)
        # If it cannot, by another library than FFmpeg.
        return capture if capture.isOpened() else cv2.VideoCapture(native_path(path))

    with listening() as heard:
        capture = open_capture()
    if not capture.isOpened():
        said = f" (FFmpeg: {heard.last})" if heard.last else ""
        raise VideoError(
            f"{path} cannot be opened as a video: it is truncated, damaged or of a kind that this OpenCV "
            f"cannot decode{said}"
        )
    count, rate = _count(capture), _rate(capture)
    frames = FileFrames(open_capture, capture, path, count, rate)
    return FrameSource(frames, str(path), 0 if live else count, rate, live, frames)


def _from_device(
    open_capture: Callable[[], cv2.VideoCapture], name: str, problem: str, live: bool | None, reconnect: int
) -> FrameSource:
    """With ``live`` None, the source is live unless it states a number of frames."""
    capture = open_capture()
    if not capture.isOpened():
        raise VideoError(f"{name} cannot be opened as a video: {problem}")
    count = _count(capture)
    live = count == 0 if live is None else live
    frames = live_frames(open_capture, capture, name, reconnect, ends=count > 0)
    return FrameSource(frames, name, 0 if live else count, _rate(capture), live)


def _count(capture: cv2.VideoCapture) -> int:
    return max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)


def _rate(capture: cv2.VideoCapture) -> float:
    rate = capture.get(cv2.CAP_PROP_FPS)
    # Some cameras report 0, some streams 90000.
    return rate if np.isfinite(rate) and 0 < rate <= 1000 else DEFAULT_RATE


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
