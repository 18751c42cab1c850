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
    """Frames to a video file. The size is that of the first frame; others are fitted into it."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path = path
        self._rate = rate
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)  # (width, height)

    def write(self, frame: Image) -> None:
        """Raises :class:`VideoError` where OpenCV cannot write this kind of file."""
        if self._writer is None:
            self._size = (frame.shape[1], frame.shape[0])
            code = "MJPG" if self._path.suffix.lower() == ".avi" else "mp4v"
            fourcc = cv2.VideoWriter.fourcc(*code)
            self._writer = cv2.VideoWriter(str(self._path), fourcc, self._rate, self._size)
            if not self._writer.isOpened():
                raise VideoError(f"OpenCV cannot write a video called {self._path.name}: use .mp4 or .avi")
        self._writer.write(_fit(frame, self._size))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()


def _fit(frame: Image, size: tuple[int, int]) -> Image:
    """Scaled into (width, height) with black borders: OpenCV drops frames of another size silently."""
    height, width = frame.shape[:2]
    if (width, height) == size:
        return frame
    scale = min(size[0] / width, size[1] / height)
    inner = (max(round(width * scale), 1), max(round(height * scale), 1))
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    fitted = np.zeros((size[1], size[0], 3), np.uint8)
    fitted[top : top + inner[1], left : left + inner[0]] = cv2.resize(frame, inner)
    return fitted


@contextlib.contextmanager
def video_writer(path: Path, rate: float) -> Iterator[VideoWriter]:
    """A writer whose file is moved to ``path`` when the block ends without an error."""
    with atomic_path(path) as temporary:
        writer = VideoWriter(temporary, rate)
        try:
            yield writer
        finally:
            writer.close()
