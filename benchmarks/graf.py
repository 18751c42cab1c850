"""Errors of the matches between `graf1` and `graf3`, relative to their true homography.

    python benchmarks/graf.py DATA/geometry MODEL.safetensors...

Prints median and mean error in pixels for each network, and for nearest neighbours of its backbone's
features, by the benchmarks' transfer (cells) and by sub-cell transfer. Points are a lattice on graf1,
without those that lie outside graf3. DATA/geometry holds graf1.png, graf3.png and H1to3p.xml.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from dccnet.evaluation.pairs import Pair, file_picture
from dccnet.runtime.checks import Rule
from dccnet.runtime.geometry import apply_homography, cell_pixels
from dccnet.training.features import FeatureCache
from dccnet.weights.checkpoint import load_checkpoint

LATTICE = (30, 40)
RULES: tuple[Rule, ...] = ("cells", "subcell")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("geometry", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    options = parser.parse_args()
    geometry: Path = options.geometry
    pair = Pair(*(file_picture(geometry / f"graf{i}.png") for i in (1, 3)), category="graf")
    a, b = pair.source.load(), pair.target.load()
    storage = cv2.FileStorage(str(geometry / "H1to3p.xml"), cv2.FILE_STORAGE_READ)
    homography = storage.getNode("H13").mat()
    points = cell_pixels(LATTICE, (a.shape[0], a.shape[1])).reshape(-1, 2)
    truth = apply_homography(homography, points)
    inside = ((truth >= 0) & (truth <= [b.shape[1] - 1, b.shape[0] - 1])).all(axis=1)
    print(f"{inside.sum()} points, pictures of {a.shape[1]}x{a.shape[0]}; error in pixels: median, mean")
    for path in options.models:
        model = load_checkpoint(path)
        features = FeatureCache(model, 10**9)
        for name, result in (
            (str(path), features.match(pair)),
            ("  nearest neighbour", features.nearest_neighbour(pair)),
        ):
            for rule in RULES:
                moved = result.transfer(points[inside], from_="a", rule=rule)
                error = np.linalg.norm(moved - truth[inside], axis=1)
                print(f"{name}, {rule}: {np.median(error):.1f}, {error.mean():.1f}")


if __name__ == "__main__":
    main()
