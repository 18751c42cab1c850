"""Frames in from a video file or pictures, annotated frames out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from runtime.errors import VideoError
from runtime.files import atomic_path
from runtime.images import SUFFIXES, Image, find_images, read_image

DEFAULT_RATE = 25.0  # frames/s, for pictures and for files that do not say


@dataclass(frozen=True, slots=True)
class FrameSource:
    """Frames with a rate; ``count`` is what the file claims, which a truncated one does not hold."""

    frames: Iterator[Image]
    count: int
    rate: float
    """Frames per second."""


def open_frames(source: str | os.PathLike[str]) -> FrameSource:
    """Frames of a video file, or of a folder or glob of pictures in sorted order, uint8 BGR.

    Raises :class:`VideoError` or :class:`~runtime.errors.ImageError` for what cannot be read.
    """
    path = Path(source)
    if not path.is_file() or path.suffix.lower() in SUFFIXES:
        if not path.exists() and not any(c in str(source) for c in "*?["):
            raise VideoError(f"{path} does not exist")
        pictures = find_images(source)
        return FrameSource(map(read_image, pictures), len(pictures), DEFAULT_RATE)
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes)")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise VideoError(
            f"{path} cannot be opened as a video: it is truncated, damaged or of a kind that this "
            "OpenCV cannot decode"
        )
    count = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    rate = capture.get(cv2.CAP_PROP_FPS)
    if not (np.isfinite(rate) and rate > 0):
        rate = DEFAULT_RATE
    return FrameSource(_decode(capture, path), count, rate)


def _decode(capture: cv2.VideoCapture, path: Path) -> Iterator[Image]:
    read_any = False
    try:
        while True:
            done, frame = capture.read()
            if not done:
                break
            read_any = True
            yield np.asarray(frame, np.uint8)
    finally:
        capture.release()
    if not read_any:
        raise VideoError(f"{path} holds no frame that can be decoded")


class VideoWriter:
    """Frames to a video file. The size is that of the first frame."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path = path
        self._rate = rate
        self._writer: cv2.VideoWriter | None = None

    def write(self, frame: Image) -> None:
        """Raises :class:`VideoError` where OpenCV cannot write this kind of file."""
        if self._writer is None:
            size = (frame.shape[1], frame.shape[0])
            code = "MJPG" if self._path.suffix.lower() == ".avi" else "mp4v"
            fourcc = cv2.VideoWriter.fourcc(*code)
            self._writer = cv2.VideoWriter(str(self._path), fourcc, self._rate, size)
            if not self._writer.isOpened():
                raise VideoError(f"OpenCV cannot write a video called {self._path.name}: use .mp4 or .avi")
        self._writer.write(frame)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()


@contextlib.contextmanager
def video_writer(path: Path, rate: float) -> Iterator[VideoWriter]:
    """A writer whose file is moved to ``path`` when the block ends without an error."""
    with atomic_path(path) as temporary:
        writer = VideoWriter(temporary, rate)
        try:
            yield writer
        finally:
            writer.close()
