"""Time of training steps on a CPU with denormal numbers, and with denormals flushed to zero.

    python benchmarks/denormals.py MODEL.safetensors PAIRS.csv [--batch 8] [--rounds 3]

MODEL should be a trained network: untrained ones compute few denormals. Both ways are timed in turns, in
one process, on one thread.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from results import table

from dccnet.evaluation.pairs import read_pairs
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.runtime.turns import take_turns
from dccnet.training.autotune import usual_lowering
from dccnet.training.cpu import flush_denormals, keep_freed_memory
from dccnet.training.features import FeatureCache
from dccnet.training.objective import Objective, Part
from dccnet.training.settings import TrainSettings
from dccnet.weights.checkpoint import load_checkpoint

KEPT = "denormals kept"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    model = load_checkpoint(options.model).train()
    model.lower(TRAINING_LOWERINGS[usual_lowering(model)])
    pairs = read_pairs(options.pairs)
    pairs = pairs[:: max(1, len(pairs) // (options.batch + 1))][: options.batch + 1]
    features, objective = FeatureCache(model, 10**9), Objective(model, TrainSettings(data="-"))
    sources = features.batch([pair.source for pair in pairs])
    part = Part(sources, features.batch([pair.target for pair in pairs[:-1]]), None, None, None)

    def step() -> None:
        model.zero_grad()
        objective(part)[0].backward()

    def kept() -> None:
        flush_denormals(False)
        step()

    def flushed() -> None:
        if not flush_denormals(True):
            raise SystemExit("this CPU cannot flush denormal numbers")
        step()

    seconds = take_turns({KEPT: kept, "flushed to zero": flushed}, options.rounds)
    print(table(seconds, {"times as fast": KEPT}))


if __name__ == "__main__":
    main()
