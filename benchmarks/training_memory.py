"""Peak memory of one training step at the paper's size, with and without recomputed 4D layers.

    python benchmarks/training_memory.py [--preset dccnet] [--pairs 1] [--conv4d spectral]

One step has ``--pairs`` pairs with their negatives, from frozen features: forward, backward and Adam. Each
way runs in its own process; peak memory includes PyTorch itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time


def measure(checkpointing: str, preset: str, pairs: int, lowering: str) -> dict[str, float]:
    import torch

    from dccnet.calibration.bench.alone import peak_mb
    from dccnet.network.config import PRESETS
    from dccnet.network.conv4d import TRAINING_LOWERINGS
    from dccnet.network.correlation import l2_normalise
    from dccnet.network.model import DCCNet
    from dccnet.training.cpu import flush_denormals, keep_freed_memory
    from dccnet.training.objective import Objective, Part
    from dccnet.training.settings import TrainSettings

    keep_freed_memory()
    flush_denormals(True)
    torch.manual_seed(0)
    model = DCCNet(PRESETS[preset])
    model.lower(TRAINING_LOWERINGS[lowering])
    model.recompute_activations(checkpointing == "on")
    sources, targets = (
        l2_normalise(torch.rand(n, model.backbone.channels, *model.grid)) for n in (pairs + 1, pairs)
    )
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-4)
    before, started = peak_mb(), time.perf_counter()
    loss, _ = Objective(model, TrainSettings(data="-"))(Part(sources, targets, None, None, None))
    loss.backward()
    optimizer.step()
    return {"seconds": time.perf_counter() - started, "peak_mb": peak_mb(), "before_mb": before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--preset", default="dccnet")
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--conv4d", default="spectral")
    parser.add_argument("--measure", choices=["on", "off"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.preset, options.pairs, options.conv4d)))
        return
    print(f"{options.preset}, {options.pairs} pairs, {options.conv4d}")
    for way in ("on", "off"):
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--measure", way],
            check=False, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        if done.returncode:
            print(f"checkpointing {way:4} ended with {done.returncode} (-9: the system ran out of memory)")
            continue
        row = json.loads(done.stdout)
        print(
            f"checkpointing {way:4} peak {row['peak_mb'] / 1000:6.2f} GB, of which "
            f"{row['before_mb'] / 1000:.2f} before the step; {row['seconds']:.1f} s"
        )


if __name__ == "__main__":
    main()
