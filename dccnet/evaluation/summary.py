"""Combines the outcomes of pairs into scores: overall and by class, per pair and per point."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.confidence import ConfidenceScores, judge
from dccnet.evaluation.intervals import Bootstrap, Interval
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
    per_pair_interval: tuple[Interval, ...] | None = None
    """Confidence intervals (low, high) of ``per_pair``; None if none were asked for, or of too few
    photographs."""


@dataclass(frozen=True, slots=True)
class RowScores:
    """The scores of one row of a table."""

    headline: tuple[float, ...]
    overall: Scores
    classes: dict[str, Scores]
    headline_interval: tuple[Interval, ...] | None = None


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
    without_size: int = 0
    """Pairs with a box of no size, around one keypoint: all their points count as wrong unless they are
    exact."""
    transfer: str = "cells"
    """Rule by which points were carried for all scores except ``subcell`` and ``refined``: the benchmarks'
    own."""
    subcell: RowScores | None = None
    """The scores by the rule ``subcell``, which users of the network get: no benchmark is defined by it.
    None for a model that returns no scores around its best matches."""
    refined: RowScores | None = None
    """The same by the rule ``refined``. None where matches are not refined."""
    headline_interval: tuple[Interval, ...] | None = None
    """Confidence intervals (low, high) of ``headline``."""
    intervals: str | None = None
    """How confidence intervals were made; None without them."""
    baselines: dict[str, RowScores] = field(default_factory=dict)
    """The scores of each baseline on the same pairs, by the rule ``cells``."""
    confidence: ConfidenceScores | None = None
    """How good the bundle's confidence is; None for models without, and for dense flow."""


SCHEMA = 1
TRANSFER = (
    "cells (the benchmarks' rule), except where another is named: sub-cell (dcc match --no-refine), "
    "refined (dcc match --refine)"
)
"""What reports say about the rules by which points were carried."""


def summarise(
    benchmark: Benchmark,
    outcomes: Sequence[Outcome],
    alphas: Sequence[float],
    *,
    model: str,
    model_sha256: str,
    backend: str,
    bootstrap: Bootstrap | None = None,
) -> Summary:
    """The summary of the ``outcomes`` of all cases, in the benchmark's order.

    ``model`` is the path of the model, ``backend`` the description of what ran it. ``bootstrap`` adds
    confidence intervals.
    """
    found = {outcome.category for outcome in outcomes}
    order = [name for name in benchmark.classes if name in found] or _natural(found)
    over_classes = benchmark.mean_over == "classes"

    def row(hits: Sequence[tuple[int, ...]]) -> RowScores:
        scored = [dataclasses.replace(o, hits=h) for o, h in zip(outcomes, hits, strict=True)]
        return _row(scored, order, len(alphas), over_classes, bootstrap)

    ours = row([outcome.hits for outcome in outcomes])
    by_subcell = [outcome.subcell_hits for outcome in outcomes]
    by_refined = [outcome.refined_hits for outcome in outcomes]
    names = dict.fromkeys(name for outcome in outcomes for name in outcome.baseline_hits)
    by_baseline = {name: [o.baseline_hits.get(name, ()) for o in outcomes] for name in names}
    return Summary(
        schema=SCHEMA,
        benchmark=benchmark.name,
        title=benchmark.title,
        protocol=benchmark.protocol,
        alphas=tuple(alphas),
        headline=ours.headline,
        headline_is="mean over groups" if over_classes else "mean over pairs",
        point_name=benchmark.point_name,
        overall=ours.overall,
        classes=ours.classes,
        outside=sum(outcome.outside for outcome in outcomes),
        without_size=sum(outcome.length == 0 for outcome in outcomes),
        list_sha256=benchmark.digest,
        model=model,
        model_sha256=model_sha256,
        backend=backend,
        subcell=row(by_subcell) if all(by_subcell) else None,
        refined=row(by_refined) if all(by_refined) else None,
        headline_interval=ours.headline_interval,
        intervals=None if bootstrap is None else bootstrap.description,
        # A run that was begun by dccnet 0.1 has none for its first pairs.
        baselines={name: row(hits) for name, hits in by_baseline.items() if all(hits)},
        confidence=_judge_confidence(outcomes, alphas),
    )


def _judge_confidence(outcomes: Sequence[Outcome], alphas: Sequence[float]) -> ConfidenceScores | None:
    within = outcomes[0].confidence_within if outcomes else None
    if within is None or any(outcome.confidence_within != within for outcome in outcomes):
        return None
    confidence, shares, distances = (
        np.concatenate([getattr(outcome, name) for outcome in outcomes])
        for name in ("confidence", "subcell_shares", "subcell_distances")
    )
    lengths = np.repeat([outcome.length for outcome in outcomes], [len(o.confidence) for o in outcomes])
    return judge(confidence, shares, within, [distances <= alpha * lengths for alpha in alphas])


def published_by_class(summary: Summary) -> list[Row]:
    """The published rows with scores by class at :func:`class_alpha`."""
    rows = PUBLISHED.get(summary.benchmark, ())
    return [row for row in rows if row.classes and next(iter(row.scores)) == class_alpha(summary)]


def class_alpha(summary: Summary) -> float:
    """The α of scores by class: the published one if evaluated, else 0.1 if evaluated, else the first."""
    wanted = [next(iter(row.scores)) for row in PUBLISHED.get(summary.benchmark, ()) if row.classes]
    return next((alpha for alpha in (*wanted, 0.1) if alpha in summary.alphas), summary.alphas[0])


def _row(
    outcomes: Sequence[Outcome],
    order: Sequence[str],
    alphas: int,
    over_classes: bool,
    bootstrap: Bootstrap | None,
) -> RowScores:
    counts = np.array([outcome.count for outcome in outcomes], np.float64)
    hits = np.array([outcome.hits for outcome in outcomes], np.float64).reshape(len(outcomes), alphas)
    shares = 100 * hits / counts[:, None]
    groups = {name: np.array([i for i, o in enumerate(outcomes) if o.category == name]) for name in order}

    def scores(used: NDArray[np.intp], classes: Sequence[NDArray[np.intp]]) -> Scores:
        return Scores(
            len(used),
            int(counts[used].sum()),
            tuple(map(float, shares[used].mean(axis=0))),
            tuple(map(float, 100 * hits[used].sum(axis=0) / counts[used].sum())),
            None if bootstrap is None else bootstrap.of_pairs(shares, classes),
        )

    overall = scores(np.arange(len(outcomes)), list(groups.values()))
    classes = {name: scores(used, [used]) for name, used in groups.items()}
    if not over_classes:
        return RowScores(overall.per_pair, overall, classes, overall.per_pair_interval)
    means = np.mean([found.per_pair for found in classes.values()], axis=0)
    interval = None if bootstrap is None else bootstrap.of_groups(shares, list(groups.values()))
    return RowScores(tuple(map(float, means)), overall, classes, interval)


def _natural(names: set[str]) -> list[str]:
    """Sorted names; numbers, which some lists have as classes, by value."""
    return sorted(names, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name))
