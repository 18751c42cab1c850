"""Differences between the rows of a sweep, seed by seed and pair by pair."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.compare.differences import difference
from dccnet.evaluation.intervals import Bootstrap
from dccnet.evaluation.journal import read_outcomes
from dccnet.runtime.arrays import Floats
from dccnet.runtime.errors import DccError
from dccnet.runtime.messages import warn
from dccnet.training.ablation.results import Results, RowGap
from dccnet.training.ablation.rows import Row


def row_gaps(
    results: Results, benchmark: Benchmark, folder_of: Callable[[Row, int], Path]
) -> dict[str, RowGap]:
    """The difference of every other row from the first one, by the row's key.

    ``folder_of`` is the folder of a row's run with a seed. Rows that share no scored seed with the first
    are left out. Reads the pictures' files, which tell photographs apart.
    """
    first, *others = results.plan.rows()
    shares: dict[tuple[str, int], Floats] = {}
    for row in (first, *others):
        for run in results.of(row):
            if run.pck is not None:
                try:
                    shares[row.key, run.seed] = _shares(folder_of(row, run.seed))
                except DccError as error:  # its scores are known, those of its pairs are not
                    warn(f"no difference for {row.label}, seed {run.seed}: {error}")
    bootstrap = Bootstrap([case.pair for case in benchmark.cases])
    groups = {"all": np.arange(len(benchmark.cases))}
    found = {}
    for row in others:
        seeds = [s for s in results.plan.seeds if (row.key, s) in shares and (first.key, s) in shares]
        if not seeds:
            continue
        gaps = [shares[row.key, seed] - shares[first.key, seed] for seed in seeds]
        overall = difference(np.mean(gaps, axis=0), groups, bootstrap).overall
        spread = statistics.stdev(float(gap.mean()) for gap in gaps) if len(gaps) > 1 else None
        interval = None if overall.interval is None else overall.interval[0]
        found[row.key] = RowGap(overall.mean[0], spread, interval, tuple(seeds))
    return found


def _shares(folder: Path) -> Floats:
    """``(pairs, 1)``: PCK of each pair of a scored run, in percent."""
    return np.array([[100 * outcome.hits[0] / outcome.count] for outcome in read_outcomes(folder)])
