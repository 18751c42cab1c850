"""PCK where A is matched as it is, mirrored, and mirrored where that is clearly more confident.

    python benchmarks/mirroring.py [--model BUNDLE] [--pairs LIST.csv ...] [--images images.csv]
        [--pf-willow FOLDER] [--json FILE]

Each LIST has PF-PASCAL's columns, 0-based; "mirrored" are its pairs with the source mirrored. Of the
--images, pairs are those of benchmarks/transfer.py. PCK@0.05 / 0.1 / 0.15 (keypoints' box) by the usual
transfer of the bundle, how many pairs `auto` mirrors, and milliseconds for a pair without encoding.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from results import save
from transfer import ALPHAS, pairs_within_classes

from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.pairs import Pair, Picture, facing_opposite, read_pairs
from dccnet.evaluation.pck import pair_pck
from dccnet.runtime import Matcher
from dccnet.runtime.features import Features
from dccnet.runtime.views.choices import Mirror

WAYS: dict[str, Mirror] = {"as it is": False, "mirrored": True, "auto": "auto"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--pairs", type=Path, nargs="*", default=[])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--pf-willow", type=Path)
    parser.add_argument("--json")
    options = parser.parse_args()
    lists: dict[str, list[Pair]] = {}
    for path in options.pairs:
        pairs = read_pairs(path)
        name = f"{path.parent.name}/{path.stem}"
        lists |= {name: pairs, f"{name}, mirrored": [facing_opposite(pair) for pair in pairs]}
    if options.images is not None:
        lists[options.images.parent.name] = pairs_within_classes(options.images)
    if options.pf_willow is not None:
        benchmark = load_benchmark("pf-willow", options.pf_willow)
        lists["pf-willow"] = [case.pair for case in benchmark.cases]
    rows = {}
    with Matcher.open(options.model) as matcher:
        features: dict[str, Features] = {}

        def encoded(picture: Picture) -> Features:
            if picture.key not in features:
                features[picture.key] = matcher.encode(picture.load(), mirrored=True)
            return features[picture.key]

        for name, pairs in lists.items():
            for way, mirror in WAYS.items():
                scores, mirrored, seconds = [], 0, 0.0
                for pair in pairs:
                    a, b = encoded(pair.source), encoded(pair.target)
                    started = time.perf_counter()
                    result = matcher.match(a, b, mirror=mirror)
                    seconds += time.perf_counter() - started
                    mirrored += result.mirrored
                    assert pair.target_points is not None and pair.source_points is not None
                    moved = result.transfer(pair.target_points, from_="b", outside=True)
                    scores.append([pair_pck(moved, pair.source_points, a.size, x, "bbox") for x in ALPHAS])
                pck = np.round(100 * np.mean(scores, axis=0), 1).tolist()
                row = {"pck": pck, "mirrored": mirrored, "pairs": len(pairs)}
                rows[f"{name}: {way}"] = row | {"ms": round(1000 * seconds / len(pairs), 1)}
                print(f"{name:32} {way:9} {pck} {mirrored} of {len(pairs)} mirrored", flush=True)
    if options.json:
        save(options.json, mirroring=rows)


if __name__ == "__main__":
    main()
