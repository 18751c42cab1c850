"""Features of the frozen backbone on disk, computed once for all epochs and runs and memory-mapped.

Each picture has one safetensors file, in a folder for its backbone. A file's name is a hash of everything
that its features depend on, so stale features are never read. Several processes may share a folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dccnet.evaluation.pairs import Picture
from dccnet.runtime.errors import DccError, ImageError
from dccnet.runtime.files import atomic_path, sha256
from dccnet.runtime.frames import UINT8, FrameFormat
from dccnet.runtime.geometry import Size
from dccnet.runtime.messages import warn

SCHEMA = 1


class FeatureFiles:
    """Reads and writes one network's features in a folder."""

    def __init__(
        self, folder: str | Path, weights: Iterable[tuple[str, Tensor]], frames: FrameFormat
    ) -> None:
        """``weights`` are those that the features depend on; ``frames`` is what the network takes."""
        kind = "" if frames.dtype == UINT8 else f" {frames.dtype}"
        digest = hashlib.sha256(f"{SCHEMA} {frames.size}{kind}".encode())
        for name, tensor in weights:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        self._folder = Path(folder) / digest.hexdigest()[:16]
        self._contents: dict[Path, str] = {}
        self._writes = True

    def __contains__(self, picture: Picture) -> bool:
        """Whether the picture has a file, which may be damaged."""
        return self._path(picture).exists()

    def get(self, picture: Picture) -> tuple[Tensor, Size] | None:
        """Features ``(1, c, h, w)`` and the picture's (height, width); None if absent or damaged."""
        try:
            with safe_open(self._path(picture), framework="pt") as file:
                height, width = (int(side) for side in file.metadata()["size"].split())
                return file.get_tensor("features"), (height, width)
        except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError):
            return None  # the caller computes them again and replaces the file

    def put(self, picture: Picture, features: Tensor, size: Size) -> None:
        """Write the picture's file. After a failed write (full disk) it warns, and writes no more files."""
        if not self._writes:
            return
        try:
            with atomic_path(self._path(picture)) as temporary:
                temporary.write_bytes(save({"features": features}, {"size": f"{size[0]} {size[1]}"}))
        except DccError as error:
            self._writes = False
            warn(f"features are no longer kept on disk: {error}")

    def _path(self, picture: Picture) -> Path:
        name = hashlib.sha256(self._identity(picture).encode()).hexdigest()[:32]
        return self._folder / name[:2] / f"{name}.safetensors"

    def _identity(self, picture: Picture) -> str:
        """The key with the file's hash in place of its path, because files are moved and edited."""
        if picture.file is None:
            return picture.key
        if picture.file not in self._contents:
            try:
                self._contents[picture.file] = sha256(picture.file)
            except OSError as error:
                raise ImageError(f"cannot read {picture.file}: {error.strerror or error}") from error
        return picture.key.replace(str(picture.file), self._contents[picture.file])
