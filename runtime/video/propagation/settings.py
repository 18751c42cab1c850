"""When a carried point counts as seen, and how points are smoothed over time."""

from __future__ import annotations

from dataclasses import dataclass

from dccnet.runtime.errors import UsageError


@dataclass(frozen=True, slots=True)
class Propagation:
    """Raises :class:`UsageError` for values that make no sense."""

    max_distance: float = 1.0
    """Of a seen point from itself, carried to the frame and back, in cells of the network's grid
    (measured: benchmarks/propagation.py)."""
    min_score: float = 0.1
    """Of a seen point's match, relative to the median of the frame's: probabilities of one network
    cannot be compared with another's."""
    smooth: bool = False
    """Whether points pass a One-Euro filter."""
    min_cutoff_hz: float = 1.0
    """Of the filter for points at rest: lower trembles less."""
    beta: float = 0.007
    """Hz that the filter's cutoff rises with every pixel per second: higher lags less."""

    def __post_init__(self) -> None:
        if not (self.max_distance > 0 and self.min_score >= 0):
            raise UsageError("the largest distance must be above 0 and the smallest score not below 0")
        if not (self.min_cutoff_hz > 0 and self.beta >= 0):
            raise UsageError("the smoothing's cutoff must be above 0 and its beta not below 0")
