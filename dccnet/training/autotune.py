"""Choose the lowering of the 4D convolutions for training, by rules or by timing them on this machine."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch

from dccnet.network.config import ModelConfig
from dccnet.network.conv4d import TRAINING_LOWERINGS
from dccnet.network.conv4d.direct import is_supported
from dccnet.network.model import DCCNet
from dccnet.runtime.errors import UsageError
from dccnet.runtime.extras import install
from dccnet.runtime.messages import note
from dccnet.runtime.turns import medians, take_turns
from dccnet.training.processes import CPU, Processes

AUTO = "auto"
ROUNDS = 3
LOOPS = "paired"
"""The lowering of small kernels and volumes that needs a CPU and Numba."""
LARGE_LOOPS = "complex"
"""That of large volumes, which needs the same."""
KERNELS = "direct"
"""The lowering that needs an NVIDIA GPU and Triton."""
COMPILED_FIRST = (LOOPS, LARGE_LOOPS, KERNELS)
"""Lowerings that are compiled when a process first needs them, and kept for later ones."""


def usual_lowering(model: DCCNet, device: torch.device = CPU) -> str:
    """The lowering that was measured to be the fastest for such kernels and volumes.

    On a CPU benchmarks/training_step.py measured it. On a GPU only the paper's size was measured
    (docs/gpu.md): ``direct`` is faster than ``stack``, and ``stack`` than ``spectral``.
    """
    if device.type != "cpu":
        return "stack" if missing(KERNELS, device) else KERNELS
    if model.recomputes:
        return "spectral" if missing(LARGE_LOOPS, device) else LARGE_LOOPS
    if max(model.config.consensus_kernels) < 5:
        return "stack" if missing(LOOPS, device) else LOOPS
    return "spectral3"


def missing(name: str, device: torch.device) -> str:
    """What the lowering ``name`` lacks on this device, as the end of a sentence; empty if nothing."""
    if name in (LOOPS, LARGE_LOOPS):
        if device.type != "cpu":
            return "computes on a CPU only: choose --device cpu or another --conv4d"
        if find_spec("numba") is None:
            return f"needs numba: {install('train')}, or choose another --conv4d"
    return _missing_for_kernels(device) if name == KERNELS else ""


def _missing_for_kernels(device: torch.device) -> str:
    if device.type != "cuda":
        return "computes on a GPU only: choose --device cuda or another --conv4d"
    if find_spec("triton") is None:
        return "needs triton: pip install triton, or choose another --conv4d"
    if not is_supported(device):
        return "needs an NVIDIA GPU of compute capability 8.0 or newer: choose another --conv4d"
    return ""


def refuse_missing(requested: str | None, device: torch.device) -> None:
    """Raise :class:`UsageError` if the requested lowering cannot run on this device."""
    if requested is not None and (why := missing(requested, device)):
        raise UsageError(f"--conv4d {requested} {why}")


def lowering_of_run(requested: str | None, model: DCCNet, batch: int, processes: Processes) -> str:
    """The lowering that a new run uses in all processes; stored in its settings.

    ``requested`` is a lowering's name, ``auto`` (time all of them) or None (the usual one). Raises
    :class:`UsageError` for a lowering that cannot run on this device.
    """
    refuse_missing(requested, processes.device)
    if requested is None:
        return usual_lowering(model, processes.device)
    if requested != AUTO:
        return requested
    fastest = fastest_lowering(model.config, batch, processes.device) if processes.first else ""
    return "".join(processes.collect([fastest]))


def lowering_here(stored: str | None, model: DCCNet, device: torch.device = CPU) -> str:
    """The stored lowering of a run, or the usual one if it cannot run on this machine and device."""
    if stored is None or missing(stored, device):
        return usual_lowering(model, device)
    return stored


def fastest_lowering(config: ModelConfig, batch: int, device: torch.device = CPU) -> str:
    """The fastest lowering for neighbourhood consensus of a few pairs, forward and backward, in turns."""
    with torch.random.fork_rng():  # the run's random numbers must not depend on the timing
        model = DCCNet(config).to(device)
        # Volumes that are recomputed are computed one by one; otherwise give every thread one.
        alone = model.recomputes
        volumes = 1 if alone else min(batch, torch.get_num_threads())
        correlation = torch.rand(volumes, 1, *model.grid, *model.grid, device=device)

    def step_with(name: str) -> Callable[[], None]:
        def step() -> None:
            model.lower(TRAINING_LOWERINGS[name])
            total = model.consensus([correlation])[0].sum()
            gradients = torch.autograd.grad(total, list(model.consensus.parameters()))
            float(gradients[0].sum())  # waits until a GPU has finished

        return step

    names = [name for name in TRAINING_LOWERINGS if not missing(name, device)]
    seconds = medians(take_turns({name: step_with(name) for name in names}, ROUNDS))
    fastest = next(iter(seconds))
    table = ", ".join(f"{name} {1000 * seconds[name]:.0f} ms" for name in names)
    count = "one volume" if volumes == 1 else f"{volumes} volumes"
    note(f"4D convolutions: {fastest}; {count} forward and backward: {table}")
    return fastest
