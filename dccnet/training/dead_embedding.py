"""Draws the initial weights of the correlation embedding again where they can learn nothing.

The embedding (Eq. 12) ends in a ReLU. At the authors' initialisation it depends on a few biases whether its
output is zero for all inputs. Then it has no gradient, and the attention, which reads it, is the same in
every cell and for all pictures. Where few outputs are above zero, the first steps of training can push
these below it, too (docs/tiny.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch

from dccnet.network.consensus import NeighbourhoodConsensus
from dccnet.network.conv4d import Conv4d
from dccnet.network.correlation import correlate, l2_normalise, mutual_matching
from dccnet.network.model import DCCNet
from dccnet.training.starts import mirror_channels

DRAWS = 100
"""Most draws; two in five are dead at the sizes of ``tiny`` (docs/tiny.md)."""
LIVING = 0.25
"""Share of the outputs that must be above zero: of noise, which has more than real pictures. A start with
0.12 had 0.02 on these, and died in the first epoch. One start in two has more than a half."""
PROBE_CHANNELS = 16


@torch.no_grad()
def draw_living_embedding(model: DCCNet, both_ways: bool) -> int:
    """Draw the embedding's weights again, from PyTorch's generator, until it is not dead (:func:`is_dead`).

    ``both_ways`` mirrors half of the new kernels, too (``starts.py``). Returns the number of new draws: 0
    where the weights stay as they are.
    """
    embedding = model.embedding
    if embedding is None:
        return 0
    for draws in range(DRAWS):
        if not is_dead(model.consensus, embedding):
            return draws
        for layer in cast("Sequence[Conv4d]", embedding.layers):
            layer.reset_parameters()
        if both_ways:
            mirror_channels(embedding)
    return DRAWS


@torch.no_grad()
def is_dead(consensus: NeighbourhoodConsensus, embedding: NeighbourhoodConsensus) -> bool:
    """Whether hardly any output is above zero for a picture that is matched with itself.

    The picture is noise, of as many cells as one score depends on; such matches give maps of the size that
    real pictures give, and none of the real ones that were tried judged otherwise (docs/tiny.md).
    """
    side = 1 + sum(weight.shape[-1] - 1 for weight, _ in embedding.weights)
    noise = torch.rand(1, PROBE_CHANNELS, side, side, generator=torch.Generator().manual_seed(0))
    features = l2_normalise(noise)
    matched = mutual_matching(correlate(features, features))
    (embedded,) = embedding([mutual_matching(consensus([matched])[0])])
    return bool((embedded > 0).float().mean() < LIVING)
