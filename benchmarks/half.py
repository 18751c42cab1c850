"""Accuracy of float16 bundles compared with float32, and of each float32 island in float16.

    python benchmarks/half.py PAIRS.csv FLOAT32 HALF... [--network NETWORK.safetensors] [--json FILE]

PAIRS.csv has keypoints in PF-PASCAL's format (0-based). HALF are float16 bundles, with islands chosen by
hand or by search; the table has their number of operators in float32, and their headroom to 65504 on the
pictures of the list. All bundles have heat maps (dcc export --heatmaps). They run in ONNX Runtime in
float32 and round wherever float16 stores a number (export/bundles/rounding.py). With --network, each
float32 island of a half-precision network is also computed in float16, one at a time, in a network that is
otherwise float32. That runs in PyTorch, whose float16 convolutions are very slow on a CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

import dccnet.network.context
import dccnet.network.fusion
import dccnet.network.model
from dccnet.evaluation.pairs import Pair, Picture, read_pairs
from dccnet.evaluation.pck import DESCRIPTIONS, pair_pck
from dccnet.export.bundles.ranges import report, run_widened
from dccnet.export.bundles.rounding import open_with_rounding
from dccnet.export.verify import lead
from dccnet.inference import frame_format, match_features, to_tensor
from dccnet.network.conv4d import LOWERINGS
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.correspondences import Correspondences
from dccnet.weights.checkpoint import load_checkpoint

ALPHA, MARGIN = 0.1, 0.01
Match = Callable[[Pair], Correspondences]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("float32", type=Path, help="float32 bundle, exported with --heatmaps")
    parser.add_argument("half", type=Path, nargs="*", help="float16 bundles of the same network")
    parser.add_argument("--network", type=Path, help="checkpoint whose islands are computed in float16")
    parser.add_argument("--every", type=int, default=1, help="use every n-th pair")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not Bundle.open(options.float32).manifest.heatmaps:  # decided cells are known by all scores
        raise SystemExit(f"{options.float32} has no heatmaps: run dcc export --heatmaps")
    pairs = read_pairs(options.pairs)[:: options.every]
    ways: dict[str, Match] = {str(path): bundle_matcher(path) for path in (options.float32, *options.half)}
    truth = [ways[str(options.float32)](pair) for pair in pairs]
    rows = [compare(name, match, pairs, truth) for name, match in ways.items()]
    for row, path in zip(rows[1:], options.half, strict=True):
        row.update(storage(Bundle.open(path), pairs))
    if options.network is not None:
        rows += [compare(name, match, pairs, truth) for name, match in island_matchers(options.network)]
    print(f"protocol: {DESCRIPTIONS['bbox']}; {len(pairs)} pairs; decided cells lead by {MARGIN:.0%}")
    print(
        f"{'':44}{'decided':>9}{'of them the same':>18}{'all the same':>14}{'PCK@0.1':>9}{'not finite':>12}"
        f"{'in float32':>12}{'headroom':>10}"
    )
    for row in rows:
        room = f"{row['headroom']:.3g}" if "headroom" in row else ""
        print(
            f"{row['name'][-43:]:44}{row['decided']:9.2%}{row['same_decided']:18.3%}{row['same']:14.3%}"
            f"{row['pck']:9.2f}{row['not_finite']:12}{row.get('whole', ''):>12}{room:>10}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


def compare(name: str, match: Match, pairs: list[Pair], truth: list[Correspondences]) -> dict[str, Any]:
    same: list[np.ndarray[Any, Any]] = []
    decided: list[np.ndarray[Any, Any]] = []
    scores, broken = [], 0
    for pair, true in zip(pairs, truth, strict=True):
        found = match(pair)
        broken += not (np.isfinite(found.score_a).all() and np.isfinite(found.score_b).all())
        for side in "ab":
            same.append((getattr(found, f"index_{side}") == getattr(true, f"index_{side}")).ravel())
            decided.append((lead(getattr(true, f"heatmap_{side}")) >= MARGIN).ravel())
        assert pair.source_points is not None and pair.target_points is not None
        moved = found.transfer(pair.target_points, from_="b", outside=True)
        scores.append(pair_pck(moved, pair.source_points, found.size_a, ALPHA, "bbox"))
    agree, counts = np.concatenate(same), np.concatenate(decided)
    return {
        "name": name,
        "decided": float(counts.mean()),
        "same_decided": float(agree[counts].mean()),
        "same": float(agree.mean()),
        "pck": 100 * float(np.mean(scores)),
        "not_finite": broken,
    }


def storage(bundle: Bundle, pairs: list[Pair]) -> dict[str, Any]:
    """Number of operators in float32, and headroom on the scored pictures."""
    graphs = bundle.manifest.graphs
    in_float32 = sum(
        types.get("float32", 0) for graph in graphs.values() for types in graph.layers.values()
    )
    frame = bundle.manifest.frames.of
    frames = ((frame(p.source.load()), frame(p.target.load())) for p in pairs)
    models = {name: onnx.load(str(bundle.graph_path(name))) for name in graphs}
    found = report(run_widened(models, frames))
    return {
        "whole": in_float32,
        "headroom": found.headroom,
        "tightest": dataclasses.asdict(found.tightest[0]),
    }


def bundle_matcher(path: Path) -> Match:
    matcher = open_with_rounding(Bundle.open(path))

    @functools.cache
    def encode(picture: Picture) -> Any:
        return matcher.encode(picture.load())

    return lambda pair: matcher.match(encode(pair.source), encode(pair.target))


# Island by island --------------------------------------------------------------------------------


def island_matchers(path: Path) -> Iterator[tuple[str, Match]]:
    model = load_checkpoint(path)
    model.lower(LOWERINGS["spectral"])
    yield "float32 in PyTorch", network_matcher(model, ())
    for name in ISLANDS:
        yield f"float16: {name}", network_matcher(model, (name,))
    yield "float16: all of these", network_matcher(model, tuple(ISLANDS))


def network_matcher(model: dccnet.network.model.DCCNet, without: tuple[str, ...]) -> Match:
    @functools.cache
    @torch.no_grad()
    def encode(picture: Picture) -> Any:
        image = picture.load()
        with removed(without):
            features = model.encode(to_tensor(frame_format(model.config).of(image)))
        return features, (image.shape[0], image.shape[1])

    def match(pair: Pair) -> Correspondences:
        (a, size_a), (b, size_b) = encode(pair.source), encode(pair.target)
        with removed(without):
            return match_features(model, a, b, size_a, size_b)

    return match


def in_half(island: Callable[..., Any]) -> Callable[..., Any]:
    """The island's computation in float16."""
    return lambda x: island.__wrapped__(x.half())  # type: ignore[attr-defined]


def plain_product(a: Tensor, b: Tensor) -> Tensor:
    """Correlation as in the paper, in float16."""
    products = a.half().flatten(2).transpose(1, 2) @ b.half().flatten(2)
    return products.view(-1, 1, *a.shape[-2:], *b.shape[-2:])


ISLANDS: dict[str, tuple[tuple[Any, str, Callable[..., Any]], ...]] = {
    "L2 norm of features": (
        (dccnet.network.model, "l2_normalise", in_half(dccnet.network.model.l2_normalise)),
    ),
    "L2 norm of self-similarity": (
        (dccnet.network.context, "l2_normalise", in_half(dccnet.network.context.l2_normalise)),
    ),
    "correlation in the longest vector": ((dccnet.network.model, "correlate", plain_product),),
    "mutual matching": (
        (dccnet.network.model, "mutual_matching", in_half(dccnet.network.model.mutual_matching)),
    ),
    "softmax": ((dccnet.network.fusion, "softmax_scores", in_half(dccnet.network.fusion.softmax_scores)),),
}


@contextmanager
def removed(names: tuple[str, ...]) -> Iterator[None]:
    places = [place for name in names for place in ISLANDS[name]]
    originals = [getattr(module, attribute) for module, attribute, _ in places]
    for module, attribute, replacement in places:
        setattr(module, attribute, replacement)
    try:
        yield
    finally:
        for (module, attribute, _), original in zip(places, originals, strict=True):
            setattr(module, attribute, original)


if __name__ == "__main__":
    main()
