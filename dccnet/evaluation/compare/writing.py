"""The files of a comparison."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from dccnet.evaluation.benchmark import Benchmark
from dccnet.evaluation.compare.differences import Comparison
from dccnet.evaluation.compare.page import comparison_page
from dccnet.evaluation.compare.tables import csv_text, latex, markdown, pairs_text
from dccnet.runtime.files import write_text

SCHEMA = 1
PAGE = "comparison.html"


def write_comparison(folder: Path, benchmark: Benchmark, comparison: Comparison) -> list[Path]:
    """Write all files, each atomically, and return their paths."""
    contents = {
        "comparison.json": json.dumps(to_dict(comparison), indent=2, allow_nan=False) + "\n",
        "table.md": markdown(comparison),
        "table.csv": csv_text(comparison),
        "table.tex": latex(comparison),
        "pairs.csv": pairs_text(comparison),
        PAGE: comparison_page(benchmark, comparison),
    }
    for name, text in contents.items():
        write_text(folder / name, text)
    return [folder / name for name in contents]


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """Plain values for JSON; the first model has no difference."""
    first = comparison.first
    gaps = [None, *map(dataclasses.asdict, comparison.differences)]
    models = [
        {
            "name": name,
            "model": summary.model,
            "model_sha256": summary.model_sha256,
            "backend": summary.backend,
            "headline": summary.headline,
            "headline_interval": summary.headline_interval,
            "classes": {category: dataclasses.asdict(found) for category, found in summary.classes.items()},
            "difference": gap,
        }
        for name, summary, gap in zip(comparison.names, comparison.summaries, gaps, strict=True)
    ]
    return {
        "schema": SCHEMA,
        "benchmark": first.benchmark,
        "title": first.title,
        "protocol": first.protocol,
        "list_sha256": first.list_sha256,
        "alphas": first.alphas,
        "headline_is": first.headline_is,
        "pairs": first.overall.pairs,
        "points": first.overall.points,
        "intervals": comparison.intervals,
        "models": models,
    }
