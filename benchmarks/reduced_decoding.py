"""What decoding JPEG pictures at a reduced size would save, and cost: docs/models.md.

    python benchmarks/reduced_decoding.py packpairs/test_pairs.csv [--limit 60] [--json FILE]

The list's pictures are enlarged to 12 megapixels, with noise of 4 grey levels, as a camera's picture has
detail at the pixel, and stored as JPEG of quality 92. They are decoded whole, and by OpenCV at 1/2, 1/4 and
1/8 of the size (libjpeg leaves out what is finer). Times are processor times; keypoints are the list's.
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np
from results import save

from dccnet.evaluation.pairs import Pair, Picture, read_pairs
from dccnet.evaluation.pck import pair_pck
from dccnet.runtime import Matcher
from dccnet.runtime.arrays import Bytes, Image
from dccnet.runtime.features import Features

SIDE = 4000
"""The longer side of a picture with 12 megapixels and a ratio of 4 to 3."""
NOISE, QUALITY, ALPHA = 4.0, 92, 0.1
FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pairs")
    parser.add_argument("--model", default="small-1")
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--json")
    options = parser.parse_args()
    pairs = read_pairs(options.pairs)[: options.limit]
    matcher = Matcher.open(options.model, threads=1)
    pictures = {picture.key: picture for pair in pairs for picture in (pair.source, pair.target)}
    seconds: dict[int, list[float]] = {by: [] for by in FLAGS}
    grey: dict[int, list[float]] = {by: [] for by in FLAGS}
    features: dict[int, dict[str, Features]] = {by: {} for by in FLAGS}
    for number, (key, picture) in enumerate(pictures.items()):
        data, size = enlarged(picture, number)
        frames = {}
        for by, flag in FLAGS.items():
            image, taken = decode(data, flag)
            frames[by] = matcher.manifest.frames.of(image)
            seconds[by].append(taken)
            grey[by].append(float(np.abs(frames[by].astype(float) - frames[1]).mean()))
            features[by][key] = matcher.encode(image, size=size)
    results = {}
    for by in FLAGS:
        equal, right = compared(matcher, pairs, features[by], features[1])
        milliseconds, grey_levels = 1e3 * float(np.median(seconds[by])), float(np.mean(grey[by]))
        results[by] = {"ms": milliseconds, "grey_levels": grey_levels, "equal": equal, "pck": right}
        print(
            f"1/{by}: {milliseconds:.1f} ms to decode; frames differ by {grey_levels:.2f} grey levels on "
            f"average; {equal:.1%} of the best cells are the same; PCK@{ALPHA} {right:.1%}"
        )
    save(options.json, pictures=len(pictures), pairs=len(pairs), results=results)


def enlarged(picture: Picture, seed: int) -> tuple[Bytes, tuple[int, int]]:
    """A JPEG file, and the (height, width) of the list's picture, in whose pixels its keypoints are."""
    image = picture.load()
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    large = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(seed).normal(0, NOISE, large.shape)
    noisy = np.clip(large + noise, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1], (height, width)


def decode(data: Bytes, flag: int) -> tuple[Image, float]:
    """The picture, and the least processor time of three runs, in seconds."""
    taken = []
    for _ in range(3):
        started = time.process_time()
        image = np.asarray(cv2.imdecode(data, flag), np.uint8)
        taken.append(time.process_time() - started)
    return image, min(taken)


def compared(
    matcher: Matcher, pairs: list[Pair], features: dict[str, Features], whole: dict[str, Features]
) -> tuple[float, float]:
    """Share of best cells that are those of pictures decoded whole, and PCK with refined transfer."""
    equal, right = [], []
    for pair in pairs:
        a, b = pair.source.key, pair.target.key
        result, before = matcher.match(features[a], features[b]), matcher.match(whole[a], whole[b])
        equal.append(float(np.mean(result.index_b == before.index_b)))
        assert pair.source_points is not None and pair.target_points is not None
        moved = result.transfer(pair.target_points, "b", outside=True)
        right.append(pair_pck(moved, pair.source_points, result.size_a, ALPHA, "bbox"))
    return float(np.mean(equal)), float(np.mean(right))


if __name__ == "__main__":
    main()
