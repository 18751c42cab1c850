"""Frames per second of the last step of `make demo`: points followed through a video, which is annotated.

    python benchmarks/demo_video.py CHECKOUT [CHECKOUT...] [--rounds 5] [--runs 3] [--json FILE]

In each CHECKOUT, `make demo` has run before, so that it has a .venv and demo-output/bundle. The checkouts
take turns, each in a process of its own that follows the video --runs times. Prints medians, and ratios to
the first checkout.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

import numpy as np
from results import save

ONCE = """
import sys, tempfile
from pathlib import Path
try:
    from dccnet.demo.run import VIDEO_THREADS, _video
    from dccnet import Matcher
except ImportError:  # dcc 0.1
    from demo.run import _video
    from runtime import Matcher
    VIDEO_THREADS = 0
matcher = Matcher.open(sys.argv[1], threads=VIDEO_THREADS)
for _ in range(int(sys.argv[2])):
    with tempfile.TemporaryDirectory() as folder:
        print(_video(matcher, Path(folder))[3])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkouts", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    rates: dict[str, list[list[float]]] = {str(checkout): [] for checkout in options.checkouts}
    for _ in range(options.rounds):
        for checkout in options.checkouts:
            rates[str(checkout)].append(followed(checkout.absolute(), options.runs))
    first, *_ = rates.values()
    print("frames/s: median (lowest to highest); against the first checkout, by rounds")
    for name, found in rates.items():
        ratios = np.median(found, axis=1) / np.median(first, axis=1)
        print(f"{name}: {np.median(found):.1f} ({np.min(found):.1f} to {np.max(found):.1f}); ", end="")
        print(f"{np.median(ratios):.2f} x ({ratios.min():.2f} to {ratios.max():.2f})")
    save(options.json, frames_per_s=rates)


def followed(checkout: Path, runs: int) -> list[float]:
    """Frames/s of every run, in a new process of that checkout's environment."""
    command = [checkout / ".venv/bin/python", "-c", ONCE, checkout / "demo-output/bundle", str(runs)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return [float(line) for line in done.stdout.split()]


if __name__ == "__main__":
    main()
