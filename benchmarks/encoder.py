"""Time of the encoders of bundles, in ONNX Runtime on the CPU, in turns in one process.

    python benchmarks/encoder.py BUNDLE... [--rounds 7] [--threads 1]

The first bundle is the baseline. ``dcc bench`` also measures the matcher, which dominates at the paper's
size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from results import table

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.manifest import ENCODER
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph
from dccnet.runtime.turns import take_turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    ways, sizes = {}, {}
    for path in options.bundles:
        bundle = Bundle.open(path)
        graph = OnnxRuntimeGraph(bundle.graph_path(ENCODER), threads=options.threads)
        shape = (1, *bundle.manifest.image_size, 3)
        frame = np.random.default_rng(0).integers(0, 256, shape).astype(bundle.manifest.frames.dtype)
        ways[path.name] = lambda graph=graph, frame=frame: graph.run({"frame": frame})
        sizes[path.name] = bundle.graph_path(ENCODER).stat().st_size
    first = options.bundles[0].name
    print(table(take_turns(ways, options.rounds), {f"times {first}": first}))
    for name, size in sizes.items():
        print(f"{name}: {size / 1e6:.1f} MB, {size / sizes[first]:.3f} x")


if __name__ == "__main__":
    main()
