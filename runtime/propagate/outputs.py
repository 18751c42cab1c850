"""Masks and frames as PNG files beside the annotations."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from dccnet.runtime.annotations.model import Picture
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import UsageError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.images import read_image, write_image
from dccnet.runtime.palettes import Palette
from dccnet.runtime.propagate.targets import Targets
from dccnet.runtime.video.mask_files import encode_mask


class MaskFolder:
    """Writes a mask for each picture, in the same folders, with the reference's labels and palette."""

    def __init__(self, folder: Path, targets: Targets, palette: Palette | None) -> None:
        self._folder, self._palette = folder, palette
        stems = Counter(str(Path(name).with_suffix("")) for name in targets.names())
        self._twice = {stem for stem, count in stems.items() if count > 1}

    def path(self, name: str) -> Path:
        """``a/x.jpg`` -> ``a/x.png``; ``a/x.jpg.png`` where another picture differs only in its suffix."""
        stem = str(Path(name).with_suffix(""))
        return self._folder / (f"{name}.png" if stem in self._twice else f"{stem}.png")

    def write(self, picture: Picture) -> None:
        """Where masks overlap, the later one is shown. Raises :class:`DccError`."""
        if picture.size is None:
            return
        mask = np.zeros(picture.size, np.uint8)
        for instance in picture.instances:
            if instance.mask is not None:
                mask[instance.mask.array()] = instance.label
        with atomic_path(self.path(picture.name)) as temporary:
            temporary.write_bytes(encode_mask(mask, self._palette))


def write_frame(folder: Path, number: int, image: Image) -> Path:
    """A frame as PNG; one that an earlier run saved stays. Raises :class:`DccError`, also where another
    picture has its name."""
    path = folder / f"frame_{number:06d}.png"
    if not path.exists():
        write_image(path, image)
    elif not np.array_equal(read_image(path), image):
        raise UsageError(f"{path} is not frame {number} of this video: choose another folder, or remove it")
    return path
