"""Annotated videos: a folder with frames, masks and keypoints.csv."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dccnet.evaluation.pairs import coordinates, named_rows
from dccnet.runtime.arrays import Image, Mask, Points
from dccnet.runtime.errors import DataError
from dccnet.runtime.geometry import Size
from dccnet.runtime.images import find_images, read_image
from dccnet.runtime.video.mask_files import read_mask

FRAMES, MASKS, KEYPOINTS = "frames", "masks", "keypoints.csv"
COLUMNS = ("sequence", "frame", "name", "x", "y")


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """The frames of one sequence, with annotations on some of them."""

    name: str
    frames: tuple[Path, ...]
    masks: Mapping[int, Path]
    """By the number of the frame, from 0."""
    joints: Mapping[int, Mapping[str, Points]] = field(default_factory=dict)
    """By the number of the frame: (x, y) of each joint that can be seen there, by its name."""
    _sizes: dict[int, Size] = field(default_factory=dict, init=False, repr=False)
    """Of the frames with masks, kept from the first call."""

    @property
    def first(self) -> int:
        """The number of the reference: the first frame with joints, else the first with a mask."""
        return min(self.joints or self.masks)

    @property
    def names(self) -> tuple[str, ...]:
        """The joints of the reference, which are carried."""
        return tuple(self.joints[self.first]) if self.joints else ()

    def start_points(self) -> Points | None:
        """``(N, 2)``: :attr:`names` on the reference."""
        return np.stack(list(self.joints[self.first].values())) if self.joints else None

    def start_mask(self) -> Mask | None:
        return self.mask(self.first)

    def mask(self, number: int) -> Mask | None:
        """``(H, W)``, not 0 on the object; None for a frame without a mask.

        Raises :class:`DataError` for a mask of another size than the frame.
        """
        if number not in self.masks:
            return None
        mask, _ = read_mask(self.masks[number])
        mask = mask.max(axis=2) if mask.ndim == 3 else mask
        if number not in self._sizes:
            height, width = read_image(self.frames[number]).shape[:2]
            self._sizes[number] = height, width
        if mask.shape != self._sizes[number]:
            raise DataError(
                f"{self.masks[number]} is {mask.shape} (height, width), its frame {self._sizes[number]}"
            )
        return mask

    def images(self) -> Iterator[Image]:
        """The frames from the reference on."""
        return map(read_image, self.frames[self.first :])


def read_clips(folder: Path) -> tuple[Clip, ...]:
    """The sequences in ``folder``: ``frames/SEQUENCE/`` has the pictures, in the order of their names,
    ``masks/SEQUENCE/`` PNGs with the same names, and ``keypoints.csv`` the columns
    ``sequence,frame,name,x,y`` (``frame`` is a picture's name, x and y are 0-based pixels). Masks of some
    frames, and keypoints of some sequences, may be missing.

    Raises :class:`DataError`, which names what is missing or malformed.
    """
    joints = _read_joints(folder / KEYPOINTS) if (folder / KEYPOINTS).is_file() else {}
    sequences = sorted(path for path in (folder / FRAMES).glob("*") if path.is_dir())
    if not sequences:
        raise DataError(f"{folder} has no folder {FRAMES}/SEQUENCE with the frames of a video")
    unknown = joints.keys() - {path.name for path in sequences}
    if unknown:
        raise DataError(f"{folder / KEYPOINTS}: there is no folder {FRAMES}/{min(unknown)}")
    return tuple(_clip(folder, path, joints.get(path.name, {})) for path in sequences)


def digest(folder: Path, clips: tuple[Clip, ...]) -> str:
    """SHA-256 of the keypoints, of the masks, and of the frames' names."""
    found = hashlib.sha256()
    for clip in clips:
        found.update("\n".join(path.relative_to(folder).as_posix() for path in clip.frames).encode())
        for path in clip.masks.values():
            found.update(path.read_bytes())
    if (folder / KEYPOINTS).is_file():
        found.update((folder / KEYPOINTS).read_bytes())
    return found.hexdigest()


def _clip(folder: Path, frames: Path, joints: Mapping[str, Mapping[str, Points]]) -> Clip:
    pictures = tuple(find_images(frames))
    numbers = {path.stem: number for number, path in enumerate(pictures)}
    masks = {
        numbers[path.stem]: path
        for path in sorted((folder / MASKS / frames.name).glob("*.png"))
        if path.stem in numbers
    }
    placed: dict[int, Mapping[str, Points]] = {}
    for frame, points in joints.items():
        number = numbers.get(Path(frame).stem)
        if number is None:
            raise DataError(f"{folder / KEYPOINTS}: there is no frame {frames / frame}")
        if number not in masks:
            raise DataError(
                f"{folder / KEYPOINTS}: {frames.name}/{frame} has no mask in {MASKS}/{frames.name}; PCK "
                "is relative to its area"
            )
        placed[number] = points
    if not masks:
        raise DataError(f"{folder / MASKS / frames.name} has no mask (PNG) for any frame of {frames}")
    return Clip(frames.name, pictures, masks, placed)


def _read_joints(path: Path) -> dict[str, dict[str, dict[str, Points]]]:
    """By sequence, frame and joint."""
    columns, rows = named_rows(path)
    missing = set(COLUMNS) - set(columns)
    if missing:
        raise DataError(f"{path} has no column {min(missing)}; it needs {','.join(COLUMNS)}")
    found: dict[str, dict[str, dict[str, Points]]] = {}
    for number, row in rows:
        where = f"{path}, line {number}"
        point = coordinates([row["x"], row["y"]], "x,y", where)
        frame = found.setdefault(row["sequence"], {}).setdefault(row["frame"], {})
        if row["name"] in frame:
            raise DataError(f"{where}: {row['name']} is annotated twice in {row['frame']}")
        frame[row["name"]] = point
    return found
