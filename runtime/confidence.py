"""A bundle's confidence: from what speaks for a match to a probability (docs/confidence.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Floats

VERSION = 3
FEATURES = ("score", "return", "spread", "smoothness", "mutual", "support", "deviation", "overall")
"""Names of the features, in the order of :func:`~dccnet.runtime.evidence.match_evidence`. The larger each
is, the likelier a match is right."""
WEIGHTED = {1: FEATURES[:5], 2: FEATURES[5:7], 3: FEATURES[5:]}
"""Which of them each version of confidence weighs; bundles with earlier versions stay as they are."""
VISIBLE = 0.7
"""A point counts as visible in the other picture from this confidence on, unless another is asked for
(measured: docs/confidence.md)."""
TRUTH = ("keypoints", "warps")


@dataclass(frozen=True, slots=True)
class FitQuality:
    """How well confidence did on matches that it was not fitted to (cross-validation)."""

    groups: int
    """Number of parts; confidence for each was fitted to all others."""
    auroc: float
    """Probability that a right match has more confidence than a wrong one."""
    calibration_error: float
    """Expected calibration error, 10 bins of equally many matches."""


@dataclass(frozen=True, slots=True)
class ConfidenceModel:
    """Logistic regression with the few numbers that ``dcc confidence`` fits.

    Confidence is the probability that a transferred point (rule ``subcell``) lies within ``within`` times
    the longer side of the picture that it lands in, of its true place. No weight is negative, so that more
    of a feature never lowers it. Raises ``ValueError`` for numbers that are not so.
    """

    within: float
    """The tolerance, as a share of the longer side of the picture."""
    intercept: float
    weights: dict[str, float]
    """The weight of each feature that its version weighs."""
    truth: str
    """``keypoints`` that people placed, or synthetic ``warps`` of pictures."""
    fitted_on: tuple[str, ...]
    """Names of the lists or folders."""
    pairs: int
    points: int
    """Number of transferred points."""
    right: float
    """Share of them that lay within the tolerance."""
    quality: FitQuality
    version: int = VERSION

    def __post_init__(self) -> None:
        weighted = WEIGHTED.get(self.version)
        if weighted is None:
            raise ValueError(f"version {self.version} of confidence is unknown to this dcc: upgrade dccnet")
        if set(self.weights) != set(weighted):
            raise ValueError(f"weights must be those of {', '.join(weighted)}")
        numbers = (self.within, self.intercept, *self.weights.values())
        if not all(map(math.isfinite, numbers)) or min(self.weights.values()) < 0 or self.within <= 0:
            raise ValueError("numbers must be finite, weights not negative, and within above 0")
        if self.truth not in TRUTH:
            raise ValueError(f"truth must be one of {', '.join(TRUTH)}")

    @property
    def meaning(self) -> str:
        """What a confidence is the probability of, in words."""
        return (
            f"probability that a transferred point lies within {100 * self.within:g} % of the longer side "
            "of its picture"
        )

    def log_odds(self, evidence: Floats) -> Floats:
        """``(..., F)`` features -> ``(...)``: logarithm of the odds of being right."""
        weighted = WEIGHTED[self.version]
        odds: Floats = weighed(evidence, self.version) @ np.array([self.weights[n] for n in weighted])
        return odds + self.intercept


def weighed(evidence: Floats, version: int = VERSION) -> Floats:
    """``(..., F)`` features -> ``(..., f)``: those that this version of confidence weighs, in the order of
    :data:`WEIGHTED`."""
    return evidence[..., [FEATURES.index(name) for name in WEIGHTED[version]]]


def probability(log_odds: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Logarithms of odds, of any shape -> probabilities, float32 in [0, 1]."""
    return np.asarray(0.5 + 0.5 * np.tanh(log_odds / 2), np.float32)
