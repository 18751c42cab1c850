"""By which map annotations are carried, when a point counts as visible, and how points are smoothed."""

from __future__ import annotations

from dataclasses import dataclass

from dccnet.runtime.confidence import VISIBLE
from dccnet.runtime.errors import UsageError

MAPS = ("matches", "smooth")


@dataclass(frozen=True, slots=True)
class Propagation:
    """Settings of propagation. Raises :class:`UsageError` for values out of range.

    A point is visible by ``max_distance``, and by ``min_confidence`` with a bundle that has confidence or
    else by ``min_score``.
    """

    min_confidence: float = VISIBLE
    """The lowest confidence of a visible point, from 0 to 1."""

    max_distance: float = 1.0
    """A visible point, carried to the frame and back, is at most so far from itself, in cells of the
    network's grid (measured: benchmarks/propagation.py)."""
    min_score: float = 0.1
    """The lowest score of a visible point, relative to the median score of the frame: probabilities of
    different networks cannot be compared."""
    smooth: bool = False
    """Whether a One-Euro filter smooths the points."""
    min_cutoff_hz: float = 1.0
    """The filter's cutoff for points at rest: a lower one trembles less."""
    beta: float = 0.007
    """Increase of the filter's cutoff in Hz for every pixel per second: a higher one lags less."""
    map: str = "matches"
    """By what annotations are carried: ``matches`` around each point, as ``dcc match --points`` carries
    points, or a ``smooth`` map through all of them (measured: docs/video.md)."""
    follow: bool = False
    """Whether points follow the picture from frame to frame, and return to their match where both part
    (``following.py``). Needs a kept reference; masks and boxes are carried by matches all the same."""

    @classmethod
    def of_confidence(cls, least: float | None) -> Propagation:
        """The usual settings, with ``least`` as the lowest confidence; None: the usual one, too."""
        return cls() if least is None else cls(min_confidence=least)

    def __post_init__(self) -> None:
        if self.map not in MAPS:
            raise UsageError(f"there is no map '{self.map}': choose from {', '.join(MAPS)}")
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"the lowest confidence is from 0 to 1, not {self.min_confidence:g}")
        if not (self.max_distance > 0 and self.min_score >= 0):
            raise UsageError("the largest distance must be above 0 and the smallest score not below 0")
        if not (self.min_cutoff_hz > 0 and self.beta >= 0):
            raise UsageError("the smoothing's cutoff must be above 0 and its beta not below 0")
