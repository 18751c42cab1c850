"""DCCNet, NC-Net, their weak loss and Adam, written down a second time from the paper and from the facts
of the authors' code, with nothing of the package: what its training is compared with.

Slow and plain: sums over windows and neighbours, on tensors of any type. Weights are a dictionary by the
names that the package gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


class Maps(NamedTuple):
    """Everything that the network says about a batch of pairs."""

    of_branches: list[Tensor]
    """Correlation maps after consensus, local first, ``(B, hA, wA, hB, wB)`` each."""
    on_a: Tensor
    """For every cell of A, a distribution over the cells of B: ``(B, hA, wA, hB, wB)``."""
    on_b: Tensor
    """For every cell of B, a distribution over the cells of A: the same shape."""


def unit_length(x: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).sum(1, keepdim=True) + 1e-6)


def neighbour_similarity(z: Tensor, k: int) -> Tensor:
    """Eq. 4, 5: ``(B, d, h, w)`` -> ``(B, k², h, w)``, zero where the neighbour lies outside."""
    _, _, h, w = z.shape
    padded = torch.nn.functional.pad(z, (k // 2,) * 4)
    products = [(z * padded[:, :, y : y + h, x : x + w]).sum(1) for y in range(k) for x in range(k)]
    return torch.stack(products, 1)


def context(z: Tensor, weights: Weights, k: int) -> Tensor:
    """Eq. 6: context-aware features G ``(B, l, h, w)``."""
    both = torch.cat([z, unit_length(neighbour_similarity(z, k))], 1)
    weight, bias = weights["context_encoder.embed.weight"], weights["context_encoder.embed.bias"]
    return (torch.einsum("bchw,lc->blhw", both, weight[:, :, 0, 0]) + bias[:, None, None]).clamp(min=0)


def correlate(a: Tensor, b: Tensor) -> Tensor:
    """Eq. 10: ``(B, hA, wA, hB, wB)``."""
    return torch.einsum("bcij,bcmn->bijmn", a, b)


def mutual(c: Tensor) -> Tensor:
    best_over_a = c.amax((1, 2), keepdim=True)
    best_over_b = c.amax((3, 4), keepdim=True)
    return c * (c / (best_over_a + 1e-5)) * (c / (best_over_b + 1e-5))


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 4D cross-correlation: ``(B, Cin, D1..D4)``, ``(Cout, Cin, k, k, k, k)``, ``(Cout,)``."""
    windows = torch.nn.functional.pad(x, (weight.shape[-1] // 2,) * 8)
    for dimension in range(2, 6):
        windows = windows.unfold(dimension, weight.shape[-1], 1)  # ends as (B, Cin, D1..D4, k, k, k, k)
    return torch.einsum("bcijmnpqrs,ocpqrs->boijmn", windows, weight) + bias[:, None, None, None, None]


def filtered(c: Tensor, weights: Weights, name: str) -> Tensor:
    """The 4D layers called ``name``, each with its ReLU, on C and on C with its pictures exchanged."""

    def chain(x: Tensor) -> Tensor:
        x = x[:, None]
        layers = sum(key.startswith(name) and key.endswith(".weight") for key in weights)
        for i in range(layers):
            x = convolve(x, weights[f"{name}.{i}.weight"], weights[f"{name}.{i}.bias"]).clamp(min=0)
        return x[:, 0]

    return chain(c) + chain(c.permute(0, 3, 4, 1, 2)).permute(0, 3, 4, 1, 2)


def over_b(c: Tensor) -> Tensor:
    return c.flatten(3).softmax(3).view_as(c)


def over_a(c: Tensor) -> Tensor:
    return c.flatten(1, 2).softmax(1).view_as(c)


def network(za: Tensor, zb: Tensor, weights: Weights, k: int) -> Maps:
    """DCCNet from the backbone's normalised features ``(B, d, h, w)``; NC-Net for the weights of one."""
    correlations = [correlate(za, zb)]
    dynamic = "context_encoder.embed.weight" in weights
    if dynamic:
        correlations.append(correlate(context(za, weights, k), context(zb, weights, k)))
    maps = [mutual(filtered(mutual(c), weights, "consensus.layers")) for c in correlations]
    if not dynamic:
        return Maps(maps, over_b(maps[0]), over_a(maps[0]))
    embedded = [filtered(c, weights, "fusion.embedding.layers") for c in maps]
    weight, bias = weights["fusion.attend.weight"][:, :, 0, 0], weights["fusion.attend.bias"]
    seen_from_a = torch.cat([c.flatten(3) for c in embedded], 3)  # (B, hA, wA, 2·hB·wB)
    seen_from_b = torch.cat([c.flatten(1, 2) for c in embedded], 1)  # (B, 2·hA·wA, hB, wB)
    on_a = (torch.einsum("bijc,oc->boij", seen_from_a, weight) + bias[:, None, None]).softmax(1)
    on_b = (torch.einsum("bcmn,oc->bomn", seen_from_b, weight) + bias[:, None, None]).softmax(1)
    return Maps(
        maps,
        sum(on_a[:, s, :, :, None, None] * over_b(c) for s, c in enumerate(maps)),  # type: ignore[arg-type]
        sum(on_b[:, s, None, None] * over_a(c) for s, c in enumerate(maps)),  # type: ignore[arg-type]
    )


def weak_loss(za: Tensor, zb: Tensor, weights: Weights, k: int, auxiliary: bool) -> Tensor:
    """Eq. 18 with λ = γ = 1, or the fused part alone; negatives are the sources rolled by one."""

    def score(on_a: Tensor, on_b: Tensor) -> Tensor:
        return (on_a.amax((3, 4)).mean() + on_b.amax((1, 2)).mean()) / 2

    def total(maps: Maps) -> Tensor:
        branches = maps.of_branches if auxiliary else []
        return score(maps.on_a, maps.on_b) + sum(score(over_b(c), over_a(c)) for c in branches)

    rolled = torch.stack([za[(i + 1) % len(za)] for i in range(len(za))])
    return total(network(rolled, zb, weights, k)) - total(network(za, zb, weights, k))


class Adam:
    """Kingma and Ba, Algorithm 1."""

    def __init__(self, weights: Weights, rate: float) -> None:
        self.rate, self.steps = rate, 0
        self.first = {name: torch.zeros_like(w) for name, w in weights.items()}
        self.second = {name: torch.zeros_like(w) for name, w in weights.items()}

    def step(self, weights: Weights, gradients: Weights) -> dict[str, Tensor]:
        """The weights after a step."""
        self.steps += 1
        updated = {}
        for name, g in gradients.items():
            self.first[name] = 0.9 * self.first[name] + 0.1 * g
            self.second[name] = 0.999 * self.second[name] + 0.001 * g * g
            first = self.first[name] / (1 - 0.9**self.steps)
            second = self.second[name] / (1 - 0.999**self.steps)
            updated[name] = weights[name] - self.rate * first / (second.sqrt() + 1e-8)
        return updated
