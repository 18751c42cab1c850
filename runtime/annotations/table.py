"""Annotations as CSV: a row for each point, for an instance without points, for a picture without any."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dccnet.runtime.annotations.fields import AnnotationError, as_number
from dccnet.runtime.annotations.model import (
    NONE,
    OBJECT,
    SEEN,
    AnnotationSet,
    Category,
    Instance,
    Picture,
    no_points,
)

COLUMNS = (
    *("image", "width", "height", "category", "instance", "label", "x", "y", "visible", "confidence"),
    *("box_x", "box_y", "box_width", "box_height", "score", "reference", "frame", "time_s", "problem"),
)
_BOX = ("box_x", "box_y", "box_width", "box_height")


def from_csv(text: str, root: Path) -> AnnotationSet:
    """Of the columns, ``image``, ``x`` and ``y`` are needed. Raises ``ValueError``."""
    reader = csv.DictReader(io.StringIO(text))
    missing = [name for name in ("image", "x", "y") if name not in (reader.fieldnames or ())]
    if missing:
        raise AnnotationError(f"its header has no column '{missing[0]}'")
    rows = [(at, {k: v or "" for k, v in row.items() if k}) for at, row in enumerate(reader, start=2)]
    points: dict[str, dict[str, None]] = {}
    for at, row in rows:
        if row["image"] and (row["x"] or row.get("box_x")):
            own = points.setdefault(row.get("category") or OBJECT, {})
            if row["x"]:
                own[row.get("label") or _unnamed(row, at)] = None
    categories = {name: Category(name, tuple(own)) for name, own in points.items()}
    found: dict[str, dict[tuple[str, str], Instance]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for at, row in rows:
        where = f"line {at}"
        if not row["image"]:
            raise AnnotationError(f"{where} names no image")
        parts = found.setdefault(row["image"], {})
        if row.get("width") and row.get("height"):
            sizes[row["image"]] = (
                int(as_number(row["height"], where)),
                int(as_number(row["width"], where)),
            )
        if row["x"] or row.get("box_x"):
            name = row.get("category") or OBJECT
            key = name, row.get("instance", "")
            before = parts.get(key)
            if before is None:
                before = Instance(name, *no_points(len(categories[name].points))[:2])
            parts[key] = _with_row(before, row, categories[name], where)
    pictures = tuple(Picture(name, sizes.get(name), tuple(parts.values())) for name, parts in found.items())
    return AnnotationSet(tuple(categories.values()), pictures, root)


def _unnamed(row: Mapping[str, str], at: int) -> str:
    raise AnnotationError(f"line {at}: the point {row['x']},{row['y']} has no label")


def _with_row(instance: Instance, row: Mapping[str, str], category: Category, where: str) -> Instance:
    import dataclasses

    points, visibility = instance.points.copy(), instance.visibility.copy()
    if row["x"]:
        at = category.points.index(row["label"])
        if instance.visibility[at]:
            raise AnnotationError(
                f"{where}: {row['image']} has a second point {row['label']}: number the things of a "
                "picture in a column 'instance'"
            )
        points[at] = as_number(row["x"], where), as_number(row["y"], where)
        shown = row.get("visible") or str(SEEN)
        if shown not in ("0", "1", "2"):
            raise AnnotationError(f"{where}: visible is 0, 1 or 2, not {shown!r}")
        visibility[at] = int(shown)
        if visibility[at] == NONE:
            points[at] = np.nan
    box = instance.box
    if row.get("box_x"):
        box = np.array([as_number(row.get(name), where) for name in _BOX])
    return dataclasses.replace(instance, points=points, visibility=visibility, box=box)


def to_csv_rows(annotations: AnnotationSet) -> Iterator[str]:
    """Lines of the file, the header first. Points of too little confidence keep their place and are not
    ``visible``."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")

    def taken() -> str:
        text = out.getvalue()
        out.seek(0)
        out.truncate()
        return text

    writer.writeheader()
    yield taken()
    for picture in annotations.pictures:
        for row in _rows(picture, annotations):
            writer.writerow(row)
        yield taken()


def _rows(picture: Picture, annotations: AnnotationSet) -> Iterator[dict[str, Any]]:
    height, width = picture.size or ("", "")
    base: dict[str, Any] = {"image": picture.name, "width": width, "height": height}
    base |= {"reference": next(iter(picture.references), ""), "problem": picture.problem}
    if picture.frame is not None:
        base |= {"frame": picture.frame, "time_s": _text(picture.time_s)}
    if not picture.instances:
        yield base
    for at, instance in enumerate(picture.instances, start=1):
        own = base | {"category": instance.category, "instance": at, "score": _text(instance.score)}
        if instance.box is not None:
            own |= dict(zip(_BOX, map(_text, instance.box.tolist()), strict=True))
        placed = np.flatnonzero(instance.placed).tolist()
        if not placed:
            yield own
        for row in placed:
            x, y = instance.points[row].tolist()
            told = None if instance.confidence is None else float(instance.confidence[row])
            yield own | {
                "label": annotations.category(instance.category).points[row],
                "x": _text(x),
                "y": _text(y),
                "visible": int(instance.visibility[row]),
                "confidence": _text(told),
            }


def _text(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.4f}".rstrip("0").rstrip(".")
