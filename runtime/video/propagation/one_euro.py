"""The One-Euro filter: points at rest do not tremble, points in motion do not lag.

Casiez, Roussel, Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012: exponential smoothing whose cutoff frequency rises with the speed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SPEED_CUTOFF_HZ = 1.0  # of the speed itself; the paper's


class OneEuroFilter:
    """For N points at once; a point that was not seen starts anew when it is seen again."""

    def __init__(self, min_cutoff_hz: float = 1.0, beta: float = 0.007) -> None:
        self._min_cutoff_hz, self._beta = min_cutoff_hz, beta
        self._points: Floats = np.empty((0, 2))
        self._speed: Floats = np.empty((0, 2))  # pixels/s
        self._known = np.empty(0, bool)
        self._time_s = 0.0

    def __call__(self, points: Floats, seen: NDArray[np.bool_], time_s: float) -> Floats:
        """``points`` ``(N, 2)`` in pixels and whether each is ``seen`` ``(N,)``, at ``time_s`` in seconds
        -> ``(N, 2)``. Points not seen pass unchanged; another N, or no step in time, starts anew."""
        step = time_s - self._time_s
        if len(points) != len(self._points) or step <= 0:
            self._known = np.zeros(len(points), bool)
            self._points, self._speed = points.copy(), np.zeros_like(points)
        self._time_s = time_s
        going_on = (seen & self._known)[:, None]
        if step > 0:
            speed = (points - self._points) / step
            speed = self._speed + _weight(_SPEED_CUTOFF_HZ, step) * (speed - self._speed)
            cutoff = self._min_cutoff_hz + self._beta * np.linalg.norm(speed, axis=1, keepdims=True)
            smoothed = self._points + _weight(cutoff, step) * (points - self._points)
            self._speed = np.where(going_on, speed, 0.0)
            self._points = np.where(going_on, smoothed, points)
        self._known = seen.copy()
        return np.array(self._points)


def _weight(cutoff_hz: float | Floats, step_s: float) -> Floats:
    """Of the new value."""
    weight: Floats = 1 / (1 + 1 / (2 * np.pi * np.asarray(cutoff_hz) * step_s))
    return weight
