"""What frames in floating point give and cost, in a network that takes what the authors' code takes.

    python benchmarks/frames.py NETWORK.safetensors PICTURES [--pairs 20] [--rounds 40] [--bundle BUNDLE]

PICTURES is a folder, a glob or a list of pairs (.csv), of any sizes. Neighbouring pictures of a folder are
the pairs. The reference is the network in PyTorch on frames that are resized as the authors' code resizes
them: affine_grid and grid_sample in float32, written here without this project's own resizing. It is
compared with the bundle in ONNX Runtime, and with the network on frames that are rounded to whole grey
levels, as bundles of 0.1 are. Without --bundle, the network is exported into a temporary folder.

Then the encoder with uint8 frames and the encoder with float32 frames take turns in one process, with the
resizing that each needs; their time is that of the processor, which other programs do not change.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from results import save
from torch import Tensor

from dccnet.evaluation.pairs import read_pairs
from dccnet.export.build import export_bundle
from dccnet.export.bundles.samples import PICTURES, neighbours
from dccnet.export.graphs import EncoderGraph
from dccnet.export.onnx_file import write_onnx
from dccnet.inference import match_features, to_tensor
from dccnet.network.conv4d import LOWERINGS
from dccnet.network.model import DCCNet
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.frames import FLOAT32, UINT8, FrameFormat
from dccnet.runtime.images import find_images, read_image
from dccnet.runtime.manifest import ENCODER
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph
from dccnet.weights.checkpoint import load_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("pictures")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_checkpoint(options.network)
    pairs = read_pictures(options.pictures, options.pairs)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Bundle.open(options.bundle) if options.bundle else export(model, Path(scratch) / "bundle")
        same = agreement(model, bundle, pairs)
        times = cost(model, bundle, pairs, options.rounds, options.threads, Path(scratch))
    sizes = sorted({image.shape[:2] for pair in pairs for image in pair})
    print(
        f"{len(pairs)} pairs of pictures of {len(sizes)} sizes, {sizes[0]} to {sizes[-1]} (height, width)"
    )
    print(f"{'the same best match as with PyTorch':40}{'of all cells':>14}{'worst pair':>12}")
    for name, shares in same.items():
        print(f"{name:40}{np.mean(shares):14.4%}{min(shares):12.4%}")
    print(f"\n{'milliseconds of the processor, median':40}{UINT8:>14}{FLOAT32:>12}")
    for step in ("resizing", "encoder"):
        print(f"{step:40}{times[step, UINT8]:14.2f}{times[step, FLOAT32]:12.2f}")
    save(options.json, same=same, milliseconds={" ".join(key): value for key, value in times.items()})


def read_pictures(source: str, count: int) -> list[tuple[Image, Image]]:
    """Up to ``count`` pairs, evenly spread over the source."""
    if source.endswith(".csv"):
        listed = read_pairs(Path(source))
        chosen = listed[:: max(len(listed) // count, 1)][:count]
        return [(pair.source.load(), pair.target.load()) for pair in chosen]
    paths = find_images(source)
    return neighbours([read_image(path) for path in paths[:: max(len(paths) // count, 1)][:count]])


def export(model: DCCNet, path: Path) -> Bundle:
    return export_bundle(model, path, sorted(PICTURES.glob("*.jpg"))[:2])


def authors_frame(image: Image, size: tuple[int, int]) -> Tensor:
    """A picture ``(H0, W0, 3)`` uint8 BGR -> ``(1, 3, H, W)`` RGB in [0, 1], as the authors resize it."""
    rgb = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)[None].float()
    grid = F.affine_grid(torch.eye(2, 3)[None], [1, 3, *size], align_corners=True)
    return F.grid_sample(rgb, grid, mode="bilinear", padding_mode="zeros", align_corners=True) / 255


def agreement(model: DCCNet, bundle: Bundle, pairs: list[tuple[Image, Image]]) -> dict[str, list[float]]:
    """By the way that frames are made, the share of identical best matches of each pair."""
    matcher = Matcher.open(bundle, backend="onnxruntime", device="cpu", threads=torch.get_num_threads())
    model.lower(LOWERINGS["spectral"])
    size = model.config.image_size
    rounded = FrameFormat(size, UINT8)
    shares: dict[str, list[float]] = {
        f"bundle, frames {bundle.manifest.frames.dtype}": [],
        "network, frames rounded to bytes": [],
    }
    for a, b in pairs:
        true = in_pytorch(model, lambda image: authors_frame(image, size), a, b)
        bytes_result = in_pytorch(model, lambda image: to_tensor(rounded.of(image)), a, b)
        for values, found in zip(shares.values(), (matcher.match(a, b), bytes_result), strict=True):
            values.append(float(np.mean([found.index_a == true.index_a, found.index_b == true.index_b])))
        print(f"pair {len(values)}: {', '.join(f'{way[-1]:.4%}' for way in shares.values())}", flush=True)
    return shares


@torch.no_grad()
def in_pytorch(model: DCCNet, frame: Callable[[Image], Tensor], a: Image, b: Image) -> Correspondences:
    features = [model.encode(frame(image)) for image in (a, b)]
    return match_features(model, features[0], features[1], a.shape[:2], b.shape[:2])


class ByteEncoder(EncoderGraph):
    """The encoder as it was exported before, for uint8 frames."""

    def example(self) -> dict[str, Tensor]:
        return {"frame": super().example()["frame"].to(torch.uint8)}


def cost(
    model: DCCNet,
    bundle: Bundle,
    pairs: list[tuple[Image, Image]],
    rounds: int,
    threads: int,
    scratch: Path,
) -> dict[tuple[str, str], float]:
    """Median milliseconds of the processor by step and type of frames, one picture at a time."""
    write_onnx(ByteEncoder(model), scratch / "bytes.onnx")
    paths = {UINT8: scratch / "bytes.onnx", FLOAT32: bundle.graph_path(ENCODER)}
    image = pairs[0][0]
    ways: dict[tuple[str, str], Callable[[], object]] = {}
    for dtype, path in paths.items():
        graph = OnnxRuntimeGraph(path, threads=threads)
        frames = FrameFormat(model.config.image_size, dtype)
        inputs = {"frame": frames.of(image)[None]}
        ways["resizing", dtype] = functools.partial(frames.of, image)
        ways["encoder", dtype] = functools.partial(graph.run, inputs)
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in ways}
    for turn in range(rounds + 1):  # the first warms up
        for key, way in ways.items():
            started = time.process_time()
            way()
            if turn:
                seconds[key].append(time.process_time() - started)
    return {key: 1e3 * float(np.median(values)) for key, values in seconds.items()}


if __name__ == "__main__":
    main()
