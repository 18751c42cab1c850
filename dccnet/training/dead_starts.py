"""Draws initial weights of 4D convolutions again where they can learn nothing.

A 4D network ends in a ReLU. At the authors' initialisation it depends on a few random numbers whether its
output is zero for all inputs, and the fewer channels it has, the more often it is. Then it has no gradient.
Dead consensus never matches anything. A dead embedding (Eq. 12) makes the attention, which reads it, the
same in every cell and for all pictures; and where few of its outputs are above zero, the first steps of
training can push these below it, too (docs/tiny.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.conv4d import Conv4d
from dccnet.network.correlation import correlate, l2_normalise, mutual_matching
from dccnet.network.model import DCCNet
from dccnet.training.starts import mirror_channels

DRAWS = 100
"""Most draws; two in five embeddings are dead at the sizes of ``tiny`` in dcc 0.1 (docs/tiny.md)."""
LIVING = 0.25
"""Share of an embedding's outputs that must be above zero: of noise, which has more than real pictures. A
start with 0.12 had 0.02 on these, and died in the first epoch. One start in two has more than a half.
Consensus learns from any output above zero: of its starts, one with 0.003 trained like the others."""
PROBE_CHANNELS = 16


@torch.no_grad()
def draw_living_consensus(model: DCCNet, both_ways: bool) -> int:
    """Draw the weights of the 4D convolutions again, from PyTorch's generator, until they are not
    :func:`silent`.

    ``both_ways`` mirrors half of the new kernels, too (``starts.py``). Returns the number of new draws: 0
    where the weights stay as they are.
    """
    return _draw(model.consensus, lambda: silent(model.consensus), both_ways)


@torch.no_grad()
def draw_living_embedding(model: DCCNet, both_ways: bool) -> int:
    """As :func:`draw_living_consensus`, for the embedding, until it is not :func:`dead`."""
    embedding = model.embedding
    return 0 if embedding is None else _draw(embedding, lambda: dead(model.consensus, embedding), both_ways)


def _draw(network: NeighbourhoodConsensus, unusable: Callable[[], bool], both_ways: bool) -> int:
    for draws in range(DRAWS):
        if not unusable():
            return draws
        for layer in cast("Sequence[Conv4d]", network.layers):
            layer.reset_parameters()
        if both_ways:
            mirror_channels(network)
    return DRAWS


@torch.no_grad()
def silent(consensus: NeighbourhoodConsensus) -> bool:
    """Whether every output is zero for a picture that is matched with itself.

    The picture is noise, of as many cells as one score depends on; such matches give maps of the size that
    real pictures give.
    """
    return not bool(consensus([_probe(consensus)])[0].any())


@torch.no_grad()
def dead(consensus: NeighbourhoodConsensus, embedding: NeighbourhoodConsensus) -> bool:
    """Whether hardly any output of the embedding is above zero, for the same picture. None of the real
    ones that were tried judged otherwise (docs/tiny.md)."""
    (embedded,) = embedding([mutual_matching(consensus([_probe(embedding)])[0])])
    return bool((embedded > 0).float().mean() < LIVING)


def _probe(network: NeighbourhoodConsensus) -> Tensor:
    side = 1 + sum(weight.shape[-1] - 1 for weight, _ in network.weights)
    noise = torch.rand(1, PROBE_CHANNELS, side, side, generator=torch.Generator().manual_seed(0))
    features = l2_normalise(noise)
    return mutual_matching(correlate(features, features))
