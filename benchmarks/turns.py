"""Timing things in turn, so that what else a machine does meets all of them; tables and JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np


def take_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def table(seconds: Mapping[str, list[float]], yardsticks: Mapping[str, str]) -> str:
    """A row for each way; ``yardsticks`` are columns: title -> the way that all are compared with."""
    width = max(map(len, seconds))
    lines = [f"{'':{width}}  median s  (min to max)       " + "  ".join(yardsticks)]
    for name, values in seconds.items():
        ratios = "  ".join(
            f"{np.median(seconds[base]) / np.median(values):>{len(title) - 1}.2f}x"
            for title, base in yardsticks.items()
        )
        spread = f"({min(values):.3f} to {max(values):.3f})"
        lines.append(f"{name:{width}}  {np.median(values):8.3f}  {spread:19}  {ratios}")
    return "\n".join(lines)


def save(path: str | None, **results: object) -> None:
    """Write results as JSON with what they were measured on; no path, no file."""
    if path is None:
        return
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "onnxruntime", "numpy")},
    }
    Path(path).write_text(json.dumps({"machine": machine, **results}, indent=2) + "\n", encoding="utf-8")
