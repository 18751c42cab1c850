"""How long the stages take, in memory that does not grow with the frames."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

STAGES = ("decode", "resize", "encode", "match", "carry", "draw", "write")
"""In the order in which a frame meets them; not every run has all."""

_SHORTEST, _RATIO, _BINS = 1e-6, 1.02, 1100  # 1 µs to 48 min, each bin 2 % wider than the one before


class Durations:
    """Count, sum and quantiles (to 1 %) of any number of durations, from a histogram of 1100 bins."""

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0
        self._bins = np.zeros(_BINS, np.int64)

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total_s += seconds
        bin_ = int(math.log(max(seconds, _SHORTEST) / _SHORTEST) / math.log(_RATIO))
        self._bins[min(bin_, _BINS - 1)] += 1

    def quantile(self, share: float) -> float:
        """Seconds; 0 where nothing was added."""
        if not self.count:
            return 0.0
        bin_ = int(np.searchsorted(np.cumsum(self._bins), share * self.count))
        return float(_SHORTEST * _RATIO ** (bin_ + 0.5))


class StageTimes:
    """Durations by stage. Each stage is timed by one thread, so nothing is locked."""

    def __init__(self) -> None:
        self._stages = {name: Durations() for name in STAGES}

    @contextmanager
    def measure(self, stage: str, *frames: dict[str, float]) -> Iterator[None]:
        """Time a block that serves these frames together; each one's share is added to its ``stage``."""
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
    """Seconds that one stage took for a frame."""

    count: int
    median_s: float
    p95_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class StreamStats:
    """What a stream has done so far."""

    frames: int
    """Results handed out."""
    dropped: int
    """Frames of a live source that were overtaken by newer ones."""
    unreadable: int
    """Frames that could not be decoded, and were left out."""
    seconds: float
    """From the first request for a frame to the last result."""
    stages: Mapping[str, StageSummary]

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    @property
    def limiting(self) -> str | None:
        """The stage that was busy longest; the others wait for it."""
        if not self.stages:
            return None
        return max(self.stages, key=lambda name: self.stages[name].total_s)
