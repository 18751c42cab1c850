"""Features of the frozen backbone on disk, mapped into memory: computed once for all epochs and runs.

One safetensors file for each picture, in a folder for each backbone. A name is a hash of all that the
features depend on, so that nothing stale is ever found, and any number of processes may share a folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dccnet.evaluation.pairs import Picture
from dccnet.runtime.console import warn
from dccnet.runtime.errors import DccError
from dccnet.runtime.files import atomic_path, sha256
from dccnet.runtime.geometry import Size

SCHEMA = 1


class FeatureFiles:
    """What a folder holds of one network's features."""

    def __init__(self, folder: str | Path, weights: Iterable[tuple[str, Tensor]], size: Size) -> None:
        """``weights`` are those that the features depend on; ``size`` is the network's (height, width)."""
        digest = hashlib.sha256(f"{SCHEMA} {size}".encode())
        for name, tensor in weights:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        self._folder = Path(folder) / digest.hexdigest()[:16]
        self._contents: dict[Path, str] = {}
        self._writes = True

    def __contains__(self, picture: Picture) -> bool:
        """Whether there is a file, whole or not."""
        return self._path(picture).exists()

    def get(self, picture: Picture) -> tuple[Tensor, Size] | None:
        """The features and the picture's (height, width) in pixels, if they are there and whole."""
        try:
            with safe_open(self._path(picture), framework="pt") as file:
                height, width = (int(side) for side in file.metadata()["size"].split())
                return file.get_tensor("features"), (height, width)
        except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError):
            return None  # absent or damaged: computed again, and written anew

    def put(self, picture: Picture, features: Tensor, size: Size) -> None:
        """Keep them. A folder that takes no more is said once, and not tried again."""
        if not self._writes:
            return
        try:
            with atomic_path(self._path(picture)) as temporary:
                temporary.write_bytes(save({"features": features}, {"size": f"{size[0]} {size[1]}"}))
        except DccError as error:
            self._writes = False
            warn(f"features are no longer kept: {error}")

    def _path(self, picture: Picture) -> Path:
        name = hashlib.sha256(self._identity(picture).encode()).hexdigest()[:32]
        return self._folder / name[:2] / f"{name}.safetensors"

    def _identity(self, picture: Picture) -> str:
        """Its key, with the file's content in place of its path: files move, and change."""
        if picture.file is None:
            return picture.key
        if picture.file not in self._contents:
            self._contents[picture.file] = sha256(picture.file)
        return picture.key.replace(str(picture.file), self._contents[picture.file])
