"""File names: which entry of a list means a file, and the order of numbered names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import PurePath

from dccnet.runtime.errors import DataError


def natural_key(path: str | os.PathLike[str]) -> tuple[object, ...]:
    """Sorts paths folder by folder, and numbers in names by value: 1.png, 2.png, 10.png."""
    parts = (re.split(r"(\d+)", part) for part in PurePath(path).parts)
    return tuple(tuple(int(t) if i % 2 else t for i, t in enumerate(texts)) for texts in parts), str(path)


def as_parts(name: str) -> tuple[str, ...]:
    """Folders and file of a path, with Windows' separators, too."""
    return tuple(part for part in name.strip().replace("\\", "/").split("/") if part not in ("", "."))


def names_of(picture: str, names: Iterable[str]) -> set[str]:
    """Those of the ``names`` in a list that mean the file ``picture``.

    Base names must be equal. Of several, the one is taken that has most folders in common with the path of
    ``picture``. Raises :class:`DataError` where this does not decide, because a guess would mix pictures.
    """
    path = as_parts(os.path.abspath(picture))  # noqa: PTH100 (resolving links would change names)
    shared = {name: _shared(as_parts(name), path) for name in names}
    best = max(shared.values(), default=(0, False))
    if not best[0]:
        return set()
    found = {name for name, score in shared.items() if score == best}
    if len({as_parts(name) for name in found}) > 1:
        listed = ", ".join(sorted(found)[:3])
        raise DataError(
            f"several pictures in the list are called {path[-1]} ({listed}): name {picture} by a path with "
            "the folders of the list"
        )
    return found


def _shared(name: tuple[str, ...], path: tuple[str, ...]) -> tuple[int, bool]:
    """Number of equal parts from the end, and whether these are all parts of ``name``."""
    count = 0
    for ours, theirs in zip(reversed(name), reversed(path), strict=False):
        if ours != theirs:
            break
        count += 1
    return count, count == len(name)
