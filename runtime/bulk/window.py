"""A window: consecutive pairs of a list that are ordered together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dccnet.runtime.bulk.listed import Row
from dccnet.runtime.bulk.order import Ints


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """N pairs, with every picture's name held once."""

    start: int
    """Number of its first pair in the list."""
    names: list[str]
    a: Ints
    """``(N,)``: numbers of the sources in ``names``."""
    b: Ints
    points: list[Any] | None
    """Of the sources, as the list has them; None in a list without points."""
    problems: dict[int, str]
    """Why a row is no pair, by its number in the window."""

    def __len__(self) -> int:
        return len(self.a)


def window_of(start: int, rows: Iterable[Row], has_points: bool) -> Window:
    """The window of these rows. Rows that are no pairs stay: those after them keep their numbers."""
    numbers: dict[str, int] = {}
    sides: tuple[list[int], list[int]] = ([], [])
    points: list[Any] = []
    problems: dict[int, str] = {}
    for place, row in enumerate(rows):
        problem = row.problem or _missing(row)
        if problem:
            problems[place] = problem
        for side, name in zip(sides, ("", "") if problem else row[:2], strict=True):
            side.append(numbers.setdefault(name, len(numbers)))
        if has_points:
            points.append(row.points)
    a, b = (np.array(side, np.int64) for side in sides)
    return Window(start, list(numbers), a, b, points if has_points else None, problems)


def _missing(row: Row) -> str | None:
    for column, name in (("source", row.source), ("target", row.target)):
        if not name.strip():
            return f"the {column} has no name"
        if "\0" in name:
            return f"the name of the {column} contains a zero byte: the list is damaged"
    return None
