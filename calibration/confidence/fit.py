"""Logistic regression from features to the probability of a right match; no weight is negative."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dccnet.calibration.confidence.samples import Samples
from dccnet.evaluation.confidence import Truths, auroc, calibration_error, reliability
from dccnet.runtime.arrays import Floats
from dccnet.runtime.confidence import (
    VERSION,
    WEIGHTED,
    ConfidenceModel,
    FitQuality,
    probability,
    weighed,
)
from dccnet.runtime.errors import DataError

PENALTY = 1e-3
"""Of the squared weights, for features of unit variance. Ten times more or less changed nothing."""
UNRELATED = 0.1
"""Matches of pictures that show nothing alike count as much as this share of all others. With more,
confidence becomes too low where things are alike (docs/confidence.md)."""
FEWEST = 20
"""Right matches, and wrong ones, without which nothing is fitted."""


class Line(NamedTuple):
    """Logarithm of the odds: ``evidence @ weights + intercept``."""

    weights: Floats
    intercept: float

    def log_odds(self, evidence: Floats) -> Floats:
        odds: Floats = evidence @ self.weights + self.intercept
        return odds


def fit_confidence(
    samples: Samples, within: float, truth: str, fitted_on: tuple[str, ...]
) -> ConfidenceModel:
    """The confidence of matches like ``samples``, with its quality by cross-validation over their groups.

    ``within`` is the tolerance as a share of the longer side of the picture. Quality and shares are those
    of pictures of the same kind of thing. Raises :class:`DataError` where there are too few right or wrong
    matches of these.
    """
    alike = np.isfinite(samples.errors)
    right = samples.errors[alike] <= within
    for count, kind in ((int(right.sum()), "right"), (int((~right).sum()), "wrong")):
        if count < FEWEST:
            raise DataError(
                f"only {count} of {len(right)} matches are {kind} within {within:g} of the picture's "
                f"longer side, and {FEWEST} are needed: take more or other pairs, or change --within"
            )
    line = fit_line(weighed(samples.evidence), samples.errors <= within, _shares(alike))
    return ConfidenceModel(
        within=within,
        intercept=line.intercept,
        weights=dict(zip(WEIGHTED[VERSION], map(float, line.weights), strict=True)),
        truth=truth,
        fitted_on=fitted_on,
        pairs=samples.pairs,
        points=len(right),
        right=float(right.mean()),
        quality=_cross_validate(samples, within),
    )


def fit_line(evidence: Floats, right: Truths, shares: Floats | None = None) -> Line:
    """The likeliest line without negative weights, for ``(N, F)`` features and ``(N,)`` truths, which count
    by ``shares`` ``(N,)``, or else alike."""
    from scipy.optimize import minimize

    shares = np.ones(len(right)) if shares is None else shares
    shares = shares / shares.sum()
    mean = shares @ evidence
    deviation = np.maximum(np.sqrt(shares @ (evidence - mean) ** 2), 1e-9)
    scaled = (evidence - mean) / deviation

    def loss(line: Floats) -> tuple[float, Floats]:
        weights, odds = line[:-1], scaled @ line[:-1] + line[-1]
        surprise = np.logaddexp(0, odds) - right * odds
        error = probability(odds) - right
        gradient = np.append(scaled.T @ (shares * error) + PENALTY * weights, shares @ error)
        return float(shares @ surprise + PENALTY / 2 * weights @ weights), gradient

    bounds = [(0, None)] * scaled.shape[1] + [(None, None)]
    found = minimize(loss, np.zeros(len(bounds)), jac=True, method="L-BFGS-B", bounds=bounds)
    weights = found.x[:-1] / deviation
    return Line(weights, float(found.x[-1] - weights @ mean))


def _shares(alike: Truths) -> Floats:
    """How much each match counts."""
    unrelated = max(int((~alike).sum()), 1)
    shares: Floats = np.where(alike, 1.0, UNRELATED * alike.sum() / unrelated)
    return shares


def _cross_validate(samples: Samples, within: float) -> FitQuality:
    groups, number = np.unique(samples.groups, return_inverse=True)
    alike, right = np.isfinite(samples.errors), samples.errors <= within
    evidence = weighed(samples.evidence)
    confidence = np.empty(len(right))
    for group in range(len(groups)):
        held_out = number == group
        known = right[~held_out & alike]
        if known.all() or not known.any():
            raise DataError(
                f"all matches outside the group {groups[group]} are alike, right or wrong: take more pairs"
            )
        line = fit_line(evidence[~held_out], right[~held_out], _shares(alike[~held_out]))
        confidence[held_out] = probability(line.log_odds(evidence[held_out]))
    confidence, right = confidence[alike], right[alike]
    area = auroc(confidence, right)
    assert area is not None  # there are right matches and wrong ones
    return FitQuality(len(groups), area, calibration_error(reliability(confidence, right)))
