"""Pictures that are read while the network runs."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from dccnet.runtime.bulk.listed import picture_path
from dccnet.runtime.errors import ImageError
from dccnet.runtime.frames import FrameFormat
from dccnet.runtime.images import read_image
from dccnet.runtime.views.view import AS_IT_IS, View
from dccnet.runtime.views.ways import SeenPicture, see

READERS = 2
"""Threads that decode pictures."""


class PicturesAhead:
    """Reads pictures of a folder in threads. The caller bounds how many wait, by what it asks for."""

    def __init__(self, root: Path, frames: FrameFormat) -> None:
        self._root, self._frames = root, frames
        self.views: Mapping[str, tuple[View, ...]] = {}
        """Which views of a picture are needed, by its name; by default, the picture as it is."""
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="dcc-read")
        self._waiting: dict[str, Future[SeenPicture | ImageError]] = {}

    def want(self, name: str) -> None:
        """Start to read a picture, unless it is read already."""
        if name not in self._waiting:
            self._waiting[name] = self._pool.submit(self._read, name)

    def take(self, name: str) -> SeenPicture | ImageError:
        """The picture, or why it cannot be read."""
        self.want(name)
        return self._waiting.pop(name).result()

    def close(self) -> None:
        """Stop reading."""
        self._pool.shutdown(cancel_futures=True)

    def needed(self, name: str) -> tuple[View, ...]:
        """The views of a picture that are needed."""
        return self.views.get(name, (AS_IT_IS,))

    def _read(self, name: str) -> SeenPicture | ImageError:
        try:
            image = read_image(picture_path(self._root, name))
        except ImageError as error:
            return error
        return see(image, self.needed(name), self._frames)
