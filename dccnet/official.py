"""The authors' published DCCNet and NC-Net files (spec §5), read without executing the pickle."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dccnet.backbone import STRIDE
from dccnet.checkpoint import load_state
from dccnet.config import PRESETS, ModelConfig
from dccnet.model import DCCNet
from runtime.errors import CheckpointError

# Index in the authors' nn.Sequential -> torchvision's name.
_RESNET_PARTS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
_RESNETS_BY_LAYER3_BLOCKS = {23: "resnet101", 6: "resnet50", 2: "resnet18"}
_CONSENSUS_BIAS = re.compile(r"NeighConsensus\.conv\.(\d+)\.bias")


def import_official(path: str | os.PathLike[str]) -> DCCNet:
    """Build the network that an authors' ``.pth.tar`` file holds, strictly.

    Structure and sizes are read from the tensors: the backbone, kernels and channels of the 4D
    layers, the context kernel and, for DCCNet, the feature grid. Raises :class:`CheckpointError`
    for a file that is no such checkpoint, naming every missing, unexpected or misshapen tensor.
    """
    path = Path(path)
    state = _plain_names(_read_state(path))
    try:
        config = _config(state)
        translate = _translator(config)
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(f"{path} is no DCCNet or NC-Net checkpoint: {error}") from error
    model = DCCNet(config)
    translated = {translate(key): _natural_order(key, tensor) for key, tensor in state.items()}
    for key, tensor in model.state_dict().items():  # files older than PyTorch 0.4.1 lack these
        if key.endswith("num_batches_tracked"):
            translated.setdefault(key, tensor)
    load_state(model, translated, source=path)
    return model.eval()


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the foreign bytes provoke
        raise CheckpointError(
            f"{path} cannot be read as a PyTorch checkpoint of plain tensors, and dcc does not run "
            f"code from files: {_first_sentence(error)}"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(map(torch.is_tensor, state.values())):
        raise CheckpointError(f"{path} holds no state_dict of tensors")
    return state


def _first_sentence(error: Exception) -> str:
    return str(error).strip().splitlines()[0].split(". ")[0] if str(error).strip() else repr(error)


# Harmless constructors that the authors' pickle names beside its tensors: the arguments of their
# script and numpy's losses. numpy 2 renamed its module, so the old name is given with the function.
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
    """Without DataParallel's prefix and with today's name for the backbone."""
    plain = {}
    for key, tensor in state.items():
        name = key.removeprefix("module.")
        plain[name.replace("FeatureExtraction.vgg.", "FeatureExtraction.model.")] = tensor
    return plain


def _config(state: dict[str, Tensor]) -> ModelConfig:
    layers = sorted(int(m[1]) for key in state if (m := _CONSENSUS_BIAS.fullmatch(key)))
    if not layers:
        raise ValueError("there is no neighbourhood consensus (NeighConsensus.conv.*) in it")
    weights = [state[f"NeighConsensus.conv.{i}.weight"] for i in layers]
    sizes: dict[str, Any] = {
        "backbone": _backbone(state),
        "consensus_kernels": tuple(w.shape[0] for w in weights),
        "consensus_channels": tuple(w.shape[1] for w in weights),
    }
    if "SpatialContextEncoder.embeddingFea.0.weight" not in state:
        return PRESETS["ncnet"].replace(**sizes)
    embed = state["SpatialContextEncoder.embeddingFea.0.weight"]
    channels = DCCNet(PRESETS["ncnet"].replace(**sizes)).backbone.channels
    sizes["context_channels"] = embed.shape[0]
    sizes["context_kernel"] = math.isqrt(embed.shape[1] - channels)
    if "DynamicFusionNet.att.0.weight" not in state:
        return PRESETS["baseline-s"].replace(**sizes)
    cells = state["DynamicFusionNet.att.0.weight"].shape[1] // 2
    side = math.isqrt(cells)
    if side * side != cells:
        raise ValueError(f"its fusion layer belongs to a grid of {cells} cells, which is not square")
    embedding = any(key.startswith("DynamicFusionNet.extract_corrfeas.") for key in state)
    return PRESETS["dccnet"].replace(
        **sizes, image_size=(side * STRIDE, side * STRIDE), embedding=embedding
    )


def _backbone(state: dict[str, Tensor]) -> str:
    layer3 = {key.split(".")[3] for key in state if key.startswith("FeatureExtraction.model.6.")}
    blocks = {part for part in layer3 if part.isdecimal()}
    if not blocks:
        if "FeatureExtraction.model.21.weight" in state:
            return "vgg16"
        raise ValueError("there is no backbone (FeatureExtraction.model.*) in it")
    if len(blocks) not in _RESNETS_BY_LAYER3_BLOCKS:
        raise ValueError(f"its backbone has {len(blocks)} blocks in layer3, which no known ResNet has")
    return _RESNETS_BY_LAYER3_BLOCKS[len(blocks)]


def _translator(config: ModelConfig) -> Callable[[str], str]:
    """From the authors' tensor names to ours; unknown names pass, to be reported as unexpected."""

    def translate(key: str) -> str:
        if match := re.fullmatch(r"FeatureExtraction\.model\.(\d+)\.(.+)", key):
            index, rest = int(match[1]), match[2]
            if config.backbone == "vgg16":
                return f"backbone.trunk.features.{index}.{rest}"
            if index < len(_RESNET_PARTS):
                return f"backbone.trunk.{_RESNET_PARTS[index]}.{rest}"
        if match := re.fullmatch(r"(.+)\.conv\.(\d+)\.(weight|bias)", key):
            stack, index = match[1], int(match[2])
            ours = {
                "NeighConsensus": "consensus",
                "DynamicFusionNet.extract_corrfeas": "fusion.embedding",
            }
            if stack in ours and index % 2 == 0:  # a ReLU stands between two convolutions
                return f"{ours[stack]}.layers.{index // 2}.{match[3]}"
        key = key.replace("SpatialContextEncoder.embeddingFea.0.", "context_encoder.embed.")
        return key.replace("DynamicFusionNet.att.0.", "fusion.attend.")

    return translate


def _natural_order(key: str, tensor: Tensor) -> Tensor:
    """Published 4D kernels are stored (k_hA, out, in, k_wA, k_hB, k_wB)."""
    return tensor.permute(1, 2, 0, 3, 4, 5).contiguous() if tensor.ndim == 6 else tensor
