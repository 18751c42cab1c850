"""Writes the files of a sweep: all results as JSON, one line per run as CSV, the tables as Markdown."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from dccnet.runtime.files import write_text
from dccnet.training.ablation.results import Results, to_dict
from dccnet.training.ablation.tables import markdown

COLUMNS = (
    "method",
    "kernel",
    "tables",
    "seed",
    "pck",
    "epochs",
    "scored_epoch",
    "alpha",
    "protocol",
    "list",
    "published_pf_pascal",
    "published_kernel",
    "error",
)
RESULTS, RUNS, TABLES = "results.json", "runs.csv", "tables.md"


def write_results(folder: Path, results: Results) -> None:
    """Write the three files, each atomically."""
    write_text(folder / RESULTS, json.dumps(to_dict(results), indent=2, allow_nan=False) + "\n")
    write_text(folder / RUNS, _csv(results))
    write_text(folder / TABLES, markdown(results))


def _csv(results: Results) -> str:
    plan = results.plan
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in plan.rows():
        for run in results.of(row):
            table.writerow(
                [
                    row.method,
                    row.kernel,
                    " ".join(map(str, row.tables)),
                    run.seed,
                    "" if run.pck is None else f"{run.pck:.4f}",
                    run.epochs,
                    run.scored_epoch,
                    f"{plan.training['alpha']:g}",
                    results.protocol.partition(":")[0],
                    Path(plan.test).name,
                    row.published,
                    row.published_kernel,
                    run.error,
                ]
            )
    return text.getvalue()
