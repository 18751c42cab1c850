"""Training steps of the paper's network on a GPU, on random features, by every lowering and precision.

    python benchmarks/gpu_training.py [--budget 240] [--out DIR]
    python benchmarks/gpu_training.py --device cpu --tiny    # tries the script itself

Needs torch, triton, numpy, opencv and safetensors. Writes DIR/gpu_training.json after every row, and prints
a table at the end. A step is the loss, the gradients and Adam, for features of the backbone that are on the
GPU already; "recomputed" computes the 4D layers again in the backward pass. Weights do not change between
steps.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable

import torch
from gpu_rows import Bench, Row, Rows, error, lowering_named, precision, run

from dccnet.network.correlation import l2_normalise
from dccnet.network.loss import weak_loss
from dccnet.network.model import DCCNet

SMALL = 2
"""Batch of the rows that the slice loop and kept layers are compared in."""


def measure(rows: Rows, bench: Bench) -> None:
    batch = SMALL if bench.tiny else 16
    model = _network(bench)
    initial = copy.deepcopy(model.state_dict())
    rows.add(f"gradients at batch {SMALL}", lambda: _gradients(bench, model), 15)
    ways = [
        ("direct", "bf16", True, batch), ("stack", "bf16", True, batch), ("direct", "bf16", False, batch),
        ("direct", "bf16", False, SMALL), ("slice loop", "bf16", False, SMALL),
        ("direct", "tf32", True, batch), ("stack", "tf32", True, batch), ("direct", "tf32", False, batch),
        ("stack", "fp32", True, batch), ("spectral", "tf32", True, batch),
    ]  # fmt: skip
    for name, kind, recompute, pairs in ways:
        kept = "recomputed" if recompute else "kept"
        needs = 30 if name in ("slice loop", "spectral") else 15
        work = _timed(bench, model, initial, name, kind, recompute, pairs)
        rows.add(f"{name}, {kind}, batch {pairs}, {kept}", work, needs)


def _network(bench: Bench) -> DCCNet:
    model = bench.network()
    with torch.no_grad():
        # Without biases and with larger kernels, a random network scores pairs differently.
        for name, parameter in model.named_parameters():
            if "consensus" in name or "embedding" in name:
                parameter.mul_(0.0 if name.endswith("bias") else 3.0)
    return model.to(bench.device).train()


def _step(
    bench: Bench, model: DCCNet, lowering: str, kind: str, recompute: bool, batch: int
) -> Callable[[], float]:
    """A function that makes one training step and returns the loss."""
    model.lower(lowering_named(lowering))
    model.recompute_activations(recompute)
    generator = torch.Generator(device=bench.device).manual_seed(1)
    shape = (batch, model.backbone.channels, *model.grid)
    a, b = (
        l2_normalise(torch.rand(shape, device=bench.device, generator=generator) ** 4) for _ in range(2)
    )
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.0)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(bench.device.type, torch.bfloat16, enabled=kind == "bf16"):
            loss = weak_loss(model, model.branch_features(a), model.branch_features(b)).loss
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def _timed(
    bench: Bench,
    model: DCCNet,
    initial: dict[str, torch.Tensor],
    lowering: str,
    kind: str,
    recompute: bool,
    batch: int,
) -> Callable[[], Row]:
    def work() -> Row:
        model.load_state_dict(initial)  # NaN in the gradients of one row must not reach the next
        step = _step(bench, model, lowering, kind, recompute, batch)
        losses: list[float] = []
        with precision(kind):
            memory = bench.peak_gb(lambda: losses.append(step()))
            times = bench.ms(lambda: losses.append(step()), 1.0, least=2, most=8)
        model.zero_grad(set_to_none=True)
        if bench.gpu:
            torch.cuda.empty_cache()
        return {
            "s": times["ms"] / 1000, "min_s": times["min_ms"] / 1000,
            "pairs_per_s": 1000 * batch / times["ms"], "peak_GB": memory,
            "loss": losses[0], "same_loss_in_all_steps": len(set(losses)) == 1,
        }  # fmt: skip

    return work


def _gradients(bench: Bench, model: DCCNet) -> Row:
    """Errors of all gradients of a step, against ``stack`` in strict float32."""
    row: Row = {}
    true: torch.Tensor | None = None
    ways = (("stack", "fp32"), ("direct", "tf32"), ("stack", "tf32"), ("direct", "bf16"), ("stack", "bf16"))
    for name, kind in ways:
        with precision(kind):
            loss = _step(bench, model, name, kind, False, SMALL)()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found = torch.cat(gradients).double()
        true = found if true is None else true
        row[f"{name} {kind}"] = f"loss {loss:.4g}, gradients {error(found, true):.1e}"
    model.zero_grad(set_to_none=True)
    return row


if __name__ == "__main__":
    assert __doc__ is not None
    run(__doc__, "gpu_training", 240, measure, sys.argv[1:])
