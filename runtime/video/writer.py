"""Write frames to a video file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import VideoError
from dccnet.runtime.files import atomic_path, native_path
from dccnet.runtime.native_messages import listening

CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
"""The codec for each suffix that OpenCV's wheels can write on every machine."""


class VideoWriter:
    """Writes frames to a video file of the first frame's size; other frames are fitted into it."""

    def __init__(self, path: Path, rate: float, codec: str | None = None) -> None:
        """``rate`` is in frames per second; ``codec`` is four letters, by default from :data:`CODECS`."""
        self._path, self._name = path, native_path(path)
        self._rate = rate
        self._codec = codec or CODECS.get(path.suffix.lower(), "mp4v")
        self._frames = 0
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)  # (width, height)

    def write(self, frame: Image) -> None:
        """Raises :class:`VideoError` where OpenCV cannot write this format or codec."""
        if self._writer is None:
            self._size = (frame.shape[1], frame.shape[0])
            fourcc = cv2.VideoWriter.fourcc(*self._codec)
            with listening(exclusive=True):  # FFmpeg's own words are not about a file that is read
                self._writer = cv2.VideoWriter(self._name, fourcc, self._rate, self._size)
            if not self._writer.isOpened():
                raise VideoError(
                    f"OpenCV cannot write {self._path.name} with the codec {self._codec}: use .mp4 with "
                    "mp4v, or .avi with MJPG"
                )
        self._writer.write(_fit(frame, self._size))
        self._frames += 1

    def close(self) -> None:
        """Raises :class:`VideoError` where the file has fewer frames than were written: FFmpeg reports no
        error on a full disk."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
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
    with atomic_path(path) as temporary, contextlib.closing(VideoWriter(temporary, rate)) as writer:
        yield writer
