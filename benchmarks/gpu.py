"""Latency and agreement on a GPU: bundles in every backend that runs there, in turns, in one process.

    python benchmarks/gpu.py BUNDLE... [--device cuda:0] [--rounds 200] [--report FILE]

The first bundle, in ONNX Runtime on the CPU, is the reference for agreement: it should be in float32, and
the others should be of the same network. Times are the host's, with copies to and from the GPU; encoder and
matcher are TensorRT's engines alone on the GPU's own clock, replayed without a pause between two events.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dccnet.export.bundles.samples import PICTURES
from dccnet.runtime import Matcher, read_image
from dccnet.runtime.arrays import Image
from dccnet.runtime.backend import TimedBackend
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.cuda import cuda_problem, open_device
from dccnet.runtime.doctor.report import examine
from dccnet.runtime.errors import DccError
from dccnet.runtime.selection import gpu_index
from dccnet.runtime.turns import take_turns

BACKENDS = {
    "TensorRT": {"backend": "tensorrt"},
    "ONNX Runtime, CUDA": {"backend": "onnxruntime", "provider": "cuda"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--report", type=Path, default=Path("gpu-report.json"))
    options = parser.parse_args()
    if (problem := cuda_problem()) is not None:
        raise SystemExit(f"nothing was measured: {problem}")
    open_device(gpu_index(options.device) or 0)  # raises where there is none
    photos = [read_image(path) for path in sorted(PICTURES.glob("*.jpg"))]
    truth = _matches(Matcher.open(options.bundles[0], device="cpu"), photos)
    rows, running = [], {}
    for bundle in options.bundles:
        for backend, choice in BACKENDS.items():
            row: dict[str, Any] = {"bundle": str(bundle), "backend": backend}
            rows.append(row)
            try:
                started = time.perf_counter()
                matcher = Matcher.open(bundle, device=options.device, on_note=print, **choice)  # type: ignore[arg-type]
                row["open_s"] = time.perf_counter() - started
                row |= _manifest(matcher) | _agreement(_matches(matcher, photos), truth)
                running[len(rows) - 1] = matcher
            except DccError as error:
                row["error"] = str(error)
    ways = {
        (i, step): way for i, matcher in running.items() for step, way in _steps(matcher, photos).items()
    }
    for i, matcher in running.items():
        if isinstance(matcher.backend, TimedBackend):
            on_gpu = matcher.backend.gpu_milliseconds(options.rounds)
            rows[i] |= {f"{step}_gpu_ms": milliseconds for step, milliseconds in on_gpu.items()}
    samples = take_turns(ways, options.rounds)
    for (i, step), seconds in samples.items():
        values = 1000 * np.array(seconds)
        rows[i][step] = {"median": float(np.median(values)), "p95": float(np.percentile(values, 95))}
    _print(rows)
    report = {"doctor": _doctor(), "device": options.device, "rounds": options.rounds, "rows": rows}
    options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {options.report}")


def _matches(matcher: Matcher, photos: list[Image]) -> list[Correspondences]:
    return [matcher.match(photos[0], photo) for photo in photos[1:]]


def _manifest(matcher: Matcher) -> dict[str, Any]:
    manifest = matcher.manifest
    return {
        "runs_on": matcher.backend.description,
        "network": manifest.model["backbone"],
        "precision": manifest.precision,
        "conv4d": manifest.conv4d.lowering,
    }


def _agreement(found: list[Correspondences], truth: list[Correspondences]) -> dict[str, float]:
    same, difference = [], 0.0
    for a, b in zip(found, truth, strict=True):
        for side in "ab":
            index, score = f"index_{side}", f"score_{side}"
            same.append(np.mean(getattr(a, index) == getattr(b, index)))
            difference = max(difference, float(np.abs(getattr(a, score) - getattr(b, score)).max()))
    return {"identical_cells": float(np.mean(same)), "largest_score_difference": difference}


def _steps(matcher: Matcher, photos: list[Image]) -> dict[str, Callable[[], object]]:
    """Each step, a frame with a kept reference, and a pair."""
    reference, features = matcher.encode(photos[0]), matcher.encode(photos[1])
    return {
        "encode_ms": lambda: matcher.encode(photos[1]),
        "match_ms": lambda: matcher.match(reference, features),
        "frame_ms": lambda: matcher.match(reference, photos[1]),
        "pair_ms": lambda: matcher.match(photos[0], photos[1]),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    steps = ("encode_ms", "match_ms", "frame_ms", "pair_ms")
    columns = "".join(f"{s[:-3]:>17}" for s in steps) + f"{'encoder + matcher on the GPU':>31}"
    print(f"{'median (p95), milliseconds':64}{'same cells':>11}{columns}")
    for row in rows:
        name = f"{row['bundle'][-30:]}  {row['backend']}"
        if "error" in row:
            print(f"{name:64}  {row['error']}")
            continue
        times = "".join(f"{row[s]['median']:9.3f} ({row[s]['p95']:.2f})".rjust(17) for s in steps)
        on_gpu = [f"{row[step]:.3f}" for step in ("encoder_gpu_ms", "matcher_gpu_ms") if step in row]
        print(f"{name:64}{row['identical_cells']:11.3%}{times}{' + '.join(on_gpu):>31}")


def _doctor() -> list[dict[str, Any]]:
    report = examine()
    return [
        {"section": title, "name": check.name, "status": check.status, "value": check.value}
        for title, checks in report.sections.items()
        for check in checks
    ]


if __name__ == "__main__":
    main()
