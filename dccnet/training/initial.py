"""Networks before their first training step."""

from __future__ import annotations

import torch

from dccnet.network.config import ModelConfig
from dccnet.network.model import DCCNet
from dccnet.runtime.errors import UsageError
from dccnet.runtime.messages import note
from dccnet.training.dead_starts import draw_living_consensus, draw_living_embedding
from dccnet.training.starts import start_both_ways, start_plain
from dccnet.weights.pretrained import load_backbone_weights


def initial_network(config: ModelConfig, weights: str, start: str, both_ways: bool, seed: int) -> DCCNet:
    """The network that a run of ``dcc train`` with these settings starts from.

    ``weights`` are those of the backbone (:func:`load_backbone_weights`); :func:`apply_start` explains
    ``start`` and ``both_ways``. ``seed`` is that of all random numbers. Raises :class:`CheckpointError` for
    weights that cannot be loaded, and :class:`UsageError` as :func:`apply_start`.
    """
    torch.manual_seed(seed)
    model = DCCNet(config)
    initialise(model, weights, start, both_ways)
    return model


def initialise(model: DCCNet, weights: str, start: str, both_ways: bool, tell: bool = True) -> None:
    """Set all initial weights of a new network, as :func:`initial_network` says; ``tell`` allows notes."""
    load_backbone_weights(model.backbone, model.config.backbone, weights)
    apply_start(model, start, both_ways)
    revive(model, both_ways, tell)


def apply_start(model: DCCNet, start: str, both_ways: bool) -> None:
    """Set the initial weights after the backbone (``starts.py``).

    ``start``: ``random`` keeps those of the constructor, ``plain`` already matches without training.
    ``both_ways`` prepares the 4D kernels for things that face opposite ways. Raises :class:`UsageError` for
    a plain start of a network with too few context channels.
    """
    if both_ways:
        start_both_ways(model)
    if start == "plain":
        try:
            start_plain(model, both_ways)
        except ValueError as error:
            raise UsageError(f"--start plain: {error}: give --set context_channels=NUMBER") from error


def revive(model: DCCNet, both_ways: bool, tell: bool = True) -> None:
    """Draw 4D convolutions again that could not learn (``dead_starts.py``).

    ``both_ways`` is that of :func:`apply_start`, which comes before. A note says so if ``tell``.
    """
    consensus = draw_living_consensus(model, both_ways)
    embedding = draw_living_embedding(model, both_ways)
    for name, draws in (("4D convolutions", consensus), ("correlation embedding", embedding)):
        if draws and tell:
            note(f"the {name} could not learn at the initial weights: drawn again, {draws} x")
