"""Check that the memory of `Matcher.stream` stays constant over many generated frames.

    python benchmarks/stream_memory.py BUNDLE [--frames 20000] [--video] [--json FILE]

Every frame is a different 160x120 picture. Points and a box are carried, frames drawn, JSON lines and
arrays written; with --video also a video, whose index FFmpeg keeps in memory until its end. Exits with 1
if the peak memory of the last tenth is more than 2 % above that of the frames between 20 and 30 %, or if a
thread or file descriptor is left open.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from results import save

from dccnet.runtime import Matcher
from dccnet.runtime.arrays import Image
from dccnet.runtime.video.drawing import draw_frame
from dccnet.runtime.video.outputs.files import Outputs
from dccnet.runtime.video.outputs.sink import OutputFrame

MARKS = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--video", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()
    matcher = Matcher.open(options.bundle)
    list(matcher.stream(generated(10)))  # the engine opens files and threads once
    before = threading.active_count(), descriptors()
    resident = np.zeros(options.frames)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        names = ("a.jsonl", "a.npz", "a.mp4") if options.video else ("a.jsonl", "a.npz")
        paths = [Path(scratch) / name for name in names]
        stream = matcher.stream(generated(options.frames), points=[[80, 60]], boxes=[[40, 30, 60, 50]])
        with Outputs(paths) as outputs:
            for count, result in enumerate(stream):
                assert result.index == count
                outputs.write(OutputFrame(result, draw_frame(result)))
                resident[count] = resident_mb()
                if count % (options.frames // 10) == 0:
                    print(f"{count:6d} frames: {resident[count]:.1f} MB", flush=True)
    seconds = time.perf_counter() - started
    del stream, result
    gc.collect()
    after = threading.active_count(), descriptors()
    early = resident[options.frames // 5 : 3 * options.frames // 10].max()
    late = resident[-options.frames // 10 :].max()
    print(f"{options.frames} frames in {seconds:.0f} s")
    print(
        f"peak between 20 and 30 %: {early:.1f} MB; "
        f"in the last tenth: {late:.1f} MB ({late / early - 1:+.2%})"
    )
    print(f"threads {before[0]} -> {after[0]}, descriptors {before[1]} -> {after[1]}")
    every = resident[:: max(options.frames // MARKS, 1)]
    save(options.json, frames=options.frames, seconds=seconds, resident_mb=every.tolist())
    return int(late > 1.02 * early or after != before)


def generated(count: int) -> Iterator[Image]:
    rng = np.random.default_rng(0)
    big = rng.integers(0, 256, (240, 320, 3), np.uint8)
    for i in range(count):
        y, x = 60 + int(50 * np.sin(i / 50)), 80 + int(70 * np.cos(i / 70))
        yield np.ascontiguousarray(big[y : y + 120, x : x + 160])


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


if __name__ == "__main__":
    sys.exit(main())
