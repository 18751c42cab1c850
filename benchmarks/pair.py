"""Time to match one pair of pictures, with bundles in ONNX Runtime and in PyTorch, in turns in one process.

    python benchmarks/pair.py MODEL.safetensors|- BUNDLE... [--rounds 5] [--json FILE]

A dash in place of the model leaves PyTorch out.
Seconds are from decoded pictures to matches. The slice loop is the authors' form of the 4D convolution
(benchmarks/slice_loop.py) in a network that is otherwise ours. Load times and memory are measured in a
process of its own for each bundle.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from results import save, table
from slice_loop import SliceLoop

from dccnet.calibration.bench.alone import peak_mb
from dccnet.runtime import Matcher, read_image
from dccnet.runtime.turns import take_turns

SLICE_LOOP = "PyTorch, slice loop"


def pictures() -> list[Path]:
    from dccnet.export.bundles.samples import PICTURES

    return sorted(PICTURES.glob("*.jpg"))[:2]


def loading(bundle: str) -> dict[str, float]:
    """Size, load time and peak memory of a bundle in this process."""
    paths = sys.argv[3:]
    before = peak_mb()
    started = time.perf_counter()
    matcher = Matcher.open(bundle)
    seconds, loaded = time.perf_counter() - started, peak_mb()
    matcher.match(*map(read_image, paths))
    size = sum(file.stat().st_size for file in Path(bundle).iterdir()) / 1e6
    return {
        "size_mb": size,
        "load_s": seconds,
        "loaded_mb": loaded - before,
        "matched_mb": peak_mb() - before,
    }


def main(model: str, bundles: list[str], rounds: int, output: str | None) -> None:
    from dccnet.inference import TorchMatcher
    from dccnet.network.conv4d import LOWERINGS
    from dccnet.weights.checkpoint import load_checkpoint

    costs: dict[str, list[dict[str, float]]] = {bundle: [] for bundle in bundles}
    for _ in range(3):
        for bundle in bundles:
            command = [sys.executable, __file__, "--loading", bundle, *map(str, pictures())]
            costs[bundle].append(json.loads(subprocess.run(command, check=True, stdout=-1).stdout))
    a, b = map(read_image, pictures())

    def in_pytorch(lowering: object) -> Callable[[], object]:
        matcher = TorchMatcher(load_checkpoint(model))
        matcher.model.lower(lowering)  # type: ignore[arg-type]
        return lambda: matcher.match(a, b)

    ways: dict[str, Callable[[], object]] = {}
    if model != "-":
        lowerings = {SLICE_LOOP: SliceLoop()} | {f"PyTorch, {name}": way for name, way in LOWERINGS.items()}
        ways = {name: in_pytorch(lowering) for name, lowering in lowerings.items()}
    for bundle in bundles:
        matcher = Matcher.open(bundle)
        kept, name = matcher.encode(a), f"{Path(bundle).name} ({matcher.manifest.conv4d.lowering})"
        ways[name] = partial(matcher.match, a, b)
        ways[f"{name}, kept"] = partial(matcher.match, kept, b)
    seconds = take_turns(ways, rounds)
    first = next(name for name in ways if not name.startswith("PyTorch"))
    print(table(seconds, ({} if model == "-" else {"slice loop": SLICE_LOOP}) | {first: first}))
    print("\nEach bundle in its own process, three times:")
    for bundle, times in costs.items():
        loads = ", ".join(f"{t['load_s']:.2f}" for t in times)
        memory = max(t["loaded_mb"] for t in times), max(t["matched_mb"] for t in times)
        print(
            f"{Path(bundle).name}: {times[0]['size_mb']:.1f} MB on disk, loaded in {loads} s; "
            f"peak memory {memory[0]:.0f} MB to load, {memory[1]:.0f} MB once a pair was matched"
        )
    save(output, seconds=seconds, loading=costs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--loading"]:
        print(json.dumps(loading(sys.argv[2])))
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
        parser.add_argument("model")
        parser.add_argument("bundles", nargs="+")
        parser.add_argument("--rounds", type=int, default=5)
        parser.add_argument("--json")
        options = parser.parse_args()
        main(options.model, options.bundles, options.rounds, options.json)
