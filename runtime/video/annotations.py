"""Points, boxes and masks of a picture, and how they are read: text, CSV, JSON, COCO keypoints, PNG."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dccnet.runtime.arrays import Boxes, Floats, Mask, Points
from dccnet.runtime.errors import DataError, ImageError, UsageError

LabelledPoints = tuple[Points, tuple[str, ...]]
"""Points, and one label each or none at all."""


@dataclass(frozen=True, slots=True, eq=False)
class Annotations:
    """What is annotated in a picture; None where it has no such annotation."""

    points: Points | None = None
    labels: tuple[str, ...] | None = None
    """One for each point."""
    mask: Mask | None = None
    boxes: Boxes | None = None

    def given(self) -> dict[str, Any]:
        """The annotations that there are, by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def is_points_file(text: str) -> bool:
    """Whether ``--points`` names a file instead of the points themselves."""
    return Path(text).suffix.lower() in (".json", ".csv")


def parse_points(text: str) -> Points:
    """Points ``(N, 2)`` from ``"x,y;x,y"``, in pixels. Raises :class:`UsageError`."""
    points = _numbers(text, 2)
    if points is None:
        raise UsageError(
            '--points must look like "120,80;200.5,64" (x,y in pixels), or be a .json or .csv file, '
            f"not '{text}'"
        )
    return points


def parse_boxes(texts: Iterable[str]) -> Boxes:
    """Boxes ``(M, 4)`` from texts ``"x,y,width,height"``, in pixels. Raises :class:`UsageError`."""
    boxes = []
    for text in texts:
        box = _numbers(text, 4)
        if box is None or len(box) != 1:
            raise UsageError(f"--box must look like \"40,30,200,120\" (x,y,width,height), not '{text}'")
        boxes.append(box[0])
    return np.array(boxes)


def read_points(path: Path, picture: str) -> LabelledPoints:
    """Points of the file ``picture``, with their labels, from the file ``path``.

    ``.csv`` has the columns ``x,y`` and optionally ``label``. ``.json`` contains ``[[x, y], …]``, an object
    with ``points`` and optionally ``labels``, or COCO keypoints; of these, the labelled keypoints of the
    image whose file name is that of ``picture`` are taken. Raises :class:`DataError`.
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
            f"{path} contains no points that dcc can read ({reason}): a CSV file needs the columns x,y, a "
            "JSON file [[x, y], …] or COCO keypoints"
        ) from error
    if not len(array) or not np.isfinite(array).all():
        raise DataError(f"{path} contains no points of {picture}, or some that are not finite")
    if labels and len(labels) != len(array):
        raise DataError(f"{path} has {len(labels)} labels for {len(array)} points")
    return array, tuple(labels)


def read_mask(path: Path) -> Mask:
    """A PNG without conversion: ``(H, W)`` or ``(H, W, 3)`` uint8. Raises :class:`ImageError`."""
    if not path.is_file():
        raise ImageError(f"{path} does not exist")
    mask = cv2.imdecode(np.frombuffer(path.read_bytes() or b"\0", np.uint8), cv2.IMREAD_UNCHANGED)
    if mask is None or mask.dtype != np.uint8:
        raise ImageError(f"{path} is not an 8-bit picture that OpenCV can decode: save the mask as PNG")
    return np.asarray(mask[..., :3] if mask.ndim == 3 else mask, np.uint8)  # without transparency


def _numbers(text: str, width: int) -> Floats | None:
    """``(N, width)`` finite numbers from ``"a,b;c,d"``; None where ``text`` is something else."""
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
    """COCO keypoints (cocodataset.org) are triplets (x, y, v); v is 0 for a point that is not labelled."""
    images = content["images"]
    wanted = [i["id"] for i in images if Path(i["file_name"]).name == Path(picture).name]
    if not wanted and len(images) == 1:
        wanted = [images[0]["id"]]
    names = {category["id"]: category.get("keypoints", ()) for category in content.get("categories", ())}
    points, labels = [], []
    annotations = [a for a in content["annotations"] if a["image_id"] in wanted and "keypoints" in a]
    for number, annotation in enumerate(annotations, start=1):
        triplets = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
        default_names = [str(i + 1) for i in range(len(triplets))]
        keypoint_names = names.get(annotation.get("category_id")) or default_names
        for (x, y, labelled), name in zip(triplets, keypoint_names, strict=True):
            if labelled:
                points.append([x, y])
                labels.append(name if len(annotations) == 1 else f"{name} {number}")
    return points, labels
