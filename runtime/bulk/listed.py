"""Rows of a list of pairs, and what its columns mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dccnet.runtime.arrays import Points
from dccnet.runtime.checks import as_points
from dccnet.runtime.errors import ArgumentError, DataError
from dccnet.runtime.video.annotations import read_numbers

SOURCES = ("source", "source_image")
TARGETS = ("target", "target_image")
POINTS = "points"
"""Names of the columns: of picture A, of picture B, of A's points."""


class Row(NamedTuple):
    """A pair as it is listed."""

    source: str
    target: str
    points: Any = None
    """As the list has them; None in a list without points."""
    problem: str | None = None
    """Why the row is no pair."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of a list's columns."""

    source: str
    target: str
    points: str | None


def columns_of(path: Path, names: Sequence[str]) -> Columns:
    """Raises :class:`DataError` where ``source`` or ``target`` is missing, or a column is there twice."""
    found = []
    for choices in (SOURCES, TARGETS):
        there = [name for name in names if name in choices]
        if len(there) != 1:
            listed = ", ".join(names)[:200] or "(none)"
            raise DataError(
                f"{path} has the columns {listed}; a list of pairs has one column {' or '.join(choices)}, "
                f"one {' or '.join(TARGETS if choices is SOURCES else SOURCES)}, and perhaps {POINTS}"
            )
        found.append(there[0])
    if names.count(POINTS) > 1:
        raise DataError(f"{path} has the column {POINTS} twice: remove one of them")
    return Columns(found[0], found[1], POINTS if POINTS in names else None)


def points_of(value: Any) -> Points:
    """``(N, 2)`` points of a row: from ``"x,y;x,y"``, rows ``[x, y]``, or rows ``{"x": …, "y": …}``.

    Raises :class:`ArgumentError` for anything else, also for none.
    """
    if isinstance(value, str) and value.strip():
        points = read_numbers(value, 2)
        if points is None:
            shown = value[:80]
            raise ArgumentError(f'points must look like "120,80;200.5,64" (x,y in pixels), not "{shown}"')
        return points
    listed = () if value is None or isinstance(value, str) else value
    try:
        rows = [[row["x"], row["y"]] if isinstance(row, dict) else row for row in listed]
    except (KeyError, TypeError):
        raise ArgumentError("points must be rows [x, y] in pixels") from None
    if not rows:
        raise ArgumentError("the pair has no points: write x,y;x,y, or remove the column from the list")
    return as_points(rows)


def picture_path(root: Path, name: str) -> Path:
    """The file of a picture in a list, with Windows' separators, too."""
    return root / name.replace("\\", "/")


def stamp_of(path: Path) -> tuple[int, int]:
    """Size and time of a file, by which a change is noticed."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns
