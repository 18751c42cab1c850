"""Which lowering of the 4D convolutions trains fastest on this machine, by trying."""

from __future__ import annotations

import time

import numpy as np
import torch

from dccnet.config import ModelConfig
from dccnet.conv4d import TRAINING_LOWERINGS
from dccnet.model import DCCNet
from runtime.console import note

AUTO = "auto"
ROUNDS = 3


def usual_lowering(model: DCCNet) -> str:
    """Without trying: what has been fastest for such kernels and volumes (benchmarks/training_step.py)."""
    if model.consensus.recomputes(model.grid, model.grid):
        return "spectral"
    return "paired" if max(model.config.consensus_kernels) < 5 else "spectral3"


def fastest_lowering(config: ModelConfig) -> str:
    """Time neighbourhood consensus of one pair, forward and backward, with every lowering in turn."""
    with torch.random.fork_rng():  # what a run draws does not depend on what was tried before it
        model = DCCNet(config)
        correlation = torch.rand(1, 1, *model.grid, *model.grid)
    seconds: dict[str, list[float]] = {name: [] for name in TRAINING_LOWERINGS}
    for _ in range(ROUNDS + 1):
        for name, lowering in TRAINING_LOWERINGS.items():
            model.lower(lowering)
            started = time.perf_counter()
            model.consensus([correlation])[0].sum().backward()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: float(np.median(values[1:])) for name, values in seconds.items()}
    table = ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in medians.items())
    chosen = min(medians, key=medians.__getitem__)
    note(f"4D convolutions: {chosen}; one volume forward and backward: {table}")
    return chosen
