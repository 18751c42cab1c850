"""Differences between models on the same pairs, with intervals by the bootstrap of photographs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.compare.reading import Result, shared_alphas
from dccnet.evaluation.intervals import Bootstrap, Group, Interval
from dccnet.evaluation.scoring import Outcome
from dccnet.evaluation.summary import Summary, class_alpha, summarise
from dccnet.runtime.arrays import Floats


@dataclass(frozen=True, slots=True)
class Gap:
    """A mean over pairs of the difference in PCK, in percentage points, for each α."""

    mean: tuple[float, ...]
    interval: tuple[Interval, ...] | None
    """95 % intervals; None for too few photographs."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one model is than the first, on the same pairs."""

    overall: Gap
    """Of the score that papers report: a mean over pairs, or over groups."""
    classes: dict[str, Gap]
    better: tuple[int, ...]
    """Number of pairs on which it has more points right, for each α."""
    equal: tuple[int, ...]
    worse: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Several models on one benchmark; the first is what the others are compared with."""

    names: tuple[str, ...]
    summaries: tuple[Summary, ...]
    outcomes: tuple[Sequence[Outcome], ...]
    shares: Floats
    """``(models, pairs, alphas)``: PCK of each pair in percent."""
    differences: tuple[Difference, ...]
    """Of the second model, the third, …, from the first."""
    intervals: str
    """How intervals were made."""

    @property
    def first(self) -> Summary:
        return self.summaries[0]

    @property
    def index(self) -> int:
        """The place of the threshold by which classes and single pairs are compared."""
        return self.first.alphas.index(class_alpha(self.first))


def compare(results: Sequence[Result], benchmark: Benchmark) -> Comparison:
    """Compare ``results`` of ``benchmark``. Reads the pictures' files, which tell photographs apart."""
    alphas = shared_alphas(results)
    bootstrap = Bootstrap([case.pair for case in benchmark.cases])
    outcomes = tuple(_at(result, alphas) for result in results)
    summaries = tuple(
        summarise(
            benchmark,
            found,
            alphas,
            model=result.model,
            model_sha256=result.model_sha256,
            backend=result.backend,
            bootstrap=bootstrap,
        )
        for result, found in zip(results, outcomes, strict=True)
    )
    shares = np.array([[[100 * h / o.count for h in o.hits] for o in found] for found in outcomes])
    groups = {
        name: np.array([i for i, o in enumerate(outcomes[0]) if o.category == name])
        for name in summaries[0].classes
    }
    by_class = benchmark.mean_over == "classes"
    return Comparison(
        names=tuple(result.name for result in results),
        summaries=summaries,
        outcomes=outcomes,
        shares=shares,
        differences=tuple(
            difference(other - shares[0], groups, bootstrap, by_class) for other in shares[1:]
        ),
        intervals=bootstrap.description,
    )


def difference(
    gaps: Floats, groups: dict[str, Group], bootstrap: Bootstrap, by_class: bool = False
) -> Difference:
    """Summarise differences ``(pairs, alphas)``; ``groups`` are the pairs of each class.

    With ``by_class``, the overall difference is a mean over classes instead of over pairs.
    """
    classes = list(groups.values())
    if by_class:
        means = np.mean([gaps[group].mean(axis=0) for group in classes], axis=0)
        overall = Gap(_floats(means), bootstrap.of_groups(gaps, classes))
    else:
        overall = Gap(_floats(gaps.mean(axis=0)), bootstrap.of_pairs(gaps, classes))
    return Difference(
        overall,
        {n: Gap(_floats(gaps[g].mean(axis=0)), bootstrap.of_pairs(gaps, [g])) for n, g in groups.items()},
        _counts(gaps > 0),
        _counts(gaps == 0),
        _counts(gaps < 0),
    )


def _at(result: Result, alphas: Sequence[float]) -> list[Outcome]:
    """The outcomes with their hits at ``alphas`` alone; only the rule that all results have."""
    kept = [result.alphas.index(alpha) for alpha in alphas]
    return [
        dataclasses.replace(
            outcome,
            hits=tuple(outcome.hits[i] for i in kept),
            subcell_hits=(),
            refined_hits=(),
            baseline_hits={},
            confidence_within=None,
        )
        for outcome in result.outcomes
    ]


def _floats(values: Floats) -> tuple[float, ...]:
    return tuple(map(float, values))


def _counts(which: np.ndarray) -> tuple[int, ...]:
    return tuple(map(int, which.sum(axis=0)))
