"""Rules for the transfer of points, compared by PCK on lists of pairs with keypoints.

    python benchmarks/transfer.py MODEL.safetensors LIST.csv... [--mirrored] [--images images.csv]

Each LIST has PF-PASCAL's columns, 0-based; --mirrored adds every list with its sources mirrored. --images
has the columns image,class,...,x1,y1,x2,y2,...: up to 100 random ordered pairs of each class. Target
keypoints are carried to the source; the threshold is relative to the longer side of its keypoints' box.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import random
from pathlib import Path

import numpy as np

from dccnet.evaluation.pairs import Pair, facing_opposite, file_picture, read_pairs
from dccnet.evaluation.pck import pair_pck
from dccnet.inference import TorchMatcher
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.runtime.arrays import Points
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import pixels_per_cell
from dccnet.runtime.score_windows import cut_windows
from dccnet.training.autotune import usual_lowering
from dccnet.weights.checkpoint import load_checkpoint

ALPHAS = (0.05, 0.1, 0.15)
SIDES = (3, 5, 7)
PAIRS_PER_CLASS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("lists", nargs="*", type=Path)
    parser.add_argument("--mirrored", action="store_true")
    parser.add_argument("--images", type=Path)
    options = parser.parse_args()
    lists = {str(path): read_pairs(path) for path in options.lists}
    if options.mirrored:
        lists |= {f"{name}, mirrored": [facing_opposite(p) for p in ps] for name, ps in lists.items()}
    if options.images is not None:
        lists[str(options.images)] = pairs_within_classes(options.images)
    model = load_checkpoint(options.model)
    model.lower(TRAINING_LOWERINGS[usual_lowering(model)])
    matcher = TorchMatcher(model)
    for name, pairs in lists.items():
        scores: dict[str, list[list[float]]] = {}
        for pair in pairs:
            assert pair.source_points is not None and pair.target_points is not None
            result = matcher.match(pair.source.load(), pair.target.load(), heatmaps=True)
            for rule, moved in transfers(result, pair.target_points).items():
                pck = [pair_pck(moved, pair.source_points, result.size_a, a, "bbox") for a in ALPHAS]
                scores.setdefault(rule, []).append(pck)
        print(f"{name}: {len(pairs)} pairs, PCK at {', '.join(map(str, ALPHAS))}")
        for rule, rows in scores.items():
            print(f"  {rule:24s}", *(f"{value:5.1f}" for value in 100 * np.mean(rows, axis=0)), flush=True)


def pairs_within_classes(path: Path) -> list[Pair]:
    items: dict[str, list[tuple[Path, Points]]] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            count = sum(name.startswith("x") and name[1:].isdigit() for name in row)
            points = [[float(row[f"{axis}{i + 1}"]) for axis in "xy"] for i in range(count)]
            items.setdefault(row["class"], []).append((path.parent / row["image"], np.array(points)))
    pairs = []
    chooser = random.Random(1)
    for category, pictures in sorted(items.items()):
        ordered = list(itertools.permutations(pictures, 2))
        chooser.shuffle(ordered)
        for (a, points_a), (b, points_b) in ordered[:PAIRS_PER_CLASS]:
            pairs.append(Pair(file_picture(a), file_picture(b), category, points_a, points_b))
    return pairs


def transfers(result: Correspondences, points: Points) -> dict[str, Points]:
    """Points of B in A, ``(N, 2)``, by each rule."""
    found = {"cells": result.transfer(points, from_="b", rule="cells", outside=True)}
    heatmap_a, heatmap_b = result.heatmap_a, result.heatmap_b
    assert heatmap_a is not None and heatmap_b is not None
    for side in SIDES:
        window_a = cut_windows(heatmap_a, result.index_a, side)
        window_b = cut_windows(heatmap_b, result.index_b, side)
        by_windows = dataclasses.replace(result, window_a=window_a, window_b=window_b)
        found[f"windows {side}x{side}"] = by_windows.transfer(
            points, from_="b", rule="subcell", outside=True
        )
        found[f"whole maps, mean {side}x{side}"] = by_whole_maps(result, points, side)
    return found


def by_whole_maps(result: Correspondences, points: Points, side: int) -> Points:
    """The same with all scores of the four cells instead of windows."""
    heatmap = result.heatmap_b
    assert heatmap is not None
    height, width = heatmap.shape[2:]
    moved = []
    for x, y in points / pixels_per_cell(result.size_b, (heatmap.shape[0], heatmap.shape[1])):
        x0, y0 = (int(np.clip(v, 0, n - 2)) for v, n in ((x, heatmap.shape[1]), (y, heatmap.shape[0])))
        right, down = np.clip([x - x0, y - y0], 0, 1)
        upper = (1 - right) * heatmap[y0, x0] + right * heatmap[y0, x0 + 1]
        lower = (1 - right) * heatmap[y0 + 1, x0] + right * heatmap[y0 + 1, x0 + 1]
        blended = (1 - down) * upper + down * lower
        row, column = np.unravel_index(blended.argmax(), blended.shape)
        rows, columns = (
            np.arange(max(i - side // 2, 0), min(i + side // 2 + 1, n))
            for i, n in ((int(row), height), (int(column), width))
        )
        part = blended[rows[:, None], columns]
        weights = part - part.min()
        moved.append([(weights * columns).sum(), (weights * rows[:, None]).sum()] / weights.sum())
    return np.array(moved) * pixels_per_cell(result.size_a, (height, width))


if __name__ == "__main__":
    main()
