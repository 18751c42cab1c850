"""Errors of ``direct`` in Triton's interpreter, on a CPU, as JSON: ``TRITON_INTERPRET=1 python FILE``.

The interpreter must be chosen before Triton is imported, hence in a process of its own.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence

import torch
from torch import Tensor

from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.conv4d import STACK, Layers, direct
from dccnet.network.conv4d.direct_layout import Core

CHAINS = {
    # name: grid, kernels of the layers (Cout, Cin, k1, k2, k3, k4)
    "spread, plain, folded": ((3, 2, 2, 3), [(4, 1, 3, 3, 3, 3), (3, 4, 3, 3, 3, 3), (1, 3, 3, 3, 3, 3)]),
    "unequal sides": ((2, 3, 5, 3), [(3, 2, 3, 5, 3, 1), (2, 3, 1, 3, 3, 5)]),
    "one layer": ((3, 1, 2, 4), [(5, 1, 3, 3, 3, 3)]),
    "too many taps to spread or fold": ((2, 1, 3, 2), [(8, 8, 1, 1, 3, 3), (8, 8, 1, 1, 3, 3)]),
    "many channels at both ends": ((2, 2, 2, 2), [(17, 16, 1, 1, 3, 1), (33, 17, 1, 3, 1, 1)]),
}


def kinds(kernels: Sequence[tuple[int, ...]]) -> list[str]:
    """How each layer is computed."""
    last = len(kernels) - 1
    return [Core.of(kernel, number == 0, number == last).kind for number, kernel in enumerate(kernels)]


def errors_of_chain(grid: tuple[int, ...], kernels: Sequence[tuple[int, ...]]) -> list[float]:
    """Relative errors of the output and of the gradients of volume, kernels and biases; batch 2."""
    generator = torch.Generator().manual_seed(7)

    def numbers(*sides: int) -> Tensor:
        return torch.randn(sides, generator=generator, dtype=torch.float64)

    volume, up = numbers(2, kernels[0][1], *grid), numbers(2, kernels[-1][0], *grid)
    parameters = [p for kernel in kernels for p in (numbers(*kernel), numbers(kernel[0]))]

    def run(compute: str) -> list[Tensor]:
        dtype = torch.float64 if compute == "true" else torch.float32
        c, *leaves = (p.to(dtype, copy=True).requires_grad_() for p in (volume, *parameters))
        layers: Layers = list(zip(leaves[::2], leaves[1::2], strict=True))
        (y,) = STACK.chain([c], layers) if compute == "true" else [direct.chain_of_one(c, layers)]
        return [y.detach(), *torch.autograd.grad(y, [c, *leaves], up.to(dtype))]

    return apart(run("direct"), run("true"))


def errors_of_consensus(recompute: bool) -> list[float]:
    """The same for consensus of a map, in both directions."""
    torch.manual_seed(3)
    true = NeighbourhoodConsensus((3, 3), (4, 1)).double()
    found = copy.deepcopy(true).float()
    found.lowering, found.recompute = direct.Direct(), recompute
    c = torch.rand(2, 1, 3, 2, 2, 3, dtype=torch.float64)
    results = []
    for consensus, dtype in ((found, torch.float32), (true, torch.float64)):
        leaf = c.to(dtype, copy=True).requires_grad_()
        (y,) = consensus([leaf])
        gradients = torch.autograd.grad(y.square().sum(), [leaf, *consensus.parameters()])
        results.append([y.detach(), *gradients])
    return apart(*results)


def apart(found: Sequence[Tensor], true: Sequence[Tensor]) -> list[float]:
    return [float((f - t).norm() / t.norm()) for f, t in zip(found, true, strict=True)]


def poison_new_memory() -> None:
    """Let memory that is not yet written contain NaN."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True


def main() -> None:
    poison_new_memory()
    torch.backends.cudnn.allow_tf32 = True
    direct._computes = lambda volume, layers: True  # as if the volumes were on a GPU
    found = {name: errors_of_chain(grid, kernels) for name, (grid, kernels) in CHAINS.items()}
    found["consensus, kept"] = errors_of_consensus(False)
    found["consensus, recomputed"] = errors_of_consensus(True)
    print(json.dumps({"kinds": {name: kinds(k) for name, (_, k) in CHAINS.items()}, "errors": found}))


if __name__ == "__main__":
    main()
