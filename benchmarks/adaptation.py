"""What `dcc adapt` changes: PCK by strength of the adaptation, on lists with keypoints.

    python benchmarks/adaptation.py MODEL.safetensors TRAINING.csv --lists LIST.csv...
        [--mirrored LIST.csv...] [--images images.csv] [--pf-willow FOLDER] [--every 4]
        [--strengths 0 0.25 0.4 0.6] [--opposite SHARE] [--keep FILE]

Adapts the network once, to the pairs of TRAINING.csv, and prints for each strength PCK@0.05 / 0.1 / 0.15
(box, sub-cell transfer) of every n-th pair of the --lists (PF-PASCAL's columns, 0-based), of the --mirrored
ones with their sources mirrored, of pairs within the classes of the --images, and of PF-WILLOW. The first
two lists of docs/adaptation.md and the --images take every fourth pair, the videos' all. --keep writes the
adapted network with the default strength.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from levels import pck
from transfer import pairs_within_classes

from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.pairs import facing_opposite, read_pairs
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.network.model import DCCNet
from dccnet.training.adaptation.adapt import adapt
from dccnet.training.adaptation.settings import AdaptSettings
from dccnet.training.autotune import usual_lowering
from dccnet.weights.checkpoint import load_checkpoint, save_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("training", type=Path)
    parser.add_argument("--lists", nargs="*", type=Path, default=[])
    parser.add_argument("--mirrored", nargs="*", type=Path, default=[])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--pf-willow", type=Path)
    parser.add_argument("--every", type=int, default=1, help="use every n-th pair")
    parser.add_argument("--strengths", nargs="*", type=float, default=[0, 0.25, 0.4, 0.6])
    parser.add_argument("--opposite", type=float, default=0.0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    model = load_checkpoint(options.model)
    model.lower(TRAINING_LOWERINGS[usual_lowering(model)])
    settings = AdaptSettings(opposite=options.opposite)
    started = time.process_time()
    result = adapt(model, read_pairs(options.training), settings)
    print(f"{time.process_time() - started:.0f} s of processor time,", *result._asdict().items())
    if options.keep is not None:
        save_checkpoint(result.model, options.keep)
    lists = {str(path): read_pairs(path) for path in options.lists}
    for path in options.mirrored:
        lists[f"{path}, mirrored"] = [facing_opposite(pair) for pair in read_pairs(path)]
    if options.images is not None:
        lists[str(options.images)] = pairs_within_classes(options.images)
    if options.pf_willow is not None:
        lists["PF-WILLOW"] = [case.pair for case in load_benchmark("pf-willow", options.pf_willow).cases]
    for strength in options.strengths:
        print(f"strength {strength:g}")
        network = at_strength(result.model, strength / settings.strength)
        network.lower(TRAINING_LOWERINGS[usual_lowering(network)])
        for name, pairs in lists.items():
            values = pck(network, pairs[:: options.every])
            print("  " + " / ".join(f"{value:.1f}" for value in values), name, flush=True)


def at_strength(model: DCCNet, factor: float) -> DCCNet:
    """A copy whose adapter has ``factor`` times the effect."""
    network = DCCNet(model.config).eval()
    state = model.state_dict()
    network.load_state_dict(state | {"adapter.up.weight": factor * state["adapter.up.weight"]})
    return network


if __name__ == "__main__":
    main()
