"""Pictures that are read while the network runs."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from dccnet.runtime.arrays import Array
from dccnet.runtime.bulk.listed import picture_path
from dccnet.runtime.errors import ImageError
from dccnet.runtime.frames import FrameFormat
from dccnet.runtime.geometry import Size, mirror
from dccnet.runtime.images import read_image

READERS = 2
"""Threads that decode pictures."""


class ReadPicture(NamedTuple):
    """A picture that was read and resized."""

    frame: Array
    size: Size
    """(height, width) of the original in pixels."""
    mirrored: Array | None
    """The frame of the picture mirrored left to right, where it is needed."""


class PicturesAhead:
    """Reads pictures of a folder in threads. The caller bounds how many wait, by what it asks for."""

    def __init__(self, root: Path, frames: FrameFormat) -> None:
        self._root, self._frames = root, frames
        self.mirrored: Collection[str] = ()
        """Names of the pictures that are also needed mirrored."""
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="dcc-read")
        self._waiting: dict[str, Future[ReadPicture | ImageError]] = {}

    def want(self, name: str) -> None:
        """Start to read a picture, unless it is read already."""
        if name not in self._waiting:
            self._waiting[name] = self._pool.submit(self._read, name)

    def take(self, name: str) -> ReadPicture | ImageError:
        """The picture, or why it cannot be read."""
        self.want(name)
        return self._waiting.pop(name).result()

    def close(self) -> None:
        """Stop reading."""
        self._pool.shutdown(cancel_futures=True)

    def _read(self, name: str) -> ReadPicture | ImageError:
        try:
            image = read_image(picture_path(self._root, name))
        except ImageError as error:
            return error
        mirrored = self._frames.of(mirror(image)) if name in self.mirrored else None
        return ReadPicture(self._frames.of(image), (image.shape[0], image.shape[1]), mirrored)
