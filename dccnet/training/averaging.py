"""A running mean of the weights: what is validated and saved, while training goes on with the last ones.

Single steps of so small batches are noisy; the mean over the last hundred or so is steadier (Polyak).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


class RunningMean:
    """Exponential mean of ``parameters`` with weight ``decay`` on the past; 0 keeps none."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters, self._decay = parameters, decay
        self.means: list[Tensor] = [p.detach().clone() for p in parameters] if decay else []

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """After a step, the ``steps``-th: the first ones count more, or the start would linger."""
        decay = min(self._decay, (1 + steps) / (10 + steps))
        for mean, parameter in zip(self.means, self._parameters, strict=False):
            mean.lerp_(parameter, 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has its mean weights in this block."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for mean, parameter in zip(self.means, self._parameters, strict=False):
            kept = parameter.clone()
            parameter.copy_(mean)
            mean.copy_(kept)
