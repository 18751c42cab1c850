"""Writing CVAT's XML (:mod:`dccnet.runtime.annotations.cvat` says how it is used)."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from dccnet.runtime.annotations.model import HIDDEN, AnnotationSet, Category, Instance
from dccnet.runtime.annotations.run_lengths import RunLengths


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
