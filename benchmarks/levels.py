"""PCK of plain starts: levels of the backbones, sizes of the pictures, with context and without.

    python benchmarks/levels.py PAIRS.csv [--images images.csv] [--pf-willow FOLDER] [--every 4]
        [--rows lite1 ...]

Builds the preset `small` with each row's levels of EfficientNet-lite and picture size, and prints
PCK@0.05 / 0.1 / 0.15 (box, sub-cell transfer) of every n-th pair: of PAIRS.csv, which has keypoints in
PF-PASCAL's format (0-based), as they are and with the source mirrored, and of those that
benchmarks/transfer.py makes from the --images; and of PF-WILLOW. --rows takes those whose name contains one
of the texts. "and lite2" adds the features of EfficientNet-lite2's chosen levels, with a weight of 0.4.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transfer import ALPHAS, pairs_within_classes

from dccnet.evaluation.benchmarks import load_benchmark
from dccnet.evaluation.pairs import Pair, facing_opposite, read_pairs
from dccnet.evaluation.pck import carry_keypoints, pair_pck
from dccnet.network.backbone import BACKBONES, Backbone, build_backbone
from dccnet.network.config import PRESETS, ModelConfig
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.network.correlation import l2_normalise
from dccnet.network.model import DCCNet
from dccnet.training.features import FeatureCache
from dccnet.training.starts import start_plain
from dccnet.weights.pretrained import load_backbone_weights

SMALL = PRESETS["small"]
SECOND = 0.4
"""Weight of a second backbone's features; those of the first have the remainder."""
LOCAL: dict[str, Any] = {"branches": ("local",), "fusion": None, "auxiliary_loss": False}
ROWS: list[tuple[str, tuple[int, ...], int, dict[str, Any]]] = [
    # backbone, blocks, side of the pictures, other changes to the preset
    ("lite0", (10, 14, 15), 320, {}),
    ("lite0", (10, 14, 15), 352, {}),
    ("lite1", (14, 19), 352, {}),
    ("lite1", (14, 19, 20), 352, {}),
    ("lite1", (13, 14, 19, 20), 320, {}),
    ("lite1", (13, 14, 19, 20), 352, {}),
    ("lite1", (13, 14, 19, 20), 352, LOCAL),
    ("lite1", (13, 14, 19, 20), 384, {}),
    ("lite1 and lite2", (13, 14, 19, 20), 384, {"consensus_kernels": (9, 1)}),
    ("lite2", (13, 14, 19, 20), 352, {}),
    ("lite2", (13, 14, 17, 19), 352, {}),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--every", type=int, default=1, help="use every n-th pair")
    parser.add_argument("--rows", nargs="*", default=[""])
    parser.add_argument("--pf-willow", type=Path)
    options = parser.parse_args()
    same = read_pairs(options.pairs)
    lists = [same, [facing_opposite(pair) for pair in same]]
    if options.images is not None:
        lists.append(pairs_within_classes(options.images))
    if options.pf_willow is not None:
        lists.append([case.pair for case in load_benchmark("pf-willow", options.pf_willow).cases])
    for size, blocks, side, changes in ROWS:
        branches = " without context" if changes == LOCAL else ""
        title = f"{size} {side} blocks {' '.join(map(str, blocks))}{branches}"
        if any(text in title for text in options.rows):
            model = plain_network(size, blocks, SMALL.replace(image_size=(side, side), **changes))
            scores = [pck(model, pairs[:: options.every]) for pairs in lists]
            columns = [" ".join(f"{value:4.1f}" for value in values) for values in scores]
            print(f"{title:45s}", " | ".join(columns), flush=True)


@torch.no_grad()
def plain_network(size: str, blocks: tuple[int, ...], config: ModelConfig) -> DCCNet:
    """The network of ``config`` at its plain start, on these blocks of EfficientNet-``size``.

    With ``size`` "X and Y", features of Y's own levels follow those of X's blocks.
    """
    size, _, second = size.partition(" and ")
    name = f"efficientnet-{size}-hypercolumn"
    levels = tuple(f"block{number}" for number in blocks)
    trunk = BACKBONES[name].build()
    channels = sum(trunk.get_submodule(level).project.norm.num_features for level in levels)
    spec = dataclasses.replace(BACKBONES[name], channels=channels, levels=levels)
    other = f"efficientnet-{second}-hypercolumn"
    # What follows the backbone is made for all channels.
    every = channels + (BACKBONES[other].channels if second else 0)
    BACKBONES["levels"] = dataclasses.replace(spec, channels=every)
    model = DCCNet(config.replace(backbone="levels")).eval()
    load_backbone_weights(model.backbone, name, "imagenet")
    if second:
        added = build_backbone(other)
        load_backbone_weights(added, other, "imagenet")
        model.backbone = TwoBackbones(model.backbone, added)  # type: ignore[assignment]
    start_plain(model, both_ways=True)
    model.lower(TRAINING_LOWERINGS["spectral"])
    return model


class TwoBackbones(nn.Module):
    """The features of two frozen backbones side by side, each of unit length but for its weight."""

    def __init__(self, first: Backbone, second: Backbone) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.channels = first.channels

    def frozen_part(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)`` -> ``(B, channels, h, w)``."""
        first, second = l2_normalise(self.first(image)), l2_normalise(self.second(image))
        return torch.cat([(1 - SECOND) ** 0.5 * first, SECOND**0.5 * second], dim=1)

    def trained_part(self, x: Tensor) -> Tensor:
        """Nothing is trained."""
        return x


def pck(model: DCCNet, pairs: list[Pair]) -> list[float]:
    """PCK at each of ``ALPHAS`` in percent, mean over pairs: box, sub-cell transfer."""
    features = FeatureCache(model, 10**9)
    rows = []
    for pair in pairs:
        assert pair.source_points is not None and pair.target_points is not None
        result = features.match(pair)
        moved = carry_keypoints(result, pair.target_points, "bbox", "subcell")
        rows.append([pair_pck(moved, pair.source_points, result.size_a, a, "bbox") for a in ALPHAS])
    return [100 * float(value) for value in np.mean(rows, axis=0)]


if __name__ == "__main__":
    main()
