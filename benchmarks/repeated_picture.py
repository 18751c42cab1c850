"""Draws pairs of repeated parts, matched by two networks.

    python benchmarks/repeated_picture.py LEFT.safetensors RIGHT.safetensors PICTURE.jpg [--seed 2]

The pairs are those that "dcc data repeated" makes of scikit-image's photographs: the first of each kind for
which the networks hit different numbers of points, whichever hits more. Points are moved from the target to
the source, sub-cell; a hit lies within a tenth of the longer side of the keypoints' box.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import cv2
import numpy as np

from dccnet.evaluation.pck import pair_pck
from dccnet.evaluation.photographs import FREE, photograph
from dccnet.inference import TorchMatcher
from dccnet.runtime.arrays import Image
from dccnet.runtime.files import atomic_path
from dccnet.training.repeated import KINDS, RepeatedPair, repeated_pair
from dccnet.weights.checkpoint import load_checkpoint

SIZE = (256, 256)
ALPHA = 0.1
SHRINK, QUALITY = 0.8, 80
"""Scale and JPEG quality of the picture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs=2, type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--seed", type=int, default=2)
    options = parser.parse_args()
    photographs = [photograph(name) for name in FREE]
    matchers = [TorchMatcher(load_checkpoint(path)) for path in options.networks]
    rows = []
    for first in range(len(KINDS)):
        for index in itertools.count(first, len(KINDS)):
            pair = repeated_pair(photographs, index, options.seed, SIZE)
            (left, picture_left), (right, picture_right) = (drawn(matcher, pair) for matcher in matchers)
            if left != right:
                print(f"{pair.kind}: pair {index}, {left:.0%} and {right:.0%} within the threshold")
                rows.append(np.hstack([picture_left, picture_right]))
                break
    small = cv2.resize(np.vstack(rows), None, fx=SHRINK, fy=SHRINK, interpolation=cv2.INTER_AREA)
    with atomic_path(options.picture) as temporary:
        cv2.imwrite(str(temporary), small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def drawn(matcher: TorchMatcher, pair: RepeatedPair) -> tuple[float, Image]:
    """The share of hits, and the target beside the source with the points moved there."""
    result = matcher.match(pair.source, pair.target)
    within = round(ALPHA * float(np.ptp(pair.source_points, axis=0).max()), 1)
    moved = result.transfer(pair.target_points, from_="b")
    picture = result.draw_truth(
        pair.source, pair.target, pair.target_points, pair.source_points, within, from_="b"
    )
    return pair_pck(moved, pair.source_points, result.size_a, ALPHA, "bbox"), picture


if __name__ == "__main__":
    main()
