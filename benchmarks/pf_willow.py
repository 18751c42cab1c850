"""The tables of docs/evaluation.md: a model on PF-WILLOW beside its baselines and the published rows.

    python benchmarks/pf_willow.py DATA [MODEL] [-o FOLDER]

The numbers are those of `dcc eval MODEL --benchmark pf-willow --data DATA --intervals`; this prints them as
Markdown. With -o, the evaluation resumes, and a finished one is printed at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.intervals import Bootstrap, Interval
from dccnet.evaluation.models import open_model
from dccnet.evaluation.published import PUBLISHED
from dccnet.evaluation.runner import EvaluationOptions, evaluate
from dccnet.evaluation.summary import Summary, class_alpha, summarise
from dccnet.runtime.models.names import DEFAULT
from dccnet.runtime.selection import BackendChoice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", nargs="?", type=Path, default=Path(DEFAULT))
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    benchmark = load_benchmark("pf-willow", options.data)
    model = open_model(options.model, BackendChoice())
    run = evaluate(model, benchmark, benchmark.alphas, EvaluationOptions(options.output, baselines=True))
    named = {"model": str(model.path), "model_sha256": model.digest, "backend": model.backend}
    bootstrap = Bootstrap([case.pair for case in benchmark.cases])
    summary = summarise(benchmark, run.outcomes, benchmark.alphas, bootstrap=bootstrap, **named)
    print("\n".join(overall(summary)), "\n\n", "\n".join(by_class(summary)), sep="")
    print(f"\n{summary.intervals}; {summary.backend}")


def overall(summary: Summary) -> list[str]:
    rows = [row("PCK in %", *(f"α = {alpha:g}" for alpha in summary.alphas)), "|---" * 4 + "|"]
    for published in PUBLISHED[summary.benchmark]:
        rows.append(row(published.method, *(f"{score:.1f}" for score in published.scores.values())))
    for name, found in summary.baselines.items():
        rows.append(row(name, *cells(found.headline, found.headline_interval)))
    rows.append(row(f"**`{summary.model}`**", *cells(summary.headline, summary.headline_interval)))
    if summary.subcell is not None:
        moved = cells(summary.subcell.headline, summary.subcell.headline_interval)
        rows.append(row("&nbsp;&nbsp;sub-cell transfer", *moved))
    return rows


def by_class(summary: Summary) -> list[str]:
    alpha = class_alpha(summary)
    index = summary.alphas.index(alpha)
    columns = {name: found.classes for name, found in summary.baselines.items()}
    columns[f"`{summary.model}`"] = summary.classes
    if summary.subcell is not None:
        columns["sub-cell transfer"] = summary.subcell.classes
    rows = [row(f"α = {alpha:g}", *columns), "|---" * (len(columns) + 1) + "|"]
    for name in summary.classes:
        scores = [column[name] for column in columns.values()]
        rows.append(row(name, *(cells(s.per_pair, s.per_pair_interval)[index] for s in scores)))
    return rows


def row(*values: str) -> str:
    return f"| {' | '.join(values)} |"


def cells(scores: Sequence[float], intervals: Sequence[Interval] | None) -> list[str]:
    assert intervals is not None
    return [f"{s:.1f} ({low:.1f}–{high:.1f})" for s, (low, high) in zip(scores, intervals, strict=True)]


if __name__ == "__main__":
    main()
