"""Points, boxes and masks as people have them: text, CSV, JSON, COCO keypoints, pictures."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.errors import DataError, ImageError, UsageError

Floats = NDArray[np.float64]
Labelled = tuple[Floats, tuple[str, ...]]
"""``(N, 2)`` pixels, and no labels or one each."""


def is_points_file(text: str) -> bool:
    return Path(text).suffix.lower() in (".json", ".csv")


def parse_points(text: str) -> Floats:
    """``"x,y;x,y"`` -> ``(N, 2)`` pixels. Raises :class:`UsageError`."""
    points = _numbers(text, 2)
    if points is None:
        raise UsageError(
            '--points must look like "120,80;200.5,64" (x,y in pixels), or be a .json or .csv file, '
            f"not '{text}'"
        )
    return points


def parse_boxes(texts: Iterable[str]) -> Floats:
    """``"x,y,width,height"`` each -> ``(M, 4)`` pixels. Raises :class:`UsageError`."""
    boxes = []
    for text in texts:
        box = _numbers(text, 4)
        if box is None or len(box) != 1:
            raise UsageError(f"--box must look like \"40,30,200,120\" (x,y,width,height), not '{text}'")
        boxes.append(box[0])
    return np.array(boxes)


def read_points(path: Path, picture: str) -> Labelled:
    """Points of the picture of that name, with their labels.

    ``.csv``: columns ``x,y`` and, if there is one, ``label``. ``.json``: ``[[x, y], …]``, an object with
    ``points`` and, if it likes, ``labels``, or COCO keypoints, of which those of the image with the
    picture's file name are taken and those marked as not labelled are left out. Raises :class:`DataError`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    try:
        points, labels = _from_csv(text) if path.suffix.lower() == ".csv" else _from_json(text, picture)
        array = np.array(points, np.float64).reshape(-1, 2)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} holds no points that dcc can read ({reason}): a CSV has the columns x,y, a JSON file "
            "[[x, y], …] or COCO keypoints"
        ) from error
    if not len(array) or not np.isfinite(array).all():
        raise DataError(f"{path} holds no points of {picture}, or some that are not finite")
    if labels and len(labels) != len(array):
        raise DataError(f"{path} has {len(labels)} labels for {len(array)} points")
    return array, tuple(labels)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A PNG as it is: ``(H, W)`` or ``(H, W, 3)`` uint8. Raises :class:`ImageError`."""
    if not path.is_file():
        raise ImageError(f"{path} does not exist")
    mask = cv2.imdecode(np.frombuffer(path.read_bytes() or b"\0", np.uint8), cv2.IMREAD_UNCHANGED)
    if mask is None or mask.dtype != np.uint8:
        raise ImageError(f"{path} is not a picture of 8 bits that OpenCV can decode: save the mask as PNG")
    return np.asarray(mask[..., :3] if mask.ndim == 3 else mask, np.uint8)  # transparency says nothing


def _numbers(text: str, width: int) -> Floats | None:
    try:
        rows = [[float(v) for v in row.split(",")] for row in text.split(";") if row.strip()]
    except ValueError:
        return None
    fits = rows and all(len(row) == width and all(map(math.isfinite, row)) for row in rows)
    return np.array(rows, np.float64) if fits else None


def _from_csv(text: str) -> tuple[Sequence[Any], Sequence[str]]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    header = [name.strip().lower() for name in rows[0]]
    if "x" not in header:
        return [[float(x), float(y)] for x, y in rows], ()
    x, y = header.index("x"), header.index("y")
    labels = [row[header.index("label")] for row in rows[1:]] if "label" in header else ()
    return [[float(row[x]), float(row[y])] for row in rows[1:]], labels


def _from_json(text: str, picture: str) -> tuple[Sequence[Any], Sequence[str]]:
    content = json.loads(text)
    if isinstance(content, list):
        return content, ()
    if "annotations" in content:
        return _from_coco(content, picture)
    return content["points"], content.get("labels", ())


def _from_coco(content: dict[str, Any], picture: str) -> tuple[Sequence[Any], Sequence[str]]:
    """cocodataset.org: triplets (x, y, v) whose v is 0 where nobody marked the point."""
    images = content["images"]
    wanted = [i["id"] for i in images if Path(i["file_name"]).name == Path(picture).name]
    if not wanted and len(images) == 1:
        wanted = [images[0]["id"]]
    names = {category["id"]: category.get("keypoints", ()) for category in content.get("categories", ())}
    points, labels = [], []
    found = [a for a in content["annotations"] if a["image_id"] in wanted and "keypoints" in a]
    for number, annotation in enumerate(found, start=1):
        triplets = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
        called = names.get(annotation.get("category_id")) or [str(i + 1) for i in range(len(triplets))]
        for (x, y, marked), name in zip(triplets, called, strict=True):
            if marked:
                points.append([x, y])
                labels.append(name if len(found) == 1 else f"{name} {number}")
    return points, labels
