"""How a network is computed: lowering, recomputation, half precision. Checkpoints know nothing of it."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from dccnet.network.backbone import Backbone
from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.conv4d import Lowering, recomputes

_Network = TypeVar("_Network", bound="Computation")


class Computation(nn.Module):
    """Base class of the network. Every choice here gives the same results up to rounding."""

    backbone: Backbone
    consensus: NeighbourhoodConsensus
    grid: tuple[int, int]

    def lower(self, lowering: Lowering) -> None:
        """Choose how 4D convolutions are computed: a value of ``conv4d.TRAINING_LOWERINGS``, or of
        ``conv4d.EXPORT_LOWERINGS`` for weights that do not change any more.

        Raises ``ValueError`` for a lowering that is not meant for the network's weights.
        """
        networks = self.consensus_networks()
        fitted = [lowering.fitted(consensus.weights) for consensus in networks]
        for consensus, own in zip(networks, fitted, strict=True):
            consensus.lowering = own

    def recompute_activations(self, on: bool | None) -> None:
        """Choose whether training recomputes the 4D layers in the backward pass instead of keeping their
        outputs: less memory, a third more time. None decides by the size of the volumes."""
        for consensus in self.consensus_networks():
            consensus.recompute = on

    @property
    def recomputes(self) -> bool:
        """Whether training does so, for volumes of the network's own grid."""
        return recomputes(self.consensus.weights, (*self.grid, *self.grid), self.consensus.recompute)

    @property
    def feature_dtype(self) -> torch.dtype:
        """The type of the features that ``encode`` returns: float16 after :meth:`in_half`."""
        return next(self.backbone.trunk.parameters()).dtype

    def folded(self: _Network) -> _Network:
        """A copy for inference, with every batch norm folded into its convolution, which changes only
        rounding."""
        folded = copy.deepcopy(self).eval()
        folded.backbone.fold_batch_norms()
        return folded

    def in_half(self: _Network) -> _Network:
        """A copy for inference in float16, with the float32 islands of :mod:`dccnet.network.precision`."""
        half = self.folded()
        for backbone in half.backbone.with_beside:
            backbone.trunk.half()
        for name, part in half.named_children():
            if name != "backbone":
                part.half()
        return half

    def consensus_networks(self) -> list[NeighbourhoodConsensus]:
        """All 4D networks: neighbourhood consensus and, if there is one, the correlation embedding."""
        return [module for module in self.modules() if isinstance(module, NeighbourhoodConsensus)]
