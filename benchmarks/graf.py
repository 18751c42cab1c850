"""Errors of the matches between `graf1` and `graf3`, relative to their true homography.

    python benchmarks/graf.py DATA/geometry MODEL.safetensors...

Prints median and mean error in pixels for each network, and for nearest neighbours of its backbone's
features, by each rule of transfer that it has. Points are a lattice on graf1, without those outside graf3.
DATA/geometry holds graf1.png, graf3.png and H1to3p.xml.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from dccnet.evaluation.pairs import Pair, file_picture
from dccnet.inference import TorchMatcher
from dccnet.runtime.arrays import Image, Points
from dccnet.runtime.checks import Rule
from dccnet.runtime.geometry import apply_homography, cell_pixels
from dccnet.runtime.images import read_image
from dccnet.training.features import FeatureCache
from dccnet.weights.checkpoint import load_checkpoint

LATTICE = (30, 40)
RULES: tuple[Rule, ...] = ("cells", "subcell", "refined")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("geometry", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    options = parser.parse_args()
    a, b, points, truth = graf_pair(options.geometry)
    pair = Pair(*(file_picture(options.geometry / f"graf{i}.png") for i in (1, 3)), category="graf")
    print(f"{len(points)} points, pictures of {a.shape[1]}x{a.shape[0]}; error in pixels: median, mean")
    for path in options.models:
        model = load_checkpoint(path)
        for name, result in (
            (str(path), TorchMatcher(model).match(a, b)),
            ("  nearest neighbour", FeatureCache(model, 10**9).nearest_neighbour(pair)),
        ):
            for rule in RULES[: RULES.index(result.rule) + 1]:
                moved = result.transfer(points, from_="a", rule=rule)
                error = np.linalg.norm(moved - truth, axis=1)
                print(f"{name}, {rule}: {np.median(error):.1f}, {error.mean():.1f}")


def graf_pair(folder: Path) -> tuple[Image, Image, Points, Points]:
    """Both pictures, points (x, y) of a lattice on the first, and where they lie in the second."""
    a, b = (read_image(folder / f"graf{i}.png") for i in (1, 3))
    storage = cv2.FileStorage(str(folder / "H1to3p.xml"), cv2.FILE_STORAGE_READ)
    homography = storage.getNode("H13").mat()
    points = cell_pixels(LATTICE, (a.shape[0], a.shape[1])).reshape(-1, 2)
    truth = apply_homography(homography, points)
    inside = ((truth >= 0) & (truth <= [b.shape[1] - 1, b.shape[0] - 1])).all(axis=1)
    return a, b, points[inside], truth[inside]


if __name__ == "__main__":
    main()
