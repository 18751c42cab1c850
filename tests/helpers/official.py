"""Files as the authors' training script writes them."""

from __future__ import annotations

import argparse
import collections
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import models

State = collections.OrderedDict[str, Tensor]


def consensus_state(prefix: str, kernels: tuple[int, ...], channels: tuple[int, ...]) -> State:
    state: State = collections.OrderedDict()
    for i, (k, cin, cout) in enumerate(zip(kernels, (1, *channels[:-1]), channels, strict=True)):
        state[f"{prefix}.conv.{2 * i}.weight"] = torch.randn(k, cout, cin, k, k, k) * 0.05
        state[f"{prefix}.conv.{2 * i}.bias"] = torch.randn(cout) * 0.05
    return state


def backbone_state(name: str = "resnet101") -> State:
    net = getattr(models, name)(weights=None)
    parts = [net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3]
    sequence = nn.Sequential(*parts)
    return collections.OrderedDict(
        (f"FeatureExtraction.model.{key}", value) for key, value in sequence.state_dict().items()
    )


def dccnet_state() -> State:
    torch.manual_seed(0)
    state = backbone_state()
    state["SpatialContextEncoder.embeddingFea.0.weight"] = torch.randn(1024, 1649, 1, 1) * 0.02
    state["SpatialContextEncoder.embeddingFea.0.bias"] = torch.zeros(1024)
    state.update(consensus_state("NeighConsensus", (5, 5, 5), (16, 16, 1)))
    state.update(consensus_state("DynamicFusionNet.extract_corrfeas", (5, 5, 5), (16, 16, 1)))
    state["DynamicFusionNet.att.0.weight"] = torch.randn(2, 1250, 1, 1) * 0.02
    state["DynamicFusionNet.att.0.bias"] = torch.zeros(2)
    return state


def write(path: Path, state: State, **extra: object) -> Path:
    """As the authors' training script writes it: a legacy pickle with its arguments in it."""
    content = {
        "epoch": 5,
        "args": argparse.Namespace(lr=0.0005, ncons_kernel_sizes=[5, 5, 5], image_size=400),
        "state_dict": state,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.0005}]},
        "train_loss": np.zeros(5),
        "val_loss": np.zeros(5, np.float32),
        "val_pck": np.array([0.7, 0.8]),
        "best_val_pck": np.float64(0.8),
        **extra,
    }
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path
