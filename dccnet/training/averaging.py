"""Polyak averaging: a running mean of the weights is validated and saved; training continues without it.

Steps with small batches are noisy; a mean over roughly the last hundred steps is steadier.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


class RunningMean:
    """Exponential mean of ``parameters`` with weight ``decay`` on the past; 0 disables it."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters, self._decay = parameters, decay
        self.means: list[Tensor] = [p.detach().clone() for p in parameters] if decay else []

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Add the parameters after step number ``steps``.

        The decay is smaller in the first steps, so that the initial weights are soon forgotten.
        """
        decay = min(self._decay, (1 + steps) / (10 + steps))
        for mean, parameter in zip(self.means, self._parameters, strict=False):
            mean.lerp_(parameter, 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the network its mean weights in this block."""
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
