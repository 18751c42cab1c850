"""``direct`` on a GPU: errors of its kernels, and matching one pair by every lowering and precision.

    python benchmarks/gpu_matching.py [--budget 120] [--out DIR]
    python benchmarks/gpu_matching.py --device cpu --tiny    # tries the script itself

Needs torch, triton, numpy, opencv and safetensors. Writes DIR/gpu_matching.json after every row, and prints
a table at the end. ``same_cells`` and ``maps_error`` compare with strict float32; weights are random.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any

import torch
from gpu_rows import ROOT, Bench, Row, Rows, error, lowering_named, precision, run

from dccnet.inference import frame_format, to_tensor
from dccnet.network.conv4d import STACK
from dccnet.network.matching import best_matches
from dccnet.runtime.images import read_image

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "tf32": torch.float32, "fp32": torch.float32}
WAYS = [
    ("direct", "fp16"), ("stack", "fp16"), ("spectral", "fp16"), ("slice loop", "fp16"),
    ("direct", "tf32"), ("stack", "tf32"), ("spectral", "tf32"), ("spectral3", "tf32"),
    ("slice loop", "tf32"),
    ("stack", "fp32"), ("spectral", "fp32"), ("spectral3", "fp32"), ("slice loop", "fp32"),
]  # fmt: skip


def measure(rows: Rows, bench: Bench) -> None:
    _measure_layers(rows, bench)
    _measure_matcher(rows, bench)


def _measure_layers(rows: Rows, bench: Bench) -> None:
    """Each layer of the paper alone, with its ReLU: errors against float64, and whether it repeats."""
    taps, grid = ((3,) * 4, (3, 2, 2, 3)) if bench.tiny else ((5,) * 4, (25,) * 4)

    def layer(cout: int, cin: int, kind: str) -> Callable[[], Row]:
        def work() -> Row:
            generator = torch.Generator().manual_seed(3)
            sides = ((1, cin, *grid), (cout, cin, *taps), (cout,), (1, cout, *grid))
            # Numbers that bfloat16 holds have the same true results in every type.
            c, w, b, up = (torch.randn(s, generator=generator).bfloat16().to(bench.device) for s in sides)

            def results(name: str, dtype: torch.dtype) -> list[torch.Tensor]:
                leaves = [t.to(dtype).requires_grad_() for t in (c, w, b)]
                (y,) = lowering_named(name).chain([leaves[0]], [(leaves[1], leaves[2])], False)
                return [y.detach(), *torch.autograd.grad(y, leaves, up.to(dtype))]

            true = results("stack", torch.float64)
            with precision(kind):
                first, second = (results("direct", DTYPES[kind]) for _ in range(2))
            errors = {n: error(f, t) for n, f, t in zip(("y", "dx", "dw", "db"), first, true, strict=True)}
            return errors | {"repeats": all(map(torch.equal, first, second))}

        return work

    for (cout, cin), kind in itertools.product(((16, 1), (16, 16), (1, 16)), ("fp16", "bf16", "tf32")):
        rows.add(f"layer {cin} -> {cout}, {kind}", layer(cout, cin, kind), 8)


def _measure_matcher(rows: Rows, bench: Bench) -> None:
    """From the features of two pictures to their matches."""
    held: dict[str, Any] = {}

    @torch.no_grad()
    def prepare() -> Row:
        model = bench.network().eval()
        pictures = sorted((ROOT / "export" / "bundles" / "pictures").glob("*.jpg"))[:2]
        frames = [to_tensor(frame_format(model.config).of(read_image(p))) for p in pictures]
        held["frames"] = [frame.to(bench.device) for frame in frames]
        held["fp16"] = model.in_half().to(bench.device)
        held["fp32"] = held["tf32"] = model.to(bench.device)
        model.lower(STACK)
        with precision("fp32"):
            found = model.match(*map(model.encode, held["frames"]))
            held["maps"], held["cells"] = list(found.maps.values()), best_matches(found.scores).index_a
        return {"grid": str(model.grid), "distinct_cells": len(held["cells"].unique())}

    def matcher(name: str, kind: str) -> Callable[[], Row]:
        @torch.no_grad()
        def work() -> Row:
            model = held[kind]
            model.lower(lowering_named(name))
            with precision(kind):
                a, b = map(model.encode, held["frames"])
                found = model.match(a, b)
                time = bench.ms if name == "slice loop" else bench.graph_ms
                times = time(lambda: best_matches(model.match(a, b).scores))
                memory = bench.peak_gb(lambda: model.match(a, b))
            same = (best_matches(found.scores).index_a == held["cells"]).float().mean()
            errors = map(error, found.maps.values(), held["maps"])
            return {**times, "same_cells": float(same), "maps_error": max(errors), "peak_GB": memory}

        return work

    rows.add("network with random weights", prepare, 15)
    for name, kind in WAYS:
        rows.add(f"matcher {name}, {kind}", matcher(name, kind), 8)


if __name__ == "__main__":
    assert __doc__ is not None
    run(__doc__, "gpu_matching", 120, measure, sys.argv[1:])
