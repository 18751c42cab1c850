"""The results of a sweep so far, and notes that explain them."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dccnet.training.ablation.plan import Plan
from dccnet.training.ablation.rows import METHODS, Row

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of one row with one seed."""

    seed: int
    pck: float | None = None
    """Percent; None if the run failed or has not been scored."""
    epochs: int | None = None
    """Epochs trained."""
    scored_epoch: int | None = None
    """The epoch whose weights were scored; 0 is the untrained network."""
    model_sha256: str | None = None
    """SHA-256 of the checkpoint that was scored."""
    error: str | None = None
    """Why the run failed."""


@dataclass(frozen=True, slots=True)
class RowGap:
    """How much better a row is than the first one, with the same seeds and on the same pairs."""

    mean: float
    """In percentage points, over seeds and pairs."""
    spread: float | None
    """Sample standard deviation of the differences over seeds; None for fewer than two."""
    interval: tuple[float, float] | None
    """95 % interval of the mean, by a bootstrap of the photographs; None for too few."""
    seeds: tuple[int, ...]
    """Those with which both rows were scored."""


@dataclass(frozen=True, slots=True)
class Results:
    """The results of all runs that are done."""

    plan: Plan
    protocol: str
    """Protocol of every PCK, in words."""
    pairs: int
    """Pairs in the scored list."""
    runs: dict[tuple[str, int], RunResult] = field(default_factory=dict)
    """(key of the row, seed) -> result; without the runs that are not done."""
    gaps: dict[str, RowGap] = field(default_factory=dict)
    """key of the row -> difference from the first row; filled when all runs have been tried."""

    def of(self, row: Row) -> list[RunResult]:
        """Results of a row, in the order of the seeds."""
        return [self.runs[row.key, seed] for seed in self.plan.seeds if (row.key, seed) in self.runs]

    def scores(self, row: Row) -> list[float]:
        return [run.pck for run in self.of(row) if run.pck is not None]

    def mean(self, row: Row) -> float | None:
        scores = self.scores(row)
        return statistics.fmean(scores) if scores else None

    def spread(self, row: Row) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        scores = self.scores(row)
        return statistics.stdev(scores) if len(scores) > 1 else None

    def failures(self) -> list[tuple[Row, RunResult]]:
        return [(row, run) for row in self.plan.rows() for run in self.of(row) if run.error is not None]

    @property
    def notes(self) -> list[str]:
        """What the numbers mean; shown under every table."""
        plan = self.plan
        lines = [
            f"PCK@{plan.training['alpha']:g} in % on {Path(plan.test).name}, {self.pairs} pairs. "
            f"Protocol: {self.protocol}.",
            f"Scored: {plan.scored_description}.",
            f"Mean ± sample standard deviation over seeds {', '.join(map(str, plan.seeds))}."
            if len(plan.seeds) > 1
            else f"One seed, {plan.seeds[0]}: no spread is known.",
            "Published: the paper's PCK@0.1 on PF-PASCAL, keypoints scaled to 224×224 (Tables 4 and 5).",
        ]
        if any(METHODS[row.method] == "dccnet" for row in plan.rows()):
            lines.append("Baseline+SDA is DCCNet.")
        replacements = {
            row.kernel: row.published_kernel for row in plan.rows() if _replaces_papers_kernel(row)
        }
        if replacements:
            pairs = ", ".join(f"{ours} for {papers}" for ours, papers in sorted(replacements.items()))
            lines.append(f"Context kernels that replace the paper's on this grid: {pairs}.")
        return lines

    @property
    def remarks(self) -> list[str]:
        """Notes on single runs: those that failed, and those whose untrained network was scored."""
        lines = []
        for row in self.plan.rows():
            for run in self.of(row):
                which = f"{row.label}, seed {run.seed}"
                if run.error is not None:
                    lines.append(f"Failed: {which}: {run.error}")
                elif run.scored_epoch == 0:
                    lines.append(
                        f"Untrained: {which}: no epoch was better than the network before training"
                    )
        return lines


def to_dict(results: Results) -> dict[str, Any]:
    """Plain values for JSON."""
    plan = results.plan
    return {
        "schema": SCHEMA,
        "base": plan.base,
        "model": json.loads(plan.model.to_json()),
        "training": plan.training,
        "seeds": list(plan.seeds),
        "test": {"list": plan.test, "list_sha256": plan.list_sha256["test"], "pairs": results.pairs},
        "alpha": plan.training["alpha"],
        "protocol": results.protocol,
        "checkpoint": plan.scored,
        "checkpoint_is": plan.scored_description,
        "rows": [_row(results, row) for row in plan.rows()],
    }


def _replaces_papers_kernel(row: Row) -> bool:
    return row.published_kernel is not None and row.published_kernel != row.kernel


def _row(results: Results, row: Row) -> dict[str, Any]:
    return {
        "method": row.method,
        "kernel": row.kernel,
        "tables": list(row.tables),
        "folder": row.key,
        "model": json.loads(row.model.to_json()),
        "mean": results.mean(row),
        "standard_deviation": results.spread(row),
        "difference": dataclasses.asdict(results.gaps[row.key]) if row.key in results.gaps else None,
        "runs": [dataclasses.asdict(run) for run in results.of(row)],
        "published": None if row.published is None else _published(row),
    }


def _published(row: Row) -> dict[str, Any]:
    return {
        "benchmark": "PF-PASCAL",
        "alpha": 0.1,
        "protocol": "scnet",
        "kernel": row.published_kernel,
        "pck": row.published,
    }
