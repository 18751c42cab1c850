"""Time of a training step on random features, for every lowering of the 4D convolutions and the slice loop.

    python benchmarks/training_step.py [--preset tiny] [--batch 16] [--steps 4] [--rounds 3] [--ways ...]

Every measurement runs in its own process, the ways in turns. Prints median seconds, also of processor time,
which other programs on the machine falsify less, and peak memory above what the process held before the
first step. The slice loop (benchmarks/slice_loop.py) keeps its activations
for the backward pass, as the authors' code does. "default memory" is the stack without
``keep_freed_memory`` (dccnet/training/cpu.py), which all other ways use.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import numpy as np

WAYS = ["slice loop", "stack", "paired", "complex", "spectral", "spectral3", "stack, default memory"]


def measure(way: str, preset: str, batch: int, steps: int) -> tuple[float, float, float]:
    """Median seconds and processor seconds of a step after one warm-up step, and peak memory in MB."""
    import torch
    from slice_loop import SliceLoop

    from dccnet.calibration.bench.alone import peak_mb
    from dccnet.network.config import PRESETS
    from dccnet.network.conv4d import TRAINING_LOWERINGS
    from dccnet.network.correlation import l2_normalise
    from dccnet.network.loss import weak_loss
    from dccnet.network.model import DCCNet
    from dccnet.training.cpu import keep_freed_memory

    if not way.endswith("default memory") and not keep_freed_memory():
        raise SystemExit("this system's allocator cannot keep freed memory")
    torch.manual_seed(0)
    model = DCCNet(PRESETS[preset])
    if way == "slice loop":
        model.lower(SliceLoop())
        model.recompute_activations(False)
    else:
        model.lower(TRAINING_LOWERINGS[way.split(",", maxsplit=1)[0]])
    a, b = (l2_normalise(torch.rand(batch, model.backbone.channels, *model.grid)) for _ in range(2))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-4)
    before = peak_mb()
    seconds, processor = [], []
    for _ in range(steps + 1):
        started = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        weak_loss(model, model.branch_features(a), model.branch_features(b)).loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started[0])
        processor.append(time.process_time() - started[1])
    return float(np.median(seconds[1:])), float(np.median(processor[1:])), peak_mb() - before


def main(ways: list[str], preset: str, batch: int, steps: int, rounds: int) -> None:
    results: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, measured in results.items():
            command = [sys.executable, __file__, "--measure", way, preset, str(batch), str(steps)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            measured.append(json.loads(output))
    medians = {way: np.median(np.array(measured), axis=0) for way, measured in results.items()}
    base = next(iter(medians.values()))
    print(f"{preset}, batch {batch}{'':12}  s a step  times as fast  processor s  times  peak MB  share")
    for way, (seconds, processor, memory) in medians.items():
        print(
            f"{way:32}  {seconds:8.2f}  {base[0] / seconds:12.2f}x  {processor:11.2f}"
            f"  {base[1] / processor:4.2f}x  {memory:7.0f}  {memory / base[2]:5.2f}"
            f"  {[round(s, 2) for s, *_ in results[way]]}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))))
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
        parser.add_argument("--preset", default="tiny")
        parser.add_argument("--batch", type=int, default=16)
        parser.add_argument("--steps", type=int, default=4)
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
        options = parser.parse_args()
        main(options.ways, options.preset, options.batch, options.steps, options.rounds)
