"""Find, read and write picture files."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import cv2
import numpy as np

from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import ImageError
from dccnet.runtime.files import atomic_path

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def read_image(path: str | os.PathLike[str]) -> Image:
    """Decode a picture to ``(H, W, 3)`` uint8 BGR with its EXIF orientation applied.

    Grey, palette and 16-bit pictures are converted to 8-bit colour; transparency is dropped. Raises
    :class:`ImageError` for a file that is missing, empty, damaged, truncated or no picture.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist") from None
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from error
    if not data:
        raise ImageError(f"{path} is empty (0 bytes)")
    # OpenCV 4 fills the missing part of a truncated JPEG with grey and reports no error.
    if data[:2] == b"\xff\xd8" and not _jpeg_is_whole(data):
        raise ImageError(f"{path} is truncated: the JPEG has no end; copy or download it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError(f"{path} is not a picture that OpenCV can decode, or it is damaged")
    return np.asarray(image, np.uint8)


def _jpeg_is_whole(data: bytes) -> bool:
    """Whether an end-of-image marker follows the scan; markers before it belong to thumbnails."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        if data[position + 1] == 0xDA:  # start of scan: only the end marker can follow its data
            return data.find(b"\xff\xd9", position) >= 0
        if data[position + 1] == 0xFF:  # fill byte
            position += 1
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False


def find_images(pattern: str | os.PathLike[str]) -> list[Path]:
    """Paths of one picture, of all pictures in a folder (sorted, not recursive), or of a glob pattern.

    Raises :class:`ImageError` where no picture is found.
    """
    path = Path(pattern)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    elif path.exists():
        found = [path]
    else:
        found = sorted(map(Path, glob.glob(str(pattern), recursive=True)))
    if not found and not glob.has_magic(str(pattern)) and not path.exists():
        raise ImageError(f"{pattern} does not exist")
    if not found:
        raise ImageError(f"no pictures at {pattern}")
    return found


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write ``(H, W)`` or ``(H, W, 3)`` BGR uint8 in the format of the suffix, atomically.

    Raises :class:`ImageError` for a suffix that OpenCV cannot write.
    """
    path = Path(path)
    try:
        done, data = cv2.imencode(path.suffix, image)
    except cv2.error:
        done = False
    if not done:
        raise ImageError(f"cannot write {path}: use one of {', '.join(sorted(SUFFIXES))}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
