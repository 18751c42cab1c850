"""What a *lowering* is: one exact way to compute chains of 4D convolutions; and what most of them share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Layers = Sequence[tuple[Tensor, Tensor]]
"""Kernels ``(Cout, Cin, k1, k2, k3, k4)`` with odd sides, and biases ``(Cout,)``."""
Convolution = Callable[[Tensor], Tensor]
_Same = TypeVar("_Same")

RECOMPUTE_FROM = 4_000_000
"""Size of a volume's widest layer, in numbers, from which training computes layers again in the backward
pass instead of keeping their outputs: at the paper's size a pair of images would keep some 900 MB."""


class Lowering(Protocol):
    """One exact way to compute 4D convolutions; all give the same results up to rounding."""

    def chain(self, volumes: Sequence[Tensor], layers: Layers, recompute: bool | None) -> list[Tensor]:
        """Each volume after all layers, with a ReLU after each layer.

        Volumes are ``(B, Cin, D1, D2, D3, D4)``, returned as ``(B, Cout, D1, D2, D3, D4)``. Convolutions
        are those of :func:`~dccnet.network.conv4d.conv4d`. ``recompute`` says whether training computes the
        layers again in the backward pass instead of keeping their outputs; None decides by
        :func:`recomputes`.
        """

    symmetric: bool
    """Whether, with the weights that it was fitted to, the chain of Cᵀ is the transposed chain of C."""

    def fitted(self, layers: Layers) -> Lowering:
        """A lowering for these layers, whose weights will not change, or itself.

        Raises ``ValueError`` for layers that it is not meant for.
        """


class AnyWeights:
    """Base class of lowerings that take whatever weights they are given."""

    symmetric = False

    def fitted(self: _Same, layers: Layers) -> _Same:
        return self


class LayoutLowering(AnyWeights, ABC):
    """A lowering that has its own layout of volumes, with channels and two axes of cells last.

    A ReLU between two layers commutes with every layout, so a chain stays in it from the first layer to the
    last: ``leave(relu(conv(relu(conv(enter(c))))))``.
    """

    batched = False
    """Whether volumes that meet the same kernels are faster in one batch than one by one."""

    @abstractmethod
    def enter(self, c: Tensor) -> Tensor:
        """``(B, C, D1, D2, D3, D4)`` -> the lowering's layout."""

    @abstractmethod
    def convolution(self, weight: Tensor, bias: Tensor | None, grid: Sequence[int]) -> Convolution:
        """One layer for volumes of the sides ``grid``; takes and returns the lowering's layout."""

    @abstractmethod
    def leave(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`enter`."""

    def chain(
        self, volumes: Sequence[Tensor], layers: Layers, recompute: bool | None = None
    ) -> list[Tensor]:
        """See :meth:`Lowering.chain`."""
        grids = {tuple(volume.shape[2:]) for volume in volumes}
        run = {grid: partial(self._run, self._convolutions(layers, grid)) for grid in grids}

        def apply(c: Tensor) -> Tensor:
            function = run[tuple(c.shape[2:])]
            return recomputed(function, c) if recomputes_now([c], layers, recompute) else function(c)

        if self.batched and len(grids) == 1:
            return list(apply(torch.cat(list(volumes))).unflatten(0, (len(volumes), -1)))
        return [apply(volume) for volume in volumes]

    def _convolutions(self, layers: Layers, grid: Sequence[int]) -> list[Convolution]:
        return [
            partial(pointwise, weight=weight, bias=bias)
            if max(weight.shape[2:]) == 1
            else self.convolution(weight, bias, grid)
            for weight, bias in layers
        ]

    def _run(self, convolutions: Sequence[Convolution], c: Tensor) -> Tensor:
        x = self.enter(c)
        for convolution in convolutions:
            x = F.relu(convolution(x))
        return self.leave(x)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A layer whose kernel is a single cell: ``(..., Cin, H, W)`` -> ``(..., Cout, H, W)``."""
    y = F.conv2d(x.flatten(0, -4), weight.flatten(3), bias)
    result: Tensor = torch.unflatten(y, 0, x.shape[:-3])
    return result


def recomputes(layers: Layers, grid: Sequence[int], recompute: bool | None = None) -> bool:
    """Whether training computes these layers again for volumes of the sides ``grid`` (hA, wA, hB, wB)."""
    if recompute is not None:
        return recompute
    return max(len(weight) for weight, _ in layers) * math.prod(grid) >= RECOMPUTE_FROM


def recomputes_now(volumes: Sequence[Tensor], layers: Layers, recompute: bool | None) -> bool:
    """Whether the forward pass that runs now leaves layers of one of these volumes to be recomputed."""
    grids = {volume.shape[2:] for volume in volumes}
    return torch.is_grad_enabled() and any(recomputes(layers, grid, recompute) for grid in grids)


def recomputed(function: Convolution, c: Tensor) -> Tensor:
    """``function(c)``, one volume of the batch after the other, and again in the backward pass."""
    return torch.cat([checkpoint(function, volume, use_reentrant=False) for volume in c.split(1)])
