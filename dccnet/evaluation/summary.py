"""Outcomes of pairs become the numbers of a benchmark: overall and per class, per pair and per point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.published import PUBLISHED, Row
from dccnet.evaluation.scoring import Outcome


@dataclass(frozen=True, slots=True)
class Scores:
    """Percent, for each α."""

    pairs: int
    points: int
    per_pair: tuple[float, ...]
    """Mean over pairs of the share of points that are right: what the papers report."""
    per_point: tuple[float, ...]
    """Share of all points that are right."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A benchmark's numbers for one model, and all that is needed to know what they mean."""

    schema: int
    benchmark: str
    title: str
    protocol: str
    alphas: tuple[float, ...]
    headline: tuple[float, ...]
    """Percent for each α: the number that papers print."""
    headline_is: str
    point_name: str
    overall: Scores
    classes: dict[str, Scores]
    outside: int
    """Keypoints outside of their pictures; they count, as in the benchmarks' own evaluations."""
    list_sha256: str
    model: str
    model_sha256: str
    backend: str


SCHEMA = 1


def summarise(
    benchmark: Benchmark,
    outcomes: Sequence[Outcome],
    alphas: Sequence[float],
    *,
    model: str,
    model_sha256: str,
    backend: str,
) -> Summary:
    """``outcomes`` of every case of the benchmark, in its order."""
    found = {outcome.category for outcome in outcomes}
    order = [name for name in benchmark.classes if name in found] or _natural(found)
    classes = {name: _scores([o for o in outcomes if o.category == name], len(alphas)) for name in order}
    overall = _scores(outcomes, len(alphas))
    over_classes = benchmark.mean_over == "classes"
    headline = overall.per_pair
    if over_classes:
        headline = tuple(
            float(np.mean(v)) for v in zip(*(s.per_pair for s in classes.values()), strict=True)
        )
    return Summary(
        SCHEMA,
        benchmark.name,
        benchmark.title,
        benchmark.protocol,
        tuple(alphas),
        headline,
        "mean over groups" if over_classes else "mean over pairs",
        benchmark.point_name,
        overall,
        classes,
        sum(outcome.outside for outcome in outcomes),
        benchmark.digest,
        model,
        model_sha256,
        backend,
    )


def published_by_class(summary: Summary) -> list[Row]:
    """The published rows that say something about classes at :func:`class_alpha`."""
    rows = PUBLISHED.get(summary.benchmark, ())
    return [row for row in rows if row.classes and next(iter(row.scores)) == class_alpha(summary)]


def class_alpha(summary: Summary) -> float:
    """The threshold at which classes are shown: the published one, 0.1, or the first."""
    wanted = [next(iter(row.scores)) for row in PUBLISHED.get(summary.benchmark, ()) if row.classes]
    return next((alpha for alpha in (*wanted, 0.1) if alpha in summary.alphas), summary.alphas[0])


def _scores(outcomes: Sequence[Outcome], alphas: int) -> Scores:
    counts = np.array([outcome.count for outcome in outcomes], np.float64)
    hits = np.array([outcome.hits for outcome in outcomes], np.float64).reshape(len(outcomes), alphas)
    per_pair = 100 * np.mean(hits / counts[:, None], axis=0)
    per_point = 100 * hits.sum(axis=0) / counts.sum()
    return Scores(
        len(outcomes), int(counts.sum()), tuple(map(float, per_pair)), tuple(map(float, per_point))
    )


def _natural(names: set[str]) -> list[str]:
    """Sorted, numbers by value: classes are numbers in some lists."""
    return sorted(names, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name))
