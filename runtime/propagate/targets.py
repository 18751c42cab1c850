"""The pictures, or the frames of a video, that annotations are carried to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dccnet.runtime.annotations.frame_names import frame_name
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DccError, ImageError, UsageError, VideoError
from dccnet.runtime.file_names import natural_key
from dccnet.runtime.files import native_path
from dccnet.runtime.images import find_images, is_picture, read_image
from dccnet.runtime.video.captures import BetweenFramesError
from dccnet.runtime.video.pipeline import Background, close_iterator
from dccnet.runtime.video.sources import is_address, is_camera, open_source

AHEAD = 3
"""Pictures that may be decoded while earlier ones are matched."""


@dataclass(frozen=True, slots=True)
class Target:
    """A picture, or a frame of a video."""

    name: str
    path: Path
    frame: int | None = None
    time_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """All pictures of a folder or a glob, or one video."""

    pictures: tuple[Path, ...]
    video: Path | None
    root: Path
    """The folder that names are relative to."""
    count: int
    """Number of pictures or frames; 0 if it is unknown."""

    def names(self) -> list[str]:
        """Of the pictures. Two of one name in different folders have different ones."""
        root = _absolute(self.root)
        return [_absolute(path).relative_to(root).as_posix() for path in self.pictures]


Read = tuple[Target, Image | DccError | None]
"""A target with its picture; with why it cannot be read; or None where it was not asked for."""


def find_targets(where: str, roots: tuple[Path, ...]) -> Targets:
    """Pictures in a folder and the folders in it, those of a glob, or a video; in natural order.

    Names are relative to the first of ``roots`` that contains them all; else to the folder. Raises
    :class:`DccError` where there are none.
    """
    path = Path(where)
    if is_address(where) or is_camera(where):
        raise UsageError(
            "dcc propagate takes pictures or a video file; for a camera, use dcc match --video"
        )
    if path.is_file() and not is_picture(path):
        source = open_source(path)
        close_iterator(source.frames)
        return Targets((), path, path.parent, source.count)
    if path.is_dir():
        found = [p for p in path.rglob("*") if is_picture(p) and p.is_file() and not _hidden(p, path)]
        pictures = tuple(sorted(found, key=natural_key))
        folder = path
        if not pictures:
            raise ImageError(f"no pictures in {path} and its folders")
    else:
        pictures = tuple(find_images(where))
        folder = _common(pictures)
    for picture in pictures:
        native_path(picture)  # no file of annotations can hold a name that is not UTF-8
    whole = [root for root in roots if all(_absolute(p).is_relative_to(_absolute(root)) for p in pictures)]
    return Targets(pictures, None, whole[0] if whole else folder, len(pictures))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolving links would change names)


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _common(pictures: tuple[Path, ...]) -> Path:
    folder = pictures[0].parent
    while not all(path.is_relative_to(folder) for path in pictures):
        folder = folder.parent
    return folder


@contextlib.contextmanager
def read_targets(
    targets: Targets, wanted: Callable[[Target], bool], on_note: Callable[[str], None]
) -> Iterator[Iterator[Read]]:
    """Targets with their pictures, which are decoded in another thread. Pictures that are not ``wanted``
    are not read; frames of a video are, because what follows depends on them."""
    items = _pictures(targets, wanted) if targets.video is None else _frames(targets.video, on_note)
    ahead = Background(items, AHEAD)
    try:
        yield ahead
    finally:
        ahead.close()


def _pictures(targets: Targets, wanted: Callable[[Target], bool]) -> Iterator[Read]:
    for name, path in zip(targets.names(), targets.pictures, strict=True):
        target = Target(name, path)
        if not wanted(target):
            yield target, None
            continue
        try:
            yield target, read_image(path)
        except ImageError as error:
            yield target, error


def _frames(video: Path, on_note: Callable[[str], None]) -> Iterator[Read]:
    source = open_source(video)
    number = 0
    try:
        for frame in source.frames:
            if isinstance(frame, BetweenFramesError):
                on_note(str(frame))
                continue
            stamp = number / source.rate if source.stamps is None else source.stamps.time_s
            target = Target(frame_name(video.name, number), video, number, round(stamp, 4))
            yield target, frame
            number += 1
    except VideoError as error:  # truncated: what was decoded is done
        if not number:
            raise
        yield Target(frame_name(video.name, number), video, number), error
    finally:
        close_iterator(source.frames)
