"""What is asked about a pair, and the answer as JSON."""

from __future__ import annotations

import base64
import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from dccnet.runtime.arrays import Image, Points
from dccnet.runtime.checks import Side, as_points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.drawing.styles import Style
from dccnet.runtime.errors import ArgumentError, UsageError
from dccnet.runtime.reading import parse_json
from dccnet.runtime.views.ways import AS_THEY_ARE, Ways
from dccnet.runtime.writers import match_lists
from dccnet.service.pictures import to_jpeg

SCHEMA = 1
MOST_HEATMAPS = 16
"""Points of one request that heat maps are returned for."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What a client wants to know about a pair."""

    points: Points | None
    """``(N, 2)`` pixels of the picture ``from_``, to be found in the other one."""
    from_: Side = "a"
    mutual: bool = True
    """Whether the mutual matches are returned."""
    least_confidence: float | None = None
    """Of the mutual matches, also of those that are drawn."""
    refine: bool | None = None
    heatmaps: bool = False
    """Whether the scores of each point over the other picture are returned."""
    draw: Style | None = None
    ways: Ways = AS_THEY_ARE


def read_points(text: str, most: int) -> Points:
    """``[[x, y], …]`` -> ``(N, 2)``. Raises :class:`ArgumentError`, also for more than ``most`` points."""
    try:
        values = parse_json(text)
    except ValueError:
        raise ArgumentError("points must be JSON, such as [[120, 80], [33.5, 7]]") from None
    if not isinstance(values, list):
        raise ArgumentError("points must be a list of [x, y], such as [[120, 80], [33.5, 7]]")
    if len(values) > most:
        raise ArgumentError(f"there are {len(values)} points, more than {most}: ask several times")
    try:
        return as_points(values)
    except OverflowError:  # a whole number that no float holds
        raise ArgumentError("points contains a number that is too large") from None


def answer(
    found: Correspondences, question: Question, model: dict[str, str], pictures: tuple[Image, Image] | None
) -> bytes:
    """The answer as JSON; ``pictures`` are A and B for a drawing, of any size.

    Raises :class:`UsageError` where the question does not suit the pictures or the model.
    """
    if question.least_confidence is not None:
        found = found.at_least(question.least_confidence)
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "model": model,
        "size_a": list(found.size_a),
        "size_b": list(found.size_b),
        "transfer": found.rule,
        "mirrored": found.mirrored,
    }
    if question.points is not None:
        content["points"] = match_lists(found.carry(question.points, question.from_))
    if question.mutual:
        content["mutual"] = match_lists(found.mutual())
    if question.heatmaps:
        content["heatmaps"] = _heatmaps(found, question)
    if question.draw is not None and pictures is not None:
        content["drawing"] = _drawing(found, question.draw, pictures)
    return json.dumps(content, allow_nan=False).encode()


def _heatmaps(found: Correspondences, question: Question) -> list[Any]:
    """``(N, h, w)``: scores over the cells of the other picture, of the cell nearest to each point."""
    maps = found.heatmap_a if question.from_ == "a" else found.heatmap_b
    if maps is None and question.ways.views != 1:
        raise UsageError("heat maps are those of one view: leave out heatmaps or views")
    if maps is None:
        raise UsageError("this model returns no heat maps: it must be exported with dcc export --heatmaps")
    points = question.points
    if points is None or not 0 < len(points) <= MOST_HEATMAPS:
        raise UsageError(f"heat maps are those of points: send from 1 to {MOST_HEATMAPS} of them")
    chosen = maps[found.one_way(question.from_).nearest_cells(points)]
    rounded: list[Any] = np.round(chosen.astype(np.float64), 7).tolist()
    return rounded


def _drawing(found: Correspondences, style: Style, pictures: tuple[Image, Image]) -> str:
    """A JPEG as a ``data:`` address. Cells lie at the same shares of a picture of any size."""
    a, b = pictures
    small = dataclasses.replace(found, size_a=_size(a), size_b=_size(b))
    jpeg = to_jpeg(small.draw(a, b, style=style))
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _size(image: Image) -> tuple[int, int]:
    return image.shape[0], image.shape[1]
