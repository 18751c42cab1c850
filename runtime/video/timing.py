"""How long each stage takes, in memory that does not grow with the number of frames."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

STAGES = ("decode", "resize", "encode", "match", "carry", "draw", "write")
"""In the order in which a frame passes them; not every run has all of them."""

_SHORTEST_S, _RATIO, _BINS = 1e-6, 1.02, 1100  # 1 µs to 48 min, each bin 2 % wider than the one before


class Durations:
    """Count, sum and quantiles (to 1 %) of any number of durations, from a histogram of 1100 bins."""

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0
        self._bins = np.zeros(_BINS, np.int64)

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total_s += seconds
        bin_ = int(math.log(max(seconds, _SHORTEST_S) / _SHORTEST_S) / math.log(_RATIO))
        self._bins[min(bin_, _BINS - 1)] += 1

    def quantile(self, share: float) -> float:
        """The duration in seconds below which a ``share`` of all durations lies; 0 without durations."""
        if not self.count:
            return 0.0
        bin_ = int(np.searchsorted(np.cumsum(self._bins), share * self.count))
        return float(_SHORTEST_S * _RATIO ** (bin_ + 0.5))


class StageTimes:
    """Durations by stage. Only one thread times each stage, so there is no lock."""

    def __init__(self) -> None:
        self._stages = {name: Durations() for name in STAGES}

    @contextmanager
    def measure(self, stage: str, *frames: dict[str, float]) -> Iterator[None]:
        """Time a block that processes frames together.

        ``frames`` are the timings of each frame, in seconds by stage; an equal share of the block's time is
        added to each.
        """
        started = time.perf_counter()
        yield
        seconds = (time.perf_counter() - started) / max(len(frames), 1)
        for timings in frames:
            timings[stage] = timings.get(stage, 0.0) + seconds
            self._stages[stage].add(seconds)

    def summary(self) -> dict[str, StageSummary]:
        return {
            name: StageSummary(d.count, d.quantile(0.5), d.quantile(0.95), d.total_s)
            for name, d in self._stages.items()
            if d.count
        }


@dataclass(frozen=True, slots=True)
class StageSummary:
    """Seconds per frame in one stage, and in total."""

    count: int
    median_s: float
    p95_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class StreamStats:
    """Statistics of a stream up to now."""

    frames: int
    """Results returned."""
    dropped: int
    """Frames of a live source that were dropped for newer ones."""
    unreadable: int
    """Frames that could not be decoded and were skipped."""
    damaged: int
    """Frames near which FFmpeg reported damaged data; what was matched there may be wrong."""
    reconnected: int
    """How often a live source broke off and was opened again."""
    seconds: float
    """Time from the first request for a frame to the last result."""
    stages: Mapping[str, StageSummary]

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    @property
    def limiting(self) -> str | None:
        """The stage with the longest total time, which the others wait for."""
        if not self.stages:
            return None
        return max(self.stages, key=lambda name: self.stages[name].total_s)
