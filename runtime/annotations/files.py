"""Which format a file of annotations has, and reading and writing it."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dccnet.runtime.annotations.coco import from_coco, to_coco
from dccnet.runtime.annotations.cvat import from_cvat
from dccnet.runtime.annotations.cvat_writing import to_cvat
from dccnet.runtime.annotations.deeplabcut import from_deeplabcut, is_deeplabcut, to_csv, write_h5
from dccnet.runtime.annotations.label_studio import from_label_studio
from dccnet.runtime.annotations.label_studio_writing import to_label_studio
from dccnet.runtime.annotations.model import AnnotationSet
from dccnet.runtime.annotations.sleap import from_sleap, write_sleap
from dccnet.runtime.annotations.table import from_csv, to_csv_rows
from dccnet.runtime.errors import DataError, UsageError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.reading import parse_json, read_text

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "coco": (".json",),
    "cvat": (".xml",),
    "labelstudio": (".json",),
    "dlc": (".csv", ".h5"),
    "sleap": (".slp",),
    "csv": (".csv",),
}
"""The suffixes that a file of each format may have."""
READ_SUFFIXES = (".json", ".xml", ".csv", ".h5", ".slp")


def format_of(path: Path, asked: str | None) -> str:
    """The format in which ``path`` is written: the one asked for, or the first with its suffix.

    Raises :class:`UsageError` for a suffix that is not the format's.
    """
    suffix = path.suffix.lower()
    if asked is None:
        found = next((name for name, suffixes in SUFFIXES.items() if suffix in suffixes), None)
        if found is None:
            raise UsageError(
                f"cannot write '{path}': its suffix must be one of {', '.join(READ_SUFFIXES)}, or name the "
                f"format, such as --format coco"
            )
        return "csv" if suffix == ".csv" else found
    if suffix not in SUFFIXES[asked]:
        raise UsageError(
            f"--format {asked} is written to {' or '.join(SUFFIXES[asked])}, not '{path.name}'"
        )
    return asked


def read_annotations(path: Path) -> AnnotationSet:
    """The annotations in a file of any of the formats; names are relative to its folder.

    Raises :class:`DataError`, which says what is wrong in the file.
    """
    try:
        return _read(path, path.parent)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        said = str(error) if not isinstance(error, KeyError) else f"nothing is called {error}"
        raise DataError(f"{path} contains no annotations that dcc can read: {said}") from error


def _read(path: Path, root: Path) -> AnnotationSet:
    suffix = path.suffix.lower()
    if suffix == ".slp":
        path.stat()
        return from_sleap(path, root)
    if suffix == ".h5":
        beside = path.with_suffix(".csv")
        raise ValueError(f"dcc reads DeepLabCut's CSV ({beside.name}): what is in .h5 may be executed")
    text = read_text(path)
    if suffix == ".xml":
        return from_cvat(text, root)
    if suffix == ".csv":
        return from_deeplabcut(text, root) if is_deeplabcut(text) else from_csv(text, root)
    content = parse_json(text)
    if isinstance(content, list):
        return from_label_studio(content, root)
    if isinstance(content, dict) and "images" in content:
        return from_coco(content, root)
    raise ValueError("it is neither COCO's object with 'images' nor Label Studio's list of tasks")


def write_annotations(
    annotations: AnnotationSet, path: Path, form: str, info: Mapping[str, Any], video: str | None = None
) -> None:
    """Write a file, atomically. ``info`` says how the annotations were made; COCO has a place for it.

    Pictures are taken one by one where the format allows it. Raises :class:`DccError`.
    """
    with atomic_path(path) as temporary:
        if form == "sleap":
            write_sleap(annotations, temporary, video)
        elif form == "dlc" and path.suffix.lower() == ".h5":
            write_h5(_listed(annotations), temporary)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                file.writelines(_TEXTS[form](annotations, info))


def _listed(annotations: AnnotationSet) -> AnnotationSet:
    return dataclasses.replace(annotations, pictures=tuple(annotations.pictures))


_TEXTS: Mapping[str, Callable[[AnnotationSet, Mapping[str, Any]], Iterable[str]]] = {
    "coco": lambda annotations, info: [to_coco(annotations, info)],
    "cvat": lambda annotations, info: to_cvat(annotations),
    "labelstudio": lambda annotations, info: [
        to_label_studio(annotations, str(info.get("version", "dcc")))
    ],
    "dlc": lambda annotations, info: [to_csv(annotations)],
    "csv": lambda annotations, info: to_csv_rows(annotations),
}
