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
from xml.sax.saxutils import escape, quoteattr, unescape

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.annotations.fields import AnnotationError, as_number
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
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise AnnotationError("it declares entities, which dcc does not expand")
    try:
        tree = ElementTree.fromstring(text)
    except (ElementTree.ParseError, RecursionError) as error:
        raise AnnotationError(f"it is no XML: {error}") from None
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
            if shape.tag in _SUFFIXES and _owner(shape) not in found:
                found[_owner(shape)] = Category(_owner(shape))
    return found


def _owner(shape: ElementTree.Element) -> str:
    """The category of a box or a mask."""
    return shape.get("label", OBJECT).removesuffix(_SUFFIXES[shape.tag]) or OBJECT


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
            OBJECT if single else _owner(shape) if shape.tag in _SUFFIXES else shape.get("label", OBJECT)
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
            first = (pointed or boxes)[0]
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


def to_cvat(annotations: AnnotationSet) -> Iterator[str]:
    """Lines of a file "CVAT for images 1.1". Points of too little confidence are ``outside``."""
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
    yield "  <meta>\n    <task>\n"
    yield "      <labels>\n"
    for category in annotations.categories:
        yield from _labels(category)
    yield "      </labels>\n    </task>\n  </meta>\n"
    for at, picture in enumerate(annotations.pictures):
        if picture.problem or picture.size is None:
            continue
        place = at if picture.frame is None else picture.frame
        height, width = picture.size
        yield f'  <image id="{place}" name={quoteattr(picture.name)} width="{width}" height="{height}">\n'
        for group, instance in enumerate(picture.instances, start=1):
            yield from _shapes(instance, annotations.category(instance.category), group)
        yield "  </image>\n"
    yield "</annotations>\n"


def _labels(category: Category) -> Iterator[str]:
    """The labels that a task needs for a category: its shapes' types, and its skeleton's drawing."""

    def label(name: str, kind: str, more: str = "") -> str:
        return (
            f"        <label><name>{escape(name)}</name><type>{kind}</type><attributes></attributes>{more}"
            "</label>\n"
        )

    if category.layout == "labels":
        yield from (label(name, "points") for name in category.points)
        yield label(category.name, "any")
        return
    if category.layout == "series" or not category.points:
        yield label(category.name, "any")
        return
    yield label(category.name, "skeleton", f"<svg>{escape(_drawing(category))}</svg>")
    parent = f"<parent>{escape(category.name)}</parent>"
    yield from (label(name, "points", parent) for name in category.points)
    yield label(f"{category.name} box", "rectangle")
    yield label(f"{category.name} mask", "mask")


def _drawing(category: Category) -> str:
    """A skeleton's points on a circle, as CVAT's editor of labels keeps them."""
    angles = 2 * np.pi * np.arange(len(category.points)) / len(category.points)
    places = np.stack([50 + 40 * np.sin(angles), 50 - 40 * np.cos(angles)], axis=1).round(2)
    lines = "".join(
        f'<line x1="{places[a][0]}" y1="{places[a][1]}" x2="{places[b][0]}" y2="{places[b][1]}" '
        f'data-type="edge" data-node-from="{a + 1}" data-node-to="{b + 1}"></line>'
        for a, b in category.edges
    )
    return lines + "".join(
        f'<circle r="1.5" cx="{x}" cy="{y}" data-type="element node" data-element-id="{at}" '
        f'data-node-id="{at}" data-label-name={quoteattr(name)}></circle>'
        for at, (name, (x, y)) in enumerate(zip(category.points, places.tolist(), strict=True), start=1)
    )


def _shapes(instance: Instance, category: Category, group: int) -> Iterator[str]:
    made = "manual" if instance.score is None else "auto"
    separate = category.layout == "skeleton" and bool(category.points)
    owner, grouped = category.name, f' source="{made}" group_id="{group}"'
    counted, placed = instance.annotated, instance.placed
    if category.layout == "skeleton" and placed.any():
        yield f'    <skeleton label={quoteattr(owner)}{grouped} z_order="0">\n'
        for row, name in enumerate(category.points):
            if placed[row]:
                outside = f' outside="{int(not counted[row])}"'
                yield "      " + _point(instance, [row], name, outside + f' source="{made}"')
        yield "    </skeleton>\n"
    elif category.layout == "series" and counted.any():
        yield "    " + _point(instance, np.flatnonzero(counted).tolist(), owner, grouped)
    elif category.layout == "labels":
        for row in np.flatnonzero(counted).tolist():
            yield "    " + _point(instance, [row], category.points[row], grouped)
    if instance.box is not None:
        x, y, width, height = instance.box
        label = quoteattr(owner + " box" * separate)
        yield (
            f'    <box label={label}{grouped} occluded="0" xtl="{x:.2f}" ytl="{y:.2f}" '
            f'xbr="{x + width:.2f}" ybr="{y + height:.2f}" z_order="0"></box>\n'
        )
    if instance.mask is not None and instance.mask.area:
        left, top, width, height = map(int, instance.mask.box())
        window = instance.mask.array()[top : top + height, left : left + width]
        runs = ", ".join(map(str, RunLengths.of(window.T).counts))  # along the rows
        label = quoteattr(owner + " mask" * separate)
        yield (
            f'    <mask label={label}{grouped} occluded="0" rle="{runs}" left="{left}" top="{top}" '
            f'width="{width}" height="{height}" z_order="0"></mask>\n'
        )


def _point(instance: Instance, rows: list[int], label: str, more: str) -> str:
    hidden = int(all(instance.visibility[row] == HIDDEN for row in rows))
    places = ";".join(f"{instance.points[row][0]:.2f},{instance.points[row][1]:.2f}" for row in rows)
    return f'<points label={quoteattr(label)}{more} occluded="{hidden}" points="{places}"></points>\n'
