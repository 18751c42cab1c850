"""Formats rows as a table for the terminal, as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from dccnet.calibration.bench.rows import Latency, Row

SCHEMA = 1
_GPU = "on the GPU, ms"
_COLUMNS = (
    "bundle",
    "precision",
    "frames",
    "4D",
    "backend",
    "MB",
    "load s",
    "peak MB",
    "encoder ms (p95)",
    "matcher ms (p95)",
    _GPU,
    "pairs/s",
    "kept frames/s",
    "same cells",
    "PCK@0.1",
)


def terminal_table(rows: Sequence[Row]) -> Table:
    table = Table()
    columns, lines = _table(rows)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < 5 else "right")
    for row, cells in zip(rows, lines, strict=True):
        table.add_row(*cells, style="dim" if row.problem else "")
    return table


def markdown(rows: Sequence[Row], environment: Mapping[str, object], how: str) -> str:
    """A table, the reasons for empty rows, and the machine that it was measured on."""
    columns, table = _table(rows)
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(cells)} |" for cells in table]
    lines += ["", *(f"* {problem}" for problem in problems(rows)), "", how, ""]
    for name, value in environment.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else value
        lines.append(f"* {name}: {text}")
    return "\n".join(lines) + "\n"


def as_json(rows: Sequence[Row], environment: Mapping[str, object], how: str) -> str:
    values = {
        "schema": SCHEMA,
        "measured": how,
        "environment": environment,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    return json.dumps(values, indent=2) + "\n"


def problems(rows: Sequence[Row]) -> list[str]:
    """One sentence for each row that could not run."""
    return [f"{row.bundle} in {row.backend}: {row.problem}" for row in rows if row.problem]


def _table(rows: Sequence[Row]) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    """Columns and rows, without the column of the GPU where no row has it."""
    columns, cells = _COLUMNS, _cells(rows)
    if any(row.matcher_gpu_ms is not None for row in rows):
        return columns, cells
    gpu = columns.index(_GPU)
    return columns[:gpu] + columns[gpu + 1 :], [row[:gpu] + row[gpu + 1 :] for row in cells]


def _cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    names = _short([row.bundle for row in rows])
    return [
        (
            name,
            row.precision,
            row.frames,
            row.lowering,
            row.backend,
            f"{row.megabytes:.1f}",
            _number(row.load_s, 2),
            _number(row.peak_mb, 0),
            _latency(row.encoder),
            _latency(row.matcher),
            _on_gpu(row),
            _number(row.pairs_per_s, 2),
            _number(row.frames_per_s, 2),
            "" if row.agreement is None else f"{1 - row.agreement.changed_cells:.2%}",
            "" if row.agreement is None else _number(row.agreement.pck, 2),
        )
        for name, row in zip(names, rows, strict=True)
    ]


def _short(paths: Sequence[str]) -> list[str]:
    """Names of the folders, with those of their parents where two are the same."""
    names = [Path(path).absolute().name for path in paths]
    by_name = {name: {p for n, p in zip(names, paths, strict=True) if n == name} for name in names}
    return [
        name if len(by_name[name]) == 1 else "/".join(Path(path).absolute().parts[-2:])
        for name, path in zip(names, paths, strict=True)
    ]


def _latency(latency: Latency | None) -> str:
    return "" if latency is None else f"{latency.median:.1f} ({latency.p95:.1f})"


def _on_gpu(row: Row) -> str:
    """``encoder + matcher``, on the GPU's clock."""
    if row.encoder_gpu_ms is None or row.matcher_gpu_ms is None:
        return ""
    return f"{row.encoder_gpu_ms:.2f} + {row.matcher_gpu_ms:.2f}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
