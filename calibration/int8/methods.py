"""From a histogram to the range that INT8 covers: four opinions on what may be cut off."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccnet.calibration.int8.histogram import Histogram

KEPT = 0.9999
"""Of the values, by ``percentile``."""
_SHARES = np.linspace(0.3, 1.0, 71)
"""Of the largest magnitude, that ``mse`` and ``entropy`` try."""


class Range(NamedTuple):
    """What INT8 covers; it holds zero."""

    low: float
    high: float


class Levels(NamedTuple):
    """How a tensor is stored."""

    symmetric: bool
    """-127 to 127, as TensorRT takes it; else 0 to 255 with zero anywhere, as ONNX Runtime is fast with."""

    def steps(self, span: Range) -> float:
        """Distance of two neighbouring values."""
        if self.symmetric:
            return max(-span.low, span.high) / 127
        return (span.high - span.low) / 255


SIGNED, UNSIGNED = Levels(symmetric=True), Levels(symmetric=False)


def minmax(histogram: Histogram, levels: Levels) -> Range:
    """Everything that occurred."""
    return Range(min(histogram.lowest, 0.0), max(histogram.highest, 0.0))


def percentile(histogram: Histogram, levels: Levels) -> Range:
    """All but the outermost 0.01 % of the values."""
    total = np.cumsum(histogram.counts) / max(histogram.counts.sum(), 1)
    width = 2 * histogram.reach / len(histogram.counts)
    low = histogram.centres[np.searchsorted(total, 1 - KEPT)] - width / 2
    high = histogram.centres[min(int(np.searchsorted(total, KEPT)), len(total) - 1)] + width / 2
    whole = minmax(histogram, levels)
    return Range(max(min(float(low), 0.0), whole.low), min(max(float(high), 0.0), whole.high))


def mse(histogram: Histogram, levels: Levels) -> Range:
    """The range with the smallest mean squared error of what is stored."""

    def error(span: Range) -> float:
        stored = _stored(histogram.centres, span, levels)
        return float((histogram.counts * (stored - histogram.centres) ** 2).sum())

    return _best(histogram, levels, error)


def entropy(histogram: Histogram, levels: Levels) -> Range:
    """The range whose stored values tell least apart from the true ones (Kullback-Leibler divergence).

    As in TensorRT's former calibrator (Migacz, "8-bit Inference with TensorRT", 2017): what lies beyond is
    counted at the edge of the true distribution, and not where it is spread over the levels.
    """
    centres, counts = histogram.centres, histogram.counts.astype(np.float64)
    counts[len(counts) // 2] = 0  # zeros are stored exactly, and after a ReLU there are too many of them

    def divergence(span: Range) -> float:
        inside = (centres >= span.low) & (centres <= span.high)
        if not counts[inside].any():
            return np.inf
        true = np.where(inside, counts, 0.0)
        places = np.flatnonzero(inside)
        true[places[0]] += counts[: places[0]].sum()
        true[places[-1]] += counts[places[-1] + 1 :].sum()
        level = np.round(centres[inside] / levels.steps(span)).astype(np.int64)
        level -= level.min()
        occupied = counts[inside] > 0
        sums = np.bincount(level, counts[inside])
        shares = np.bincount(level, occupied)
        spread = np.where(occupied, sums[level] / np.maximum(shares[level], 1), 0.0)
        p = true[inside] / true.sum()
        q = np.maximum(spread / spread.sum(), 1e-12)
        seen = p > 0
        return float((p[seen] * np.log(p[seen] / q[seen])).sum())

    return _best(histogram, levels, divergence)


METHODS: dict[str, Callable[[Histogram, Levels], Range]] = {
    "minmax": minmax,
    "entropy": entropy,
    "percentile": percentile,
    "mse": mse,
}


def _best(histogram: Histogram, levels: Levels, cost: Callable[[Range], float]) -> Range:
    """The cheapest of ranges shrunk from both sides alike."""
    whole = minmax(histogram, levels)
    if levels.steps(whole) == 0:
        return whole
    shares = map(float, _SHARES * max(-whole.low, whole.high))
    tried = [Range(max(whole.low, -share), min(whole.high, share)) for share in shares]
    return min(tried, key=cost)


def _stored(values: NDArray[np.float64], span: Range, levels: Levels) -> NDArray[np.float64]:
    step = levels.steps(span)
    zero = 0.0 if levels.symmetric else np.round(-span.low / step)
    least, most = (-127, 127) if levels.symmetric else (-zero, 255 - zero)
    stored: NDArray[np.float64] = np.clip(np.round(values / step), least, most) * step
    return stored
