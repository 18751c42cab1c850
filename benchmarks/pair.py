"""One pair of pictures through a bundle in ONNX Runtime and through PyTorch, in turn, in one process.

    python benchmarks/pair.py MODEL.safetensors BUNDLE [ROUNDS]

Seconds from decoded pictures to matches; medians, after one round to warm up.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from dccnet.checkpoint import load_checkpoint
from dccnet.inference import TorchMatcher
from export.verify import PICTURES
from runtime import Matcher, read_image


def main(model: str, bundle: str, rounds: int) -> None:
    a, b = (read_image(path) for path in sorted(PICTURES.glob("*.jpg"))[:2])
    exported, reference = Matcher.open(bundle), TorchMatcher(load_checkpoint(model))
    kept = exported.encode(a)
    ways: dict[str, Callable[[], object]] = {
        "PyTorch": lambda: reference.match(a, b),
        "ONNX Runtime": lambda: exported.match(a, b),
        "ONNX Runtime, kept reference": lambda: exported.match(kept, b),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        spread = f"{min(values[1:]):.3f} to {max(values[1:]):.3f}"
        print(f"{name:30s} {np.median(values[1:]):8.3f} s  ({spread})")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 5)
