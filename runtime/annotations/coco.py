"""COCO keypoints, boxes and masks (cocodataset.org/#format-data)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dccnet.runtime.annotations.fields import AnnotationError, number, numbers, objects, text_of, texts
from dccnet.runtime.annotations.model import (
    NONE,
    SEEN,
    AnnotationSet,
    Category,
    Instance,
    Picture,
    merged,
    no_points,
)
from dccnet.runtime.annotations.run_lengths import RunLengths
from dccnet.runtime.arrays import Boxes
from dccnet.runtime.geometry import Size


def from_coco(content: Mapping[str, Any], root: Path) -> AnnotationSet:
    """Annotations of a COCO file; names of pictures are relative to ``root``.

    Raises ``ValueError`` (:class:`AnnotationError`), which says where the file is wrong.
    """
    categories = {
        category["id"]: _category(category)
        for category in objects(content, "categories", ("id", "name"), needed=False)
    }
    instances: dict[Any, list[Instance]] = {}
    sizes: dict[Any, Size] = {}
    images = objects(content, "images", ("id", "file_name"))
    for image in images:
        if isinstance(image["id"], (dict, list)):
            raise AnnotationError("the id of an image is a number")
        height, width = (int(number(image.get(side, 0), side)) for side in ("height", "width"))
        if min(height, width) >= 1:
            sizes[image["id"]] = height, width
    for at, annotation in enumerate(objects(content, "annotations", ("image_id",)), start=1):
        if isinstance(annotation["image_id"], (dict, list)):
            raise AnnotationError(f"annotation {at}: its image_id is no number")
        category = categories.get(annotation.get("category_id"))
        if category is None:
            if categories:
                raise AnnotationError(f"annotation {at}: its category is not in the file's categories")
            triplets = len(numbers(annotation.get("keypoints", []), f"annotation {at}: keypoints")) // 3
            category = categories[None] = Category("object", tuple(str(k + 1) for k in range(triplets)))
        size = sizes.get(annotation["image_id"])
        found = instances.setdefault(annotation["image_id"], [])
        found.append(_instance(annotation, category, size, f"annotation {at}"))
    pictures = tuple(
        Picture(text_of(image, "file_name"), sizes.get(image["id"]), tuple(instances.get(image["id"], ())))
        for image in images
    )
    return AnnotationSet(merged(categories.values()), pictures, root)


def _category(entry: Mapping[str, Any]) -> Category:
    points = texts(entry.get("keypoints", []), f"the keypoints of the category {entry['name']}")
    edges = []
    for edge in entry.get("skeleton") or []:
        pair = numbers(edge, f"the skeleton of the category {entry['name']}")
        if len(pair) != 2 or not all(1 <= end <= len(points) and end == int(end) for end in pair):
            raise AnnotationError(
                f"the skeleton of the category {entry['name']} has pairs of numbers from 1 to {len(points)}"
            )
        edges.append((int(pair[0]) - 1, int(pair[1]) - 1))
    return Category(text_of(entry, "name"), points, tuple(edges), str(entry.get("supercategory", "") or ""))


def _instance(entry: Mapping[str, Any], category: Category, size: Size | None, where: str) -> Instance:
    count = len(category.points)
    points, visibility, confidence = no_points(count)
    if entry.get("keypoints"):
        values = numbers(entry["keypoints"], f"{where}: keypoints")
        if len(values) != 3 * count:
            raise AnnotationError(
                f"{where} has {len(values)} numbers for the {count} keypoints of {category.name}, "
                "which need three each: x, y, v"
            )
        rows = np.array(values).reshape(-1, 3)
        labelled = rows[:, 2] > 0
        points[labelled] = rows[labelled, :2]
        visibility[:] = np.clip(rows[:, 2], NONE, SEEN)
    told = entry.get("keypoint_confidence")
    if told is not None:
        values = [np.nan if v is None else number(v, f"{where}: keypoint_confidence") for v in told]
        confidence[:] = values if len(values) == count else np.nan
    box: Boxes | None = None
    if entry.get("bbox") and entry.get("box_annotated", True):
        box = np.array(numbers(entry["bbox"], f"{where}: bbox"))
        if box.shape != (4,):
            raise AnnotationError(f"{where}: its bbox has {len(box)} numbers instead of four")
    score = entry.get("score")
    return Instance(
        category.name,
        points,
        visibility,
        box,
        _mask(entry.get("segmentation"), size, where),
        None if told is None else confidence,
        None if score is None else number(score, f"{where}: score"),
    )


def _mask(value: Any, size: Size | None, where: str) -> RunLengths | None:
    """Of polygons or of run lengths, with or without compression."""
    if not value:
        return None
    if isinstance(value, list):
        if size is None:
            raise AnnotationError(f"{where} has polygons, but its image has no height and width")
        return RunLengths.of_polygons([numbers(one, f"{where}: segmentation") for one in value], size)
    if not isinstance(value, dict) or "counts" not in value:
        raise AnnotationError(f"{where}: its segmentation is neither polygons nor run lengths")
    height, width = map(int, numbers(value.get("size"), f"{where}: segmentation"))
    counts = value["counts"]
    if isinstance(counts, str):
        return RunLengths.of_text(counts, (height, width))
    return RunLengths((height, width), tuple(map(int, numbers(counts, f"{where}: counts"))))


def to_coco(annotations: AnnotationSet, info: Mapping[str, Any]) -> str:
    """The content of a COCO file. ``info`` is its object ``info``.

    As COCO says, a point with visibility 0 is at 0, 0. Beyond COCO, annotations have ``score`` and
    ``keypoint_confidence``, and images their ``references``. A picture that has a problem is listed in
    ``info``.
    """
    numbered = {category.name: at for at, category in enumerate(annotations.categories, start=1)}
    images: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    for picture in annotations.pictures:
        if picture.problem or picture.size is None:
            skipped.append({"file_name": picture.name, "problem": picture.problem})
            continue
        image: dict[str, Any] = {
            "id": len(images) + 1,
            "file_name": picture.name,
            "height": picture.size[0],
            "width": picture.size[1],
        }
        if picture.frame is not None:
            image |= {"frame": picture.frame, "time_s": picture.time_s}
        if picture.references:
            image["references"] = {name: _rounded(value) for name, value in picture.references.items()}
        images.append(image)
        for instance in picture.instances:
            entries.append(
                {
                    "id": len(entries) + 1,
                    "image_id": image["id"],
                    "category_id": numbered[instance.category],
                }
                | _entry(instance)
            )
    content = {
        "info": {**info, "skipped": skipped} if skipped else dict(info),
        "licenses": [],
        "categories": [
            {
                "id": numbered[category.name],
                "name": category.name,
                "supercategory": category.supercategory,
                "keypoints": list(category.points),
                "skeleton": [[a + 1, b + 1] for a, b in category.edges],
            }
            for category in annotations.categories
        ],
        "images": images,
        "annotations": entries,
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


def _entry(instance: Instance) -> dict[str, Any]:
    counted = instance.annotated
    rows = np.c_[np.where(counted[:, None], instance.points, 0), np.where(counted, instance.visibility, 0)]
    keypoints = [int(v) if i % 3 == 2 else _rounded(v) for i, v in enumerate(rows.ravel().tolist())]
    extent = instance.extent()
    mask = instance.mask
    area = mask.area if mask is not None else 0.0 if extent is None else float(extent[2] * extent[3])
    entry: dict[str, Any] = {
        "bbox": [0.0] * 4 if extent is None else [_rounded(v) for v in extent.tolist()],
        "area": _rounded(area),
        "iscrowd": 0,
        "segmentation": [] if mask is None else {"size": list(mask.size), "counts": list(mask.counts)},
    }
    if instance.box is None:
        entry["box_annotated"] = False  # COCO wants a box; this one is the extent of the points
    if len(counted):
        entry |= {"keypoints": keypoints, "num_keypoints": int(counted.sum())}
    if instance.score is not None:
        entry["score"] = _rounded(instance.score)
    if instance.confidence is not None:
        told = instance.confidence.tolist()
        entry["keypoint_confidence"] = [None if np.isnan(v) else _rounded(v) for v in told]
    return entry


def _rounded(value: float) -> float:
    return round(float(value), 4)
