"""Points of a picture from files: CSV, JSON, COCO keypoints (docs/formats.md)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dccnet.runtime.arrays import Points
from dccnet.runtime.checks import as_points
from dccnet.runtime.errors import DataError
from dccnet.runtime.file_names import names_of
from dccnet.runtime.reading import parse_json, read_text
from dccnet.runtime.video.references import is_own_frame

LabelledPoints = tuple[Points, tuple[str, ...]]
"""Points, and one label each or none at all."""

_PICTURE_COLUMNS = ("image", "image_name", "image_path", "filename", "file_name", "file", "picture")
_KINDS = "a CSV file needs the columns x,y, a JSON file [[x, y], …] or COCO keypoints"


class _NotReadableError(ValueError):
    """What is wrong in the file, and where."""


def is_points_file(text: str) -> bool:
    """Whether ``--points`` names a file instead of the points themselves."""
    return Path(text).suffix.lower() in (".json", ".csv")


def read_points(path: Path, picture: str) -> LabelledPoints:
    """Points of the file ``picture``, with their labels, from the file ``path``.

    ``.csv`` has the columns ``x,y`` and optionally ``label`` and ``image``. ``.json`` contains
    ``[[x, y], …]``, an object with ``points`` and optionally ``labels``, or COCO keypoints; of these, the
    labelled keypoints are taken. Where a file names pictures, only the points of ``picture`` are taken: of
    several with its name, those whose folders agree with its path. Raises :class:`DataError`.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    try:
        points, labels = (
            _from_csv(text, picture) if path.suffix.lower() == ".csv" else _from_json(text, picture)
        )
        array = as_points(points)
        if labels and len(labels) != len(array):
            raise _NotReadableError(f"{len(labels)} labels for {len(array)} points")
    except (ValueError, TypeError, csv.Error) as error:  # json's errors are ValueErrors, too
        raise DataError(f"{path} contains no points that dcc can read ({error}): {_KINDS}") from error
    if not len(array):
        raise DataError(f"{path} contains no points of {picture}")
    return array, tuple(labels)


def _from_csv(text: str, picture: str) -> tuple[Sequence[Any], Sequence[str]]:
    lines = text.splitlines()
    rows = [
        (number, row) for number, row in enumerate(csv.reader(lines), start=1) if any(map(str.strip, row))
    ]
    if not rows:
        raise _NotReadableError("it is empty")
    header = [name.strip().lower() for name in rows[0][1]]
    for separator, shown in ((";", "';'"), ("\t", "a tab")):
        if separator in lines[0]:
            raise _NotReadableError(f"its separator is {shown}: save it with commas and decimal points")
    if "x" not in header:
        return [_pair(row, 0, 1, 2, number) for number, row in rows], ()
    if "y" not in header:
        raise _NotReadableError("its header has no column y")
    rows = rows[1:]
    for number, row in rows:
        if len(row) != len(header):
            raise _NotReadableError(f"line {number} has {len(row)} columns, the header {len(header)}")
    named = next((name for name in _PICTURE_COLUMNS if name in header), None)
    if named is not None:
        column = header.index(named)
        wanted = _wanted((row[column] for _, row in rows), picture)
        rows = [(number, row) for number, row in rows if row[column] in wanted]
    x, y = header.index("x"), header.index("y")
    labels = [row[header.index("label")] for _, row in rows] if "label" in header else ()
    return [_pair(row, x, y, len(header), number) for number, row in rows], labels


def _pair(row: Sequence[str], x: int, y: int, columns: int, number: int) -> list[float]:
    if len(row) != columns:
        raise _NotReadableError(f"line {number} has {len(row)} columns and there is no header with x and y")
    try:
        return [float(row[x]), float(row[y])]
    except ValueError:
        raise _NotReadableError(f"line {number}: '{row[x]}', '{row[y]}' are no numbers") from None


def _from_json(text: str, picture: str) -> tuple[Sequence[Any], Sequence[str]]:
    content = parse_json(text)
    if isinstance(content, dict) and "annotations" in content:
        return _from_coco(content, picture)
    if isinstance(content, dict):
        if "points" not in content:
            raise _NotReadableError("no 'points'")
        points, labels = content["points"], content.get("labels") or ()
    else:
        points, labels = content, ()
    if not isinstance(points, list):
        raise _NotReadableError(f"points must be a list [[x, y], …], not {_kind(points)}")
    if not isinstance(labels, (list, tuple)):
        raise _NotReadableError(f"labels must be a list, not {_kind(labels)}")
    return points, tuple(map(str, labels))


def _from_coco(content: dict[str, Any], picture: str) -> tuple[Sequence[Any], Sequence[str]]:
    """COCO keypoints (cocodataset.org) are triplets (x, y, v); v is 0 for a point that is not labelled."""
    images = _objects(content, "images", ("id", "file_name"))
    names = _wanted((str(image["file_name"]) for image in images), picture)
    wanted = [image["id"] for image in images if str(image["file_name"]) in names]
    categories = {c["id"]: c for c in _objects(content, "categories", ("id",))}
    every = _objects(content, "annotations", ("image_id",))
    annotations = [
        (i, a) for i, a in enumerate(every, start=1) if a["image_id"] in wanted and "keypoints" in a
    ]
    points, labels = [], []
    for number, (position, annotation) in enumerate(annotations, start=1):
        values = annotation["keypoints"]
        if (
            not isinstance(values, list)
            or len(values) % 3
            or not all(type(v) in (int, float) for v in values)
        ):
            raise _NotReadableError(
                f"the keypoints of annotation {position} are no triplets of numbers x, y, v"
            )
        triplets = [values[i : i + 3] for i in range(0, len(values), 3)]
        category = categories.get(annotation.get("category_id"), {})
        called = category.get("keypoints") or [str(i + 1) for i in range(len(triplets))]
        if len(called) != len(triplets):
            raise _NotReadableError(
                f"the category {category.get('name', category.get('id'))} names {len(called)} keypoints, "
                f"annotation {position} has {len(triplets)}"
            )
        for (x, y, labelled), name in zip(triplets, called, strict=True):
            if labelled:
                points.append([x, y])
                labels.append(str(name) if len(annotations) == 1 else f"{name} {number}")
    return points, labels


def _objects(content: dict[str, Any], name: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    """A list of COCO's, each of whose entries has ``fields``."""
    entries = content.get(name, [])
    if not isinstance(entries, list):
        raise _NotReadableError(f"'{name}' must be a list, not {_kind(entries)}")
    for number, entry in enumerate(entries, start=1):
        missing = [f for f in fields if not isinstance(entry, dict) or f not in entry]
        if missing:
            raise _NotReadableError(f"entry {number} of '{name}' has no '{missing[0]}'")
        if not isinstance(entry.get("id", 0), (int, str)):
            raise _NotReadableError(f"the id of entry {number} of '{name}' is {_kind(entry['id'])}")
    return entries


def _wanted(names: Iterable[str], picture: str) -> set[str]:
    """Which of a file's pictures is ``picture``. A frame of a video is the only one."""
    every = set(names)
    if is_own_frame(picture):
        return every if len(every) == 1 else set()
    return names_of(picture, every)


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "a text", type(None): "null"}.get(
        type(value), "a number"
    )
