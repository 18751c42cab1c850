"""PF-PASCAL, and any list in its format."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dccnet.evaluation.benchmark import Benchmark, locate
from dccnet.evaluation.pairs import Pair, read_pairs
from dccnet.evaluation.pck import DESCRIPTIONS, Protocol
from dccnet.evaluation.published import PF_PASCAL_CLASSES
from dccnet.evaluation.scoring import Case, target_to_source
from dccnet.runtime.errors import DataError
from dccnet.runtime.files import sha256
from dccnet.runtime.reading import read_text

LISTS = ("image_pairs/test_pairs.csv", "test_pairs_pf_pascal.csv", "test_pairs.csv")
TRANSFER = "target keypoints carried to the source"


def pf_pascal(data: Path, root: Path | None = None) -> Benchmark:
    """PF-PASCAL's test list, or the list ``data``, with SCNet's protocol; coordinates are 1-based.

    Raises :class:`DataError`, which names the line or pair.
    """
    path, folder = locate(data, LISTS)
    pairs = []
    for number, pair in enumerate(read_pairs(path, root or folder, one_based=True), start=1):
        pairs.append(dataclasses.replace(pair, category=_class(pair, f"{path}, pair {number}")))
    return Benchmark(
        name="pf-pascal",
        title="PF-PASCAL",
        protocol=f"scnet: {TRANSFER}, {DESCRIPTIONS['scnet']}; coordinates 1-based",
        cases=_cases(pairs),
        score=target_to_source("scnet"),
        alphas=(0.1,),
        digest=sha256(path),
        classes=PF_PASCAL_CLASSES,
    )


def any_pairs(
    data: Path, root: Path | None = None, protocol: Protocol = "bbox", one_based: bool = False
) -> Benchmark:
    """Any list in PF-PASCAL's format; class names are those of the list or, for the numbers in a file
    ``classes.txt`` beside it (``1 bird``), the names there. Raises :class:`DataError`."""
    path, folder = locate(data, LISTS)
    names = _class_names(path.parent / "classes.txt")
    pairs = [
        dataclasses.replace(pair, category=names.get(pair.category, pair.category))
        for pair in read_pairs(path, root or folder, one_based=one_based)
    ]
    counted = "1-based" if one_based else "0-based"
    return Benchmark(
        name="pairs",
        title=path.name,
        protocol=f"{protocol}: {TRANSFER}, {DESCRIPTIONS[protocol]}; coordinates {counted}",
        cases=_cases(pairs),
        score=target_to_source(protocol),
        alphas=(0.1,),
        digest=sha256(path),
    )


def _class_names(path: Path) -> dict[str, str]:
    """Names by number from lines such as ``1 bird``; none without the file."""
    if not path.is_file():
        return {}
    try:
        words = [line.split(maxsplit=1) for line in read_text(path).splitlines()]
    except (OSError, UnicodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return {line[0]: line[1].strip() for line in words if len(line) == 2}


def _cases(pairs: list[Pair]) -> list[Case]:
    if pairs[0].source_points is None:
        raise DataError(
            "a training list has no keypoints to score: use a list with XA,YA,XB,YB, which dcc data pairs "
            "makes of annotated pictures, and dcc data warps of any"
        )
    return [
        Case(f"{number}: {Path(pair.source.key).name}, {Path(pair.target.key).name}", pair)
        for number, pair in enumerate(pairs, start=1)
    ]


def _class(pair: Pair, where: str) -> str:
    try:
        number = float(pair.category)  # some copies of the lists have 1.0
        if number not in range(1, len(PF_PASCAL_CLASSES) + 1):
            raise ValueError
        return PF_PASCAL_CLASSES[int(number) - 1]
    except ValueError:
        raise DataError(
            f"{where}: class must be 1 to {len(PF_PASCAL_CLASSES)}, not '{pair.category}'; use "
            "--benchmark pairs for lists with other classes"
        ) from None
