"""What pairs are made of: photographs with a class and perhaps named keypoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dccnet.evaluation.pairs import read_pairs
from dccnet.runtime.annotations.files import read_annotations
from dccnet.runtime.errors import DataError
from dccnet.runtime.file_names import natural_key
from dccnet.runtime.files import sha256
from dccnet.runtime.images import is_picture
from dccnet.runtime.reading import read_json

SPAIR_PICTURES, SPAIR_ANNOTATIONS = "JPEGImages", "ImageAnnotation"


@dataclass(frozen=True, slots=True)
class Photograph:
    """A file that shows one thing."""

    file: Path
    category: str
    points: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By name, (x, y) in 0-based pixels; empty without annotations."""


@dataclass(frozen=True, slots=True)
class Found:
    """The photographs of an input, and how many files were left out, by the reason."""

    photographs: list[Photograph]
    left_out: dict[str, int]
    annotated: bool
    """Whether photographs have keypoints."""


def find_photographs(path: Path, root: Path | None = None) -> Found:
    """The photographs of a folder with a folder for each class, of one with SPair-71k's layout
    (``JPEGImages`` and ``ImageAnnotation``), or of a file of annotations.

    Names in a file are relative to ``root``, by default its folder. Raises :class:`DataError`.
    """
    left_out: Counter[str] = Counter()
    if path.is_file():
        annotated, found = True, _of_annotations(path, root, left_out)
    elif (path / SPAIR_ANNOTATIONS).is_dir():
        annotated, found = True, _of_spair(path, left_out)
    elif path.is_dir():
        annotated, found = False, _of_folders(path)
    else:
        raise DataError(f"{path} does not exist")
    missing = next((one.file for one in found if not one.file.is_file()), None)
    if missing is not None:
        raise DataError(f"{missing} does not exist; give the pictures' folder with --root")
    return Found(_without_copies(found, left_out), dict(left_out), annotated)


def pictures_of(path: Path) -> list[Photograph]:
    """The photographs in the pairs of a list, each once. Raises :class:`DataError`."""
    found: dict[Path, Photograph] = {}
    for pair in read_pairs(path, must_exist=False):
        for picture in (pair.source, pair.target):
            assert picture.file is not None
            if not picture.file.is_file():
                raise DataError(f"{picture.file} is missing: names in {path} are relative to its folder")
            found.setdefault(picture.file, Photograph(picture.file, pair.category))
    return list(found.values())


def leave_out(found: Found, path: Path) -> Found:
    """``found`` without the photographs that are in the pairs of the list ``path``, and copies of them."""
    listed = {sha256(one.file) for one in pictures_of(path)}
    kept = [one for one in found.photographs if sha256(one.file) not in listed]
    reasons = found.left_out | {f"in {path.name}": len(found.photographs) - len(kept)}
    return Found(kept, reasons, found.annotated)


def _of_folders(path: Path) -> list[Photograph]:
    """A class for each folder, with all pictures in it and below."""
    if (path / SPAIR_PICTURES).is_dir():
        path = path / SPAIR_PICTURES
    folders = [f for f in sorted(path.iterdir(), key=natural_key) if f.is_dir() and f.name[0] != "."]
    found = [Photograph(file, folder.name) for folder in folders for file in _pictures_below(folder)]
    if not found:
        raise DataError(
            f"{path} has no folders with pictures: a class is a folder, such as {path / 'cat'}, with its "
            "pictures in it"
        )
    return found


def _pictures_below(folder: Path) -> list[Path]:
    files = sorted((f for f in folder.rglob("*") if is_picture(f) and f.is_file()), key=natural_key)
    return [f for f in files if not any(part.startswith(".") for part in f.relative_to(folder).parts)]


def _of_annotations(path: Path, root: Path | None, left_out: Counter[str]) -> list[Photograph]:
    annotations = read_annotations(path)
    folder = annotations.root if root is None else root
    found = []
    for picture in annotations.pictures:
        things = [one for one in picture.instances if one.annotated.any()]
        if len(things) != 1:
            left_out["several things with keypoints" if things else "no keypoints"] += 1
            continue
        (thing,) = things
        names = annotations.category(thing.category).points
        places = zip(names, thing.points, thing.annotated, strict=True)
        points = {name: (float(x), float(y)) for name, (x, y), counts in places if counts}
        found.append(Photograph(folder / picture.name, thing.category, points))
    return found


def _of_spair(path: Path, left_out: Counter[str]) -> list[Photograph]:
    found = []
    for file in sorted((path / SPAIR_ANNOTATIONS).glob("*/*.json"), key=natural_key):
        try:
            values: dict[str, Any] = read_json(file)
            category, places = str(values["category"]), dict(values["kps"])
            points = {str(n): (float(p[0]), float(p[1])) for n, p in places.items() if p is not None}
            picture = path / SPAIR_PICTURES / category / str(values["filename"])
        except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
            raise DataError(f"{file} is no annotation in SPair-71k's layout ({error})") from error
        if points:
            found.append(Photograph(picture, category, points))
        else:
            left_out["no keypoints"] += 1
    if not found:
        raise DataError(f"{path / SPAIR_ANNOTATIONS} has no files CLASS/*.json with keypoints")
    return found


def _without_copies(photographs: Sequence[Photograph], left_out: Counter[str]) -> list[Photograph]:
    """The first of files with the same content: a copy on the other side would be the same picture."""
    kept: dict[str, Photograph] = {}
    for one in photographs:
        if kept.setdefault(sha256(one.file), one) is not one:
            left_out["copies of another"] += 1
    return list(kept.values())
