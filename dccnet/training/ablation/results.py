"""The numbers of a sweep so far, and what they are."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dccnet.training.ablation.plan import Plan
from dccnet.training.ablation.rows import Row

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RunResult:
    """One row trained with one seed."""

    seed: int
    pck: float | None = None
    """Percent; None where the run failed."""
    epochs: int | None = None
    """That were trained."""
    scored_epoch: int | None = None
    """The one whose weights were scored; 0 is before training."""
    model_sha256: str | None = None
    """Of the checkpoint that was scored."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Results:
    plan: Plan
    protocol: str
    """Of every PCK here."""
    pairs: int
    """In the list that is scored."""
    runs: dict[tuple[str, int], RunResult] = field(default_factory=dict)
    """(key of the row, seed) -> result; those to come are absent."""

    def of(self, row: Row) -> list[RunResult]:
        """In the order of the seeds."""
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
        """What the numbers are; belongs under every table."""
        plan = self.plan
        lines = [
            f"PCK@{plan.training['alpha']:g} in % on {Path(plan.test).name}, {self.pairs} pairs. "
            f"Protocol: {self.protocol}.",
            f"Scored: {plan.why}.",
            f"Mean ± sample standard deviation over seeds {', '.join(map(str, plan.seeds))}."
            if len(plan.seeds) > 1
            else f"One seed, {plan.seeds[0]}: no spread is known.",
            "Published: the paper's PCK@0.1 on PF-PASCAL, keypoints scaled to 224×224 (Tables 4 and 5).",
        ]
        stand_ins = {row.kernel: row.published_kernel for row in plan.rows() if _stands_in(row)}
        if stand_ins:
            pairs = ", ".join(f"{ours} for {papers}" for ours, papers in sorted(stand_ins.items()))
            lines.append(f"Context kernels that stand for the paper's on this grid: {pairs}.")
        return lines

    @property
    def remarks(self) -> list[str]:
        """On single runs: those that failed, and those whose number is not of a trained network."""
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
        "checkpoint_is": plan.why,
        "rows": [_row(results, row) for row in plan.rows()],
    }


def _stands_in(row: Row) -> bool:
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
