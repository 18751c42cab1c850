"""PCK before training: features of several levels of the backbone, and context of several sizes.

    python benchmarks/levels.py PAIRS.csv [--sizes 256 320] [--kernels 9 15 21] [--every 4]

PAIRS.csv has keypoints in PF-PASCAL's format (0-based). Prints PCK@0.1 (box, with the benchmarks'
transfer) of nearest neighbours of each level, then with mutual matching, then with half of the correlation
of self-similarities added to that of hypercolumns. Then the same for untrained networks: context features
G with random and with plain initial weights, and votes of neighbours. Each for the pairs as they are, and
with the source mirrored.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dccnet.evaluation.pairs import Pair, Picture, facing_opposite, read_pairs
from dccnet.evaluation.pck import pair_pck
from dccnet.inference import to_tensor
from dccnet.network.backbone import build_backbone
from dccnet.network.config import PRESETS
from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.context import SpatialContextEncoder, self_similarity
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.network.correlation import correlate, l2_normalise, mutual_matching
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.geometry import Size, resize_uint8
from dccnet.training.starts import count_votes, pass_features_through
from dccnet.weights.pretrained import load_backbone_weights

NAME = "efficientnet-lite0-hypercolumn"
CHANNELS = {"block10": 112, "block14": 192, "block15": 320}
SETS = [("block10",), ("block14",), ("block15",), ("block10", "block14"), tuple(CHANNELS)]
SMALL = PRESETS["small"]
Features = Callable[[Picture], tuple[Tensor, Size]]
Volume = Callable[[Tensor, Tensor], Tensor]
"""A function from the features of two pictures to the scores of all their matches."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--sizes", type=int, nargs="*", default=[256, 320])
    parser.add_argument("--kernels", type=int, nargs="*", default=[9, 15, 21])
    parser.add_argument("--every", type=int, default=1, help="use every n-th pair")
    options = parser.parse_args()
    same = read_pairs(options.pairs)[:: options.every]
    lists = [same, [facing_opposite(pair) for pair in same]]
    for size in options.sizes:
        levels = features(size)
        for names in SETS:
            print(
                f"{size} {' '.join(names):24} {_text(score(lists, levels(names), correlate))}", flush=True
            )
        found = levels(tuple(CHANNELS))
        print(f"{size} {'with mutual matching':24} {_text(score(lists, found, mutual))}", flush=True)
        for kernel in options.kernels:
            scores = score(lists, found, with_context(kernel))
            print(f"{size} {f'and context of {kernel}':24} {_text(scores)}", flush=True)
        for title, volume in UNTRAINED.items():
            print(f"{size} {title:24} {_text(score(lists, found, volume))}", flush=True)


def features(size: int) -> Callable[[tuple[str, ...]], Features]:
    """A function that returns the features of some levels, concatenated; each picture is computed once."""
    backbone = build_backbone(NAME)
    load_backbone_weights(backbone, NAME, "imagenet")

    @functools.cache
    @torch.no_grad()
    def column(picture: Picture) -> tuple[dict[str, Tensor], Size]:
        image = picture.load()
        hypercolumn = backbone(to_tensor(resize_uint8(image, (size, size))))
        levels = hypercolumn.split(list(CHANNELS.values()), dim=1)
        return dict(zip(CHANNELS, levels, strict=True)), (image.shape[0], image.shape[1])

    def of(names: tuple[str, ...]) -> Features:
        def some(picture: Picture) -> tuple[Tensor, Size]:
            levels, picture_size = column(picture)
            return l2_normalise(torch.cat([levels[name] for name in names], dim=1)), picture_size

        return some

    return of


def mutual(a: Tensor, b: Tensor) -> Tensor:
    return mutual_matching(correlate(a, b))


def with_context(kernel: int) -> Volume:
    def matched(a: Tensor, b: Tensor) -> Tensor:
        context = correlate(*(l2_normalise(self_similarity(z, kernel)) for z in (a, b)))
        return mutual_matching(correlate(a, b) + 0.5 * context)

    return matched


def encoder(channels: int, plain: bool) -> SpatialContextEncoder:
    """An untrained context encoder with the kernel of `small`."""
    torch.manual_seed(0)
    new = SpatialContextEncoder(sum(CHANNELS.values()), SMALL.context_kernel, channels)
    if plain:
        pass_features_through(new, both_ways=True)
    return new


def encoded(by: SpatialContextEncoder) -> Volume:
    """Mutual matching of context features alone."""
    return lambda a, b: mutual(by(a), by(b))


def voted(volume: Volume, channels: int) -> Volume:
    """By votes of neighbours of both ways: added up on 2 channels, the more of them on 4."""
    network = NeighbourhoodConsensus(SMALL.consensus_kernels, (channels, 1))
    count_votes(network, both_ways=True)
    network.lowering = TRAINING_LOWERINGS["spectral3"]
    return lambda a, b: mutual_matching(network([volume(a, b)])[0])


PLAIN = encoded(encoder(SMALL.context_channels, plain=True))
UNTRAINED = {
    "random G, 128 channels": encoded(encoder(128, plain=False)),
    f"random G, {SMALL.context_channels} channels": encoded(encoder(SMALL.context_channels, plain=False)),
    "plain G": PLAIN,
    "votes of both ways added": voted(mutual, 2),
    "the more of both ways": voted(mutual, 4),
    "the more of both, on G": voted(PLAIN, 4),
}


@torch.no_grad()
def score(lists: list[list[Pair]], found: Features, volume: Volume) -> list[float]:
    scores: list[list[float]] = [[] for _ in lists]
    for kept, pairs in zip(scores, lists, strict=True):
        for pair in pairs:
            (a, size_a), (b, size_b) = found(pair.source), found(pair.target)
            (h, w) = a.shape[-2:]
            flat = volume(a, b).view(h * w, h * w)
            ones = np.ones((h, w), np.float32)
            result = Correspondences(
                index_a=flat.argmax(1).view(h, w).numpy(),
                score_a=ones,
                index_b=flat.argmax(0).view(h, w).numpy(),
                score_b=ones,
                size_a=size_a,
                size_b=size_b,
            )
            assert pair.source_points is not None and pair.target_points is not None
            moved = result.transfer(pair.target_points, from_="b", outside=True)
            kept.append(pair_pck(moved, pair.source_points, size_a, 0.1, "bbox"))
    return [100 * float(np.mean(kept)) for kept in scores]


def _text(scores: list[float]) -> str:
    return f"same {scores[0]:5.1f}, opposite {scores[1]:5.1f}"


if __name__ == "__main__":
    main()
