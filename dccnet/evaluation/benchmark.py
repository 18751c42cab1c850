"""The interface of a benchmark; the benchmarks themselves are in ``benchmarks/``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dccnet.evaluation.scoring import Case, Flow, Score
from dccnet.runtime.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """Pairs, how to score them, and how to combine the scores into one number."""

    name: str
    title: str
    protocol: str
    """The protocol in words; stored and printed with every number."""
    cases: Sequence[Case]
    score: Score
    alphas: tuple[float, ...]
    """The usual thresholds α."""
    digest: str
    """SHA-256 of the list, or of all annotation files."""
    classes: tuple[str, ...] = ()
    """Class names in the order of the published tables; empty if there is no such order."""
    mean_over: Literal["pairs", "classes"] = "pairs"
    """What the headline number is a mean over."""
    point_name: str = "keypoints"
    """Plural noun for what is scored, used in reports."""
    carried_to: Literal["source", "target"] = "source"
    """The picture in which keypoints are compared."""
    flow: Flow | None = None
    """Dense flow in the form that the benchmark's own evaluation kit reads; None if it has none."""


def locate(data: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """The path of a benchmark's list, and the folder that the paths in it are relative to.

    ``data`` is the list itself, or a folder that contains one of ``names``. Paths in the published lists
    are relative to the benchmark's folder, also if the list is in its subfolder ``image_pairs``. Raises
    :class:`DataError` if there is no list.
    """
    if data.is_file():
        return data, data.parent.parent if data.parent.name == "image_pairs" else data.parent
    if not data.exists():
        raise DataError(f"{data} does not exist; dcc data fetch downloads benchmarks")
    for name in names:
        if (data / name).is_file():
            return data / name, data
    raise DataError(
        f"{data} holds no list of pairs ({' or '.join(names)}): give the list itself with --data and the "
        "folder of its pictures with --root, or see dcc data check"
    )
