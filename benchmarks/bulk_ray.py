"""How the rate of `dcc match --pairs --ray` grows with its workers, on this machine's cores.

    python benchmarks/bulk_ray.py [--model small-1] [--pairs 300] [--rounds 3] [--json FILE]

Matches one list in this process, with one thread, and on a local Ray with one and with two workers of one
thread each, in turns. Two more threads of each read pictures, so that a worker alone uses a part of the
second core; on one core, all processes are confined to it. A rate is taken from the first written part to
the last, so that neither the start of processes nor of models counts; the start is printed by itself. Needs
two cores that nothing else uses.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from results import save

from dccnet.export.bundles.samples import PICTURES
from dccnet.integrations import ray as on_ray
from dccnet.runtime import Matcher
from dccnet.runtime.bulk.match_pairs import match_pairs

SIZES = {"window": 20, "part": 10}
ALL = os.sched_getaffinity(0)
ONE = {max(ALL)}
WAYS: dict[str, tuple[int | None, set[int]]] = {
    "one process": (None, ALL),
    "one worker": (1, ALL),
    "one worker on one core": (1, ONE),
    "two workers": (2, ALL),
}
"""By name: workers of Ray (None: no Ray), and the cores of all processes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="small-1")
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    starts: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as scratch:
        path = write_list(Path(scratch), options.pairs)
        for turn in range(options.rounds):
            for name, (workers, cores) in WAYS.items():
                os.sched_setaffinity(0, cores)
                rate, start = measured(path, path.parent / f"{turn} {name}", options.model, workers)
                rates[name].append(rate)
                starts[name].append(start)
                print(f"{name}: {rate:.2f} pairs/s, first part after {start:.1f} s", flush=True)
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    print({name: round(value, 2) for name, value in medians.items()})
    print(f"one worker / one process: {medians['one worker'] / medians['one process']:.2f}")
    for name in ("one worker", "one worker on one core"):
        print(f"two workers / {name}: {medians['two workers'] / medians[name]:.2f}")
    save(options.json, pairs=options.pairs, rates=rates, starts=starts)


def write_list(folder: Path, count: int) -> Path:
    photos = [cv2.imread(str(path)) for path in sorted(PICTURES.glob("*.jpg"))]
    for number in range(30):
        photo = photos[number % len(photos)]
        cv2.imwrite(str(folder / f"{number}.jpg"), cv2.resize(photo[number:, number:], (480, 360)))
    pairs = [(a, b) for a in range(30) for b in range(30) if a != b][:count]
    path = folder / "pairs.csv"
    path.write_text("source,target\n" + "".join(f"{a}.jpg,{b}.jpg\n" for a, b in pairs))
    return path


def measured(path: Path, output: Path, model: str, workers: int | None) -> tuple[float, float]:
    """Pairs per second from the first part on, and seconds before it."""
    began, told = time.perf_counter(), []

    def count(some: int) -> None:
        told.append((time.perf_counter(), some))

    common: dict[str, Any] = {"on_pairs": count, **SIZES}
    if workers is None:
        with Matcher.open(model, backend="onnxruntime", device="cpu", threads=1) as matcher:
            match_pairs(matcher, path, output, **common)
    else:
        on_ray.match_pairs(
            path, output, model=model, workers=workers, backend="onnxruntime", device="cpu", **common
        )
    first, last = told[0][0], told[-1][0]
    return sum(some for _, some in told[1:]) / (last - first), first - began


if __name__ == "__main__":
    main()
