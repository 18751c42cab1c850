"""Lists of image pairs, in the two CSV formats of PF-PASCAL (spec §3 and §4)."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dccnet.runtime import geometry
from dccnet.runtime.arrays import Floats, Image, Points
from dccnet.runtime.errors import DataError
from dccnet.runtime.images import read_image
from dccnet.runtime.reading import read_text

TRAINING_COLUMNS = ("source_image", "target_image", "class", "flip")
KEYPOINT_COLUMNS = ("source_image", "target_image", "class", "XA", "YA", "XB", "YB")
PADDING = -1
"""The value of missing coordinates in the benchmarks' lists."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture that is loaded on demand."""

    key: str
    """Identifies the pixels; the key of feature caches."""
    load: Callable[[], Image]
    file: Path | None = None
    """The file with the pixels; its path is part of the key."""
    mirror_of: Picture | None = None
    """The original, if this picture is a mirror image."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two pictures of one category, with or without matching keypoints."""

    source: Picture
    target: Picture
    category: str
    source_points: Points | None = None
    """``(N, 2)``, without padding."""
    target_points: Points | None = None


def read_pairs(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    one_based: bool = False,
    must_exist: bool = True,
) -> list[Pair]:
    """Read a list with the columns ``source_image,target_image,class`` and either ``flip`` or
    ``XA,YA,XB,YB`` (coordinates ``;``-separated, −1 is padding).

    Paths are relative to ``root``, by default the list's folder. With ``one_based``, coordinates in the
    list start at 1, as in the published benchmarks. Without ``must_exist``, pictures are not looked for.
    Raises :class:`DataError`, which names the line, if something is missing or malformed.
    """
    path = Path(path)
    root = path.parent if root is None else Path(root)
    columns, rows = named_rows(path)
    if not (set(KEYPOINT_COLUMNS) <= set(columns) or set(TRAINING_COLUMNS) <= set(columns)):
        raise DataError(
            f"{path} has the columns {', '.join(columns)[:200] or '(none)'}; a pair list has "
            f"{','.join(TRAINING_COLUMNS)} or {','.join(KEYPOINT_COLUMNS)}"
        )
    origin = 1.0 if one_based else 0.0
    pairs = [_pair(row, root, origin, f"{path}, line {number}", must_exist) for number, row in rows]
    if not pairs:
        raise DataError(f"the pair list {path} is empty")
    return pairs


def numbered_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line numbers and cells of the rows of a list, without its header and without empty rows.

    Raises :class:`DataError` if the list cannot be read or is empty.
    """
    text = io.StringIO(read_list(path), newline="")
    try:
        rows = list(csv.reader(text))
    except csv.Error as error:
        raise _damaged(path, error) from error
    found = [(number, row) for number, row in enumerate(rows, start=1) if row and number > 1]
    if not found:
        raise DataError(f"the pair list {path} is empty")
    return found


def named_rows(path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The columns of a list, and its rows by column with the numbers of their lines.

    Raises :class:`DataError` if the list cannot be read; the iterator does for a row with more or fewer
    columns.
    """
    rows = csv.DictReader(io.StringIO(read_list(path), newline=""))
    try:
        return list(rows.fieldnames or []), _whole_rows(path, rows)
    except csv.Error as error:
        raise _damaged(path, error) from error


def _whole_rows(path: Path, rows: csv.DictReader[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        for row in rows:
            if None in row.values() or None in row:
                raise DataError(
                    f"{path}, line {rows.line_num}: the number of columns differs from the header's"
                )
            yield rows.line_num, row
    except csv.Error as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: csv.Error) -> DataError:
    return DataError(f"{path} is damaged, or no CSV file ({error}): make the list again")


def read_list(path: Path) -> str:
    """The text of a list, without a byte-order mark. Raises :class:`DataError` if it cannot be read."""
    try:
        return read_text(path)
    except FileNotFoundError:
        raise DataError(f"the pair list {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the pair list {path} cannot be read as text: {error}") from error


def _pair(row: dict[str, str], root: Path, origin: float, where: str, must_exist: bool) -> Pair:
    find = find_picture if must_exist else _picture_path
    source, target = (find(root, row[name], where) for name in ("source_image", "target_image"))
    if "XA" not in row:
        if row["flip"].strip() not in ("0", "1"):
            raise DataError(f"{where}: flip must be 0 or 1, not '{row['flip']}'")
        flip = row["flip"].strip() == "1"
        return Pair(file_picture(source, flip), file_picture(target, flip), row["class"])
    columns = [coordinates(row[name].split(";"), name, where) for name in ("XA", "YA", "XB", "YB")]
    if len({len(column) for column in columns}) != 1:
        raise DataError(f"{where}: XA, YA, XB and YB contain different numbers of coordinates")
    source_points, target_points = keypoints(columns, origin, where)
    return Pair(file_picture(source), file_picture(target), row["class"], source_points, target_points)


def keypoints(columns: list[Floats], origin: float, where: str) -> tuple[Points, Points]:
    """The points of both pictures, 0-based and without padding, from the columns XA, YA, XB, YB.

    ``origin`` is the coordinate of the first pixel, 0 or 1. Raises :class:`DataError` without any point.
    """
    points = np.stack(columns)
    points = points[:, (points != PADDING).all(axis=0)]
    if points.shape[1] == 0:
        raise DataError(f"{where}: there are no keypoints")
    points = points - origin
    return points[:2].T.copy(), points[2:].T.copy()


def find_picture(root: Path, name: str, where: str) -> Path:
    """The file ``name``, with its suffix in any case. Raises :class:`DataError` if it does not exist."""
    path = _picture_path(root, name, where)
    if not path.is_file():
        raise DataError(f"{where}: {path} does not exist; give the pictures' folder with --root")
    return path


def _picture_path(root: Path, name: str, where: str) -> Path:
    """The path that ``name`` means, with its suffix in the case of the file, if there is one."""
    path = root / name.strip().replace("\\", "/")
    if not path.name:
        raise DataError(f"{where}: a picture has no name")
    if "\0" in name:
        raise DataError(f"{where}: the name of a picture contains a zero byte: the list is damaged")
    candidates = (path, path.with_suffix(path.suffix.lower()), path.with_suffix(path.suffix.upper()))
    try:
        return next((candidate for candidate in candidates if candidate.is_file()), path)
    except OSError as error:  # such as a name that is too long
        raise DataError(f"{where}: cannot look for a picture: {error.strerror or error}") from error


def file_picture(path: Path, flip: bool = False) -> Picture:
    """A picture in a file, mirrored left to right if ``flip``."""
    picture = Picture(str(path), partial(read_image, path), path)
    return mirrored(picture) if flip else picture


def mirrored(picture: Picture) -> Picture:
    """The picture with left and right exchanged; the mirror image of a mirror image is the original."""
    if picture.mirror_of is not None:
        return picture.mirror_of
    return Picture(f"{picture.key} mirrored", partial(_load_mirrored, picture.load), picture.file, picture)


def _load_mirrored(load: Callable[[], Image]) -> Image:
    return geometry.mirror(load())


def facing_opposite(pair: Pair) -> Pair:
    """The pair with its source and the source's keypoints mirrored, so that the objects face opposite ways.

    Only for keypoints without left and right names, because they keep their order. Loads the source to read
    its width.
    """
    points = pair.source_points
    if points is not None:
        points = points * [-1, 1] + [pair.source.load().shape[1] - 1, 0]
    return dataclasses.replace(pair, source=mirrored(pair.source), source_points=points)


def coordinates(texts: list[str], name: str, where: str) -> Floats:
    """Finite numbers from texts. Raises :class:`DataError`."""
    try:
        values = [float(v) for v in texts]
        if not all(map(math.isfinite, values)):
            raise ValueError
    except ValueError:
        raise DataError(
            f"{where}: {name} contains values that are not numbers: '{';'.join(texts)}'"
        ) from None
    return np.array(values)
