"""What annotation tools have in common: categories with named points, pictures, and instances in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.annotations.run_lengths import RunLengths
from dccnet.runtime.arrays import Boxes, Floats, Points
from dccnet.runtime.geometry import Size

Layout = Literal["skeleton", "labels", "series"]
"""How CVAT keeps the points of a category: as one ``skeleton``; as single points, each with its own
``labels``; or as one shape with a ``series`` of points without names."""
NONE, HIDDEN, SEEN = 0, 1, 2
"""COCO's visibility of a point: not annotated, annotated and hidden, annotated and visible."""
OBJECT = "object"
"""The category where a file has none."""


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of thing, its named points, and the lines that are drawn between them."""

    name: str
    points: tuple[str, ...] = ()
    edges: tuple[tuple[int, int], ...] = ()
    """Pairs of numbers in :attr:`points`, from 0."""
    supercategory: str = ""
    layout: Layout = "skeleton"


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One thing in a picture. Pixels are 0-based, x right, y down."""

    category: str
    points: Points
    """``(K, 2)``: a row for each point of the category. Where visibility is 0, the place of a point that is
    less confident than asked for, or NaN."""
    visibility: NDArray[np.uint8]
    """``(K,)``: :data:`NONE`, :data:`HIDDEN` or :data:`SEEN`."""
    box: Boxes | None = None
    """``(4,)``: x, y, width, height."""
    mask: RunLengths | None = None
    confidence: NDArray[np.float32] | None = None
    """``(K,)`` in [0, 1], NaN for points without a place; None where nothing says it."""
    score: float | None = None
    """Confidence in the whole, in [0, 1]; None for what a person annotated."""
    label: int = 1
    """The value of its pixels in masks as PNG, from 1 to 255."""

    @property
    def annotated(self) -> NDArray[np.bool_]:
        """``(K,)``: which points count."""
        return np.asarray((self.visibility > NONE) & self.placed, np.bool_)

    @property
    def placed(self) -> NDArray[np.bool_]:
        """``(K,)``: which points have a place, also those that do not count."""
        return there(self.points)

    @property
    def empty(self) -> bool:
        return not self.annotated.any() and self.box is None and self.mask is None

    def extent(self) -> Boxes | None:
        """The box of a COCO annotation: its own, that of its mask, or that of the points that count."""
        if self.box is not None:
            return self.box
        if self.mask is not None and self.mask.area:
            return self.mask.box()
        if not self.annotated.any():
            return None
        low, high = self.points[self.annotated].min(axis=0), self.points[self.annotated].max(axis=0)
        return np.concatenate([low, high - low])


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture, or a frame of a video, with what is annotated in it."""

    name: str
    """Its path as the file has it, with ``/``."""
    size: Size | None = None
    """(height, width) in pixels, where it is known."""
    instances: tuple[Instance, ...] = ()
    problem: str = ""
    """Why a picture has no annotations, though it should."""
    references: Mapping[str, float] = field(default_factory=dict)
    """The references that its annotations come from, the best first, with the mean confidence of each."""
    frame: int | None = None
    """The number of a frame, from 0."""
    time_s: float | None = None

    @property
    def annotated(self) -> bool:
        return any(not one.empty for one in self.instances)

    @property
    def confidence(self) -> float | None:
        """Mean confidence of its instances; None where they have none."""
        scores = [one.score for one in self.instances if one.score is not None]
        return sum(scores) / len(scores) if scores else None


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationSet:
    """The content of an annotation file."""

    categories: tuple[Category, ...]
    pictures: Iterable[Picture]
    """All pictures, in order; those that are written may come one by one."""
    root: Path = Path()
    """The folder that pictures' names are relative to."""
    hints: Mapping[str, str] = field(default_factory=dict)
    """Names that only one tool knows, such as Label Studio's ``from_name``, for a file of that tool."""

    def category(self, name: str) -> Category:
        return next(one for one in self.categories if one.name == name)


def merged(categories: Iterable[Category]) -> tuple[Category, ...]:
    """Categories of several files: of those with one name, all points and edges, in order."""
    found: dict[str, Category] = {}
    for one in categories:
        known = found.get(one.name)
        if known is None or known == one:
            found[one.name] = one
            continue
        points = tuple(dict.fromkeys((*known.points, *one.points)))
        moved = ((points.index(one.points[a]), points.index(one.points[b])) for a, b in one.edges)
        edges = tuple(dict.fromkeys((*known.edges, *moved)))
        found[one.name] = Category(one.name, points, edges, known.supercategory, known.layout)
    return tuple(found.values())


def fitted(instance: Instance, own: Category, wanted: Category) -> Instance:
    """The instance with the points of ``wanted``, in its order, by their names."""
    if own.points == wanted.points:
        return instance
    import dataclasses

    numbers = {name: number for number, name in enumerate(own.points)}
    points, visibility, confidence = no_points(len(wanted.points))
    for row, name in enumerate(wanted.points):
        if name in numbers:
            points[row], visibility[row] = (
                instance.points[numbers[name]],
                instance.visibility[numbers[name]],
            )
            if instance.confidence is not None:
                confidence[row] = instance.confidence[numbers[name]]
    kept = None if instance.confidence is None else confidence
    return dataclasses.replace(instance, points=points, visibility=visibility, confidence=kept)


def there(places: Floats) -> NDArray[np.bool_]:
    """``(..., 2)`` -> ``(...)``: which places are there, and not NaN."""
    return np.asarray(np.isfinite(places).all(axis=-1), np.bool_)


def no_points(number: int) -> tuple[Points, NDArray[np.uint8], NDArray[np.float32]]:
    """Places, visibility and confidence of ``number`` points that are not there."""
    return np.full((number, 2), np.nan), np.zeros(number, np.uint8), np.full(number, np.nan, np.float32)
