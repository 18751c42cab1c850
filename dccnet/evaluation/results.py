"""Writes the results of an evaluation: scores as JSON, one row per pair as CSV, a report as HTML."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.comparison import comparison_page
from dccnet.evaluation.published import PUBLISHED
from dccnet.evaluation.report import html_report
from dccnet.evaluation.scoring import Outcome
from dccnet.evaluation.summary import Summary
from dccnet.runtime.files import write_text

RESULTS, PAIRS, REPORT = "results.json", "pairs.csv", "report.html"


def write_results(
    folder: Path, benchmark: Benchmark, outcomes: Sequence[Outcome], summary: Summary
) -> list[Path]:
    """Write the three files, each atomically, and return their paths.

    Two runs of the same evaluation write identical files.
    """
    contents = {
        RESULTS: json.dumps(to_dict(summary), indent=2, allow_nan=False) + "\n",
        PAIRS: _csv(outcomes, summary),
        REPORT: html_report(benchmark, outcomes, summary),
    }
    for name, text in contents.items():
        write_text(folder / name, text)
    return [folder / name for name in contents]


def write_comparison(
    folder: Path, benchmark: Benchmark, summaries: Sequence[Summary], outcomes: Sequence[Sequence[Outcome]]
) -> Path:
    """Write the report of several models (:func:`comparison_page`), and return its path."""
    write_text(folder / REPORT, comparison_page(benchmark, summaries, outcomes))
    return folder / REPORT


def to_dict(summary: Summary) -> dict[str, Any]:
    """Plain values for JSON, with the published results of the benchmark."""
    published = [
        {
            "method": row.method,
            "headline": {f"{alpha:g}": score for alpha, score in row.scores.items()},
            "classes": row.classes,
        }
        for row in PUBLISHED.get(summary.benchmark, ())
    ]
    return dataclasses.asdict(summary) | {"published": published}


def _csv(outcomes: Sequence[Outcome], summary: Summary) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    alphas = [f"{alpha:g}" for alpha in summary.alphas]
    names = [f"{rule}{kind}" for rule in ("", "subcell_", "refined_") for kind in ("hits", "pck")]
    names += [f"{name}_hits".replace(" ", "_") for name in summary.baselines]
    columns = [f"{name}@{alpha}" for name in names for alpha in alphas]
    table.writerow(["backend", "protocol", "pair", "class", "points", "outside", "length", *columns])
    protocol = summary.protocol.partition(":")[0]
    for outcome in outcomes:
        unknown = [""] * len(alphas)
        table.writerow(
            [
                summary.backend,
                protocol,
                outcome.name,
                outcome.category,
                outcome.count,
                outcome.outside,
                f"{outcome.length:.4f}",
                *outcome.hits,
                *_shares(outcome, outcome.hits),
                *(outcome.subcell_hits or unknown),
                *(_shares(outcome, outcome.subcell_hits) or unknown),
                *(outcome.refined_hits or unknown),
                *(_shares(outcome, outcome.refined_hits) or unknown),
                *(count for name in summary.baselines for count in outcome.baseline_hits[name]),
            ]
        )
    return text.getvalue()


def _shares(outcome: Outcome, hits: Sequence[int]) -> list[str]:
    """Percent of the points for each α."""
    return [f"{100 * count / outcome.count:.4f}" for count in hits]
