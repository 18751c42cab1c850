"""CVAT's XML, "CVAT for images 1.1" (docs.cvat.ai, "XML annotation format").

The points of a category are a skeleton, or single points with their own labels, as the file that was read
has them. A label of CVAT has one type of shape: the box and the mask of an instance with a skeleton have
the labels "NAME box" and "NAME mask", and its group.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import unescape

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.annotations.fields import AnnotationError, as_number, parse_xml
from dccnet.runtime.annotations.model import (
    HIDDEN,
    NONE,
    OBJECT,
    SEEN,
    AnnotationSet,
    Category,
    Instance,
    Picture,
    no_points,
)
from dccnet.runtime.annotations.run_lengths import RunLengths, check_size
from dccnet.runtime.geometry import Size

_SUFFIXES = {"box": " box", "mask": " mask", "polygon": " mask"}
_NODE = re.compile(r"<circle[^>]*>")
_EDGE = re.compile(r"<line[^>]*>")
_FIELD = re.compile(r'data-([a-z-]+)="([^"]*)"')


def from_cvat(text: str, root: Path) -> AnnotationSet:
    """Raises ``ValueError`` (:class:`AnnotationError`) for a file that is wrong, or of videos' tracks."""
    tree = parse_xml(text, "it")
    if tree.tag != "annotations":
        raise AnnotationError(f"its root is <{tree.tag}>, that of a file of CVAT <annotations>")
    if tree.find("track") is not None:
        raise AnnotationError('it has tracks: export it as "CVAT for images 1.1"')
    images = tree.findall("image")
    categories = _categories(tree, images)
    pictures = tuple(_picture(image, categories) for image in images)
    return AnnotationSet(tuple(categories.values()), pictures, root)


def _categories(tree: ElementTree.Element, images: list[ElementTree.Element]) -> dict[str, Category]:
    """From the labels of the task, and from skeletons and points in the pictures where it lacks them."""
    found: dict[str, Category] = {}
    labels = tree.findall("./meta//labels/label")
    for label in labels:
        if label.findtext("type") == "skeleton":
            name = label.findtext("name") or OBJECT
            points = tuple(
                child.findtext("name") or "" for child in labels if child.findtext("parent") == name
            )
            found[name] = Category(name, points, _edges(label.findtext("svg") or "", points))
    for image in images:
        for shape in image.findall("skeleton"):
            name = shape.get("label", OBJECT)
            known = found.get(name, Category(name))
            points = tuple(dict.fromkeys((*known.points, *(p.get("label", "") for p in shape))))
            found[name] = dataclasses.replace(known, points=points)
    single: dict[str, None] = {}
    for image in images:
        for shape in image.findall("points"):
            count = len(_points(shape))
            if count == 1:
                single[shape.get("label", "")] = None
            else:
                name = shape.get("label", OBJECT)
                known = found.get(name, Category(name, layout="series"))
                points = tuple(str(k + 1) for k in range(max(count, len(known.points))))
                found[name] = dataclasses.replace(known, points=points)
    if single:
        found[OBJECT] = Category(OBJECT, tuple(single), layout="labels")
    for image in images:
        for shape in image:
            if shape.tag in _SUFFIXES:
                owner = _owner(shape, found)
                found.setdefault(owner, Category(owner))
    return found


def _owner(shape: ElementTree.Element, categories: Mapping[str, Category]) -> str:
    """The category of a box or a mask: "bird" of "bird box" if birds have a skeleton, but "toy box" of a
    label that is called so."""
    label = shape.get("label", OBJECT)
    pointed = categories.get(label.removesuffix(_SUFFIXES[shape.tag]))
    return label if pointed is None or not pointed.points else pointed.name


def _edges(svg: str, points: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Lines of a skeleton's drawing; its nodes are numbered, and name their label."""
    nodes: dict[str, int] = {}
    for at, circle in enumerate(_NODE.findall(svg)):
        fields = dict(_FIELD.findall(circle))
        name = unescape(fields.get("label-name", points[at] if at < len(points) else ""))
        if name in points:
            nodes[fields.get("node-id", str(at + 1))] = points.index(name)
    edges = []
    for line in _EDGE.findall(svg):
        fields = dict(_FIELD.findall(line))
        ends = nodes.get(fields.get("node-from", "")), nodes.get(fields.get("node-to", ""))
        if ends[0] is not None and ends[1] is not None:
            edges.append((ends[0], ends[1]))
    return tuple(edges)


def _picture(image: ElementTree.Element, categories: Mapping[str, Category]) -> Picture:
    name = image.get("name", "")
    if not name:
        raise AnnotationError("an <image> has no name")
    where = f"image {name}"
    size = int(as_number(image.get("height"), where)), int(as_number(image.get("width"), where))
    parts: dict[tuple[str, str], Instance] = {}
    alone = 0
    for shape in image:
        single = shape.tag == "points" and len(_points(shape)) == 1
        if shape.tag not in ("skeleton", "points", *_SUFFIXES):
            continue
        owner = (
            OBJECT
            if single
            else _owner(shape, categories)
            if shape.tag in _SUFFIXES
            else shape.get("label", OBJECT)
        )
        group = shape.get("group_id", "0")
        if group == "0" and not single:
            alone += 1
            group = f"alone {alone}"
        category = categories[owner]
        before = parts.get((owner, group))
        if before is None:
            before = Instance(owner, *no_points(len(category.points))[:2])
        parts[owner, group] = _with_shape(before, shape, category, size, where)
    return Picture(name, size, tuple(_joined(parts)))


def _joined(parts: Mapping[tuple[str, str], Instance]) -> Iterator[Instance]:
    """Boxes and masks without a group join the only points of their category."""
    counts: dict[str, list[Instance]] = {}
    for (owner, _), instance in parts.items():
        counts.setdefault(owner, []).append(instance)
    for instances in counts.values():
        pointed = [one for one in instances if one.annotated.any()]
        boxes = [one for one in instances if one.box is not None]
        masks = [one for one in instances if one.mask is not None]
        if len(instances) > 1 and max(len(pointed), len(boxes), len(masks)) == 1:
            first = (pointed or boxes or masks)[0]
            box, mask = (boxes[0].box if boxes else None), (masks[0].mask if masks else None)
            yield dataclasses.replace(first, box=box, mask=mask)
        else:
            yield from instances


def _with_shape(
    instance: Instance, shape: ElementTree.Element, category: Category, size: Size, where: str
) -> Instance:
    if shape.tag == "box":
        x, y, right, bottom = (as_number(shape.get(k), where) for k in ("xtl", "ytl", "xbr", "ybr"))
        return dataclasses.replace(instance, box=np.array([x, y, right - x, bottom - y]))
    if shape.tag == "polygon":
        corners = _points(shape).ravel().tolist()
        return dataclasses.replace(instance, mask=RunLengths.of_polygons([corners], size))
    if shape.tag == "mask":
        return dataclasses.replace(instance, mask=_mask(shape, size, where))
    points, visibility = instance.points.copy(), instance.visibility.copy()
    elements = list(shape.findall("points")) if shape.tag == "skeleton" else [shape]
    for element in elements:
        places = _points(element)
        hidden = HIDDEN if element.get("occluded") == "1" else SEEN
        if shape.tag == "points" and len(places) > 1:
            points[: len(places)], visibility[: len(places)] = places, hidden
            continue
        row = category.points.index(element.get("label", ""))
        if np.isfinite(points[row]).all():
            raise AnnotationError(
                f"{where} has two points {category.points[row]} in one thing: group those of each thing"
            )
        points[row] = places[0]
        visibility[row] = NONE if element.get("outside") == "1" else hidden
    return dataclasses.replace(instance, points=points, visibility=visibility)


def _points(shape: ElementTree.Element) -> NDArray[np.float64]:
    rows = [row.split(",") for row in shape.get("points", "").split(";")]
    if not all(len(row) == 2 for row in rows):
        raise AnnotationError(f"<{shape.tag}> has no points x,y;x,y")
    return np.array([[as_number(v, f"<{shape.tag}>") for v in row] for row in rows])


def _mask(shape: ElementTree.Element, size: Size, where: str) -> RunLengths:
    """Runs along the rows of a window of the picture, the first of 0."""
    left, top, width, height = (
        int(as_number(shape.get(k), where)) for k in ("left", "top", "width", "height")
    )
    inside = left >= 0 and top >= 0 and left + width <= size[1] and top + height <= size[0]
    if not inside or width < 1 or height < 1:
        raise AnnotationError(f"{where}: a mask lies outside the picture")
    check_size(size)
    runs = [int(as_number(run, where)) for run in shape.get("rle", "").split(",")]
    if min(runs) < 0 or sum(runs) != width * height:
        raise AnnotationError(f"{where}: the runs of a mask do not fill its {width}x{height} pixels")
    window = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = window
    return RunLengths.of(mask)
