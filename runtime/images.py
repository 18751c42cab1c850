"""Find, read and write picture files."""

from __future__ import annotations

import glob
import os
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dccnet.runtime import picture_formats as formats
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DccWarning, ImageError
from dccnet.runtime.file_names import natural_key
from dccnet.runtime.files import atomic_path
from dccnet.runtime.native_messages import Heard, listening, readable
from dccnet.runtime.pam import MAGIC as PAM
from dccnet.runtime.pam import read_pam
from dccnet.runtime.pixel_limit import check_pixels
from dccnet.runtime.reading import read_bytes as read_limited

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Of pictures that are written."""

READ_SUFFIXES = SUFFIXES | {
    ".avif", ".dib", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".pbm", ".pgm", ".pnm",
}  # fmt: skip
"""Of the pictures in a folder. ``.heic`` cannot be read, and must not be left out without a word."""

_DARK = 1 << 13  # brightest value of a 16-bit picture below which it is nearly black with 8 bits


def read_image(path: str | os.PathLike[str]) -> Image:
    """Decode a picture to ``(H, W, 3)`` uint8 BGR with its EXIF orientation applied.

    Grey, palette and 16-bit pictures are converted to 8-bit colour; transparency is dropped. A 16-bit
    picture that uses so few of its values that it becomes nearly black gives a :class:`DccWarning`. Raises
    :class:`ImageError` for a file that is missing, empty, truncated or no picture, or of which the decoder
    says that it is damaged (docs/formats.md: not every damage is found).
    """
    path = Path(path)
    return decode_image(read_bytes(path), path)


def decode_image(data: bytes, path: Path) -> Image:
    """The picture in a file's content, as :func:`read_image`; errors name ``path``, which is not read."""
    if data.startswith(PAM):
        image, white = _decode_pam(data, path)
        image = formats.in_full_range(image[..., :3] if image.ndim == 3 else np.dstack([image] * 3), white)
    else:
        image = _decode(_prepared(path, data), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, path)
    if formats.is_netpbm(data):
        image = formats.in_full_range(image, _white_of_netpbm(image, data, path))
    if image.dtype == np.uint16:
        image = _with_8_bits(image, path)
    if image.dtype != np.uint8:
        raise ImageError(f"{path} has values of the type {image.dtype}: save it with 8 or 16 bits")
    if formats.is_avif(data):
        image = formats.turned_as_avif_says(image, data)
    return image


def read_bytes(path: Path) -> bytes:
    """A picture file's content.

    Raises :class:`ImageError` for a file that is missing, empty, a pipe or a device, and for a picture of
    more pixels than allowed (:mod:`~dccnet.runtime.pixel_limit`).
    """
    try:
        data = read_limited(path)
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist") from None
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from error
    if not data:
        raise ImageError(f"{path} is empty (0 bytes)")
    check_pixels(path, data)
    return data


def decode_unchanged(data: bytes, path: Path) -> np.ndarray[Any, Any]:
    """``(H, W)`` or ``(H, W, C)`` as the file has it. Raises :class:`ImageError`."""
    return _decode_pam(data, path)[0] if data.startswith(PAM) else _decode(data, cv2.IMREAD_UNCHANGED, path)


def _decode_pam(data: bytes, path: Path) -> tuple[np.ndarray[Any, Any], int]:
    try:
        return read_pam(data)
    except ValueError as error:
        raise ImageError(f"{path} is a PAM picture that cannot be read: {error}") from error


def _white_of_netpbm(image: np.ndarray[Any, Any], data: bytes, path: Path) -> int:
    try:
        return formats.white_of_netpbm(image, data)
    except ValueError as error:
        raise ImageError(f"{path} is a Netpbm picture that cannot be read: {error}") from error


def _prepared(path: Path, data: bytes) -> bytes:
    if data.startswith(formats.JPEG):
        return formats.with_end(data)
    if formats.is_webp(data):
        return formats.without_exif_prefix(data)
    if formats.is_heif(data):
        raise ImageError(f"{path} is HEIF, which OpenCV cannot decode: save it as .jpg or .png first")
    return data


def _decode(data: bytes, flags: int, path: Path) -> np.ndarray[Any, Any]:
    image, heard = _listen(data, flags)
    if heard.lines and not heard.alone:  # perhaps about a picture that another thread decoded
        image, heard = _listen(data, flags, exclusive=True)
    jpeg = data.startswith(formats.JPEG)
    if image is None:
        said = heard.last if heard.last.startswith("libpng") or jpeg else ""
        raise ImageError(
            f"{path} is truncated: the JPEG has no end; copy or download it again"
            if jpeg and not formats.has_end(data)
            else f"{path} is not a picture that OpenCV can decode, or it is damaged"
            + f" ({said})" * bool(said)
        )
    damage = formats.jpeg_damage(data, heard.lines) if jpeg else formats.other_damage(heard.lines)
    if damage is not None:
        raise ImageError(f"{path} is truncated or damaged ({readable(damage)}): copy or download it again")
    return np.asarray(image)


def _listen(data: bytes, flags: int, *, exclusive: bool = False) -> tuple[Any, Heard]:
    with listening(exclusive=exclusive) as heard:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:
            image = None
    return image, heard


def _with_8_bits(image: np.ndarray[Any, Any], path: Path) -> Image:
    brightest = int(image.max())
    if 0 < brightest < _DARK:
        warnings.warn(
            f"{path} has 16 bits, but its brightest value is {brightest} of 65535, so it is read nearly "
            "black: scale it first, such as cv2.normalize(image, None, 0, 65535, cv2.NORM_MINMAX)",
            DccWarning,
            stacklevel=3,
        )
    return np.asarray(image >> 8, np.uint8)


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name ends like that of a picture."""
    return Path(path).suffix.lower() in READ_SUFFIXES


def find_images(pattern: str | os.PathLike[str]) -> list[Path]:
    """Paths of a picture, of all pictures in a folder (not recursive), or of a glob pattern.

    Numbers in names are in their own order: 1.png, 2.png, 10.png. Hidden files (``._1.png``) are left out,
    as are other kinds of files that a glob finds beside pictures. What exists under a name with brackets is
    taken before they are read as a glob. Raises :class:`ImageError` where no picture is found.
    """
    if not os.fspath(pattern):  # as a path it would be the current folder
        raise ImageError("the name of the pictures is empty")
    path = Path(pattern)
    if path.is_dir():
        shown = (p for p in path.iterdir() if not p.name.startswith("."))
        found = [p for p in shown if is_picture(p) and not p.is_dir()]
    elif path.exists():
        found = [path]
    else:
        files = [p for p in map(Path, glob.glob(_escaped(path), recursive=True)) if not p.is_dir()]
        found = [p for p in files if is_picture(p)] or files
    if not found and not glob.has_magic(str(pattern)) and not path.exists():
        raise ImageError(f"{pattern} does not exist")
    if not found:
        raise ImageError(f"no pictures at {pattern}")
    return sorted(found, key=natural_key)


def _escaped(pattern: Path) -> str:
    """The glob pattern without a meaning of brackets in the names of folders that exist."""
    folder = pattern.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return str(Path(glob.escape(str(folder))) / pattern.relative_to(folder))


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write ``(H, W)`` or ``(H, W, 3)`` BGR uint8 in the format of the suffix, atomically.

    Raises :class:`ImageError` for a suffix that OpenCV cannot write.
    """
    path = Path(path)
    data = encode_image(path.suffix, image, path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def encode_image(suffix: str, image: Image, path: Path | None = None) -> bytes:
    """A file of ``(H, W)`` or ``(H, W, 3)`` BGR uint8 in the format of ``suffix``.

    Raises :class:`ImageError`, which names ``path``, where OpenCV cannot write it: another suffix, or a
    picture that the format cannot hold (a JPEG's sides have up to 65,500 pixels).
    """
    with listening() as heard:
        try:
            done, data = cv2.imencode(suffix, image)
        except cv2.error:
            done = False
    if not done:
        size = f"{image.shape[1]}x{image.shape[0]} pixels"
        reason = f" as a picture of {size} ({heard.last})" if suffix.lower() in SUFFIXES else ""
        raise ImageError(f"cannot write {path or suffix}{reason}: use one of {', '.join(sorted(SUFFIXES))}")
    return data.tobytes()
