"""Matches of `graf1` and `graf3` against their true homography: median error in pixels.

    python benchmarks/graf.py DATA/geometry MODEL.safetensors...

Beside each network, nearest neighbour on the same backbone's features. Points are a lattice of graf1;
those that leave graf3 are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from dccnet.demo.photographs import apply_homography
from dccnet.evaluation.pairs import Pair, file_picture
from dccnet.runtime.geometry import cell_pixels
from dccnet.training.features import FeatureCache
from dccnet.weights.checkpoint import load_checkpoint

LATTICE = (30, 40)


def main(geometry: Path, models: list[Path]) -> None:
    pair = Pair(*(file_picture(geometry / f"graf{i}.png") for i in (1, 3)), category="graf")
    a, b = pair.source.load(), pair.target.load()
    storage = cv2.FileStorage(str(geometry / "H1to3p.xml"), cv2.FILE_STORAGE_READ)
    homography = storage.getNode("H13").mat()
    points = cell_pixels(LATTICE, (a.shape[0], a.shape[1])).reshape(-1, 2)
    truth = apply_homography(homography, points)
    inside = ((truth >= 0) & (truth <= [b.shape[1] - 1, b.shape[0] - 1])).all(axis=1)
    print(f"{inside.sum()} points, pictures of {a.shape[1]}x{a.shape[0]}; error in pixels: median, mean")
    for path in models:
        model = load_checkpoint(path)
        features = FeatureCache(model, 10**9)
        for name, result in (
            (str(path), features.match(pair)),
            ("  nearest neighbour", features.nearest_neighbour(pair)),
        ):
            moved = result.transfer(points[inside], from_="a")
            error = np.linalg.norm(moved - truth[inside], axis=1)
            print(f"{name}: {np.median(error):.1f}, {error.mean():.1f}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), list(map(Path, sys.argv[2:])))
