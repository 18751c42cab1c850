"""A row of the table: one bundle in one backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dccnet.runtime.manifest import Agreement


@dataclass(frozen=True, slots=True)
class Latency:
    """Median and 95th percentile, in milliseconds."""

    median: float
    p95: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        return cls(1e3 * float(np.median(seconds)), 1e3 * float(np.quantile(seconds, 0.95)))


@dataclass(frozen=True, slots=True)
class Row:
    """Values that could not be measured are None."""

    bundle: str
    precision: str
    frames: str
    """Type of the encoder's frames."""
    lowering: str
    backend: str
    """Description of the backend; for a row that could not run, the requested one."""
    megabytes: float
    """Size on disk: of the graphs, or of the engines where these ran."""
    load_s: float | None = None
    peak_mb: float | None = None
    """Peak host memory of a separate process that loads the bundle and matches one pair, beyond that of its
    libraries."""
    encoder: Latency | None = None
    """For one picture, from decoded pixels to features; the host's time."""
    matcher: Latency | None = None
    """For one pair, from features to matches; the host's time."""
    encoder_gpu_ms: float | None = None
    """Of these, the engine's time on the GPU's own clock: its step alone, replayed without a pause."""
    matcher_gpu_ms: float | None = None
    pairs_per_s: float | None = None
    """With both pictures encoded."""
    frames_per_s: float | None = None
    """With one picture encoded and the features of the other kept."""
    agreement: Agreement | None = None
    """Agreement with the first row that ran."""
    problem: str | None = None
    """The reason why the row could not run."""
