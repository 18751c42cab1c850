"""The One-Euro filter: points at rest tremble less, points in motion lag little.

Casiez, Roussel, Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012: exponential smoothing whose cutoff frequency rises with the speed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.arrays import Floats, Points

_SPEED_CUTOFF_HZ = 1.0  # of the low-pass filter on the speed; the paper's value


class OneEuroFilter:
    """Filters N points at once. A point that was not visible starts anew when it becomes visible again."""

    def __init__(self, min_cutoff_hz: float = 1.0, beta: float = 0.007) -> None:
        self._min_cutoff_hz, self._beta = min_cutoff_hz, beta
        self._points: Points = np.empty((0, 2))
        self._speed: Floats = np.empty((0, 2))  # pixels/s
        self._was_visible = np.empty(0, bool)
        self._time_s = 0.0

    def __call__(self, points: Points, visible: NDArray[np.bool_], time_s: float) -> Points:
        """Smoothed ``points`` ``(N, 2)`` at ``time_s`` in seconds; ``visible`` is ``(N,)``.

        Points that are not visible are returned unchanged. Another N, or a time that does not increase,
        restarts the filter.
        """
        step = time_s - self._time_s
        if len(points) != len(self._points) or step <= 0:
            self._was_visible = np.zeros(len(points), bool)
            self._points, self._speed = points.copy(), np.zeros_like(points)
        self._time_s = time_s
        still_visible = (visible & self._was_visible)[:, None]
        if step > 0:
            speed = (points - self._points) / step
            speed = self._speed + _weight(_SPEED_CUTOFF_HZ, step) * (speed - self._speed)
            cutoff = self._min_cutoff_hz + self._beta * np.linalg.norm(speed, axis=1, keepdims=True)
            smoothed = self._points + _weight(cutoff, step) * (points - self._points)
            self._speed = np.where(still_visible, speed, 0.0)
            self._points = np.where(still_visible, smoothed, points)
        self._was_visible = visible.copy()
        return np.array(self._points)


def _weight(cutoff_hz: float | Floats, step_s: float) -> Floats:
    """Weight of the new value in exponential smoothing."""
    weight: Floats = 1 / (1 + 1 / (2 * np.pi * np.asarray(cutoff_hz) * step_s))
    return weight
