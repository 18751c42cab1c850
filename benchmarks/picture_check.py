"""What it costs to decode each picture before a training starts, and to resize it.

    python benchmarks/picture_check.py [--megapixels 0.1 1 12] [--count 20] [--json FILE]

Writes JPEGs (quality 90) of dcc's own pictures in these sizes, and prints the CPU milliseconds for one: to
look whether it is there, as `dcc train --resume` does, to decode it, as a new run does, and to make a frame
of 352x352 pixels of the decoded picture, by gathering single pixels (as large pictures are resized) and by
whole rows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from results import save

from dccnet.export.bundles.samples import PICTURES
from dccnet.runtime import geometry
from dccnet.runtime.images import read_image
from dccnet.training.datasets import look


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[0.1, 1, 12])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--json")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    images = [read_image(path) for path in sorted(PICTURES.glob("*.jpg"))]
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in options.megapixels:
            files = []
            for number in range(options.count):
                image = images[number % len(images)]
                scale = (megapixels * 1e6 / (image.shape[0] * image.shape[1])) ** 0.5
                files.append(Path(folder) / f"{megapixels} {number}.jpg")
                larger = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
                cv2.imwrite(str(files[-1]), larger, [cv2.IMWRITE_JPEG_QUALITY, 90])
            rows[megapixels] = {"look": _ms(look, files), "decode": _ms(read_image, files)}
            decoded = [read_image(file) for file in files[:3]] * (len(files) // 3 + 1)
            for name, ratio in (("gathered", 0.0), ("whole rows", float("inf"))):
                geometry.GATHER_FROM = ratio
                rows[megapixels][name] = _ms(partial(geometry.resize_uint8, size=(352, 352)), decoded)
            print(f"{megapixels:g} megapixels: {rows[megapixels]}")
    save(options.json, rows=rows)


def _ms(call: Callable[[Any], object], items: list[Any]) -> float:
    start = time.process_time()
    for item in items:
        call(item)
    return round(1000 * (time.process_time() - start) / len(items), 3)


if __name__ == "__main__":
    main()
