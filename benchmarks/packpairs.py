"""Train presets on a list of pairs with several seeds, and report their PCK@0.1.

    python benchmarks/packpairs.py DATA [--presets tiny tiny-ncnet] [--seeds 1 2 3] [--recipe KEY=VALUE ...]

DATA holds train_pairs.csv, and test_pairs.csv with keypoints (0-based). PRESET-ncnet is an NC-Net of
PRESET's sizes. "same" are the pairs of the test list, whose objects face the same way; "opposite" are the
same pairs with the source mirrored, which these keypoints allow, as they have no left and right. The
network of the last epoch is scored, not the best on the test list; that of the first seed is also scored
before training.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from dccnet.evaluation.pairs import Pair, facing_opposite, read_pairs
from dccnet.evaluation.pck import DESCRIPTIONS, pair_pck, pair_scores
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.network.model import DCCNet
from dccnet.runtime import geometry
from dccnet.runtime.messages import show_messages
from dccnet.training.autotune import usual_lowering
from dccnet.training.commands import network_config
from dccnet.training.cpu import flush_denormals, keep_freed_memory
from dccnet.training.features import FeatureCache
from dccnet.training.recipes import recipe
from dccnet.training.run import start_run
from dccnet.weights.checkpoint import load_checkpoint

ALPHA = 0.1
NCNET = ('branches=["local"]', "fusion=null", "embedding=false", "auxiliary_loss=false")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--presets", nargs="+", default=["tiny", "tiny-ncnet"])
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="FIELD=VALUE")
    parser.add_argument("--recipe", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--keep", type=Path, help="folder that keeps the runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    show_messages()
    keep_freed_memory()
    flush_denormals(True)
    same = read_pairs(options.data / "test_pairs.csv")
    lists = {"same": same, "opposite": [facing_opposite(pair) for pair in same]}
    changes = {key: json.loads(value) for key, value in (text.split("=", 1) for text in options.recipe)}
    results: dict[str, Any] = {
        "protocol": DESCRIPTIONS["bbox"],
        "pairs": len(same),
        "runs": [],
        "before": {},
    }
    print(f"PCK@{ALPHA}, {DESCRIPTIONS['bbox']}; {len(same)} pairs")
    with tempfile.TemporaryDirectory() as scratch:
        for preset in options.presets:
            name = preset.removesuffix("-ncnet")
            fields = (*options.changes, *(NCNET if name != preset else ()))
            settings = {"data": str(options.data / "train_pairs.csv")} | recipe(name) | changes
            scores = []
            for seed in options.seeds:
                cpu = time.process_time()
                folder = (options.keep or Path(scratch)) / f"{preset}-seed{seed}"
                run, _ = start_run(str(folder), network_config(name, fields), {**settings, "seed": seed})
                cpu = time.process_time() - cpu
                if seed == options.seeds[0]:
                    before = pck(load_checkpoint(run.start), lists)
                    results["before"][preset] = before
                    print(f"{preset} seed {seed}, before training: {_text(before)}", flush=True)
                model = load_checkpoint(run.last)
                row = pck(model, lists)
                scores.append(list(row.values()))
                results["runs"].append({"preset": preset, "seed": seed, **row, "cpu_minutes": cpu / 60})
                print(f"{preset} seed {seed}: {_text(row)}; {cpu / 60:.1f} CPU minutes", flush=True)
            mean, spread = np.mean(scores, axis=0), np.std(scores, axis=0, ddof=min(1, len(scores) - 1))
            print(f"{preset}, mean: {_text(dict(zip(row, mean, strict=True)))}")
            print(f"{preset}, standard deviation: {_text(dict(zip(row, spread, strict=True)))}")
    for title, pairs in lists.items():
        by_rule, by_cell = nearest_neighbour_pck(model, pairs)
        results[f"nearest_neighbour_{title}"] = {"transfer": by_rule, "nearest_cell": by_cell}
        print(f"nearest neighbour, {title}: benchmarks' transfer {by_rule:.2f}, nearest cell {by_cell:.2f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def pck(model: DCCNet, lists: dict[str, list[Pair]]) -> dict[str, float]:
    model.lower(TRAINING_LOWERINGS[usual_lowering(model)])
    features = FeatureCache(model, 10**9)
    return {
        title: 100 * float(np.mean(pair_scores(pairs, features.match, ALPHA, "bbox")))
        for title, pairs in lists.items()
    }


def _text(row: dict[str, float]) -> str:
    return ", ".join(f"{title} {value:.2f}" for title, value in row.items())


def nearest_neighbour_pck(model: DCCNet, pairs: list[Pair]) -> tuple[float, float]:
    """PCK by the benchmarks' transfer, and by the nearest cell alone, which suits noisy matches better."""
    features = FeatureCache(model, 10**9)
    blended, alone = [], []
    for pair in pairs:
        assert pair.source_points is not None and pair.target_points is not None
        result = features.nearest_neighbour(pair)
        size_a, grid = result.size_a, model.grid
        cell = np.rint(pair.target_points / geometry.pixels_per_cell(result.size_b, grid)).astype(int)
        targets = geometry.index_pixels(result.index_b, grid, size_a)
        for scores, warped in (
            (blended, result.transfer(pair.target_points, from_="b", rule="cells", outside=True)),
            (alone, targets[cell[:, 1], cell[:, 0]]),
        ):
            scores.append(pair_pck(warped, pair.source_points, size_a, ALPHA, "bbox"))
    return 100 * float(np.mean(blended)), 100 * float(np.mean(alone))


if __name__ == "__main__":
    main()
