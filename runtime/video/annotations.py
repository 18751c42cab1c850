"""Points, boxes and masks of a picture, and how points and boxes are read from text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dccnet.runtime.arrays import Boxes, Floats, Mask, Points
from dccnet.runtime.errors import UsageError


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


def parse_points(text: str) -> Points:
    """Points ``(N, 2)`` from ``"x,y;x,y"``, in pixels. Raises :class:`UsageError`."""
    points = read_numbers(text, 2)
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
        box = read_numbers(text, 4)
        if box is None or len(box) != 1:
            raise UsageError(f"--box must look like \"40,30,200,120\" (x,y,width,height), not '{text}'")
        boxes.append(box[0])
    return np.array(boxes)


def read_numbers(text: str, width: int) -> Floats | None:
    """``(N, width)`` finite numbers from ``"a,b;c,d"``; None where ``text`` is something else."""
    try:
        rows = [[float(v) for v in row.split(",")] for row in text.split(";") if row.strip()]
    except ValueError:
        return None
    fits = rows and all(len(row) == width and all(map(math.isfinite, row)) for row in rows)
    return np.array(rows, np.float64) if fits else None
