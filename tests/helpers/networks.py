"""Small networks that the tests share."""

from __future__ import annotations

import torch

from dccnet.network.config import ModelConfig
from dccnet.network.model import DCCNet
from dccnet.weights.pretrained import load_backbone_weights

SMALL = ModelConfig(
    backbone="resnet18",
    image_size=(96, 80),
    context_kernel=5,
    context_channels=24,
    consensus_kernels=(3, 3),
    consensus_channels=(4, 1),
)


ONE_BRANCH = {"fusion": None, "embedding": False, "auxiliary_loss": False}
PLAIN = SMALL.replace(branches=("local",), consensus_kernels=(3,), consensus_channels=(1,), **ONE_BRANCH)
"""Exported in half the time of ``SMALL``: for tests of what surrounds a network, not of the network."""
ONE_LAYER = SMALL.replace(consensus_kernels=(3,), consensus_channels=(1,))
"""Exported in two thirds of the time of ``SMALL``: for tests of branches and how they are fused."""


def build(config: ModelConfig, seed: int = 0) -> DCCNet:
    torch.manual_seed(seed)
    return DCCNet(config).eval()


def decisive(model: DCCNet) -> DCCNet:
    """With features and scores that differ from cell to cell, as training makes them."""
    load_backbone_weights(model.backbone, model.config.backbone, "random")
    with torch.no_grad():
        for layer in model.consensus.layers:
            layer.weight *= 3
            layer.bias.zero_()
    return model


ABLATIONS = {
    "ncnet": {"branches": ("local",), **ONE_BRANCH},
    "baseline-s": {"branches": ("context",), **ONE_BRANCH},
    "baseline-sca": {"embedding": False},
    "baseline-saa": {"fusion": "average"},
    "baseline-sd": {"auxiliary_loss": False},
    "dccnet": {},
}
