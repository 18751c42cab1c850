"""Tables of timings for the terminal, and results as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np


def table(seconds: Mapping[str, list[float]], baselines: Mapping[str, str]) -> str:
    """One row per way, from the seconds of its calls.

    ``baselines`` are further columns: title -> the way that all others are compared with.
    """
    width = max(map(len, seconds))
    lines = [f"{'':{width}}  median s  (min to max)       " + "  ".join(baselines)]
    for name, values in seconds.items():
        ratios = "  ".join(
            f"{np.median(seconds[base]) / np.median(values):>{len(title) - 1}.2f}x"
            for title, base in baselines.items()
        )
        spread = f"({min(values):.3f} to {max(values):.3f})"
        lines.append(f"{name:{width}}  {np.median(values):8.3f}  {spread:19}  {ratios}")
    return "\n".join(lines)


def save(path: str | None, **results: object) -> None:
    """Write results and a description of the machine as JSON; does nothing if ``path`` is None."""
    if path is None:
        return
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "onnxruntime", "numpy")},
    }
    Path(path).write_text(json.dumps({"machine": machine, **results}, indent=2) + "\n", encoding="utf-8")
