"""The authors' published DCCNet and NC-Net files (spec §5), read without executing the pickle."""

from __future__ import annotations

import argparse
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dccnet.network.backbone import BACKBONES, STRIDE
from dccnet.network.config import PRESETS, ModelConfig
from dccnet.network.model import DCCNet
from dccnet.runtime.errors import CheckpointError
from dccnet.weights.building import build_network
from dccnet.weights.checkpoint import complain_about_mismatch, complain_about_values, unwrapped_state

# Index in the authors' nn.Sequential -> torchvision's name.
_RESNET_PARTS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
_RESNETS_BY_LAYER3_BLOCKS = {23: "resnet101", 6: "resnet50", 2: "resnet18"}
_CONSENSUS = re.compile(r"NeighConsensus\.conv\.(\d+)\.(?:weight|bias)")


def import_official(path: str | os.PathLike[str]) -> DCCNet:
    """Build the network in an authors' ``.pth.tar`` file, strictly.

    Structure and sizes are read from the tensors: the backbone, kernels and channels of the 4D layers, the
    context kernel and, for DCCNet, the feature grid. Where a tensor that gives a size is missing, the
    published size is assumed, so that the missing tensor can be named. Raises :class:`CheckpointError` for
    a file that is no such checkpoint; it names missing, unexpected and misshapen tensors as in the file.
    """
    path = Path(path)
    state = _plain_names(_read_state(path))
    try:
        model = build_network(_config(state), state.values())
    except (ValueError, IndexError) as error:
        raise CheckpointError(f"{path} is no DCCNet or NC-Net checkpoint: {error}") from error
    ours = model.state_dict()
    names = {_official_name(key): key for key in ours}
    expected = {name: _as_stored(ours[key]) for name, key in names.items()}
    for name, tensor in expected.items():  # files older than PyTorch 0.4.1 lack these
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, tensor)
    complain_about_mismatch(expected, state, path)
    complain_about_values(state, path)
    model.load_state_dict({key: _natural_order(state[name]) for name, key in names.items()})
    return model.eval()


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for foreign bytes
        raise CheckpointError(
            f"{path} cannot be read as a PyTorch checkpoint of plain tensors, and dcc does not run "
            f"code from files: {_first_sentence(error)}"
        ) from error
    return unwrapped_state(content, path)


def _first_sentence(error: Exception) -> str:
    return str(error).strip().splitlines()[0].split(". ")[0] if str(error).strip() else repr(error)


# Harmless constructors in the authors' pickles: the arguments of their script and losses as NumPy arrays.
# NumPy 2 renamed its module, so both names are listed.
_reconstruct: Any = np.empty(0).__reduce__()[0]
_scalar: Any = np.float64(0).__reduce__()[0]
_ALLOWED: list[Any] = [
    argparse.Namespace,
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")},
    *[
        (function, f"{module}.multiarray.{name}")
        for module in ("numpy.core", "numpy._core")
        for function, name in ((_reconstruct, "_reconstruct"), (_scalar, "scalar"))
    ],
]


def _plain_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Use the newer name of the backbone."""
    return {
        key.replace("FeatureExtraction.vgg.", "FeatureExtraction.model."): tensor
        for key, tensor in state.items()
    }


def _config(state: dict[str, Tensor]) -> ModelConfig:
    layers = sorted({int(m[1]) for key in state if (m := _CONSENSUS.fullmatch(key))})
    if not layers:
        raise ValueError("there is no neighbourhood consensus (NeighConsensus.conv.*)")
    published = PRESETS["dccnet"]
    weights = [state.get(f"NeighConsensus.conv.{i}.weight") for i in layers]
    kernels = [5 if w is None else w.shape[0] for w in weights]
    channels = [16 if w is None else w.shape[1] for w in weights]
    sizes: dict[str, Any] = {
        "backbone": _backbone(state),
        "consensus_kernels": tuple(kernels),
        "consensus_channels": (*channels[:-1], 1),
    }
    parts = {key.split(".")[0] for key in state}
    if not parts & {"SpatialContextEncoder", "DynamicFusionNet"}:
        return PRESETS["ncnet"].replace(**sizes)
    if (embed := state.get("SpatialContextEncoder.embeddingFea.0.weight")) is not None:
        sizes["context_channels"] = embed.shape[0]
        neighbours = embed.shape[1] - BACKBONES[sizes["backbone"]].channels
        sizes["context_kernel"] = math.isqrt(max(neighbours, 1))
    if "DynamicFusionNet" not in parts:
        return PRESETS["baseline-s"].replace(**sizes)
    if (attend := state.get("DynamicFusionNet.att.0.weight")) is not None:
        cells = attend.shape[1] // 2
        side = math.isqrt(cells)
        if side * side != cells:
            raise ValueError(f"its fusion layer is for a grid of {cells} cells, which is not square")
        sizes["image_size"] = (side * STRIDE, side * STRIDE)
    embedding = any(key.startswith("DynamicFusionNet.extract_corrfeas.") for key in state)
    return published.replace(**sizes, embedding=embedding)


def _backbone(state: dict[str, Tensor]) -> str:
    layer3 = {key.split(".")[3] for key in state if key.startswith("FeatureExtraction.model.6.")}
    blocks = {part for part in layer3 if part.isdecimal()}
    if not blocks:
        if "FeatureExtraction.model.21.weight" in state:
            return "vgg16"
        raise ValueError("there is no backbone (FeatureExtraction.model.*)")
    if len(blocks) not in _RESNETS_BY_LAYER3_BLOCKS:
        raise ValueError(f"its backbone has {len(blocks)} blocks in layer3, which no known ResNet has")
    return _RESNETS_BY_LAYER3_BLOCKS[len(blocks)]


def _official_name(key: str) -> str:
    """The authors' name of one of our tensors."""
    if match := re.fullmatch(r"backbone\.trunk\.features\.(.+)", key):  # VGG
        return f"FeatureExtraction.model.{match[1]}"
    if match := re.fullmatch(r"backbone\.trunk\.(\w+)\.(.+)", key):
        return f"FeatureExtraction.model.{_RESNET_PARTS.index(match[1])}.{match[2]}"
    if match := re.fullmatch(r"(consensus|fusion\.embedding)\.layers\.(\d+)\.(.+)", key):
        stack = "NeighConsensus" if match[1] == "consensus" else "DynamicFusionNet.extract_corrfeas"
        return f"{stack}.conv.{2 * int(match[2])}.{match[3]}"  # a ReLU stands between two
    key = key.replace("context_encoder.embed.", "SpatialContextEncoder.embeddingFea.0.")
    return key.replace("fusion.attend.", "DynamicFusionNet.att.0.")


def _as_stored(tensor: Tensor) -> Tensor:
    """4D kernels are published as (k_hA, out, in, k_wA, k_hB, k_wB)."""
    return tensor.permute(2, 0, 1, 3, 4, 5) if tensor.ndim == 6 else tensor


def _natural_order(tensor: Tensor) -> Tensor:
    """Inverse of :func:`_as_stored`."""
    return tensor.permute(1, 2, 0, 3, 4, 5).contiguous() if tensor.ndim == 6 else tensor
