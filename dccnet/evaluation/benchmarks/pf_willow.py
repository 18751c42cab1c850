"""PF-WILLOW: ten keypoints in forty columns; the threshold is relative to the keypoints' box."""

from __future__ import annotations

from pathlib import Path

from dccnet.evaluation.benchmark import Benchmark, locate
from dccnet.evaluation.benchmarks.pf_pascal import TRANSFER
from dccnet.evaluation.pairs import Pair, coordinates, file_picture, find_picture, keypoints, numbered_rows
from dccnet.evaluation.pck import DESCRIPTIONS
from dccnet.evaluation.scoring import Case, target_to_source
from dccnet.runtime.errors import DataError
from dccnet.runtime.files import sha256

LISTS = ("test_pairs_pf.csv", "PF-dataset/test_pairs_pf.csv")
POINTS = 10
COLUMNS = 2 + 4 * POINTS


def pf_willow(data: Path, root: Path | None = None) -> Benchmark:
    """PF-WILLOW. Raises :class:`DataError`, which names the line, if something is missing or malformed."""
    path, folder = locate(data, LISTS)
    cases = [
        _case(row, root or folder, number, f"{path}, line {number}") for number, row in numbered_rows(path)
    ]
    return Benchmark(
        name="pf-willow",
        title="PF-WILLOW",
        protocol=f"bbox: {TRANSFER}, {DESCRIPTIONS['bbox']}; coordinates 1-based; padding left out",
        cases=cases,
        score=target_to_source("bbox"),
        alphas=(0.05, 0.1, 0.15),
        digest=sha256(path),
    )


def _case(row: list[str], root: Path, number: int, where: str) -> Case:
    if len(row) != COLUMNS:
        raise DataError(
            f"{where}: there are {len(row)} columns; PF-WILLOW's list has {COLUMNS}: two paths, then "
            f"{POINTS} each of XA, YA, XB, YB"
        )
    paths = [find_picture(root, name, where) for name in row[:2]]
    columns = [
        coordinates(row[2 + i * POINTS : 2 + (i + 1) * POINTS], name, where)
        for i, name in enumerate(("XA", "YA", "XB", "YB"))
    ]
    source, target = map(file_picture, paths)
    pair = Pair(source, target, _class(paths[0]), *keypoints(columns, 1.0, where))
    return Case(f"{number - 1}: {paths[0].name}, {paths[1].name}", pair)


def _class(picture: Path) -> str:
    """The folder's name, such as ``car(S)``; in some copies the pictures are one level deeper."""
    folder = picture.parent
    return folder.parent.name if folder.name.lower() in ("images", "img") else folder.name
