"""From a histogram to the range that INT8 covers, by four methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccnet.calibration.int8.histogram import Histogram

KEPT = 0.9999
"""Share of the values that ``percentile`` keeps."""
_SHARES = np.linspace(0.3, 1.0, 71)
"""Shares of the largest magnitude that ``mse`` and ``entropy`` try as the end of the range."""


class Range(NamedTuple):
    """The values that INT8 covers; the range contains zero."""

    low: float
    high: float


class Levels(NamedTuple):
    """The integers that a tensor is stored as."""

    symmetric: bool
    """True: -127 to 127, as TensorRT requires. False: 0 to 255 with any zero point, the fastest in ONNX
    Runtime."""

    def steps(self, span: Range) -> float:
        """Distance between two neighbouring values."""
        if self.symmetric:
            return max(-span.low, span.high) / 127
        return (span.high - span.low) / 255


SIGNED, UNSIGNED = Levels(symmetric=True), Levels(symmetric=False)


def minmax(histogram: Histogram, levels: Levels) -> Range:
    """All values that occurred."""
    return Range(min(histogram.lowest, 0.0), max(histogram.highest, 0.0))


def percentile(histogram: Histogram, levels: Levels) -> Range:
    """All values except the outermost 0.01 % at either end."""
    total = np.cumsum(histogram.counts) / max(histogram.counts.sum(), 1)
    width = 2 * histogram.reach / len(histogram.counts)
    low = histogram.centres[np.searchsorted(total, 1 - KEPT)] - width / 2
    high = histogram.centres[min(int(np.searchsorted(total, KEPT)), len(total) - 1)] + width / 2
    whole = minmax(histogram, levels)
    return Range(max(min(float(low), 0.0), whole.low), min(max(float(high), 0.0), whole.high))


def mse(histogram: Histogram, levels: Levels) -> Range:
    """The range with the smallest mean squared error of the stored values."""

    def error(span: Range) -> float:
        stored = _stored(histogram.centres, span, levels)
        return float((histogram.counts * (stored - histogram.centres) ** 2).sum())

    return _best(histogram, levels, error)


def entropy(histogram: Histogram, levels: Levels) -> Range:
    """The range with the smallest Kullback-Leibler divergence of the stored values from the true ones.

    As in TensorRT's former calibrator (Migacz, "8-bit Inference with TensorRT", 2017): values outside the
    range are counted at the edge of the true distribution, but not in the distribution of the levels.
    """
    centres, counts = histogram.centres, histogram.counts.astype(np.float64)
    counts[len(counts) // 2] = 0  # zeros are stored exactly, and dominate after a ReLU

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
    """The range of smallest ``cost`` among those that clip both signs at the same magnitude."""
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
