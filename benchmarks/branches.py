r"""PCK of networks and of each of their branches alone, on lists with keypoints.

    python benchmarks/branches.py MODEL.safetensors... [--against OTHER.safetensors...] \
        [--lists LIST.csv...] [--mirrored LIST.csv...] [--images images.csv] [--pf-willow DIR] ...

Each LIST has PF-PASCAL's columns, 0-based; --mirrored mirrors the sources of its lists. --images is as in
benchmarks/transfer.py. MODELs are one network trained with several seeds, and so are OTHERs: means over
seeds are printed, for the benchmarks' transfer and for sub-cell transfer, and the difference between
MODELs and OTHERs with its 95 % interval, by a bootstrap of photographs. A branch's scores are the softmax
of its map, as in NC-Net, or "in proportion" to it, as those of the fusion "product", which only matters for
sub-cell transfer. With --mirror-auto, sources are also matched mirrored, and the mirrored match counts
where it is clearly better (docs/mirroring.md): for the network by the support of its local map, for each
branch by that of its own, and by scores for networks that do not fuse by support.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transfer import pairs_within_classes

from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.intervals import Bootstrap
from dccnet.evaluation.pairs import Pair, facing_opposite, read_pairs
from dccnet.evaluation.pck import pair_pck
from dccnet.inference import to_correspondences
from dccnet.network.config import BRANCHES
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.network.fusion import Scores, softmax_scores
from dccnet.network.model import DCCNet
from dccnet.network.products import product_scores, supported_scores
from dccnet.runtime.arrays import Floats
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.mirroring import more_confident
from dccnet.training.autotune import usual_lowering
from dccnet.training.cpu import flush_denormals, keep_freed_memory
from dccnet.training.features import FeatureCache
from dccnet.weights.checkpoint import load_checkpoint

RULES = ("cells", "subcell")
IN_PROPORTION = ", in proportion"
LONG = 60
Rows = dict[str, Floats]
"""What matched -> PCK in percent of every pair by either rule, ``(pairs, 2)``."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--against", nargs="+", type=Path, default=[])
    parser.add_argument("--lists", nargs="+", type=Path, default=[])
    parser.add_argument("--mirrored", nargs="+", type=Path, default=[])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--pf-willow", type=Path)
    parser.add_argument("--every", type=int, default=1, help="every Nth pair of lists longer than 60")
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--mirror-auto", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    flush_denormals(True)
    lists: dict[str, list[Pair]] = {str(path): read_pairs(path) for path in options.lists}
    for path in options.mirrored:
        lists[f"{path}, mirrored"] = [facing_opposite(pair) for pair in read_pairs(path)]
    if options.images is not None:
        lists[str(options.images)] = pairs_within_classes(options.images)
    if options.pf_willow is not None:
        lists["pf-willow"] = [case.pair for case in load_benchmark("pf-willow", options.pf_willow).cases]
    results: dict[str, Any] = {"alpha": options.alpha, "lists": {}}
    for title, whole in lists.items():
        pairs = whole[:: options.every] if len(whole) > LONG else whole
        print(f"{title}: {len(pairs)} pairs, PCK@{options.alpha:g}, benchmarks' transfer (sub-cell)")
        ours, theirs = (
            [scored(load_checkpoint(path), pairs, options.alpha, options.mirror_auto) for path in paths]
            for paths in (options.models, options.against)
        )
        found = results["lists"][title] = {}
        for label, runs in (("", ours), ("against: ", theirs)):
            for name in runs[0] if runs else ():
                seeds = np.array([run[name].mean(axis=0) for run in runs])  # (seeds, rules)
                found[label + name] = seeds.tolist()
                each = ", ".join(f"{cells:.1f} ({subcell:.1f})" for cells, subcell in seeds)
                mean = seeds.mean(axis=0)
                print(f"  {label + name:32s} {mean[0]:5.1f} ({mean[1]:5.1f})   seeds: {each}", flush=True)
        bootstrap = Bootstrap(pairs)
        for name in ("fused", *(f"{branch}{IN_PROPORTION}" for branch in BRANCHES)):
            if not theirs or name not in theirs[0]:
                continue
            gain = np.mean([run["fused"] for run in ours], axis=0)
            gain = gain - np.mean([run[name] for run in theirs], axis=0)
            intervals = bootstrap.of_pairs(gain, [np.arange(len(pairs))])
            found[f"gain over {name}"] = {"mean": gain.mean(axis=0).tolist(), "interval": intervals}
            for rule, mean, interval in zip(RULES, gain.mean(axis=0), intervals or (), strict=False):
                low, high = interval
                print(f"  gain over {name}, {rule}: {mean:+.2f}, 95 % from {low:+.2f} to {high:+.2f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def scored(model: DCCNet, pairs: list[Pair], alpha: float, mirror: bool) -> Rows:
    model.lower(TRAINING_LOWERINGS[usual_lowering(model)])
    features = FeatureCache(model, 10**9)
    rows: dict[str, list[list[float]]] = {}
    for pair in pairs:
        other = facing_opposite(pair) if mirror else pair
        results = correspondences(model, features, pair)
        turned = correspondences(model, features, other) if mirror else results
        for name, plain in results.items():
            kept = more_confident(plain, turned[name])
            seen = other if kept is turned[name] else pair
            assert seen.source_points is not None and seen.target_points is not None
            moved = [kept.transfer(seen.target_points, from_="b", rule=rule) for rule in RULES]
            rows.setdefault(name, []).append(
                [pair_pck(points, seen.source_points, kept.size_a, alpha, "bbox") for points in moved]
            )
    if set(BRANCHES) <= rows.keys():
        rows["better branch (oracle)"] = np.maximum(rows["local"], rows["context"]).tolist()
    return {name: 100 * np.array(values) for name, values in rows.items()}


def correspondences(model: DCCNet, features: FeatureCache, pair: Pair) -> dict[str, Correspondences]:
    """By the network, by each of its branches alone, and by other fusions of their maps."""
    matching, size_a, size_b = features.matching(pair)
    scores = {"fused": matching.scores}
    for name, c in matching.maps.items():
        scores[name] = softmax_scores(c)
        scores[name + IN_PROPORTION] = product_scores(c, torch.ones_like(c))
    if set(BRANCHES) <= scores.keys():
        local, context = (matching.maps[name] for name in BRANCHES)
        scores["product of maps"] = product_scores(local, context)
        scores["product of maps, by support"] = supported_scores(local, context).scores
        scores["product of softmaxes"] = softmax_scores(local + context)
        mean = [(a + b) / 2 for a, b in zip(scores["local"], scores["context"], strict=True)]
        scores["mean of softmaxes"] = Scores(*mean)
    found = {
        name: to_correspondences(either_way, model.grid, model.grid, size_a, size_b)
        for name, either_way in scores.items()
    }
    if matching.support is None:
        return found
    of_context = supported_scores(context, local).support  # that of its first map
    return {
        name: dataclasses.replace(
            one, support=float(of_context if name.startswith("context") else matching.support)
        )
        for name, one in found.items()
    }


if __name__ == "__main__":
    main()
