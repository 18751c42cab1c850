"""The contact sheet: a page with every picture and what was carried to it, the least certain first.

The page is one file. A thumbnail is a JPEG in it, and what is drawn on it is SVG in pixels of the picture.
"""

from __future__ import annotations

import base64
import html
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import quote

import cv2
import numpy as np

from dccnet.runtime.annotations.model import Category, Instance, Picture
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DccError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.images import read_image
from dccnet.runtime.standard_streams import visible

SIDE = 280
"""Longest side of a thumbnail, in pixels."""
_QUALITY = 72
_RADIUS = 4.5  # of a point, in pixels of the thumbnail
_COLOURS = (
    *("#ff4d4d", "#ffb000", "#7ad151", "#22b8cf", "#4f8cff", "#b06bff"),
    *("#ff6fb5", "#c0ca33", "#00c853", "#ff8a50", "#00bfa5", "#8d9eff"),
)


class _Card(NamedTuple):
    confidence: float
    number: int
    name: str
    start: int
    length: int


class Sheet:
    """Collects pictures in a temporary file, and writes the page. A context manager."""

    def __init__(self, path: Path, categories: Sequence[Category], facts: Mapping[str, str]) -> None:
        """``facts`` are told on top of the page, by their names."""
        self._path, self._facts = path, facts
        self._categories = {category.name: category for category in categories}
        self._content = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._cards: list[_Card] = []
        self._problems: list[tuple[str, str]] = []
        self._colours: dict[str, str] = {}
        for category in categories:
            for point in category.points:
                self._colours.setdefault(point, _COLOURS[len(self._colours) % len(_COLOURS)])

    def __enter__(self) -> Sheet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._content.close()

    def add(self, picture: Picture, image: Image | None, path: Path) -> None:
        """Add a picture; it is read again from ``path`` where ``image`` is None."""
        if not picture.problem and image is None:
            try:
                image = read_image(path)
            except DccError as error:
                self._problems.append((picture.name, str(error)))
                return
        if picture.problem or image is None:
            self._problems.append((picture.name, picture.problem))
            return
        confidence = picture.confidence
        card = self._card(picture, image, path).encode()
        start = self._content.seek(0, os.SEEK_END)
        self._content.write(card)
        order = 2.0 if confidence is None else confidence  # what a person annotated comes last
        self._cards.append(_Card(order, len(self._cards), picture.name, start, len(card)))

    def write(self) -> None:
        """Write the page, atomically. Raises :class:`DccError`."""
        with atomic_path(self._path) as temporary, temporary.open("w", encoding="utf-8") as page:
            page.writelines(self._page())

    def _page(self) -> Iterator[str]:
        style = (files("dccnet.runtime.propagate") / "review.css").read_text(encoding="utf-8")
        yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        yield f"<title>Review: {_text(self._path.name)}</title>\n"
        yield f"<style>{style}</style>\n</head>\n<body>\n"
        yield "<header>\n<h1>What was carried, least certain first</h1>\n<dl>"
        for name, value in self._facts.items():
            yield f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>"
        yield "</dl>\n" + self._legend() + "</header>\n"
        if self._problems:
            yield f"<section class=problems><h2>{len(self._problems)} could not be read</h2><ul>"
            for name, problem in self._problems:
                yield f"<li><b>{_text(name)}</b> {_text(problem)}</li>"
            yield "</ul></section>\n"
        yield "<main>\n"
        for card in sorted(self._cards):
            self._content.seek(card.start)
            yield self._content.read(card.length).decode()
        yield "</main>\n</body>\n</html>\n"

    def _legend(self) -> str:
        names = "".join(
            f'<li><i style="background:{colour}"></i>{_text(name)}</li>'
            for name, colour in self._colours.items()
        )
        hint = (
            "<li class=how><i></i>filled: counts</li>"
            "<li class=how><i class=hollow></i>ring: less sure than asked for</li>"
        )
        return f"<ul class=legend>{names}{hint if names else ''}</ul>\n"

    def _card(self, picture: Picture, image: Image, path: Path) -> str:
        height, width = image.shape[:2]
        scale = min(1.0, SIDE / max(height, width))
        small = cv2.resize(
            image,
            (max(1, round(width * scale)), max(1, round(height * scale))),
            interpolation=cv2.INTER_AREA,
        )
        done, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        if not done:  # of sides that JPEG cannot hold, which the thumbnail does not have
            raise DccError(f"{path} cannot be drawn as a thumbnail")
        drawn = "".join(self._drawn(instance, max(height, width)) for instance in picture.instances)
        link = quote(os.path.relpath(path.resolve(), self._path.parent.resolve()).replace(os.sep, "/"))
        if picture.time_s is not None:
            link += f"#t={picture.time_s:g}"
        told = "annotated" if picture.confidence is None else f"{picture.confidence:.2f}"
        kind = "by-hand" if picture.confidence is None else "carried"
        source = next(iter(picture.references), "")
        name = _text(picture.name)
        return (
            f'<figure class={kind}><a href="{_text(link)}" title="open {name}">'
            f'<img loading=lazy decoding=async width={small.shape[1]} height={small.shape[0]} alt="{name}" '
            f'src="data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}">'
            f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none">{drawn}</svg></a>'
            f'<figcaption><b>{told}</b><span title="{name}">{name}</span>'
            + (f"<small>from {_text(source)}</small>" if source else "")
            + "</figcaption></figure>\n"
        )

    def _drawn(self, instance: Instance, side: int) -> str:
        """SVG of an instance, in pixels of the picture, whose longer side is ``side``."""
        category, unit = self._categories[instance.category], side / SIDE
        shapes = []
        if instance.mask is not None and instance.mask.area:
            shapes.append(f'<path class=mask d="{_outline(instance)}"/>')
        if instance.box is not None:
            x, y, w, h = instance.box
            shapes.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}"/>')
        counted, places = instance.annotated, instance.points
        for a, b in category.edges:
            if counted[a] and counted[b]:
                (x1, y1), (x2, y2) = places[a], places[b]
                shapes.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
        for row in np.flatnonzero(instance.placed):
            name, (x, y) = category.points[row], places[row]
            told = "" if instance.confidence is None else f" {instance.confidence[row]:.2f}"
            kind = "on" if counted[row] else "off"
            shapes.append(
                f'<circle class={kind} style="--c:{self._colours[name]}" cx="{x:.1f}" cy="{y:.1f}" '
                f'r="{_RADIUS * unit:.1f}"><title>{_text(name)}{told}</title></circle>'
            )
        return "".join(shapes)


def _text(value: str) -> str:
    """A text in HTML; control characters, which a file name may have, are shown as escapes."""
    return html.escape(visible(value))


def _outline(instance: Instance) -> str:
    """The path of a mask's outline, with a corner about every other pixel of the thumbnail."""
    assert instance.mask is not None
    mask = instance.mask.array().astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    close = max(mask.shape) / SIDE
    corners = (cv2.approxPolyDP(contour, close, True)[:, 0] for contour in contours)
    return "".join("M" + "L".join(f"{x},{y}" for x, y in contour) + "Z" for contour in corners)
