"""Label Studio's JSON: a list of tasks, whose results are in percent of the picture's sides.

As its own converters have it, x = 100 means the picture's width in pixels.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from dccnet.runtime.annotations.brush import decode_brush
from dccnet.runtime.annotations.fields import AnnotationError, number, numbers, objects
from dccnet.runtime.annotations.model import (
    OBJECT,
    SEEN,
    AnnotationSet,
    Category,
    Instance,
    Picture,
    no_points,
)
from dccnet.runtime.annotations.run_lengths import RunLengths
from dccnet.runtime.geometry import Size

LOCAL = "/data/local-files/?d="
"""How Label Studio names a file in the folder that it serves."""
_TYPES = ("keypointlabels", "rectanglelabels", "brushlabels", "polygonlabels")
_GROUP = re.compile(r"(.+) #(\d+)")


def from_label_studio(tasks: Any, root: Path) -> AnnotationSet:
    """Annotations of the tasks; of a task without, its predictions. Raises ``ValueError``."""
    if not isinstance(tasks, list):
        raise AnnotationError("a file of Label Studio is a list of tasks")
    hints: dict[str, str] = {}
    points: dict[str, None] = {}
    owners: dict[str, None] = {}
    named: list[tuple[str, Size | None, list[dict[str, Any]]]] = []
    for at, task in enumerate(tasks, start=1):
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            raise AnnotationError(f"task {at} has no 'data'")
        key, address = _image(task["data"], at)
        hints.setdefault("data", key)
        if LOCAL in address:
            hints.setdefault("prefix", address[: address.index(LOCAL) + len(LOCAL)])
        results = _results(task, at)
        for result in results:
            hints.setdefault(f"from_name:{result['type']}", str(result.get("from_name", "")))
            hints.setdefault("to_name", str(result.get("to_name", "image")))
            label = _label(result)
            if result["type"] == "keypointlabels":
                points[label] = None
            owners[_group(result)[0] or (OBJECT if result["type"] == "keypointlabels" else label)] = None
        named.append((path_of(address), _size(results, f"task {at}"), results))
    if len(owners) > 1 and OBJECT in owners and points:  # points belong to the only other category
        owners.pop(OBJECT)
    layouts = {name: Category(name, tuple(points), layout="labels") for name in owners}
    if len(layouts) > 1:
        layouts = _own_points(layouts, named)
    pictures = tuple(_picture(name, size, results, layouts) for name, size, results in named)
    return AnnotationSet(tuple(layouts.values()), pictures, root, hints)


def _own_points(
    categories: Mapping[str, Category], named: list[tuple[str, Size | None, list[dict[str, Any]]]]
) -> dict[str, Category]:
    """Each category with those points that some result says are its own; with all, where none says so."""
    told: dict[str, dict[str, None]] = {name: {} for name in categories}
    for _, _, results in named:
        for result in results:
            owner = _group(result)[0]
            if result["type"] == "keypointlabels" and owner in told:
                told[owner][_label(result)] = None
    if not any(told.values()):
        return dict(categories)
    return {name: dataclasses.replace(one, points=tuple(told[name])) for name, one in categories.items()}


def _image(data: Mapping[str, Any], at: int) -> tuple[str, str]:
    """The key and the address of a task's picture."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    for key in ("image", "img", *texts):
        if key in texts:
            return key, texts[key]
    raise AnnotationError(f"task {at} names no picture")


def path_of(address: str) -> str:
    """The path of a picture in an address of Label Studio."""
    parts = urlsplit(address)
    asked = parse_qs(parts.query).get("d")
    return asked[0] if asked else unquote(parts.path) or address


def _results(task: Mapping[str, Any], at: int) -> list[dict[str, Any]]:
    for kind in ("annotations", "predictions"):
        kept = [one for one in objects(task, kind, (), needed=False) if not one.get("was_cancelled")]
        for annotation in kept:
            results = objects(annotation, "result", ("type",), needed=False)
            found = [result for result in results if result["type"] in _TYPES]
            if found:
                return [_checked(result, f"task {at}") for result in found]
        if kept:  # an empty annotation says that nothing is there, whatever was predicted
            return []
    return []


def _checked(result: dict[str, Any], where: str) -> dict[str, Any]:
    value = result.get("value")
    if not isinstance(value, dict):
        raise AnnotationError(f"{where}: a result has no value")
    if result.get("image_rotation") or value.get("rotation"):
        raise AnnotationError(f"{where}: dcc reads no rotated pictures and boxes of Label Studio")
    labels = value.get(result["type"])
    if not isinstance(labels, list) or not labels or not isinstance(labels[0], str):
        raise AnnotationError(f"{where}: a result of the type {result['type']} has no label")
    return result


def _label(result: Mapping[str, Any]) -> str:
    label: str = result["value"][result["type"]][0]
    return label


def _group(result: Mapping[str, Any]) -> tuple[str, str]:
    """The category and the number of the instance that a result belongs to, where it says so."""
    meta = result.get("meta")
    texts = meta.get("text") if isinstance(meta, dict) else None
    match = _GROUP.fullmatch(str(texts[0])) if isinstance(texts, list) and texts else None
    return ("", "") if match is None else (match[1], match[2])


def _size(results: list[dict[str, Any]], where: str) -> Size | None:
    for result in results:
        height, width = (
            int(number(result.get(f"original_{k}"), f"{where}: original_{k}")) for k in ("height", "width")
        )
        if min(height, width) < 1:
            raise AnnotationError(f"{where}: a result has no size of its picture")
        return height, width
    return None


def _picture(
    name: str, size: Size | None, results: list[dict[str, Any]], categories: Mapping[str, Category]
) -> Picture:
    if size is None:
        return Picture(name)
    sides = np.array([size[1], size[0]]) / 100
    parts: dict[tuple[str, str], Instance] = {}
    by_id = {result.get("id"): result for result in results}
    areas = [result for result in results if result["type"] != "keypointlabels"]
    for result in results:
        owner, group = _group(result)
        parent = by_id.get(result.get("parentID"))
        if parent is not None and not owner:
            owner, group = _label(parent), str(parent.get("id"))
        if result["type"] != "keypointlabels" and not owner:
            owner, group = _label(result), str(result.get("id")) if _several(areas, result) else ""
        if owner not in categories:
            owner = next(iter(categories))
        category = categories[owner]
        before = parts.get((owner, group))
        if before is None:
            before = Instance(owner, *no_points(len(category.points))[:2])
        parts[owner, group] = _with(before, result, category, size, sides)
    return Picture(name, size, tuple(parts.values()))


def _several(areas: list[dict[str, Any]], result: Mapping[str, Any]) -> bool:
    """Whether there are several boxes, or masks, of the same label, so that each is an instance."""
    same = [one for one in areas if one["type"] == result["type"] and _label(one) == _label(result)]
    return len(same) > 1


def _with(
    instance: Instance, result: Mapping[str, Any], category: Category, size: Size, sides: Any
) -> Instance:
    value, kind = result["value"], result["type"]
    if kind == "brushlabels":
        if value.get("format") != "rle":
            raise AnnotationError("a brush mask has another format than 'rle'")
        return dataclasses.replace(instance, mask=RunLengths.of(decode_brush(value.get("rle"), size)))
    if kind == "polygonlabels":
        corners = np.array([numbers(corner, "a polygon") for corner in value.get("points", [])])
        return dataclasses.replace(
            instance, mask=RunLengths.of_polygons([(corners * sides).ravel().tolist()], size)
        )
    place = np.array([number(value.get(k), f"{k} of a result") for k in ("x", "y")]) * sides
    if kind == "rectanglelabels":
        extent = np.array([number(value.get(k), f"{k} of a box") for k in ("width", "height")]) * sides
        return dataclasses.replace(instance, box=np.concatenate([place, extent]))
    points, visibility = instance.points.copy(), instance.visibility.copy()
    row = category.points.index(_label(result))
    if visibility[row]:
        raise AnnotationError(
            f"two points {_label(result)} belong to one thing: relate the points of each thing to its box"
        )
    points[row], visibility[row] = place, SEEN
    return dataclasses.replace(instance, points=points, visibility=visibility)
