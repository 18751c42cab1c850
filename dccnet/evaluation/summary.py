"""Combines the outcomes of pairs into scores: overall and by class, per pair and per point."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.published import PUBLISHED, Row
from dccnet.evaluation.scoring import Outcome


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores in percent, for each α."""

    pairs: int
    points: int
    per_pair: tuple[float, ...]
    """Mean over pairs of the share of correct points, which papers report."""
    per_point: tuple[float, ...]
    """Share of correct points among all points."""


@dataclass(frozen=True, slots=True)
class SubcellScores:
    """The scores by the rule ``subcell``, which users of the network get: no benchmark is defined by it."""

    headline: tuple[float, ...]
    overall: Scores
    classes: dict[str, Scores]


@dataclass(frozen=True, slots=True)
class Summary:
    """The scores of one model on a benchmark, with everything that defines their meaning."""

    schema: int
    benchmark: str
    title: str
    protocol: str
    alphas: tuple[float, ...]
    headline: tuple[float, ...]
    """Percent for each α: the score that papers report."""
    headline_is: str
    """What ``headline`` is a mean over, in words."""
    point_name: str
    overall: Scores
    classes: dict[str, Scores]
    outside: int
    """Keypoints outside their pictures; they are scored, as in the benchmarks' own evaluations."""
    list_sha256: str
    model: str
    model_sha256: str
    backend: str
    transfer: str = "cells"
    """Rule by which points were carried for all scores except ``subcell``: the benchmarks' own."""
    subcell: SubcellScores | None = None
    """None for a model that returns no scores around its best matches."""


SCHEMA = 1
TRANSFER = "cells (the benchmarks' rule), except where sub-cell (the rule of dcc match) is named"
"""What reports say about the rules by which points were carried."""


def summarise(
    benchmark: Benchmark,
    outcomes: Sequence[Outcome],
    alphas: Sequence[float],
    *,
    model: str,
    model_sha256: str,
    backend: str,
) -> Summary:
    """The summary of the ``outcomes`` of all cases, in the benchmark's order.

    ``model`` is the path of the model, ``backend`` the description of what ran it.
    """
    found = {outcome.category for outcome in outcomes}
    order = [name for name in benchmark.classes if name in found] or _natural(found)
    over_classes = benchmark.mean_over == "classes"
    overall, classes, headline = _combine(outcomes, order, len(alphas), over_classes)
    subcell = None
    if all(outcome.subcell_hits for outcome in outcomes):
        moved = [dataclasses.replace(outcome, hits=outcome.subcell_hits) for outcome in outcomes]
        by_subcell = _combine(moved, order, len(alphas), over_classes)
        subcell = SubcellScores(by_subcell.headline, by_subcell.overall, by_subcell.classes)
    return Summary(
        schema=SCHEMA,
        benchmark=benchmark.name,
        title=benchmark.title,
        protocol=benchmark.protocol,
        alphas=tuple(alphas),
        headline=headline,
        headline_is="mean over groups" if over_classes else "mean over pairs",
        point_name=benchmark.point_name,
        overall=overall,
        classes=classes,
        outside=sum(outcome.outside for outcome in outcomes),
        list_sha256=benchmark.digest,
        model=model,
        model_sha256=model_sha256,
        backend=backend,
        subcell=subcell,
    )


def published_by_class(summary: Summary) -> list[Row]:
    """The published rows with scores by class at :func:`class_alpha`."""
    rows = PUBLISHED.get(summary.benchmark, ())
    return [row for row in rows if row.classes and next(iter(row.scores)) == class_alpha(summary)]


def class_alpha(summary: Summary) -> float:
    """The α of scores by class: the published one if evaluated, else 0.1 if evaluated, else the first."""
    wanted = [next(iter(row.scores)) for row in PUBLISHED.get(summary.benchmark, ()) if row.classes]
    return next((alpha for alpha in (*wanted, 0.1) if alpha in summary.alphas), summary.alphas[0])


class _Combined(NamedTuple):
    overall: Scores
    classes: dict[str, Scores]
    headline: tuple[float, ...]


def _combine(
    outcomes: Sequence[Outcome], order: Sequence[str], alphas: int, over_classes: bool
) -> _Combined:
    classes = {name: _scores([o for o in outcomes if o.category == name], alphas) for name in order}
    overall = _scores(outcomes, alphas)
    headline = overall.per_pair
    if over_classes:
        headline = tuple(
            float(np.mean(v)) for v in zip(*(s.per_pair for s in classes.values()), strict=True)
        )
    return _Combined(overall, classes, headline)


def _scores(outcomes: Sequence[Outcome], alphas: int) -> Scores:
    counts = np.array([outcome.count for outcome in outcomes], np.float64)
    hits = np.array([outcome.hits for outcome in outcomes], np.float64).reshape(len(outcomes), alphas)
    per_pair = 100 * np.mean(hits / counts[:, None], axis=0)
    per_point = 100 * hits.sum(axis=0) / counts.sum()
    return Scores(
        len(outcomes), int(counts.sum()), tuple(map(float, per_pair)), tuple(map(float, per_point))
    )


def _natural(names: set[str]) -> list[str]:
    """Sorted names; numbers, which some lists have as classes, by value."""
    return sorted(names, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name))
