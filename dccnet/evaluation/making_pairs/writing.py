"""Lists of chosen pairs, as files that ``dcc train`` and ``dcc eval`` read."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dccnet.evaluation.making_pairs.choosing import Chosen, shared_points
from dccnet.evaluation.pairs import KEYPOINT_COLUMNS, TRAINING_COLUMNS
from dccnet.runtime.files import write_text


def write_pairs(path: Path, pairs: Sequence[Chosen], annotated: bool, flip: bool = False) -> None:
    """Write a list, atomically; the pictures' paths are relative to its folder.

    With ``annotated`` it has the keypoints that both pictures of a pair have, 0-based. With ``flip``, every
    pair is there again with both pictures mirrored.
    """
    folder = path.absolute().parent
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(KEYPOINT_COLUMNS if annotated else TRAINING_COLUMNS)
    for pair in pairs:
        names = [_relative(one.file, folder) for one in pair]
        start = [*names, pair.source.category]
        if annotated:
            shared = shared_points(pair)
            columns = [[one.points[name][axis] for name in shared] for one in pair for axis in (0, 1)]
            table.writerow([*start, *(";".join(f"{value:.6g}" for value in column) for column in columns)])
        else:
            for mirrored in (0, 1) if flip else (0,):
                table.writerow([*start, mirrored])
    write_text(path, text.getvalue())


def summary(pairs: Sequence[Chosen]) -> dict[str, Any]:
    """Counts for people: pairs, the pictures in them, and pairs by class."""
    pictures = {one.file for pair in pairs for one in pair}
    classes = Counter(pair.source.category for pair in pairs)
    return {"pairs": len(pairs), "pictures": len(pictures), "classes": dict(sorted(classes.items()))}


def _relative(file: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(file.absolute(), folder)).as_posix()
    except ValueError:  # another drive
        return file.absolute().as_posix()
