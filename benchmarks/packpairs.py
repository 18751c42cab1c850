"""What `tiny` learns from a list of pairs: PCK@0.1 against nearest neighbour, over seeds.

    python benchmarks/packpairs.py DATA [--seeds 1 2 3] [--epochs 4] [--set FIELD=VALUE] [--json FILE]

DATA holds train_pairs.csv and test_pairs.csv (keypoints, 0-based). The test list is only reported on:
the network reported is that of the last epoch, not the best on the test list.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from dccnet.checkpoint import load_checkpoint
from dccnet.model import DCCNet
from evaluation.pairs import Pair, read_pairs
from evaluation.pck import DESCRIPTIONS, mean_pck, pair_pck
from runtime import geometry
from training.allocator import keep_freed_memory
from training.commands import network_config
from training.features import FeatureCache
from training.run import start_run

ALPHA = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="FIELD=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--keep", type=Path, help="folder for the runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    config = network_config(options.preset, tuple(options.changes))
    pairs = read_pairs(options.data / "test_pairs.csv")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        for seed in options.seeds:
            cpu = time.process_time()
            run, _ = start_run(
                str(folder / f"seed{seed}"),
                config,
                {
                    "data": str(options.data / "train_pairs.csv"),
                    "epochs": options.epochs,
                    "learning_rate": options.learning_rate,
                    "batch_size": options.batch_size,
                    "seed": seed,
                },
            )
            cpu = time.process_time() - cpu
            model = load_checkpoint(run.last)
            rows.append({"seed": seed, "pck": pck(model, pairs), "training_cpu_minutes": cpu / 60})
            print(f"seed {seed}: PCK@{ALPHA} {rows[-1]['pck']:.2f}, {cpu / 60:.1f} CPU minutes", flush=True)
    by_rule, by_cell = nearest_neighbour_pck(model, pairs)
    scores = [row["pck"] for row in rows]
    print(f"protocol: {DESCRIPTIONS['bbox']}; {len(pairs)} pairs")
    print(f"nearest neighbour, benchmarks' transfer (four cells blended): {by_rule:.2f}")
    print(f"nearest neighbour, nearest cell alone: {by_cell:.2f}")
    print(f"{options.preset}, {len(scores)} seeds: {np.mean(scores):.2f} ± {np.std(scores):.2f}")
    if options.json:
        result = {"runs": rows, "nearest_neighbour": by_rule, "nearest_neighbour_nearest_cell": by_cell}
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def pck(model: DCCNet, pairs: list[Pair]) -> float:
    return mean_pck(pairs, FeatureCache(model, 10**9).match, ALPHA, "bbox")


def nearest_neighbour_pck(model: DCCNet, pairs: list[Pair]) -> tuple[float, float]:
    """By the benchmarks' transfer, and by the nearest cell alone, which suits noisy matches better."""
    features = FeatureCache(model, 10**9)
    blended, alone = [], []
    for pair in pairs:
        assert pair.source_points is not None and pair.target_points is not None
        result = features.nearest_neighbour(pair)
        size_a, grid = result.size_a, model.grid
        cell = np.rint(pair.target_points / geometry.pixels_per_cell(result.size_b, grid)).astype(int)
        targets = geometry.index_pixels(result.index_b, grid, size_a)
        for scores, warped in (
            (blended, result.transfer(pair.target_points, from_="b")),
            (alone, targets[cell[:, 1], cell[:, 0]]),
        ):
            scores.append(pair_pck(warped, pair.source_points, size_a, ALPHA, "bbox"))
    return 100 * float(np.mean(blended)), 100 * float(np.mean(alone))


if __name__ == "__main__":
    main()
