"""Which lowering of the 4D convolutions trains fastest on this machine, by trying."""

from __future__ import annotations

import time

import numpy as np
import torch

from dccnet.config import ModelConfig
from dccnet.conv4d import TRAINING_LOWERINGS
from dccnet.model import DCCNet
from runtime.console import note
from training.processes import CPU

AUTO = "auto"
ROUNDS = 3
ON_CPUS_ONLY = "paired"


def usual_lowering(model: DCCNet, device: torch.device = CPU) -> str:
    """Without trying: what has been fastest for such kernels and volumes (benchmarks/training_step.py)."""
    if model.consensus.recomputes(model.grid, model.grid):
        return "spectral"
    if max(model.config.consensus_kernels) < 5:
        return ON_CPUS_ONLY if device.type == "cpu" else "stack"
    return "spectral3"


def fastest_lowering(config: ModelConfig, batch: int, device: torch.device = CPU) -> str:
    """Time neighbourhood consensus of a few pairs, forward and backward, with every lowering in turn."""
    with torch.random.fork_rng():  # what a run draws does not depend on what was tried before it
        model = DCCNet(config).to(device)
        # Where volumes are computed again one by one, one is enough; else every thread has something to do.
        alone = model.consensus.recomputes(model.grid, model.grid)
        volumes = 1 if alone else min(batch, torch.get_num_threads())
        correlation = torch.rand(volumes, 1, *model.grid, *model.grid, device=device)
    names = [name for name in TRAINING_LOWERINGS if name != ON_CPUS_ONLY or device.type == "cpu"]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS + 1):
        for name in names:
            model.lower(TRAINING_LOWERINGS[name])
            started = time.perf_counter()
            found = model.consensus([correlation])[0].sum()
            gradients = torch.autograd.grad(found, list(model.consensus.parameters()))
            float(gradients[0].sum())  # a number, so that a GPU has finished
            seconds[name].append(time.perf_counter() - started)
    medians = {name: float(np.median(values[1:])) for name, values in seconds.items()}
    table = ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in medians.items())
    chosen = min(medians, key=medians.__getitem__)
    counted = "one volume" if volumes == 1 else f"{volumes} volumes"
    note(f"4D convolutions: {chosen}; {counted} forward and backward: {table}")
    return chosen
