"""What refinement by fine features changes: PCK on lists of pairs, errors in pixels, milliseconds.

    python benchmarks/refinement.py MODEL LIST.csv... [--mirrored] [--images images.csv]
    python benchmarks/refinement.py MODEL --geometry DATA/geometry --stereo --time

MODEL is a bundle, a name of dcc models, or a checkpoint. Lists and --images are those of transfer.py:
target keypoints are carried to the source. --geometry is the folder of graf.py; --stereo is scikit-image's
pair with known disparity (needs dccnet[demo]). --time measures in turns, on one thread and the stereo pair:
one match, and the mutual matches, 20 points and the dense flow by both rules.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from graf import graf_pair
from transfer import ALPHAS, pairs_within_classes

from dccnet.evaluation.models import Model, open_model
from dccnet.evaluation.pairs import Pair, facing_opposite, read_pairs
from dccnet.evaluation.pck import pair_pck
from dccnet.runtime.arrays import Image, Points
from dccnet.runtime.checks import Rule
from dccnet.runtime.selection import BackendChoice
from dccnet.runtime.turns import medians, take_turns

RULES: tuple[Rule, ...] = ("cells", "subcell", "refined")
ROUNDS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("lists", nargs="*", type=Path)
    parser.add_argument("--mirrored", action="store_true")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--geometry", type=Path)
    parser.add_argument("--stereo", action="store_true")
    parser.add_argument("--time", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    model = open_model(options.model, BackendChoice(threads=1), refine=True)
    lists = {str(path): read_pairs(path) for path in options.lists}
    if options.mirrored:
        lists |= {f"{name}, mirrored": [facing_opposite(p) for p in ps] for name, ps in lists.items()}
    if options.images is not None:
        lists[str(options.images)] = pairs_within_classes(options.images)
    for name, pairs in lists.items():
        print(f"{name}: {len(pairs)} pairs, PCK at {', '.join(map(str, ALPHAS))}")
        for rule, scores in pck_by_rule(model, pairs).items():
            print(f"  {rule:8s}", *(f"{score:5.1f}" for score in scores), flush=True)
    if options.geometry is not None:
        print_errors("graf", model, *graf_pair(options.geometry))
    if options.stereo or options.time:
        from dccnet.demo.photographs import stereo_pair

        known = stereo_pair()
        print_errors("stereo", model, known.image_a, known.image_b, known.points_a, known.points_b)
    if options.time:
        print_times(model, known.image_a, known.image_b, known.points_a[:20])


def pck_by_rule(model: Model, pairs: Sequence[Pair]) -> dict[Rule, Sequence[float]]:
    rows: dict[Rule, list[list[float]]] = {rule: [] for rule in RULES}
    features = {}
    for pair in pairs:
        assert pair.source_points is not None and pair.target_points is not None
        for picture in (pair.source, pair.target):
            if picture.key not in features:
                features[picture.key] = model.encode(picture.load())
        result = model.match(features[pair.source.key], features[pair.target.key])
        for rule, scores in rows.items():
            moved = result.transfer(pair.target_points, from_="b", rule=rule, outside=True)
            scores.append([pair_pck(moved, pair.source_points, result.size_a, a, "bbox") for a in ALPHAS])
    return {rule: 100 * np.mean(scores, axis=0) for rule, scores in rows.items()}


def print_errors(name: str, model: Model, a: Image, b: Image, points: Points, truth: Points) -> None:
    result = model.match(model.encode(a), model.encode(b))
    print(f"{name}: {len(points)} points, {a.shape[1]}x{a.shape[0]}; error in pixels: median, mean")
    for rule in RULES:
        errors = np.linalg.norm(result.transfer(points, from_="a", rule=rule) - truth, axis=1)
        print(f"  {rule:8s} {np.median(errors):5.1f} {errors.mean():5.1f}")


def print_times(model: Model, a: Image, b: Image, points: Points) -> None:
    reference = model.encode(a)
    result = model.match(reference, model.encode(b))
    ways = {"encode and match with a kept reference": lambda: model.match(reference, model.encode(b))}
    for rule in RULES[1:]:
        ways |= {
            f"{rule}: mutual matches": partial(result.mutual, rule),
            f"{rule}: 20 points": partial(result.transfer, points, "a", rule),
            f"{rule}: dense flow": partial(result.flow, "a", rule),
        }
    print(f"medians of {ROUNDS}, {model.backend}")
    for way, seconds in medians(take_turns(ways, ROUNDS)).items():
        print(f"  {1000 * seconds:7.1f} ms  {way}")


if __name__ == "__main__":
    main()
