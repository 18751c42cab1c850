"""One training step of `tiny` on random features, with and without keeping freed memory.

    python benchmarks/training_step.py [STEPS]

Every measurement is a process of its own, the two ways in turn; prints medians and their ratio.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

ROUNDS = 3
BATCH = 16


def measure(keep: bool, steps: int) -> float:
    """Median seconds of a step, after one to warm up, in this process."""
    import torch

    from dccnet.config import PRESETS
    from dccnet.correlation import l2_normalise
    from dccnet.loss import weak_loss
    from dccnet.model import DCCNet
    from training.allocator import keep_freed_memory

    if keep and not keep_freed_memory():
        raise SystemExit("this system's allocator cannot be asked")
    torch.manual_seed(0)
    model = DCCNet(PRESETS["tiny"])
    a, b = (l2_normalise(torch.rand(BATCH, model.backbone.channels, *model.grid)) for _ in range(2))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-4)
    seconds = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        optimizer.zero_grad()
        weak_loss(model, model.describe(a), model.describe(b)).loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:]))


def main(steps: int) -> None:
    results: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(ROUNDS):
        for keep, seconds in results.items():
            command = [sys.executable, __file__, "--measure", str(int(keep)), str(steps)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds.append(float(output))
    kept, returned = np.median(results[True]), np.median(results[False])
    print(f"freed memory kept     {kept:.2f} s a step  {[round(s, 2) for s in results[True]]}")
    print(f"glibc's default       {returned:.2f} s a step  {[round(s, 2) for s in results[False]]}")
    print(f"ratio                 {returned / kept:.2f}")


if __name__ == "__main__":
    if "--measure" in sys.argv:
        print(measure(bool(int(sys.argv[2])), int(sys.argv[3])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
