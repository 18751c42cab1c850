"""DeepLabCut's labelled points: CollectedData_SCORER.csv, or .h5 with the same table in pandas' form.

The header has the rows scorer, (individuals,) bodyparts, coords; a picture is one row, whose name is in the
first column, or in three: labeled-data, folder, file. Cells of points that are not labelled are empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dccnet.runtime.annotations.fields import AnnotationError, as_number
from dccnet.runtime.annotations.model import (
    OBJECT,
    SEEN,
    AnnotationSet,
    Category,
    Instance,
    Picture,
    no_points,
    there,
)
from dccnet.runtime.extras import required
from dccnet.runtime.file_names import as_parts

SCORER = "dcc"
_SINGLE = "single"  # DeepLabCut's name for body parts that belong to no individual


def is_deeplabcut(text: str) -> bool:
    return text.startswith("scorer,")


def from_deeplabcut(text: str, root: Path) -> AnnotationSet:
    """The content of a CSV file. Raises ``ValueError`` (:class:`AnnotationError`)."""
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    header = {}
    while rows and rows[0][0] in ("scorer", "individuals", "bodyparts", "coords"):
        row = rows.pop(0)
        header[row[0]] = row
    missing = [name for name in ("scorer", "bodyparts", "coords") if name not in header]
    if missing:
        raise AnnotationError(f"its header has no row '{missing[0]}'")
    coords = header["coords"]
    first = next((at for at, name in enumerate(coords) if name == "x"), 0)
    if not first or any(len(row) != len(coords) for row in (*header.values(), *rows)):
        raise AnnotationError("its rows have different numbers of columns")
    owners = header.get("individuals", [OBJECT] * len(coords))
    columns = [(owners[at], header["bodyparts"][at], coords[at]) for at in range(first, len(coords))]
    table = {
        "/".join(part for part in row[:first] if part): [
            as_number(cell, f"line of {row[first - 1]}") if cell.strip() else np.nan for cell in row[first:]
        ]
        for row in rows
    }
    if len(table) < len(rows):
        raise AnnotationError("it has two rows of one picture")
    return _from_table(columns, table, root, header["scorer"][first])


def _from_table(
    columns: list[tuple[str, str, str]], table: dict[str, list[float]], root: Path, scorer: str
) -> AnnotationSet:
    individuals = list(dict.fromkeys(owner for owner, _, _ in columns))
    parts = {
        owner: tuple(dict.fromkeys(part for own, part, _ in columns if own == owner))
        for owner in individuals
    }
    # Individuals that have the same body parts are instances of one category.
    categories: dict[tuple[str, ...], Category] = {}
    for owner in individuals:
        name = OBJECT if owner != _SINGLE or len(individuals) == 1 else _SINGLE
        categories.setdefault(parts[owner], Category(name, parts[owner]))
    pictures = []
    for name, values in table.items():
        instances = []
        for at, owner in enumerate(individuals, start=1):
            category = categories[parts[owner]]
            points, visibility, _ = no_points(len(category.points))
            for (own, part, axis), value in zip(columns, values, strict=True):
                if own == owner and axis in ("x", "y"):
                    points[category.points.index(part)]["xy".index(axis)] = value
            visibility[there(points)] = SEEN
            if visibility.any():
                instances.append(Instance(category.name, points, visibility, label=at))
        pictures.append(Picture(name, None, tuple(instances)))
    hints = {"scorer": scorer, "individuals": "\n".join(individuals)}
    return AnnotationSet(tuple(categories.values()), tuple(pictures), root, hints)


def table_of(annotations: AnnotationSet) -> tuple[list[tuple[str, ...]], Iterator[tuple[str, list[Any]]]]:
    """The columns (scorer, individual, body part, axis) and, for each picture, its name and cells.

    The individual is empty where no picture has a second instance of its category.
    """
    pictures = [one for one in annotations.pictures if not one.problem]
    scorer = annotations.hints.get("scorer", SCORER)
    counts = {category.name: 1 for category in annotations.categories}
    for picture in pictures:
        for name, number in _counted(picture).items():
            counts[name] = max(counts[name], number)
    named = annotations.hints.get("individuals", "").split("\n")
    slots = [
        (category, turn) for category in annotations.categories for turn in range(counts[category.name])
    ]
    single = len(slots) == 1
    owners = named if len(named) == len(slots) else [f"{c.name}{turn + 1}" for c, turn in slots]
    columns: list[tuple[str, ...]] = [
        (scorer, "" if single else owner, part, axis)
        for (category, _), owner in zip(slots, owners, strict=True)
        for part in category.points
        for axis in "xy"
    ]

    def cells() -> Iterator[tuple[str, list[Any]]]:
        for picture in pictures:
            found: list[Any] = []
            for category, turn in slots:
                own = [one for one in picture.instances if one.category == category.name]
                if turn < len(own):
                    shown = np.where(own[turn].annotated[:, None], own[turn].points, np.nan)
                    found += shown.ravel().tolist()
                else:
                    found += [np.nan] * (2 * len(category.points))
            yield picture.name, found

    return columns, cells()


def _counted(picture: Picture) -> dict[str, int]:
    found: dict[str, int] = {}
    for instance in picture.instances:
        found[instance.category] = found.get(instance.category, 0) + 1
    return found


def place_of(name: str) -> tuple[str, str, str]:
    """The three columns of a picture's name: labeled-data, its folder, its file."""
    parts = as_parts(name)
    if len(parts) >= 3 and parts[-3] == "labeled-data":
        return parts[-3], parts[-2], parts[-1]
    return "labeled-data", str(PurePosixPath(*parts[:-1])) if len(parts) > 1 else "", parts[-1]


def to_csv(annotations: AnnotationSet) -> str:
    """The content of CollectedData_SCORER.csv, as ``deeplabcut.convertcsv2h5`` takes it."""
    columns, rows = table_of(annotations)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ["scorer", "individuals", "bodyparts", "coords"]
    for at, name in enumerate(names):
        if name != "individuals" or any(column[1] for column in columns):
            writer.writerow([name, "", "", *(column[at] for column in columns)])
    for name, cells in rows:
        writer.writerow([*place_of(name), *("" if np.isnan(cell) else f"{cell:.4f}" for cell in cells)])
    return out.getvalue()


def write_h5(annotations: AnnotationSet, path: Path) -> None:
    """CollectedData_SCORER.h5, by pandas. Raises :class:`DccError` without the extra ``annotate``."""
    with required("writing DeepLabCut's .h5", "annotate"):
        import pandas
        import tables  # noqa: F401 (pandas says less clearly that it is missing)
    columns, rows = table_of(annotations)
    several = any(column[1] for column in columns)
    names = ["scorer", "individuals", "bodyparts", "coords"]
    if not several:
        names.remove("individuals")
        columns = [(column[0], *column[2:]) for column in columns]
    content = list(rows)
    frame = pandas.DataFrame(
        np.array([cells for _, cells in content], np.float64).reshape(len(content), len(columns)),
        columns=pandas.MultiIndex.from_tuples(columns, names=names),
        index=pandas.MultiIndex.from_tuples([place_of(name) for name, _ in content]),
    )
    frame.to_hdf(path, key="df_with_missing", mode="w")
