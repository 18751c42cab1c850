"""Time of neighbourhood consensus: every lowering, in PyTorch and in ONNX Runtime, and the slice loop.

    python benchmarks/conv4d.py [--grids 10 15 20 25 30 40] [--rounds 3] [--json FILE] [--picture FILE]

Measures one volume with 5x5x5x5 kernels, 1-16-16-1 channels and both directions, on grids of growing side.
Up to 30 cells a side, all ways of a grid are timed in turns in one process; beyond, each in its own
process. Peak memory is measured at the paper's 25 cells a side, in one process per way. Multiplications
are counted, not measured. The picture shows both against the side of the grid.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import save, table
from slice_loop import SliceLoop
from torch import Tensor, nn

from dccnet.calibration.bench.alone import peak_mb
from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.conv4d import LOWERINGS
from dccnet.runtime.turns import take_turns

KERNEL, CHANNELS = 5, (1, 16, 16, 1)
PAPER = 25
TOGETHER = 30
"""Largest side at which all ways fit into one process."""
SLICE_LOOP = "PyTorch, slice loop"


class ConsensusGraph(nn.Module):
    """Neighbourhood consensus as a module for :func:`write_onnx`."""

    def __init__(self, consensus: NeighbourhoodConsensus, n: int) -> None:
        super().__init__()
        self.consensus, self.n = consensus, n
        self.input_names, self.output_names = ["c"], ["y"]

    def forward(self, c: Tensor) -> Tensor:
        return self.consensus([c])[0]

    def example(self) -> dict[str, Tensor]:
        return {"c": torch.zeros(2, 1, *[self.n] * 4)}


def way(name: str, n: int) -> Callable[[], object]:
    """Runs ``PyTorch, LOWERING`` or ``ONNX Runtime, LOWERING`` on a random volume of side n."""
    from dccnet.export.onnx_file import write_onnx
    from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph

    engine, lowering = name.split(", ")
    torch.manual_seed(0)
    consensus = NeighbourhoodConsensus([KERNEL] * 3, CHANNELS[1:])
    consensus.lowering = SliceLoop() if name == SLICE_LOOP else LOWERINGS[lowering]
    volume = torch.rand(1, 1, *[n] * 4)
    if engine == "PyTorch":

        def in_pytorch() -> None:
            with torch.no_grad():
                consensus([volume])

        return in_pytorch
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "consensus.onnx"
        write_onnx(ConsensusGraph(consensus, n), path)  # type: ignore[arg-type]
        runner = OnnxRuntimeGraph(path)
    inputs = {"c": volume.numpy()}
    return lambda: runner.run(inputs)


def giga_multiplications(name: str, n: int) -> float:
    """Multiplications in 10⁹ for one volume of side n in both directions."""
    lowering = name.split(", ")[1]
    total = 0.0
    for c_in, c_out in pairwise(CHANNELS):
        if not lowering.startswith("spectral"):
            total += n**4 * KERNEL**4 * c_in * c_out
            continue
        axes = 3 if lowering == "spectral3" else 2
        length = n + KERNEL // 2
        half = length // 2 + 1
        folded = KERNEL if c_out * KERNEL <= c_in else 1
        # products: a complex one takes four real ones
        frequencies = half * length ** (axes - 1)
        total += 4 * frequencies * n ** (4 - axes) * KERNEL ** (4 - axes) * c_in * c_out
        # transforms of input and output channels: the first is real, the others are complex
        transform = 2 * half * n * n**3
        for done in range(1, axes):
            transform += half * length ** (done - 1) * (2 * length * 2 * n) * n ** (3 - done)
        total += transform * (c_in + c_out * folded)
    return 2 * total / 1e9


def main(grids: list[int], rounds: int, output: str | None, picture: str | None) -> None:
    names = [SLICE_LOOP, *(f"{e}, {name}" for e in ("PyTorch", "ONNX Runtime") for name in LOWERINGS)]
    results = {}
    for n in grids:
        if n <= TOGETHER:
            seconds = take_turns({name: way(name, n) for name in names}, rounds)
        else:
            seconds = {name: child("--time", name, str(n), str(rounds)) for name in names}
        results[n] = {
            name: {"seconds": seconds[name], "gmac": giga_multiplications(name, n)} for name in names
        }
        print(f"\n{n}x{n}x{n}x{n} cells")
        print(table(seconds, {"slice loop": SLICE_LOOP, "ONNX Runtime, stack": "ONNX Runtime, stack"}))
        print("GMAC: " + ", ".join(f"{name} {results[n][name]['gmac']:.1f}" for name in names[-3:]))
    memory = {name: child("--memory", name, str(PAPER)) for name in names}
    print(f"\nPeak memory at {PAPER} cells a side, above that of an idle process:")
    for name, mb in memory.items():
        print(f"{name:{max(map(len, names))}}  {mb:6.0f} MB")
    save(output, results=results, peak_mb=memory)
    if picture is not None:
        draw(results, Path(picture))


def child(*arguments: str) -> Any:
    """The JSON output of this script in its own process."""
    command = [sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def memory(name: str, n: int) -> float:
    """Peak memory in MB, above what this process holds before."""
    way("ONNX Runtime, stack", 3)()  # loads all libraries and the exporter
    before = peak_mb()
    run = way(name, n)
    run()
    run()
    return peak_mb() - before


def draw(results: dict[int, dict[str, dict[str, object]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (measured, counted) = plt.subplots(1, 2, figsize=(9, 3.8), constrained_layout=True)
    shown = {
        SLICE_LOOP: ("#666666", "o"),
        "ONNX Runtime, stack": ("#0072b2", "s"),
        "ONNX Runtime, spectral": ("#d55e00", "^"),
        "ONNX Runtime, spectral3": ("#009e73", "D"),
    }
    grids = sorted(results)
    for name, (colour, marker) in shown.items():
        seconds = [float(np.median(results[n][name]["seconds"])) for n in grids]  # type: ignore[arg-type]
        measured.plot(grids, seconds, color=colour, marker=marker, label=name)
        if name != SLICE_LOOP:  # it has as many multiplications as the stack
            gmac = [results[n][name]["gmac"] for n in grids]
            counted.plot(grids, gmac, color=colour, marker=marker, label=name.split(", ")[1])
    measured.set_title("seconds, measured")
    counted.set_title("multiplications, 10⁹, counted")
    for axes in (measured, counted):
        axes.set(xscale="log", yscale="log", xlabel="cells along a side")
        axes.set_xticks(grids, [str(n) for n in grids])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        print(memory(sys.argv[2], int(sys.argv[3])))
    elif sys.argv[1:2] == ["--time"]:
        _, _, name, side, rounds = sys.argv
        print(json.dumps(take_turns({name: way(name, int(side))}, int(rounds))[name]))
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
        parser.add_argument("--grids", type=int, nargs="+", default=[10, 15, 20, 25, 30, 40])
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument("--json")
        parser.add_argument("--picture")
        options = parser.parse_args()
        main(options.grids, options.rounds, options.json, options.picture)
