"""Which lowering of the 4D convolutions trains fastest on this machine, by trying."""

from __future__ import annotations

import time
from importlib.util import find_spec

import numpy as np
import torch

from dccnet.network.config import ModelConfig
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.network.model import DCCNet
from dccnet.runtime.console import note
from dccnet.runtime.errors import UsageError
from dccnet.training.processes import CPU, Processes

AUTO = "auto"
ROUNDS = 3
LOOPS = "paired"
"""The lowering that needs a CPU and Numba."""


def usual_lowering(model: DCCNet, device: torch.device = CPU) -> str:
    """Without trying: what has been fastest for such kernels and volumes (benchmarks/training_step.py)."""
    if model.consensus.recomputes(model.grid, model.grid):
        return "spectral"
    if max(model.config.consensus_kernels) < 5:
        return "stack" if missing(LOOPS, device) else LOOPS
    return "spectral3"


def missing(name: str, device: torch.device) -> str:
    """What a lowering needs and does not have, or nothing."""
    if name == LOOPS and device.type != "cpu":
        return "computes on a CPU only: give --device cpu, or another --conv4d"
    if name == LOOPS and find_spec("numba") is None:
        return "needs numba: pip install 'dccnet[train]', or give another --conv4d"
    return ""


def refuse_missing(asked: str | None, device: torch.device) -> None:
    """Raises :class:`UsageError` for a lowering that lacks what it needs."""
    if asked is not None and (why := missing(asked, device)):
        raise UsageError(f"--conv4d {asked} {why}")


def settled_lowering(asked: str | None, model: DCCNet, batch: int, among: Processes) -> str:
    """What a run keeps to, in all processes, of what is ``asked``: a lowering's name, ``auto`` or None.

    Raises :class:`UsageError` for one that cannot be had.
    """
    refuse_missing(asked, among.device)
    if asked is None:
        return usual_lowering(model, among.device)
    if asked != AUTO:
        return asked
    fastest = fastest_lowering(model.config, batch, among.device) if among.first else ""
    return "".join(among.collect([fastest]))


def lowering_here(settled: str | None, model: DCCNet, device: torch.device = CPU) -> str:
    """What a run computes with on this device and machine; one that began on another may go on here."""
    if settled is None or missing(settled, device):
        return usual_lowering(model, device)
    return settled


def fastest_lowering(config: ModelConfig, batch: int, device: torch.device = CPU) -> str:
    """Time neighbourhood consensus of a few pairs, forward and backward, with every lowering in turn."""
    with torch.random.fork_rng():  # what a run draws does not depend on what was tried before it
        model = DCCNet(config).to(device)
        # Where volumes are computed again one by one, one is enough; else every thread has something to do.
        alone = model.consensus.recomputes(model.grid, model.grid)
        volumes = 1 if alone else min(batch, torch.get_num_threads())
        correlation = torch.rand(volumes, 1, *model.grid, *model.grid, device=device)
    names = [name for name in TRAINING_LOWERINGS if not missing(name, device)]
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
