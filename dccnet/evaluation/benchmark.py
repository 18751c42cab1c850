"""What a benchmark is, to the code that runs it; the benchmarks themselves are in ``benchmarks/``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dccnet.evaluation.scoring import Case, Score
from dccnet.runtime.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """Pairs, how they are scored, and how scores become one number."""

    name: str
    title: str
    protocol: str
    """In a sentence; stored and printed beside every number."""
    cases: Sequence[Case]
    score: Score
    alphas: tuple[float, ...]
    """The usual thresholds."""
    digest: str
    """SHA-256 of the list or lists."""
    classes: tuple[str, ...] = ()
    """In the order of the published tables; empty: as they come."""
    mean_over: Literal["pairs", "classes"] = "pairs"
    """What the headline number is a mean over."""
    point_name: str = "keypoints"
    carried_to: Literal["source", "target"] = "source"
    """The picture in which keypoints are compared."""


def locate(data: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """A benchmark's list and the folder that its paths start from.

    ``data`` is the list itself or a folder that holds one under one of ``names``. The paths of the
    published lists start from the benchmark's folder, wherever in it the list lies. Raises
    :class:`DataError`.
    """
    if data.is_file():
        return data, data.parent.parent if data.parent.name == "image_pairs" else data.parent
    if not data.exists():
        raise DataError(f"{data} does not exist; dcc data fetch downloads benchmarks")
    for name in names:
        if (data / name).is_file():
            return data / name, data
    raise DataError(
        f"{data} holds no list of pairs ({' or '.join(names)}): name the list itself with --data and its "
        "pictures' folder with --root, or see dcc data check"
    )
