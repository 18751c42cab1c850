"""Networks on disk: one safetensors file with the weights and, in its metadata, the configuration."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dccnet.network.config import ModelConfig
from dccnet.network.model import DCCNet
from dccnet.runtime.errors import CheckpointError
from dccnet.runtime.files import atomic_path
from dccnet.weights.building import build_network

_FORMAT = "dccnet"
_SCHEMA = 1
MOST_NAMED = 3
"""Tensors that a message names: of a foreign file, all would be kilobytes."""
_WRAPPERS = ("state_dict", "model")
_PREFIX = re.compile(r"^(module\.|_orig_mod\.)+")
"""What DataParallel and ``torch.compile`` put before names."""


def save_checkpoint(model: DCCNet, path: str | os.PathLike[str]) -> None:
    """Write weights and configuration, atomically."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {"format": _FORMAT, "schema": str(_SCHEMA), "config": model.config.to_json()}
    with atomic_path(path) as temporary, temporary.open("wb") as file:  # save_file would set mode 600
        file.writelines(_in_one_order(save(state, metadata)))


def _in_one_order(content: bytes) -> tuple[bytes, bytes, memoryview]:
    """The same safetensors file with its metadata in alphabetic order: the library's order is random.

    So one network gives one file, and evaluations, which know it by its hash, can be resumed.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # as the library pads it
    return len(text).to_bytes(8, "little"), text, memoryview(content)[start:]


def load_checkpoint(path: str | os.PathLike[str]) -> DCCNet:
    """Read a network written by :func:`save_checkpoint`, in eval mode on the CPU.

    Nothing in the file is executed. Raises :class:`CheckpointError` for a missing or foreign file, a
    newer schema, tensors that do not fit the configuration, and weights that are not finite.
    """
    path = Path(path)
    metadata, state = _read(path)
    schema = metadata.get("schema", "")
    if not schema.isdecimal() or int(schema) > _SCHEMA:
        raise CheckpointError(
            f"{path} has checkpoint schema {schema or '(none)'} and this dcc reads up to {_SCHEMA}: "
            "upgrade dccnet"
        )
    try:
        model = build_network(ModelConfig.from_json(metadata["config"]), state.values())
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} describes no network that dcc knows: {error}") from error
    load_state(model, state, source=path)
    return model.eval()


def load_state(model: DCCNet, state: dict[str, Tensor], source: Path) -> None:
    """Fill a network strictly; :class:`CheckpointError` names every tensor that does not fit."""
    complain_about_mismatch(model.state_dict(), state, source)
    complain_about_values(state, source)
    model.load_state_dict(state)


def complain_about_values(state: dict[str, Tensor], source: Path) -> None:
    """Raise :class:`CheckpointError` for NaN or infinity among the weights."""
    broken = [n for n, t in state.items() if t.is_floating_point() and not _is_finite(t)]
    if broken:
        raise CheckpointError(
            f"{source} contains values that are not finite (NaN or infinity), first in '{broken[0]}': "
            "its training diverged or the file is damaged; take an earlier checkpoint"
        )


def _is_finite(tensor: Tensor) -> bool:
    # In one pass, and without a tensor of booleans: NaN is both the least and the largest value.
    return not tensor.numel() or all(bool(bound.isfinite()) for bound in tensor.aminmax())


def complain_about_mismatch(expected: dict[str, Tensor], found: dict[str, Tensor], source: Path) -> None:
    """Raise :class:`CheckpointError` naming missing, unexpected, misshapen and rounded tensors (three)."""
    problems = [f"missing {name} {tuple(t.shape)}" for name, t in expected.items() if name not in found]
    problems += [f"unexpected {name}" for name in found if name not in expected]
    problems += [
        f"{name} is {tuple(found[name].shape)} and should be {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    problems += [
        f"{name} contains values of the type {str(found[name].dtype).removeprefix('torch.')}, not {wanted}"
        for name, tensor in expected.items()
        if name in found and found[name].is_floating_point() != tensor.is_floating_point()
        for wanted in ["floating point" if tensor.is_floating_point() else "whole numbers"]
    ]
    if problems:
        more = f"; and {len(problems) - MOST_NAMED} more" if len(problems) > MOST_NAMED else ""
        raise CheckpointError(
            f"{source} does not fit the network: {'; '.join(problems[:MOST_NAMED])}{more}"
        )


def unwrapped_state(content: Any, source: Path) -> dict[str, Tensor]:
    """The tensors by name in what ``torch.load`` returned, without the wrappers of training scripts.

    These are a dictionary with the key ``state_dict`` or ``model``, and the prefixes of
    DataParallel and ``torch.compile``. Raises :class:`CheckpointError`, which says what is there instead.
    """
    if not isinstance(content, dict):
        raise CheckpointError(f"{source} contains a {type(content).__name__}, not tensors by name")
    state = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), dict)), content)
    foreign = [key for key, value in state.items() if not (isinstance(key, str) and torch.is_tensor(value))]
    if foreign or not state:
        named = ", ".join(map(str, list(content)[:MOST_NAMED])) or "nothing"
        raise CheckpointError(f"{source} contains no state_dict of tensors, but {named}")
    return {_PREFIX.sub("", key): value for key, value in state.items()}


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; a network comes from dcc train or dcc import")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise CheckpointError(
                    f"{path} is a safetensors file, but not of dccnet; "
                    "a network comes from dcc train or dcc import"
                )
            return metadata, {name: file.get_tensor(name) for name in list(file.keys())}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a dccnet checkpoint (safetensors): {_hint(path)}") from error


def _hint(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return "it looks like a PyTorch pickle; the authors' files are read by dcc import"
    return "it is damaged or of another kind"


def parameters(model: torch.nn.Module) -> int:
    """Number of weights, frozen ones included."""
    return sum(p.numel() for p in model.parameters())
