"""Where the time of `dcc match --video` goes: frames/s and milliseconds a stage, kept reference.

    python benchmarks/video.py BUNDLE VIDEO [FRAMES]

The first frame is the reference. Medians over frames, after ten to warm up.
"""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

from runtime import Matcher
from runtime.video import open_frames, video_writer

WARM_UP = 10


def main(bundle: str, video: str, limit: int) -> None:
    matcher = Matcher.open(bundle)
    source = open_frames(video)
    reference = next(source.frames)
    features = matcher.encode(reference)
    times: dict[str, list[float]] = {name: [] for name in ("decode", "encode", "match", "draw", "write")}
    output = Path(tempfile.mkdtemp()) / "matched.mp4"
    with video_writer(output, source.rate) as writer:
        frames = islice(source.frames, limit)
        while True:
            marks = [time.perf_counter()]
            frame = next(frames, None)
            if frame is None:
                break
            marks.append(time.perf_counter())
            encoded = matcher.encode(frame)
            marks.append(time.perf_counter())
            result = matcher.match(features, encoded)
            marks.append(time.perf_counter())
            drawn = result.draw(reference, frame)
            marks.append(time.perf_counter())
            writer.write(drawn)
            marks.append(time.perf_counter())
            for name, seconds in zip(times, np.diff(marks), strict=True):
                times[name].append(seconds)
    output.unlink()
    counted = {name: values[WARM_UP:] for name, values in times.items()}
    for name, values in counted.items():
        print(
            f"{name:8s} {1e3 * np.median(values):7.2f} ms   p95 {1e3 * np.quantile(values, 0.95):7.2f} ms"
        )
    whole = np.sum(list(counted.values()), axis=0)
    inference = np.sum([counted[name] for name in ("encode", "match")], axis=0)
    print(f"{len(whole)} frames: {1 / whole.mean():.1f} frames/s with everything,")
    print(f"{1 / inference.mean():.1f} frames/s for encode (with resizing) and match alone")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 200)
