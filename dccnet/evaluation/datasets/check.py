"""Check whether a benchmark's files are complete and undamaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.datasets.fetch import ARCHIVES, read_record
from dccnet.evaluation.datasets.sources import Source
from dccnet.evaluation.pairs import Picture
from dccnet.evaluation.scoring import Case, outside
from dccnet.runtime.errors import DccError
from dccnet.runtime.files import sha256
from dccnet.runtime.geometry import Size


@dataclasses.dataclass(frozen=True, slots=True)
class CheckReport:
    """The content of a benchmark's files; without problems it can be evaluated."""

    pairs: int
    pictures: int
    keypoints: int
    outside: int
    """Keypoints outside their pictures; not a problem, because published lists contain some."""
    smallest: Size | None
    """(height, width) of the picture with the fewest pixels."""
    largest: Size | None
    classes: dict[str, int]
    """Number of pairs in each class."""
    list_sha256: str
    problems: tuple[str, ...]


def check(
    name: str,
    source: Source,
    data: Path,
    root: Path | None = None,
    on_start: Callable[[int], None] = lambda total: None,
    on_picture: Callable[[], None] = lambda: None,
) -> CheckReport:
    """Read a benchmark's list, every picture and every true flow, and report problems.

    ``on_start`` is called with the number of pictures, ``on_picture`` after each picture. Raises
    :class:`DccError` only if the list itself cannot be read.
    """
    benchmark = load_benchmark(name, data, root)
    pictures = _pictures(benchmark)
    on_start(len(pictures))
    problems = _wrong_counts(source, len(benchmark.cases), len(pictures)) + _altered(data)
    sizes: dict[str, Size] = {}
    for key, picture in pictures.items():
        try:
            image = picture.load()
            sizes[key] = (image.shape[0], image.shape[1])
        except DccError as error:
            problems.append(str(error))
        on_picture()
    beyond = keypoints = 0
    classes: dict[str, int] = {}
    for case in benchmark.cases:
        classes[case.pair.category] = classes.get(case.pair.category, 0) + 1
        problems += _wrong_flow(case, sizes)
        for picture, points in (
            (case.pair.source, case.pair.source_points),
            (case.pair.target, case.pair.target_points),
        ):
            if points is not None and picture.key in sizes:
                keypoints += len(points)
                beyond += outside(points, sizes[picture.key])
    by_area = sorted(sizes.values(), key=lambda size: (size[0] * size[1], size))
    return CheckReport(
        pairs=len(benchmark.cases),
        pictures=len(pictures),
        keypoints=keypoints,
        outside=beyond,
        smallest=by_area[0] if by_area else None,
        largest=by_area[-1] if by_area else None,
        classes=classes,
        list_sha256=benchmark.digest,
        problems=tuple(problems),
    )


def to_dict(report: CheckReport) -> dict[str, Any]:
    return dataclasses.asdict(report)


def _pictures(benchmark: Benchmark) -> dict[str, Picture]:
    return {
        picture.key: picture for case in benchmark.cases for picture in (case.pair.source, case.pair.target)
    }


def _wrong_counts(source: Source, pairs: int, pictures: int) -> list[str]:
    problems = []
    if pairs != source.pairs:
        problems.append(f"the list has {pairs} pairs, {source.title}'s has {source.pairs}")
    if source.pictures is not None and pictures != source.pictures:
        problems.append(f"the list names {pictures} pictures, {source.title} has {source.pictures}")
    return problems


def _altered(data: Path) -> list[str]:
    """Problems of downloaded files that are incomplete or have changed."""
    problems = []
    for name, entry in read_record(data).items() if data.is_dir() else ():
        path = next((p for p in (data / name, data / ARCHIVES / name) if p.is_file()), None)
        if not entry.complete:
            problems.append(f"{name} was not fetched completely: continue with dcc data fetch")
        elif path is not None and (path.stat().st_size, sha256(path)) != (entry.bytes, entry.sha256):
            problems.append(f"{path} has changed since it was downloaded: delete it and fetch it again")
    return problems


def _wrong_flow(case: Case, sizes: dict[str, Size]) -> list[str]:
    if case.truth is None:
        return []
    try:
        truth = case.truth()
    except DccError as error:
        return [str(error)]
    size = truth.flow.shape[:2]
    if len({size, truth.foreground.shape, sizes.get(case.pair.target.key, size)}) > 1:
        return [f"{case.name}: flow, mask and target picture differ in size"]
    return []
