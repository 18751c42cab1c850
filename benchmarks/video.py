"""Frame rate of `dcc match --video` relative to the network alone, with a kept reference.

    python benchmarks/video.py BUNDLE VIDEO [--rounds 3] [--frames N] [--json FILE]

Timed in turns: the network alone on frames that are already resized; the network with resizing; the whole
command in its own process, from its start to the annotated video (side by side) and JSON lines; and the
same without the start of the process. The first frame is the reference. The number and order of frames are
checked. Processor time is reported as well, because other processes disturb the clock.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
import time
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from results import save

from dccnet.runtime import Matcher
from dccnet.runtime.arrays import Image
from dccnet.runtime.child import child_command
from dccnet.runtime.commands.video import write_stream
from dccnet.runtime.video.outputs.files import Outputs
from dccnet.runtime.video.sources import open_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--json")
    options = parser.parse_args()
    matcher = Matcher.open(options.bundle)
    decoded = (frame for frame in open_source(options.video).frames if isinstance(frame, np.ndarray))
    frames = list(islice(decoded, options.frames))
    small = [matcher.manifest.frames.of(frame) for frame in frames]
    rates: dict[str, list[float]] = {}
    processor: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "matched.mp4"
        for turn in range(options.rounds + 1):  # the first warms up
            for name, way in (
                ("network alone", lambda: network(matcher, frames, small)),
                ("network and resizing", lambda: network(matcher, frames, None)),
                ("whole command", lambda: command(options.bundle, options.video, len(frames), output)),
                ("without its start", lambda: stream(matcher, options.video, len(frames), output)),
            ):
                before = processor_seconds()
                seconds = way()
                if turn:
                    rates.setdefault(name, []).append(len(frames) / seconds)
                    processor.setdefault(name, []).append(processor_seconds() - before)
    print(f"{len(frames)} frames; rates in frames/s, medians of {options.rounds} turns")
    for name, values in rates.items():
        share = np.median(np.divide(values, rates["network alone"]))
        used = np.median(np.divide(processor["network alone"], processor[name]))
        print(
            f"{name:22s} {np.median(values):6.1f}   {share:.2f} of the network's in the same turn; "
            f"processor {1e3 * np.median(processor[name]) / len(frames):.1f} ms a frame ({used:.2f})"
        )
    save(options.json, rates=rates, processor_seconds=processor, frames=len(frames))


def processor_seconds() -> float:
    """Processor time of this process and of its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def network(matcher: Matcher, frames: list[Image], small: list[Image] | None) -> float:
    """Seconds to encode and match all frames; ``small`` are frames of the network's size, if resized."""
    reference = matcher.encode(frames[0])
    started = time.perf_counter()
    for number, frame in enumerate(frames):
        if small is None:
            encoded = matcher.encode(frame)
            matcher.match(reference, encoded)
        else:
            matcher.backend.match(reference.tensors, matcher.backend.encode(small[number]))
    return time.perf_counter() - started


def command(bundle: str, video: str, count: int, output: Path) -> float:
    arguments = ["match", bundle, "--reference", "frame:0", "--video", video, "--frames", str(count)]
    started = time.perf_counter()
    subprocess.run(child_command("dccnet", *arguments, "-o", str(output)), check=True, capture_output=True)
    seconds = time.perf_counter() - started
    check(output, count)
    return seconds


def stream(matcher: Matcher, video: str, count: int, output: Path) -> float:
    started = time.perf_counter()
    results = matcher.stream(video, "frame:0")
    write_stream(results, Outputs([output, output.with_suffix(".jsonl")]), limit=count)
    seconds = time.perf_counter() - started
    check(output, count)
    return seconds


def check(output: Path, count: int) -> None:
    lines = output.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["frame"] for line in lines] == list(range(count))
    capture, written = cv2.VideoCapture(str(output)), 0
    while capture.read()[0]:
        written += 1
    assert written == count, f"{written} of {count} frames are in the video"


if __name__ == "__main__":
    main()
