"""A file for each frame, with the frame's number in its name: ``flow/%06d.flo``."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dccnet.runtime.errors import UsageError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.images import SUFFIXES, write_image
from dccnet.runtime.palettes import Palette
from dccnet.runtime.video.mask_files import encode_mask
from dccnet.runtime.video.outputs.sink import OutputFrame
from dccnet.runtime.writers import WRITERS, save_correspondences

_NUMBER = re.compile(r"%0?\d*d")


def is_sequence(path: Path) -> bool:
    """Whether the name has a placeholder for the frame's number, as in FFmpeg and OpenCV."""
    return _NUMBER.search(path.name) is not None


class FileSequence:
    """Drawings, flows or matches, by suffix. Each file is written atomically."""

    reserve = 0

    def __init__(self, pattern: Path) -> None:
        """Raises :class:`UsageError` for an unknown suffix."""
        suffix = pattern.suffix.lower()
        if suffix not in SUFFIXES and suffix not in WRITERS:
            known = ", ".join([*sorted(SUFFIXES), *WRITERS])
            raise UsageError(f"cannot write '{pattern}': a file for each frame ends in one of {known}")
        self._pattern = pattern
        self.needs_drawing = suffix in SUFFIXES

    def write(self, frame: OutputFrame) -> None:
        name = _NUMBER.sub(lambda m: m[0] % frame.result.index, self._pattern.name, count=1)
        path = self._pattern.with_name(name)
        if not self.needs_drawing:
            save_correspondences(frame.result.correspondences, path)
        elif frame.drawing is not None:
            write_image(path, frame.drawing)

    def close(self) -> None:
        """Every file is already closed."""


class MaskFolder:
    """For each frame the carried mask, ``000012.png``, and its confidence from 0 to 255,
    ``000012-confidence.png``."""

    reserve = 0

    def __init__(self, folder: Path, palette: Palette | None = None) -> None:
        """``palette`` is that of the reference's mask: the masks get it, too."""
        self._folder, self._palette = folder, palette

    def write(self, frame: OutputFrame) -> None:
        carried = frame.result.carried
        if carried is None or carried.mask is None:
            return
        confidence = np.rint(255 * carried.mask.confidence).astype(np.uint8)
        name = f"{frame.result.index:06d}"
        with atomic_path(self._folder / f"{name}.png") as temporary:
            temporary.write_bytes(encode_mask(carried.mask.mask, self._palette))
        write_image(self._folder / f"{name}-confidence.png", confidence)

    def close(self) -> None:
        """Every file is already closed."""
