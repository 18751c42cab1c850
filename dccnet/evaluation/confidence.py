"""How good a confidence is: whether it tells right from wrong, and whether it means what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 10

Values = NDArray[np.floating[Any]]
Truths = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bin:
    """Matches of similar confidence."""

    count: int
    confidence: float
    """Mean."""
    right: float
    """Share of right matches."""


def auroc(confidence: Values, right: Truths) -> float | None:
    """Area under the ROC curve: probability that a right match has more confidence than a wrong one.

    Both are ``(N,)``; equal confidences count half. None where all matches are right, or all wrong.
    """
    positives = int(right.sum())
    negatives = len(right) - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]  # of equal values: the mean of their ranks
    return float((ranks[right].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def reliability(confidence: Values, right: Truths, bins: int = BINS) -> list[Bin]:
    """Bins of equally many matches, by increasing confidence; fewer where there are fewer matches."""
    order = np.argsort(confidence, kind="stable")
    return [
        Bin(len(part), float(confidence[part].mean()), float(right[part].mean()))
        for part in np.array_split(order, bins)
        if len(part)
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: mean distance of confidence from the share that is right, over matches.

    Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015;
    their bins have equal width, ours equal mass.
    """
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.confidence - b.right) for b in bins) / total


@dataclass(frozen=True, slots=True)
class ConfidenceScores:
    """A bundle's confidence, judged by all keypoints of a benchmark, carried by the rule ``subcell``."""

    within: float
    """A match is right within this share of the longer side of the picture that it lies in."""
    points: int
    right: float
    """Share of right matches."""
    confidence: float
    """Mean confidence."""
    auroc: float | None
    """None where all matches are right, or all wrong."""
    calibration_error: float
    bins: tuple[Bin, ...]
    """Bins of equally many matches, by increasing confidence."""
    auroc_of_hits: tuple[float | None, ...]
    """AUROC where right means a hit by the benchmark's protocol, for each α."""


def judge(confidence: Values, distances: Values, within: float, hits: Sequence[Truths]) -> ConfidenceScores:
    """Scores of ``confidence`` ``(N,)``.

    ``distances`` ``(N,)`` from the true places are shares of the longer side of the picture; ``hits`` has
    ``(N,)`` for each α.
    """
    right = distances <= within
    bins = reliability(confidence, right)
    return ConfidenceScores(
        within,
        len(right),
        float(right.mean()),
        float(confidence.mean()),
        auroc(confidence, right),
        calibration_error(bins),
        tuple(bins),
        tuple(auroc(confidence, hit) for hit in hits),
    )
