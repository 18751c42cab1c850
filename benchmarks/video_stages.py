"""Processor time of each step of `dcc match --video` alone, on one thread.

    python benchmarks/video_stages.py BUNDLE VIDEO [--frames 80] [--rounds 3] [--json FILE]

Every step runs on all frames before the next one does, so that no other thread disturbs it; the best of
the rounds counts. In the command, steps share the processor's caches and take somewhat longer.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from results import save

from dccnet.runtime import Matcher
from dccnet.runtime.video.drawing import draw_frame
from dccnet.runtime.video.sources import open_source
from dccnet.runtime.video.writer import video_writer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("video")
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    matcher = Matcher.open(options.bundle, threads=1)
    with matcher.stream(options.video, "frame:0") as stream:
        results = list(islice(stream, options.frames))
    best: dict[str, float] = {}
    for _ in range(options.rounds):
        for name, milliseconds in once(matcher, options.video, results).items():
            best[name] = min(best.get(name, np.inf), milliseconds)
    for name, milliseconds in best.items():
        print(f"{name:40s} {milliseconds:6.2f} ms a frame")
    print(f"{'together':40s} {sum(best.values()):6.2f}")
    save(options.json, milliseconds=best, frames=len(results))


def once(matcher: Matcher, video: str, results: Sequence[Any]) -> dict[str, float]:
    """Milliseconds of processor time for each frame, by step."""
    spent: dict[str, float] = {}

    def step(name: str, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        started = time.process_time()
        made = [function(item) for item in items]
        spent[name] = 1e3 * (time.process_time() - started) / len(items)
        return made

    decoded = open_source(video).frames
    step("decode", lambda _: next(decoded), results)
    decoded.close()
    frames = step("resize", lambda result: matcher.manifest.frames.of(result.image), results)
    features = step("encode", matcher.backend.encode, frames)
    reference = matcher.encode(results[0].reference.image)
    outputs = step("match", lambda b: matcher.backend.match(reference.tensors, b), features)
    found = [
        matcher.result(reference, type(reference)(b, reference.size), output)
        for b, output in zip(features, outputs, strict=True)
    ]
    step("place matches below the cells", lambda result: result.mutual(), found)
    for result in results:
        result.correspondences.mutual()  # which keeps them: the drawing alone is timed
    drawn = step("draw", draw_frame, results)
    with tempfile.TemporaryDirectory() as scratch, video_writer(Path(scratch) / "v.mp4", 25) as writer:
        step("write H.264", writer.write, drawn)
    return spent


if __name__ == "__main__":
    main()
