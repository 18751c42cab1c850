"""Write frames to a video file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import VideoError
from dccnet.runtime.files import atomic_path, native_path
from dccnet.runtime.native_messages import listening
from dccnet.runtime.video import h264

CODECS = {".mp4": "vp09", ".webm": "VP80", ".avi": "MJPG"}
"""The codec for each suffix that OpenCV's wheels write everywhere. Browsers play the first two."""


class Encoder(Protocol):
    """Writes frames of one size to one file."""

    def write(self, frame: Image) -> None: ...

    def close(self) -> None:
        """Raises :class:`VideoError` where the file is not complete."""


class VideoWriter:
    """Writes frames to a video file of the first frame's size; other frames are fitted into it.

    Codecs share the colour of two pixels, so an odd side gets one more row or column.
    Without a ``codec``, ``.mp4`` becomes H.264 where the extra ``video`` is installed.
    """

    def __init__(self, path: Path, rate: float, codec: str | None = None) -> None:
        """``rate`` is in frames per second; ``codec`` is four letters, by default from :data:`CODECS`."""
        self._path, self._rate = path, rate
        suffix = path.suffix.lower()
        self._h264 = h264.is_meant(codec) or (codec is None and suffix == ".mp4" and h264.available())
        self._codec = codec or CODECS.get(suffix, CODECS[".mp4"])
        self._encoder: Encoder | None = None
        self._size = (0, 0)  # (width, height)

    def write(self, frame: Image) -> None:
        """Raises :class:`VideoError` where this format or codec cannot be written."""
        if self._encoder is None:
            self._size = (frame.shape[1] + frame.shape[1] % 2, frame.shape[0] + frame.shape[0] % 2)
            self._encoder = (
                h264.H264Encoder(self._path, self._rate, self._size)
                if self._h264
                else _OpenCVEncoder(self._path, self._rate, self._size, self._codec)
            )
        self._encoder.write(_fit(frame, self._size))

    def close(self) -> None:
        """Raises :class:`VideoError` where the file is not complete."""
        if self._encoder is not None:
            encoder, self._encoder = self._encoder, None
            encoder.close()


class _OpenCVEncoder:
    def __init__(self, path: Path, rate: float, size: tuple[int, int], codec: str) -> None:
        self._path, self._name, self._frames = path, native_path(path), 0
        with listening(exclusive=True):  # FFmpeg's own words are not about a file that is read
            self._writer = cv2.VideoWriter(self._name, cv2.VideoWriter.fourcc(*codec), rate, size)
        if not self._writer.isOpened():
            usual = ", ".join(f"{suffix} with {name}" for suffix, name in CODECS.items())
            raise VideoError(f"OpenCV cannot write {path.name} with the codec {codec}: use {usual}")

    def write(self, frame: Image) -> None:
        self._writer.write(frame)
        self._frames += 1

    def close(self) -> None:
        """Raises :class:`VideoError` where the file has fewer frames than were written: FFmpeg reports no
        error on a full disk."""
        self._writer.release()
        capture = cv2.VideoCapture(self._name)
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if count < self._frames:
            raise VideoError(
                f"{count} of {self._frames} frames are in {self._path.name}: is the disk full, or a quota "
                "used up?"
            )


def _fit(frame: Image, size: tuple[int, int]) -> Image:
    """Scale into (width, height) with black borders: OpenCV silently drops frames of another size."""
    height, width = frame.shape[:2]
    right, below = size[0] - width, size[1] - height
    if right == below == 0:
        return frame
    if right in (0, 1) and below in (0, 1):
        return np.asarray(cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    scale = min(size[0] / width, size[1] / height)
    inner = (max(round(width * scale), 1), max(round(height * scale), 1))
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    fitted = np.zeros((size[1], size[0], 3), np.uint8)
    fitted[top : top + inner[1], left : left + inner[0]] = cv2.resize(frame, inner)
    return fitted


@contextlib.contextmanager
def video_writer(path: Path, rate: float, codec: str | None = None) -> Iterator[VideoWriter]:
    """A writer whose file is moved to ``path`` when the block ends without an error."""
    with atomic_path(path) as temporary, contextlib.closing(VideoWriter(temporary, rate, codec)) as writer:
        yield writer
