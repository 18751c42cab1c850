"""What x264's settings cost in `dcc match --video`: time, size and nearness to what was drawn.

    python benchmarks/h264.py BUNDLE VIDEO [--frames 150] [--rounds 3] [--json FILE]

The frames of the video are matched with the first one and drawn, side by side. Then every setting encodes
these drawings, and the frames themselves, on one thread, in turns. Nearness is the peak signal-to-noise
ratio of the luma of every tenth frame.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from results import save

from dccnet.runtime import Matcher
from dccnet.runtime.arrays import Image
from dccnet.runtime.video.drawing import draw_frame

SETTINGS = {
    "veryfast, 20": {"preset": "veryfast", "crf": "20"},
    "superfast, 20": {"preset": "superfast", "crf": "20"},
    "superfast, 21": {"preset": "superfast", "crf": "21"},
    "superfast, 22": {"preset": "superfast", "crf": "22"},
    "ultrafast, 20": {"preset": "ultrafast", "crf": "20"},
    "ultrafast, 23": {"preset": "ultrafast", "crf": "23"},
}
EVERY = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("video")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    with Matcher.open(options.bundle).stream(options.video, "frame:0") as stream:
        results = list(islice(stream, options.frames))
    figures: dict[str, dict[str, list[list[float]]]] = {}
    for what, pictures in (
        ("drawn", [draw_frame(result) for result in results]),
        ("frames", [result.image for result in results]),
    ):
        prepared = [prepare(picture) for picture in pictures]
        rows = figures.setdefault(what, {name: [] for name in SETTINGS})
        for _ in range(options.rounds):
            for name, setting in SETTINGS.items():
                rows[name].append(encoded(prepared, setting))
        print(f"{what}: x264's preset and CRF; processor ms a frame, KiB a frame, PSNR in dB")
        for name, values in rows.items():
            milliseconds, kibibytes, nearness = np.median(values, axis=0)
            print(f"  {name:14s} {milliseconds:6.2f} {kibibytes:7.1f} {nearness:6.2f}")
    save(options.json, figures=figures, frames=len(results))


def prepare(picture: Image) -> Any:
    frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
    return frame.reformat(format="yuv420p", dst_colorspace="ITU709")


def encoded(frames: list[Any], setting: dict[str, str]) -> list[float]:
    """Processor milliseconds and KiB for each frame, and the signal-to-noise ratio."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "encoded.mp4"
        with av.open(str(path), "w") as file:
            stream = file.add_stream("libx264", rate=25, options=dict(setting))
            stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
            stream.codec_context.thread_count = 1
            started = time.process_time()
            for number, frame in enumerate(frames):
                frame.pts, frame.time_base = number, Fraction(1, 25)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
            seconds = time.process_time() - started
        with av.open(str(path)) as file:
            errors = [
                float(np.mean((luma(found) - luma(frame)) ** 2))
                for number, (found, frame) in enumerate(zip(file.decode(video=0), frames, strict=True))
                if number % EVERY == 0
            ]
        size = path.stat().st_size
    nearness = 10 * np.log10(255**2 / np.mean(errors))
    return [1e3 * seconds / len(frames), size / 1024 / len(frames), float(nearness)]


def luma(frame: Any) -> Any:
    return frame.to_ndarray()[: frame.height].astype(np.float64)


if __name__ == "__main__":
    main()
