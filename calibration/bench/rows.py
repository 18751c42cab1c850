"""A row of the table: one bundle in one backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dccnet.runtime.bundle import Agreement


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds."""

    median: float
    p95: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        return cls(1e3 * float(np.median(seconds)), 1e3 * float(np.quantile(seconds, 0.95)))


@dataclass(frozen=True, slots=True)
class Row:
    """What could not be measured is None."""

    bundle: str
    precision: str
    lowering: str
    backend: str
    """What ran it, or what was asked for where nothing did."""
    megabytes: float
    """On disk: graphs, or engines where these ran."""
    load_s: float | None = None
    peak_mb: float | None = None
    """Memory of a process of its own that loads the bundle and matches one pair, over that of one that only
    imports what is needed; on the host."""
    encoder: Latency | None = None
    """Of one picture, from decoded to features."""
    matcher: Latency | None = None
    """Of one pair, from features to matches."""
    pairs_per_s: float | None = None
    """Both pictures encoded."""
    frames_per_s: float | None = None
    """One picture encoded, the other's features kept."""
    agreement: Agreement | None = None
    """With the first row that ran."""
    problem: str | None = None
    """Why there is nothing to see."""
